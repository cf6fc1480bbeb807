//! What Folio does: one folder a capability, on the kernel of actors.
//!
//! ```text
//! root
//!  +- relay       committed events, on their way to the broker
//!  +- writer      group commit of the hot writes
//!  +- health      looks at every backend
//!  +- sweeps      removes what broken uploads left
//!  +- accept      takes connections in, and hands each to a task
//!  +- connections one task each
//! ```
//! Parts start in this order and stop in the other.

pub mod auth;
pub mod kernel;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;

use self::kernel::Root;
use self::kernel::outbox::{Relay, RelayStats};
use self::kernel::writer::Writer;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::storage::Storage;
use crate::storage::health::Health;
use crate::telemetry::Exposition;

/// How often what uploads left behind is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// When an upload that never ended is a leftover.
const LEFTOVERS_LAST: Duration = Duration::from_secs(24 * 3_600);

/// The tree, and the way into each of its parts.
#[derive(Clone)]
pub struct Actors {
    /// The top of the tree.
    pub root: Root,
    /// Where hot writes are handed over.
    pub writer: Writer,
    relay: Arc<RelayStats>,
}

impl Actors {
    /// Starts the tree.
    pub async fn start(storage: &Storage, config: &Config, clock: &Clock, health: &Arc<Health>) -> Result<Actors> {
        let root = Root::start(clock.clone()).await?;
        let committed = Arc::new(Notify::new());
        // The relay stops after the writer: it has the last word.
        let relay = Relay::new(storage.db.clone(), storage.broker.clone(), storage.bus.clone(), committed.clone());
        let stats = relay.stats();
        relay.start(&root);
        let writer = Writer::start(&root, &storage.db, &config.writer, committed);
        let (watched, health, beat) = (storage.clone(), health.clone(), clock.clone());
        root.keep("health", move |_| {
            let (watched, health, clock) = (watched.clone(), health.clone(), beat.clone());
            // Boxed: it holds a question to every backend at once.
            async move { Box::pin(watched.watch(&health, &clock)).await }
        });
        let (swept, clock) = (storage.objects.clone(), clock.clone());
        root.keep("sweeps", move |_| {
            let (swept, mut beat) = (swept.clone(), clock.every(SWEEP_EVERY));
            async move {
                loop {
                    beat.tick().await;
                    if let Err(error) = swept.sweep_leftovers(LEFTOVERS_LAST).await {
                        tracing::warn!(event = "objects.sweep", %error, "leftovers of uploads stay for now");
                    }
                }
            }
        });
        Ok(Actors { root, writer, relay: stats })
    }

    /// Stops the tree: what was accepted is done, for at most so long a part. Returns whether everything was.
    pub async fn stop(&self, within: Duration) -> bool {
        self.root.stop(within).await
    }

    /// Writes how the tree, the writer and the outbox are, each as a whole.
    pub fn collect(&self, out: &mut Exposition) {
        self.root.collect(out);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| out.single(name, kind, help, value);
        let (writer, relay) = (self.writer.stats(), &self.relay);
        one("folio_writer_waiting", "gauge", "Hot writes that wait for a commit.", self.writer.waiting() as u64);
        one("folio_writer_batches_total", "counter", "Transactions of the writer.", writer.batches.load(Relaxed));
        one("folio_writer_written_total", "counter", "Hot writes that are stored.", writer.written.load(Relaxed));
        one(
            "folio_writer_refused_total",
            "counter",
            "Hot writes refused by a full queue.",
            writer.refused.load(Relaxed),
        );
        one("folio_writer_failed_total", "counter", "Hot writes that failed.", writer.failed.load(Relaxed));
        one("folio_outbox_published_total", "counter", "Events that were confirmed.", relay.published.load(Relaxed));
        one("folio_outbox_parked_total", "counter", "Events that were refused for good.", relay.parked.load(Relaxed));
    }
}
