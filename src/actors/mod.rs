//! What Folio does: one folder a capability, on the kernel of actors.
//!
//! ```text
//! root
//!  +- relay       committed events, on their way to the broker
//!  +- writer      group commit of the hot writes
//!  +- health      looks at every backend, once a second
//!  +- accept      takes connections in, and hands each to a task
//!  +- connections one task each
//! ```
//! Parts start in this order and stop in the other.

pub mod kernel;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;

use self::kernel::outbox::{Relay, RelayStats};
use self::kernel::writer::Writer;
use self::kernel::{Kind, Root, Tasks};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::storage::Storage;
use crate::storage::health::Health;
use crate::telemetry::Exposition;

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
        let relay = Relay::new(storage.db.clone(), storage.broker.clone(), committed.clone());
        let stats = relay.stats();
        relay.start(&root);
        let writer = Writer::start(&root, &storage.db, &config.writer, committed);
        let (watched, health, clock) = (storage.clone(), health.clone(), clock.clone());
        root.keep("health", move |_| {
            let (watched, health, clock) = (watched.clone(), health.clone(), clock.clone());
            async move { watched.watch(&health, &clock).await }
        });
        Ok(Actors { root, writer, relay: stats })
    }

    /// Stops the tree: what was accepted is done, for at most so long a part. Returns whether everything was.
    pub async fn stop(&self, within: Duration) -> bool {
        self.root.stop(within).await
    }

    /// Writes how the tree is: kinds, tasks, writer and outbox, each as a whole.
    pub fn collect(&self, out: &mut Exposition) {
        let kinds = self.root.kinds();
        let mut each = |name: &str, kind: &str, help: &str, value: fn(&Kind) -> u64| {
            out.family(name, kind, help);
            kinds.iter().for_each(|it| out.sample(name, &[("type", it.name)], value(it)));
        };
        each("folio_actors_known", "gauge", "Actors that are remembered.", |it| it.known as u64);
        each("folio_actors_awake", "gauge", "Actors that have a task.", |it| it.awake as u64);
        each("folio_actors_fenced", "gauge", "Actors whose budget of restarts is spent.", |it| it.fenced as u64);
        each("folio_actor_mailbox_depth", "gauge", "Messages in all mailboxes.", |it| it.depth);
        each("folio_actor_mailbox_depth_max", "gauge", "Messages in the fullest mailbox.", |it| it.depth_max.into());
        each("folio_actor_shed_total", "counter", "Messages refused by full mailboxes.", |it| it.shed);
        each("folio_actor_restarts_total", "counter", "Actors started again after a failure.", |it| it.restarts);
        each("folio_actor_handled_total", "counter", "Messages handled.", |it| it.meter.handled);
        each("folio_actor_failed_total", "counter", "Lives that ended in a failure.", |it| it.meter.failed);
        let tasks = self.root.tasks();
        let mut each = |name: &str, kind: &str, help: &str, value: fn(&Tasks) -> u64| {
            out.family(name, kind, help);
            tasks.iter().for_each(|it| out.sample(name, &[("task", it.name)], value(it)));
        };
        each("folio_tasks_running", "gauge", "Tasks that run.", |it| it.running as u64);
        each("folio_task_panics_total", "counter", "Tasks that panicked.", |it| it.panics);
        each("folio_task_restarts_total", "counter", "Tasks begun again after a panic.", |it| it.restarts);
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
