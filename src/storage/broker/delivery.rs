//! How a queue is worked off: consumers, and what they say about each delivery.

use std::future::Future;
use std::time::Duration;

use super::embedded::Lease;
use super::table_worker::TableWorker;
use super::worker::{Letter, Worker};
use super::{Broker, Event, Subscription, backoff};
use crate::error::Result;

const ERROR_BYTES_MAX: usize = 1_000;

/// Works off one queue. Dropping it gives back what it has not handed out.
#[derive(Debug)]
pub struct Consumer {
    attempts_max: u32,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Embedded(TableWorker),
    RabbitMq(Worker),
}

/// One event to be worked off. Dropped without a word, it comes again.
#[derive(Debug)]
pub struct Delivery {
    /// What happened.
    pub event: Event,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    attempts_max: u32,
    receipt: Receipt,
}

#[derive(Debug)]
pub(super) enum Receipt {
    Embedded(Lease),
    RabbitMq(Letter),
}

impl Consumer {
    pub(super) fn new(broker: &Broker, subscription: Subscription) -> Consumer {
        let attempts_max = subscription.attempts_max.max(1);
        let source = match broker {
            Broker::Embedded(it) => Source::Embedded(TableWorker::new(it, subscription)),
            Broker::RabbitMq(it) => Source::RabbitMq(Worker::new(it, subscription)),
        };
        Consumer { attempts_max, source }
    }

    /// Waits for the next delivery, through outages too. While as many as the prefetch are open, none comes.
    pub async fn next(&mut self) -> Delivery {
        loop {
            let (event, attempt, receipt) = match &mut self.source {
                Source::Embedded(it) => it.next().await,
                Source::RabbitMq(it) => it.next().await,
            };
            let delivery = Delivery { event, attempt, attempts_max: self.attempts_max, receipt };
            if attempt <= self.attempts_max {
                return delivery;
            }
            // Nobody said a word about the last attempt. If this fails it comes again.
            let _ = delivery.dead("whoever worked on it died").await;
        }
    }
}

impl Delivery {
    /// It is done. If this fails it comes again; it also may when the connection is lost just now, unnoticed.
    pub async fn done(self) -> Result<()> {
        match self.receipt {
            Receipt::Embedded(it) => it.done().await,
            Receipt::RabbitMq(it) => it.done().await,
        }
    }

    /// It failed: it comes again after a while that grows with the attempts, or is dead after the last.
    pub async fn failed(self, why: &str) -> Result<()> {
        let after = backoff(self.attempt, self.event.id);
        self.retry(after, why).await
    }

    /// It comes again after a while (on a server, after the next of a few fixed steps), or is dead after the last
    /// attempt.
    pub async fn retry(self, after: Duration, why: &str) -> Result<()> {
        if self.attempt >= self.attempts_max {
            return self.dead(why).await;
        }
        match self.receipt {
            Receipt::Embedded(it) => it.retry(after, short(why)).await,
            Receipt::RabbitMq(it) => it.retry(&self.event, self.attempt, after, short(why)).await,
        }
    }

    /// It can never be done: it becomes a dead letter.
    pub async fn dead(self, why: &str) -> Result<()> {
        match self.receipt {
            Receipt::Embedded(it) => it.dead(short(why)).await,
            Receipt::RabbitMq(it) => it.dead(&self.event, self.attempt, short(why)).await,
        }
    }

    /// Does long work and keeps the lease meanwhile.
    pub async fn hold<F: Future>(&self, work: F) -> F::Output {
        match &self.receipt {
            Receipt::Embedded(it) => it.hold(work).await,
            Receipt::RabbitMq(_) => work.await,
        }
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES_MAX)]
}
