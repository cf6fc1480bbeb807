//! Works off a queue of the tables. A publish of this process wakes it; a slow beat finds what others published, what
//! is to be tried again and what a worker that died has left.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::delivery::Receipt;
use super::embedded::{Embedded, Lease, Message, attempts};
use super::{Event, Subscription};
use crate::clock::Moment;
use crate::error::Result;

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct TableWorker {
    broker: Embedded,
    subscription: Subscription,
    queue: Arc<str>,
    places: Arc<Semaphore>,
    claimed: VecDeque<Message>,
    claims_end: Moment,
    declared: bool,
}

impl TableWorker {
    pub(super) fn new(broker: &Embedded, subscription: Subscription) -> TableWorker {
        TableWorker {
            broker: broker.clone(),
            queue: subscription.queue.as_str().into(),
            places: Arc::new(Semaphore::new(subscription.prefetch.max(1).into())),
            claimed: VecDeque::new(),
            claims_end: Moment::default(),
            subscription,
            declared: false,
        }
    }

    /// Giving up waiting loses nothing: what was claimed meanwhile comes again when its lease ends.
    pub(super) async fn next(&mut self) -> (Event, u32, Receipt) {
        let clock = self.broker.clock.clone();
        loop {
            let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
            // What waited here beyond its lease belongs to whoever claims it next.
            if clock.moment() >= self.claims_end {
                self.claimed.clear();
            }
            if let Some(message) = self.claimed.pop_front() {
                let lease = Lease {
                    broker: self.broker.clone(),
                    queue: self.queue.clone(),
                    event: message.event.id,
                    attempts: message.attempts,
                    lasts: self.subscription.lease,
                    _place: place,
                };
                return (message.event, attempts(message.attempts), Receipt::Embedded(lease));
            }
            // Registered before the look, so that no publish falls between.
            let notify = self.broker.published.clone();
            let published = notify.notified();
            match self.claim().await {
                Ok(()) if !self.claimed.is_empty() => continue,
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, queue = &*self.queue, "a queue was not looked at"),
            }
            drop(place);
            tokio::select! {
                () = published => {}
                () = clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn claim(&mut self) -> Result<()> {
        if !self.declared {
            self.broker.declare(&self.subscription).await?;
            self.declared = true;
        }
        let (lease, free) = (self.subscription.lease, self.places.available_permits() + 1);
        // Measured before, so that ours ends no later than the one in the table.
        let claims_end = self.broker.clock.moment().after(lease);
        self.claimed = self.broker.claim(&self.queue, lease, free).await?.into();
        self.claims_end = claims_end;
        Ok(())
    }
}
