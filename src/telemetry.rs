//! What Folio tells about itself: logs, the trace in hand, and the parts of metrics.

mod log;
mod metrics;
mod trace;

pub use log::{Log, start};
pub use metrics::{BUCKETS_MS, Counter, Exposition, Gauge, Histogram, process};
pub use trace::{trace, traced, under};
