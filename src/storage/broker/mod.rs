//! The broker port: durable events and jobs.
//!
//! The contract, proved for every backend by one suite:
//! - A publish that returns is stored in every queue whose patterns name the topic; of one that fails, nobody knows.
//!   Publishing again is safe: consumers drop ids they have seen. An event that no declared queue wants is confirmed
//!   and gone; so queues are declared before anything is published. A queue that was deleted on the server is made
//!   again before the next publish.
//! - Deliveries come at least once. One that is dropped without a word, or whose process dies, comes again: from a
//!   server when the connection ends, from the tables when its lease does; and it counts as an attempt.
//! - In the order of publication for one consumer with a prefetch of 1, until one of them is tried again.
//! - After the last attempt, or by its consumer's word, a delivery is a dead letter: listed with its error, replayed
//!   or discarded one by one. What failed waits and lies in the tables, also where a server delivers what is fresh.
//! - Publishing is bounded in time, also while the server takes connections but no messages. Consumers wait through
//!   outages.

mod consumer;
mod inbox;
mod rabbitmq;
mod tables;

pub use self::consumer::{Consumer, Delivery};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use self::rabbitmq::RabbitMq;
use self::tables::Tables;
use super::db::{Db, Stmt};
use super::{Probe, in_process};
use crate::clock::Clock;
use crate::config::{BrokerConfig, Secret};
use crate::error::{Error, Result};

/// The exchange that events go to on a server.
pub const EXCHANGE: &str = "folio.events";
/// Attempts at one delivery, where a queue says nothing else.
pub const ATTEMPTS_MAX: i64 = 5;
/// How long a worker may be silent, where a queue says nothing else.
pub const LEASE: Duration = Duration::from_secs(60);
/// Bytes of the name of a queue or topic, less than what a server keeps.
pub const NAME_BYTES_MAX: usize = 200;
/// Dead letters that are looked at in one go.
pub const DEAD_LOOKED_AT_MAX: usize = 10_000;

/// Something that happened, as it is published. Events of one key stay in order.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// The same for every delivery: consumers drop an id they have seen.
    pub id: Uuid,
    /// What kind of thing happened, as `project.liked`; queues bind to it.
    pub topic: String,
    /// The thing it happened to.
    pub key: Uuid,
    /// Its place in the stream of the key, where it is part of one.
    pub seq: Option<i64>,
    /// The kind of the entry, where it is part of a stream; otherwise the topic.
    pub kind: String,
    /// JSON.
    pub payload: String,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
}

impl Event {
    /// Binds every column of it, in order.
    pub(super) fn bind<'q>(&self, stmt: Stmt<'q>) -> Stmt<'q> {
        let stmt = stmt.bind(self.id).bind(self.topic.clone()).bind(self.key).bind(self.seq);
        stmt.bind(self.kind.clone()).bind(self.payload.clone()).bind(self.created_at)
    }
}

/// A queue, what goes into it, and how it is worked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The queue's name.
    pub queue: String,
    /// Patterns of topics: `*` is one word between dots, `#` any number of them.
    pub topics: Vec<String>,
    /// Attempts before a delivery is a dead letter.
    pub attempts_max: i64,
    /// Deliveries that one consumer may have open.
    pub prefetch: u16,
    /// How long a worker may be silent before its delivery goes to another; [`Delivery::hold`] renews it.
    pub lease: Duration,
}

impl Subscription {
    /// A queue with the usual limits, in order.
    pub fn new(queue: impl Into<String>, topics: &[&str]) -> Subscription {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Subscription { queue: queue.into(), topics, attempts_max: ATTEMPTS_MAX, prefetch: 1, lease: LEASE }
    }

    fn wants(&self, topic: &str) -> bool {
        wants(self.topics.iter().map(String::as_str), topic)
    }
}

/// An event in a queue, most often one that could not be worked off.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Dead {
    /// The event.
    #[sqlx(flatten)]
    pub event: Event,
    /// How often it was tried.
    pub attempts: i64,
    /// What went wrong at last.
    pub error: String,
}

/// Durable queues of events: tables in the database, or a server for what is fresh and the tables for what failed.
/// Cloning it gives the same broker.
#[derive(Clone, Debug)]
pub struct Broker {
    tables: Tables,
    server: Option<Arc<RabbitMq>>,
}

impl Broker {
    /// Opens the broker of the settings. A server that is away is no reason to fail.
    pub fn open(config: &BrokerConfig, db: &Db, clock: &Clock) -> Result<Broker> {
        match config {
            BrokerConfig::Embedded => {
                let (db, clock, changed) = (db.clone(), clock.clone(), Arc::default());
                Ok(Broker { tables: Tables { db, clock, changed }, server: None })
            }
            BrokerConfig::RabbitMq { url } => Broker::with_server(url, EXCHANGE, db, clock),
        }
    }

    /// Opens a broker on a server, with an exchange of its own there.
    pub fn with_server(url: &Secret, exchange: &str, db: &Db, clock: &Clock) -> Result<Broker> {
        let broker = Broker::open(&BrokerConfig::Embedded, db, clock)?;
        Ok(Broker { server: Some(Arc::new(RabbitMq::open(url, exchange)?)), ..broker })
    }

    /// Makes a queue and what leads into it, on a server before the next publish.
    pub async fn declare(&self, subscription: &Subscription) -> Result<()> {
        if !name_fits(&subscription.queue) || !subscription.topics.iter().all(|topic| name_fits(topic)) {
            return Err(Error::invalid("queue", "a name is too long"));
        }
        match &self.server {
            None => return self.tables.declare(subscription).await,
            Some(server) => server.declare(subscription),
        }
        Ok(())
    }

    /// Publishes events, in their order; returns when every one of them is confirmed.
    pub async fn publish(&self, events: &[Event]) -> Result<()> {
        if !events.iter().all(|event| name_fits(&event.topic)) {
            return Err(Error::invalid("topic", "is too long"));
        }
        match &self.server {
            None => self.tables.publish(events).await,
            Some(server) => server.publish(events).await,
        }
    }

    /// Keeps those topics that lead into a queue. What a server hands on, only the server knows.
    pub async fn wanted(&self, topics: &mut BTreeSet<String>) -> Result<()> {
        if self.server.is_none() {
            let queues = self.tables.queues().await?;
            topics.retain(|topic| queues.iter().any(|(_, patterns)| wants(patterns.lines(), topic)));
        }
        Ok(())
    }

    /// Works off a queue, which is made when it is missing.
    pub fn subscribe(&self, subscription: Subscription) -> Consumer {
        Consumer::new(self, subscription)
    }

    /// Asks the backend how it is. Of the tables the database tells.
    pub async fn probe(&self) -> Result<Probe> {
        match &self.server {
            None => Ok(in_process()),
            Some(server) => server.probe().await,
        }
    }
}

fn name_fits(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
}

fn wants<'p>(mut patterns: impl Iterator<Item = &'p str>, topic: &str) -> bool {
    patterns.any(|pattern| matches(pattern, topic))
}

/// Whether a pattern names a topic.
fn matches(pattern: &str, topic: &str) -> bool {
    fits(&Vec::from_iter(pattern.split('.')), &Vec::from_iter(topic.split('.')))
}

fn fits(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        // It stands for no word at all, or for one and what it stands for behind that.
        (["#", rest @ ..], _) => {
            fits(rest, topic) || topic.split_first().is_some_and(|(_, topic)| fits(pattern, topic))
        }
        ([word, rest @ ..], [first, others @ ..]) => (*word == "*" || word == first) && fits(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_topics_as_a_topic_exchange_does() {
        let yes = [
            ("#", "a"),
            ("#", "a.b.c"),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("*.b", "a.b"),
            ("#.c", "a.b.c"),
            ("#.c", "c"),
            ("a.*.c", "a.b.c"),
            ("a.#.c", "a.c"),
            ("a.b", "a.b"),
        ];
        let no = [("*", "a.b"), ("a.*", "a"), ("a.b", "a.b.c"), ("#.c", "a.b"), ("a", "b"), ("a.*.c", "a.c")];
        assert!(yes.iter().all(|(pattern, topic)| matches(pattern, topic)));
        assert!(!no.iter().any(|(pattern, topic)| matches(pattern, topic)));
    }
}
