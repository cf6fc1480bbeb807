//! Hands committed events to the broker.
//!
//! Owns: the right to relay, where there are several nodes.  Writes: removes published lines, parks refused events.
//! Publishes: every event at least once, in order of its key.  Queue: none, it reads the outbox.
//! On restart: publishes again what was not removed yet, with the same ids; nothing is lost.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::root::Root;
use crate::error::{Error, Result};
use crate::storage::broker::{Broker, Event};
use crate::storage::bus::{Bus, Ear};
use crate::storage::db::Db;
use crate::storage::outbox::Claim;

/// What a node that does not relay tells the one that does.
const COMMITTED: &str = "outbox.committed";
/// A safety net, for what a crash left behind and for hints that were lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A round costs the database the same few statements for one commit as for fifty: what follows it so soon is gathered.
const GATHER: Duration = Duration::from_millis(10);
/// How long a step may take at the database.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// How long the broker may take to confirm.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How often an event that stands alone may be refused before it is parked.
const REFUSALS_MAX: u32 = 3;

/// Where events go. Returns when every one of them is confirmed.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Publishes events in order.
    fn publish(&self, events: &[Event]) -> impl Future<Output = Result<()>> + Send;

    /// Keeps those topics that go anywhere: what nobody wants need not be read.
    fn wanted(&self, _topics: &mut BTreeSet<String>) -> impl Future<Output = Result<()>> + Send {
        ready(Ok(()))
    }
}

impl Publish for Broker {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        Broker::publish(self, events).await
    }

    async fn wanted(&self, topics: &mut BTreeSet<String>) -> Result<()> {
        Broker::wanted(self, topics).await
    }
}

/// What a relay has done.
#[derive(Debug, Default)]
pub struct RelayStats {
    /// Events that were confirmed.
    pub published: AtomicU64,
    /// Events that were refused for good and put aside.
    pub parked: AtomicU64,
    /// Rounds that ended because the database or the broker was gone.
    pub interrupted: AtomicU64,
}

/// Relays for as long as it runs.
#[derive(Clone, Debug)]
pub struct Relay<P> {
    db: Db,
    broker: P,
    bus: Bus,
    committed: Arc<Notify>,
    stats: Arc<RelayStats>,
}

impl<P: Publish> Relay<P> {
    /// Makes a relay. `committed` is rung by every commit in this process; those of other nodes are heard of by the bus.
    pub fn new(db: Db, broker: P, bus: Bus, committed: Arc<Notify>) -> Relay<P> {
        Relay { db, broker, bus, committed, stats: Arc::default() }
    }

    /// What it has done.
    pub fn stats(&self) -> Arc<RelayStats> {
        self.stats.clone()
    }

    /// Starts it, to be begun again when it fails.
    pub fn start(self, root: &Root) -> JoinHandle<()> {
        root.keep("relay", move |stop| {
            let relay = self.clone();
            async move { relay.run(stop.requested()).await }
        })
    }

    /// Relays until it is told to stop.
    async fn run(self, stop: impl Future<Output = ()> + Send) {
        let mut claim = None;
        tokio::select! {
            () = self.rounds(&mut claim) => {}
            () = stop => {}
        }
        // What the last commits left, if that is quickly done; otherwise whoever comes next does it.
        let _ = within(LOOK_EVERY, self.drain(&mut claim)).await;
        // What was published need not be published again by whoever comes next.
        if let Some(claim) = &mut claim {
            let _ = within(STEP_WITHIN, claim.remove()).await;
        }
    }

    async fn rounds(&self, claim: &mut Option<Claim>) {
        // One hint is as good as many: what does not fit is heard as something missed.
        let mut ear = self.bus.subscribe(COMMITTED);
        loop {
            let began = Instant::now();
            match self.drain(claim).await {
                Ok(true) => {
                    if timeout(LOOK_EVERY, self.rung(&mut ear)).await.is_ok() {
                        sleep_until(began + GATHER).await;
                        continue;
                    }
                }
                // Another node relays.
                Ok(false) => drop(timeout(LOOK_EVERY, self.pass_on()).await),
                Err(error) => {
                    self.stats.interrupted.fetch_add(1, Relaxed);
                    tracing::warn!(%error, "the relay stopped and tries again");
                    *claim = None;
                    sleep(LOOK_EVERY).await;
                }
            }
            if let Some(claim) = claim
                && let Err(error) = within(STEP_WITHIN, claim.remove()).await
            {
                tracing::warn!(%error, "published lines stay for now");
            }
        }
    }

    /// Waits for a commit, here or on another node.
    async fn rung(&self, ear: &mut Ear) {
        tokio::select! {
            () = self.committed.notified() => {}
            _ = ear.next() => {}
        }
    }

    /// Tells the node that relays of each commit here, for as long as it is waited for.
    async fn pass_on(&self) -> Infallible {
        loop {
            self.committed.notified().await;
            // Lost, it is found by the next look.
            let _ = self.bus.publish(COMMITTED, Bytes::new()).await;
        }
    }

    /// Publishes all that waits, and tells whether it has the right to. A line is removed after its events are
    /// confirmed.
    async fn drain(&self, claim: &mut Option<Claim>) -> Result<bool> {
        let claim = match claim {
            Some(claim) => claim,
            None => claim.insert(within(STEP_WITHIN, Claim::open(&self.db)).await?),
        };
        if !within(STEP_WITHIN, claim.take()).await? {
            return Ok(false);
        }
        // What is committed from now on rings.
        let mut more = true;
        while more {
            let lines;
            (more, lines) = within(STEP_WITHIN, claim.oldest()).await?;
            let mut topics = lines.iter().map(|it| it.topic.clone()).collect();
            within(STEP_WITHIN, self.broker.wanted(&mut topics)).await?;
            let wanted: Vec<i64> = lines.iter().filter(|it| topics.contains(&it.topic)).map(|it| it.id).collect();
            if !wanted.is_empty() {
                let events = within(STEP_WITHIN, claim.events(&wanted)).await?;
                self.publish(claim, &events).await?;
            }
            within(STEP_WITHIN, claim.publish(lines.iter().map(|it| it.id))).await?;
        }
        Ok(true)
    }

    /// Publishes in order. What the broker refuses is halved until the event it means stands alone; that one is parked
    /// after a few tries, so that it stops nobody else. A broker that is gone refuses nothing: that is an error.
    async fn publish(&self, claim: &mut Claim, events: &[Event]) -> Result<()> {
        let mut parts = vec![events];
        let mut refusals = 0;
        while let Some(part) = parts.pop() {
            let error = match within(CONFIRM_WITHIN, self.broker.publish(part)).await {
                Ok(()) => {
                    self.stats.published.fetch_add(part.len() as u64, Relaxed);
                    refusals = 0;
                    continue;
                }
                Err(error) => error,
            };
            match (part, &error) {
                (_, Error::Unavailable { .. } | Error::Deadline | Error::TooMany { .. } | Error::Full) => {
                    return Err(error);
                }
                ([event], _) if refusals == REFUSALS_MAX => {
                    let (id, topic) = (event.id, &event.topic);
                    tracing::error!(%error, %id, topic, "the broker refuses an event for good: it is parked");
                    within(STEP_WITHIN, claim.park(event, error.to_string())).await?;
                    self.stats.parked.fetch_add(1, Relaxed);
                    refusals = 0;
                }
                ([_], _) => {
                    refusals += 1;
                    parts.push(part);
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, work).await.unwrap_or(Err(Error::Deadline))
}
