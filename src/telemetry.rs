//! What Folio tells about itself: logs, the trace in hand, and the parts of metrics.

mod json;
mod log;
mod metrics;
mod trace;

pub use log::{Log, start};
pub use metrics::{BUCKETS_MS, Counter, Exposition, Gauge, Histogram, process};
pub use trace::{trace, trace_of, traced, under};
