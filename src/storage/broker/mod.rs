//! The broker port: durable events and jobs.
//!
//! The contract, proved for every backend by one suite:
//! - A publish that returns is stored in every queue whose patterns name the topic; of one that fails, nobody knows.
//!   Publishing again is safe: consumers drop ids they have seen. An event that no declared queue wants is confirmed
//!   and gone; so queues are declared before anything is published.
//! - Work is given out from the tables of the database, also where a server carries what is published: a consumer takes
//!   what a server delivers, stores it, and only then acknowledges. So a server that is away holds up no work that came,
//!   and there is one way to lease, to try again, to list, to replay and to discard.
//! - Deliveries come at least once. One that is dropped without a word, or whose process dies, comes again when its
//!   lease ends; and it counts as an attempt.
//! - In the order of publication for one consumer with a prefetch of 1, until one of them is tried again.
//! - After the last attempt, or by its consumer's word, a delivery is a dead letter: listed with its error, replayed
//!   or discarded one by one.
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
use self::tables::{Tables, wants};
use super::db::{Db, Stmt};
use super::{Probe, in_process};
use crate::clock::Clock;
use crate::config::BrokerConfig;
use crate::error::Result;

/// Attempts at one delivery, where a queue says nothing else.
pub const ATTEMPTS_MAX: i64 = 5;
/// How long a worker may be silent, where a queue says nothing else.
pub const LEASE: Duration = Duration::from_secs(60);

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
    /// Patterns of topics, a line each: `*` is one word between dots, `#` any number of them.
    pub topics: String,
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
        let (queue, topics) = (queue.into(), topics.join("\n"));
        Subscription { queue, topics, attempts_max: ATTEMPTS_MAX, prefetch: 1, lease: LEASE }
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

/// Durable queues of events: tables in the database, and a server before them where there is one. Cloning it gives the
/// same broker.
#[derive(Clone, Debug)]
pub struct Broker {
    tables: Tables,
    server: Option<Arc<RabbitMq>>,
}

impl Broker {
    /// Opens the broker of the settings. A server that is away is no reason to fail.
    pub fn open(config: &BrokerConfig, db: &Db, clock: &Clock) -> Result<Broker> {
        let server = match config {
            BrokerConfig::Embedded => None,
            BrokerConfig::RabbitMq { url, exchange } => Some(Arc::new(RabbitMq::open(url, exchange)?)),
        };
        Ok(Broker { tables: Tables { db: db.clone(), clock: clock.clone(), changed: Arc::default() }, server })
    }

    /// Makes a queue and what leads into it, on a server before the next publish.
    pub async fn declare(&self, subscription: &Subscription) -> Result<()> {
        self.tables.declare(subscription).await
    }

    /// Publishes events, in their order; returns when every one of them is confirmed.
    pub async fn publish(&self, events: &[Event]) -> Result<()> {
        let queues = self.tables.queues().await?;
        match &self.server {
            None => self.tables.publish(&queues, events).await,
            Some(server) => server.publish(&queues, events).await,
        }
    }

    /// Keeps those topics that lead into a queue. What a server hands on, only the server knows.
    pub async fn wanted(&self, topics: &mut BTreeSet<String>) -> Result<()> {
        if self.server.is_none() && !topics.is_empty() {
            let queues = self.tables.queues().await?;
            topics.retain(|topic| queues.iter().any(|(_, patterns)| wants(patterns, topic)));
        }
        Ok(())
    }

    /// Works off a queue that was declared.
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
