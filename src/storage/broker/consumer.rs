//! How a queue is worked off: consumers, and what they say about each delivery.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inbox::Inbox;
use super::tables::Tables;
use super::{Broker, Dead, Event, Subscription};
use crate::error::Result;

const ERROR_BYTES_MAX: usize = 1_000;
/// A slow beat finds in the tables what others published, what is to be tried again, and what a worker that died has
/// left. What is published in this process is heard of at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Works off one queue. Dropping it leaves to others what it has not handed out.
#[derive(Debug)]
pub struct Consumer {
    tables: Tables,
    inbox: Inbox,
    subscription: Arc<Subscription>,
    places: Arc<Semaphore>,
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
    _place: OwnedSemaphorePermit,
}

impl Consumer {
    pub(super) fn new(broker: &Broker, subscription: Subscription) -> Consumer {
        let subscription = Arc::new(subscription);
        Consumer {
            tables: broker.tables.clone(),
            inbox: Inbox::new(broker.server.clone(), &subscription),
            places: Arc::new(Semaphore::new(subscription.prefetch.max(1).into())),
            subscription,
        }
    }

    /// Waits for the next delivery, through outages too. While as many as the prefetch are open, none comes. Giving up
    /// waiting loses nothing: what was claimed meanwhile comes again when its lease ends.
    pub async fn next(&mut self) -> Delivery {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
            let Dead { event, attempts: attempt, .. } = self.find().await;
            let (tables, subscription) = (self.tables.clone(), self.subscription.clone());
            let delivery = Delivery { event, attempt, tables, subscription, _place: place };
            // The first attempt is always made.
            if attempt <= self.subscription.attempts_max.max(1) {
                return delivery;
            }
            // Nobody said a word about the last attempt. If this fails it comes again.
            let _ = delivery.dead("whoever worked on it died").await;
        }
    }

    async fn find(&mut self) -> Dead {
        let Tables { clock, changed, .. } = self.tables.clone();
        loop {
            // Registered before the look, so that no publish falls between.
            let changed = changed.notified();
            match self.claim().await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, queue = self.subscription.queue, "a queue was not looked at"),
            }
            self.inbox.open().await;
            tokio::select! {
                () = changed => {}
                () = clock.sleep(LOOK_EVERY) => self.inbox.check().await,
                () = self.inbox.fill() => {}
            }
        }
    }

    async fn claim(&mut self) -> Result<Option<Dead>> {
        self.inbox.empty(&self.tables).await?;
        self.tables.claim(&self.subscription.queue, self.subscription.lease).await
    }
}

impl Delivery {
    /// It is done. If this fails it comes again. Whoever finishes it finishes it, also when the lease has ended
    /// meanwhile: the work is done.
    pub async fn done(self) -> Result<()> {
        let stmt = self.tables.db.write("DELETE FROM queue_messages WHERE queue = $1 AND event_id = $2");
        stmt.bind(self.subscription.queue.clone()).bind(self.event.id).execute().await?;
        Ok(())
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
        let lasts = self.subscription.lease;
        // The first third begins before the work does.
        let mut beat = self.tables.clock.every(lasts / 3);
        let renewing = async {
            loop {
                beat.tick().await;
                if let Err(error) = self.settle(Some(lasts), "").await {
                    tracing::warn!(%error, queue = self.subscription.queue, "a lease was not renewed");
                }
            }
        };
        tokio::select! {
            output = work => output,
            never = renewing => never,
        }
    }

    /// Says when it comes again, or that it does not; unless it is somebody else's by now.
    async fn settle(&self, after: Option<Duration>, why: &str) -> Result<()> {
        let now = self.tables.clock.now();
        // PostgreSQL keeps no NUL in a text.
        let why = why[..why.floor_char_boundary(ERROR_BYTES_MAX)].replace('\0', " ");
        let stmt = self.tables.db.write(
            "UPDATE queue_messages
                SET ready_at = $1, error = $2, died_at = $3
              WHERE queue = $4 AND event_id = $5 AND attempts = $6 AND died_at IS NULL",
        );
        let stmt = stmt.bind(now + after.unwrap_or_default()).bind(why).bind(after.is_none().then_some(now));
        stmt.bind(self.subscription.queue.clone()).bind(self.event.id).bind(self.attempt).execute().await?;
        Ok(())
    }
}
