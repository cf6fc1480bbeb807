//! A broker of each kind, with queues and topics of its own for each test.

use std::time::Duration;

use folio::clock::Clock;
use folio::config::{BrokerConfig, DatabaseConfig, Secret};
use folio::ids;
use folio::storage::broker::{Broker, Consumer, Event, Subscription};
use folio::storage::db::Db;
use tempfile::TempDir;
use uuid::Uuid;

use super::PATIENCE;
use super::engines::Fresh;
use super::unique;

/// A broker with names of its own, and the clock that moves it.
pub struct Bench {
    /// The broker.
    pub broker: Broker,
    clock: Clock,
    /// What is kept beside a server.
    beside: Option<TempDir>,
    /// What queues and topics of this test begin with.
    pub name: String,
}

impl Bench {
    /// In the tables of a database.
    pub async fn embedded(fresh: &Fresh) -> Bench {
        let clock = Clock::manual();
        let broker = Broker::open(&BrokerConfig::Embedded, &fresh.open().await, &clock).unwrap();
        Bench { broker, clock, beside: None, name: unique("test") }
    }

    /// On a server at this address.
    pub async fn rabbitmq(url: &str, clock: Clock) -> Bench {
        let (name, folder) = (unique("test"), TempDir::new().unwrap());
        let config =
            DatabaseConfig::Sqlite { path: folder.path().join("folio.db"), readers: 1, acquire_within: PATIENCE };
        let db = Db::open(&config).await.unwrap();
        db.migrate().await.unwrap();
        let config = BrokerConfig::RabbitMq { url: Secret::new(url.to_owned()), exchange: name.clone() };
        let broker = Broker::open(&config, &db, &clock).unwrap();
        Bench { broker, clock, beside: Some(folder), name }
    }

    /// A queue for topics below the bench's name.
    pub fn queue(&self, queue: &str, topics: &[&str]) -> Subscription {
        let topics: Vec<String> = topics.iter().map(|topic| format!("{}.{topic}", self.name)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Subscription::new(format!("{}.{queue}", self.name), &topics)
    }

    /// A consumer of a queue that is there.
    pub async fn consumer(&self, subscription: &Subscription) -> Consumer {
        self.broker.declare(subscription).await.unwrap();
        self.broker.subscribe(subscription.clone())
    }

    /// An event of a topic below the bench's name.
    pub fn event(&self, topic: &str, number: usize) -> Event {
        let topic = format!("{}.{topic}", self.name);
        Event {
            id: ids::v7(&self.clock),
            key: Uuid::from_u128(7),
            seq: Some(number as i64),
            kind: topic.clone(),
            topic,
            payload: format!(r#"{{"number":{number}}}"#),
            created_at: self.clock.now(),
        }
    }

    /// That many events of a topic.
    pub fn events(&self, topic: &str, count: usize) -> Vec<Event> {
        (0..count).map(|number| self.event(topic, number)).collect()
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Throws away what a server would keep.
    pub async fn end(self) {
        if let (Some(_), Ok(url)) = (&self.beside, std::env::var("TEST_AMQP_URL")) {
            sweep(&url, &self.name).await;
        }
    }
}

/// Deletes the exchange and the usual queues of a test.
pub async fn sweep(url: &str, name: &str) {
    let connection = lapin::Connection::connect(url, Default::default()).await.unwrap();
    for queue in ["mail", "search"] {
        let channel = connection.create_channel().await.unwrap();
        let _ = channel.queue_delete(format!("{name}.{queue}").into(), Default::default()).await;
    }
    let channel = connection.create_channel().await.unwrap();
    let _ = channel.exchange_delete(name.into(), Default::default()).await;
    let _ = connection.close(200, "swept".into()).await;
}
