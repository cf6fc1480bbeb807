//! All actors of a kind, as their supervisor and the root see them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use ractor::ActorRef;
use tokio::time::Instant;

use super::keyed::Home;
use super::phase::Phase;
use super::role::Role;
use super::snapshot::{Kind, Row};
use super::supervisor::{SupervisorMsg, Ward};

pub(super) trait Flock: Send + Sync {
    fn name(&self) -> &'static str;
    /// Takes a new supervisor, which decides what the last one had not.
    fn adopt(&self, supervisor: ActorRef<SupervisorMsg>);
    /// Puts to sleep who is idle, gives up who is forgotten.
    fn sweep(&self);
    fn rows(&self, rows: &mut Vec<Row>);
    fn kind(&self) -> Kind;
    /// Accepts nothing more.
    fn close(&self);
    fn kill(&self);
    /// Waits until no actor has a task.
    fn quiet(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<R: Role> Flock for Home<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn adopt(&self, supervisor: ActorRef<SupervisorMsg>) {
        *self.supervisor.write() = Some(supervisor);
        self.all().into_iter().for_each(Ward::restart);
    }

    fn sweep(&self) {
        let now = self.clock().moment();
        for slot in self.all() {
            let (phase, idle) = {
                let inner = slot.inner.lock();
                (inner.phase, now.since(inner.used))
            };
            let _ended = match phase {
                Phase::Awake if idle >= self.limits.sleep_after => slot.sleep_if_idle(),
                Phase::Asleep if idle >= self.limits.forget_after => self.give_up(&slot.key),
                _ => false,
            };
        }
    }

    fn rows(&self, rows: &mut Vec<Row>) {
        let (now, moment) = (Instant::now(), self.clock().moment());
        let budget = &self.limits.budget;
        rows.extend(self.all().iter().map(|slot| {
            let inner = slot.inner.lock();
            Row {
                kind: R::NAME,
                key: slot.key.to_string(),
                phase: inner.phase,
                depth: slot.room.depth(),
                depth_max: R::MESSAGES_MAX,
                oldest_wait: inner.queue.front().map(|letter| now.saturating_duration_since(letter.sent)),
                shed: slot.room.shed(),
                meter: inner.meter.clone(),
                idle: moment.since(inner.used),
                age: moment.since(inner.born),
                restarts: inner.restarts,
                budget_left: inner.past.as_ref().map_or(budget.restarts, |past| past.left(budget, moment)),
                last_failure: inner.past.as_ref().and_then(|past| past.last.clone()),
            }
        }));
    }

    fn kind(&self) -> Kind {
        let mut kind = Kind {
            name: R::NAME,
            known: self.known.load(Relaxed),
            awake: self.awake.load(Relaxed),
            ..self.given_up.lock().clone()
        };
        for slot in self.all() {
            let (inner, depth) = (slot.inner.lock(), slot.room.depth());
            kind.fenced += usize::from(matches!(inner.phase, Phase::Fenced { .. }));
            kind.depth += u64::from(depth);
            kind.depth_max = kind.depth_max.max(depth);
            kind.add(&inner.meter, slot.room.shed(), inner.restarts);
        }
        kind
    }

    fn close(&self) {
        self.closing.store(true, SeqCst);
        self.all().iter().for_each(|slot| slot.close());
    }

    fn kill(&self) {
        self.all().iter().for_each(|slot| slot.kill());
    }

    fn quiet(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            loop {
                let quiet = self.quiet.notified();
                if self.lives.load(SeqCst) == 0 {
                    return;
                }
                quiet.await;
            }
        })
    }
}
