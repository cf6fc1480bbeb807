//! What follows from the end of a life: the word to the supervisor, and what the supervisor does about it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::{Cause, Incident};
use super::keyed::{Home, Seat};
use super::mailbox::unavailable;
use super::role::Role;
use super::slot::{Phase, STOPPING, Slot};
use super::supervisor::{Failure, SupervisorMsg, Verdict, Ward};
use crate::clock::Moment;
use crate::error::{Error, RETRY_AFTER};

impl<R: Role> Slot<R> {
    /// Ends a life by its own fault: those who wait hear it now.
    pub fn fail(self: &Arc<Self>, life: u32, cause: Cause) -> Option<Failure> {
        let (incident, _letters) = {
            let mut inner = self.inner.lock();
            if inner.life != life || !matches!(inner.phase, Phase::Starting | Phase::Awake | Phase::Leaving) {
                return None;
            }
            inner.phase = Phase::Failing;
            inner.seat = None;
            inner.meter.failed += 1;
            let doing = inner.meter.doing.take();
            let incident = Arc::new(Incident { kind: R::NAME, key: self.key.to_string(), doing, cause });
            inner.past.get_or_insert_default().last = Some(incident.clone());
            (incident, inner.refuse(unavailable::<R>(RETRY_AFTER)))
        };
        Some(Failure { incident, ward: self.clone() })
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
            Phase::Starting | Phase::Awake => {
                drop(inner); // Killed, or never linked: ractor has told nobody what to do about it.
                if let Some(failure) = self.fail(life, Cause::Killed) {
                    self.report(life, failure);
                }
            }
            Phase::Failing => {
                let last = inner.past.as_ref().and_then(|past| past.last.clone());
                drop(inner); // The supervisor that ractor has told may be gone; a second word does no harm.
                if let Some(incident) = last {
                    self.report(life, Failure { incident, ward: self.clone() });
                }
            }
            _ => {}
        }
    }

    /// Tells the supervisor of today, or does without one.
    fn report(&self, life: u32, failure: Failure) {
        let told = self.home().is_ok_and(|home| home.supervisor().cast(SupervisorMsg::Failed(failure)).is_ok());
        if !told {
            self.refuse_start(life, unavailable::<R>(RETRY_AFTER));
        }
    }
}

impl<R: Role> Ward for Slot<R> {
    fn judge(&self) -> Verdict {
        let Ok(home) = self.home() else { return Verdict::Nothing };
        let (verdict, _letters) = {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Failing {
                return Verdict::Nothing;
            }
            let trial = std::mem::take(&mut inner.trial);
            let (budget, now) = (&home.limits.budget, home.clock().moment());
            match inner.past.get_or_insert_default().spend(budget, now).filter(|_| !trial) {
                _ if inner.closing => {
                    inner.phase = Phase::Asleep;
                    (Verdict::Nothing, inner.refuse(unavailable::<R>(STOPPING)))
                }
                Some(wait) => {
                    inner.restarts += 1;
                    inner.phase = Phase::Resting { until: now.after(wait) };
                    (Verdict::Restart(wait), VecDeque::new())
                }
                None => {
                    let wait = budget.half_open_after;
                    inner.phase = Phase::Fenced { until: now.after(wait) };
                    (Verdict::Fence, inner.refuse(unavailable::<R>(wait)))
                }
            }
        };
        verdict
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
