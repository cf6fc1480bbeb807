//! How a queue is worked off: consumers, and what they say about each delivery.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inbox::{Inbox, Letter};
use super::tables::{Fate, Tables};
use super::{Broker, Dead, Event, Subscription};
use crate::clock::Moment;
use crate::error::Result;

const ERROR_BYTES_MAX: usize = 1_000;
/// A slow beat finds in the tables what others published, what is to be tried again, and what a worker that died has
/// left. What is published in this process is heard of at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Works off one queue. Dropping it gives back what it has not handed out.
#[derive(Debug)]
pub struct Consumer {
    tables: Tables,
    inbox: Option<Inbox>,
    subscription: Arc<Subscription>,
    places: Arc<Semaphore>,
    declared: bool,
    look_at: Moment,
}

/// One event to be worked off. Dropped without a word, it comes again.
#[derive(Debug)]
pub struct Delivery {
    /// What happened.
    pub event: Event,
    /// Which attempt this is; the first is 1.
    pub attempt: i64,
    tables: Tables,
    subscription: Arc<Subscription>,
    /// Where it comes from a server.
    letter: Option<Letter>,
    _place: OwnedSemaphorePermit,
}

impl Consumer {
    pub(super) fn new(broker: &Broker, mut subscription: Subscription) -> Consumer {
        subscription.attempts_max = subscription.attempts_max.max(1);
        subscription.prefetch = subscription.prefetch.max(1);
        Consumer {
            tables: broker.tables.clone(),
            inbox: broker.server.as_ref().map(|server| Inbox::new(server, &subscription)),
            places: Arc::new(Semaphore::new(subscription.prefetch.into())),
            subscription: Arc::new(subscription),
            declared: broker.server.is_some(),
            look_at: Moment::default(),
        }
    }

    /// Waits for the next delivery, through outages too. While as many as the prefetch are open, none comes. Giving up
    /// waiting loses nothing: what was claimed meanwhile comes again when its lease ends.
    pub async fn next(&mut self) -> Delivery {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
            let (event, attempt, letter) = self.find().await;
            let (tables, subscription) = (self.tables.clone(), self.subscription.clone());
            let delivery = Delivery { event, attempt, tables, subscription, letter, _place: place };
            if attempt <= self.subscription.attempts_max {
                return delivery;
            }
            // Nobody said a word about the last attempt. If this fails it comes again.
            let _ = delivery.dead("whoever worked on it died").await;
        }
    }

    async fn find(&mut self) -> (Event, i64, Option<Letter>) {
        let Tables { clock, changed, .. } = self.tables.clone();
        loop {
            // Registered before the look, so that no publish falls between.
            let changed = changed.notified();
            let now = clock.moment();
            if self.inbox.is_none() || now >= self.look_at {
                match self.claim().await {
                    Ok(Some(it)) => return (it.event, it.attempts, None),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, queue = self.subscription.queue, "a queue was not looked at"),
                }
                self.look_at = now.after(LOOK_EVERY);
            }
            if let Some(inbox) = &mut self.inbox {
                inbox.open().await;
            }
            let served = self.inbox.is_some();
            tokio::select! {
                found = OptionFuture::from(self.inbox.as_mut().map(Inbox::next)), if served => {
                    if let Some((event, attempt, letter)) = found.flatten() {
                        return (event, attempt, Some(letter));
                    }
                }
                () = changed => self.look_at = now,
                () = clock.sleep(LOOK_EVERY) => if let Some(inbox) = &mut self.inbox {
                    inbox.check(self.places.available_permits() + 1 == usize::from(self.subscription.prefetch)).await;
                },
            }
        }
    }

    async fn claim(&mut self) -> Result<Option<Dead>> {
        if !self.declared {
            self.tables.declare(&self.subscription).await?;
            self.declared = true;
        }
        self.tables.claim(&self.subscription.queue, self.subscription.lease).await
    }
}

impl Delivery {
    /// It is done. If this fails it comes again; it also may when the connection is lost just now, unnoticed.
    pub async fn done(self) -> Result<()> {
        match &self.letter {
            Some(letter) => letter.done().await,
            None => self.tables.done(&self.subscription.queue, self.event.id).await,
        }
    }

    /// It failed: it comes again after a while, or is dead after the last attempt.
    pub async fn retry(self, after: Duration, why: &str) -> Result<()> {
        let again = self.attempt < self.subscription.attempts_max;
        self.settle(again.then_some(after), why).await
    }

    /// It can never be done: it becomes a dead letter.
    pub async fn dead(self, why: &str) -> Result<()> {
        self.settle(None, why).await
    }

    /// Does long work and keeps the lease meanwhile: it is renewed three times in its length.
    pub async fn hold<F: Future>(&self, work: F) -> F::Output {
        if self.letter.is_some() {
            // A server waits for as long as the connection lasts.
            return work.await;
        }
        let lasts = self.subscription.lease;
        // The first third begins before the work does.
        let mut beat = self.tables.clock.every(lasts / 3);
        let renewing = async {
            loop {
                beat.tick().await;
                let fate = self.fate(Some(lasts), "");
                if let Err(error) = self.tables.change(&self.subscription.queue, self.event.id, fate).await {
                    tracing::warn!(%error, queue = self.subscription.queue, "a lease was not renewed");
                }
            }
        };
        tokio::select! {
            output = work => output,
            never = renewing => never,
        }
    }

    async fn settle(&self, after: Option<Duration>, why: &str) -> Result<()> {
        let (queue, fate) = (self.subscription.queue.as_str(), self.fate(after, why));
        let Some(letter) = &self.letter else { return self.tables.change(queue, self.event.id, fate).await };
        // First the row, then the acknowledgement: whoever dies between them leaves two, not none.
        self.tables.insert(&[(queue, &self.event)], fate).await?;
        letter.done().await
    }

    fn fate<'a>(&self, after: Option<Duration>, why: &'a str) -> Fate<'a> {
        let now = self.tables.clock.now();
        Fate {
            ready_at: now + after.unwrap_or_default(),
            attempts: self.attempt,
            error: &why[..why.floor_char_boundary(ERROR_BYTES_MAX)],
            died_at: after.is_none().then_some(now),
        }
    }
}
