//! Tasks outside the actors: guarded, counted by name, started again where that is asked, gone when the tree stops.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::budget::{Budget, Past};
use super::flock::Flock;
use super::guard::{Panic, caught, trace};
use super::history::{History, What};
use super::snapshot::Tasks;
use crate::clock::Moment;

/// Tells a kept task that the tree stops. As long as the task holds it, it is given time; without, it is cut off.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the task is to end.
    pub async fn requested(&self) {
        // An error means that the tree is gone, which is a stop too.
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }
}

/// What the tree is made of, in the order in which it was started.
#[derive(Clone)]
pub(super) enum Part {
    Kind(Arc<dyn Flock>),
    Group(Arc<Group>),
}

pub(super) struct Groups {
    pub history: Arc<History>,
    pub parts: RwLock<Vec<Part>>,
}

impl Groups {
    /// Runs a task; a panic in it is an event and nothing more.
    pub fn task(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let (group, trace) = (self.group(name), trace());
        group.clone().spawn(async move {
            if let Err(panic) = caught(trace, work).await {
                group.panicked(panic);
            }
        })
    }

    /// Runs a task that is begun again when it panics, within the usual budget.
    pub fn keep<W>(&self, name: &'static str, mut work: impl FnMut(Stop) -> W + Send + 'static) -> JoinHandle<()>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let group = self.group(name);
        group.clone().spawn(async move {
            let (budget, mut past) = (Budget::default(), Past::default());
            loop {
                let stop = Stop(group.stop.subscribe());
                // The first call of `work` is guarded as well as what it returns.
                let Err(panic) = caught(0, async { work(stop).await }).await else { return };
                group.panicked(panic);
                group.rest(past.spend(&budget, group.history.clock.moment()), &budget).await;
                group.restarts.fetch_add(1, Relaxed);
            }
        })
    }

    /// Does something after a while.
    pub fn later(&self, wait: Duration, action: impl FnOnce() + Send + 'static) {
        let clock = self.history.clock.clone();
        let until = clock.moment().after(wait);
        self.task("timers", async move {
            clock.sleep_until(until).await;
            action();
        });
    }

    /// Notes a panic of work that a task of this name answers for.
    pub fn panicked(&self, name: &'static str, panic: Panic) {
        self.group(name).panicked(panic);
    }

    fn group(&self, name: &'static str) -> Arc<Group> {
        let find = |parts: &[Part]| {
            parts.iter().find_map(|part| match part {
                Part::Group(group) if group.name == name => Some(group.clone()),
                _ => None,
            })
        };
        if let Some(group) = find(&self.parts.read()) {
            return group;
        }
        let mut parts = self.parts.write();
        find(&parts).unwrap_or_else(|| {
            let group = Arc::new(Group::new(name, self.history.clone()));
            parts.push(Part::Group(group.clone()));
            group
        })
    }
}

/// All tasks of a name.
pub(super) struct Group {
    pub name: &'static str,
    history: Arc<History>,
    since: Moment,
    /// By number. Who comes second, the one that begins or the one that has ended, takes the entry away.
    running: Mutex<HashMap<u64, Option<AbortHandle>>>,
    begun: AtomicU64,
    panics: AtomicU64,
    restarts: AtomicU64,
    stop: watch::Sender<bool>,
    quiet: Notify,
}

impl Group {
    fn new(name: &'static str, history: Arc<History>) -> Self {
        Self {
            name,
            since: history.clock.moment(),
            history,
            running: Mutex::default(),
            begun: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            quiet: Notify::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where a task begins")]
    fn spawn(self: Arc<Self>, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let member = Member { number: self.begun.fetch_add(1, Relaxed), group: self.clone() };
        let number = member.number;
        // Not under the lock: a runtime that shuts down drops the task here and now.
        let task = tokio::spawn(async move {
            let _member = member;
            work.await;
        });
        self.meet(number, Some(task.abort_handle()));
        if *self.stop.borrow() {
            task.abort();
        }
        task
    }

    fn meet(&self, number: u64, handle: Option<AbortHandle>) {
        let mut running = self.running.lock();
        if running.remove(&number).is_none() {
            running.insert(number, handle);
        } else if running.is_empty() {
            self.quiet.notify_waiters();
        }
    }

    fn panicked(&self, panic: Panic) {
        self.panics.fetch_add(1, Relaxed);
        self.history.add(What::TaskPanicked { task: self.name, panic });
    }

    /// Waits for the next try of a kept task, and is out of order meanwhile if there is no wait in the budget.
    async fn rest(&self, wait: Option<Duration>, budget: &Budget) {
        let clock = &self.history.clock;
        if let Some(wait) = wait {
            return clock.sleep(wait).await;
        }
        self.history.add(What::TaskFenced { task: self.name });
        self.history.unwell.fetch_add(1, Relaxed);
        clock.sleep(budget.half_open_after).await;
        self.history.unwell.fetch_sub(1, Relaxed);
    }

    pub fn tasks(&self) -> Tasks {
        Tasks {
            name: self.name,
            running: self.running.lock().len(),
            begun: self.begun.load(Relaxed),
            panics: self.panics.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            age: self.history.clock.moment().since(self.since),
        }
    }

    /// Waits for those that hold a [`Stop`], and cuts the others off; returns whether none had to be hurried.
    pub async fn stop(&self, within: Duration) -> bool {
        self.stop.send_replace(true);
        let ended = timeout(within, self.stop.closed()).await.is_ok();
        let running: Vec<_> = self.running.lock().values().flatten().cloned().collect();
        running.iter().for_each(AbortHandle::abort);
        let gone = async {
            loop {
                let quiet = self.quiet.notified();
                if self.running.lock().is_empty() {
                    return;
                }
                quiet.await;
            }
        };
        timeout(within, gone).await.is_ok() && ended
    }
}

/// Takes a task out of its group, however it ends.
struct Member {
    group: Arc<Group>,
    number: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.meet(self.number, None);
    }
}
