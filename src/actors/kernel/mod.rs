//! How actors live: bounded, measured, supervised, and how they write.

mod budget;
mod flock;
pub mod guard;
mod history;
mod keyed;
mod life;
mod mailbox;
mod meter;
mod metrics;
pub mod outbox;
mod phase;
pub mod pool;
mod role;
mod room;
mod root;
mod slot;
mod snapshot;
pub mod streams;
mod supervisor;
mod task;
#[cfg(test)]
mod tests;
pub mod voices;
mod ward;
pub mod writer;

pub use budget::Budget;
pub use history::{Cause, Event, Incident, What};
pub use keyed::{Keyed, Limits};
pub use mailbox::{Mailbox, Reply};
pub use meter::{BOUNDS, Doing, Histogram, Meter};
pub use phase::Phase;
pub use role::{Fault, Outcome, Role, Turn};
pub use root::Root;
pub use snapshot::{Kind, Row, Snapshot, Tasks};
pub use task::Stop;
