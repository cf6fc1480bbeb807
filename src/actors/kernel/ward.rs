//! What follows from the end of a life: the word to the supervisor, and what the supervisor does about it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::{Cause, Incident};
use super::keyed::{Home, Seat};
use super::mailbox::unavailable;
use super::phase::Phase;
use super::role::Role;
use super::slot::{STOPPING, Slot};
use super::supervisor::{Failure, SupervisorMsg, Verdict, Ward};
use crate::clock::Moment;
use crate::error::{Error, RETRY_AFTER};

impl<R: Role> Slot<R> {
    /// Ends a life by its own fault: those who wait hear it now, the supervisor when the task is over.
    pub fn fail(&self, life: u32, cause: Cause) {
        let mut inner = self.inner.lock();
        if inner.life != life || !matches!(inner.phase, Phase::Starting | Phase::Awake | Phase::Leaving) {
            return;
        }
        inner.phase = Phase::Failing;
        inner.seat = None;
        inner.meter.failed += 1;
        let doing = inner.meter.doing.take();
        let incident = Arc::new(Incident { kind: R::NAME, key: self.key.to_string(), doing, cause });
        inner.past.get_or_insert_default().last = Some(incident);
        let letters = inner.refuse(unavailable::<R>(RETRY_AFTER));
        drop(inner);
        drop(letters);
    }

    /// Ends a life that could not begin: the error is the answer, the next caller tries again.
    pub fn refuse_start(&self, life: u32, error: Error) {
        let _letters = {
            let mut inner = self.inner.lock();
            if inner.life != life || !matches!(inner.phase, Phase::Starting | Phase::Failing) {
                return;
            }
            inner.phase = Phase::Asleep;
            inner.seat = None;
            inner.used = Moment::default(); // Nothing worth keeping: the next sweep gives the slot up.
            inner.refuse(error)
        };
    }

    /// The task of a life is over, for whatever reason.
    pub fn ended(self: &Arc<Self>, life: u32, home: &Arc<Home<R>>) {
        // It was killed, or cut off at the end of the runtime, unless it has left or failed by itself.
        if !matches!(self.inner.lock().phase, Phase::Leaving) {
            self.fail(life, Cause::Killed);
        }
        let mut inner = self.inner.lock();
        if inner.life != life {
            return;
        }
        inner.actor = None;
        match inner.phase {
            Phase::Leaving if inner.queue.is_empty() => inner.phase = Phase::Asleep,
            Phase::Leaving => {
                let shell = self.begin(&mut inner, home, Seat::over(home));
                drop(inner);
                shell.spawn();
            }
            Phase::Failing => {
                let last = inner.past.as_ref().and_then(|past| past.last.clone());
                drop(inner);
                let failure = last.map(|incident| Failure { incident, ward: self.clone() });
                let told = failure.is_some_and(|it| home.supervisor().cast(SupervisorMsg::Failed(it)).is_ok());
                if !told {
                    // There is no supervisor now, or the failure was forgiven before it was heard of.
                    self.refuse_start(life, unavailable::<R>(RETRY_AFTER));
                }
            }
            _ => {}
        }
    }
}

impl<R: Role> Ward for Slot<R> {
    fn judge(&self) -> Verdict {
        let Ok(home) = self.home() else { return Verdict::Nothing };
        let mut _letters = VecDeque::new(); // They go after the lock.
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Failing {
            return Verdict::Nothing;
        }
        let trial = std::mem::take(&mut inner.trial);
        let (budget, now) = (&home.limits.budget, home.clock().moment());
        match inner.past.get_or_insert_default().spend(budget, now).filter(|_| !trial) {
            _ if inner.closing => {
                inner.phase = Phase::Asleep;
                _letters = inner.refuse(unavailable::<R>(STOPPING));
                Verdict::Nothing
            }
            Some(wait) => {
                inner.restarts += 1;
                inner.phase = Phase::Resting { until: now.after(wait) };
                Verdict::Restart(wait)
            }
            None => {
                let wait = budget.half_open_after;
                inner.phase = Phase::Fenced { until: now.after(wait) };
                _letters = inner.refuse(unavailable::<R>(wait));
                Verdict::Fence
            }
        }
    }

    fn restart(self: Arc<Self>) {
        let Ok(home) = self.home() else { return };
        let mut inner = self.inner.lock();
        if !matches!(inner.phase, Phase::Resting { .. } | Phase::Failing) {
            return;
        }
        inner.phase = Phase::Asleep;
        if (R::EAGER || !inner.queue.is_empty()) && !inner.closing {
            let shell = self.begin(&mut inner, &home, Seat::over(&home));
            drop(inner);
            shell.spawn();
        }
    }
}
