//! Nodes that write, and verbs for what is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use folio::actors::kernel::Root;
use folio::actors::kernel::outbox::{Publish, Relay};
use folio::actors::kernel::writer::{Pending, Writer};
use folio::clock::Clock;
use folio::config::{BusConfig, WriterConfig};
use folio::error::{Error, Result};
use folio::ids::{EntryId, StreamId, UserId};
use folio::storage::broker::Event;
use folio::storage::bus::Bus;
use folio::storage::db::Db;
use folio::storage::streams::{Append, Appended, StreamStore};
use folio::storage::writes::Write;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// A database and the writer that one node has on it.
#[derive(Clone)]
pub struct Node {
    pub db: Db,
    pub root: Root,
    pub writer: Writer,
    pub committed: Arc<Notify>,
    /// The way to other nodes. Each has its own until it is given that of another.
    pub bus: Bus,
}

impl Node {
    pub async fn start(db: &Db) -> Node {
        Node::with(db, &patient()).await
    }

    pub async fn with(db: &Db, config: &WriterConfig) -> Node {
        Node::new(db, config, Clock::system()).await
    }

    /// One that goes by a clock of the test.
    pub async fn at(db: &Db, clock: Clock) -> Node {
        Node::new(db, &patient(), clock).await
    }

    async fn new(db: &Db, config: &WriterConfig, clock: Clock) -> Node {
        let committed = Arc::new(Notify::new());
        let root = Root::start(clock).await.unwrap();
        let writer = Writer::start(&root, db, config, committed.clone());
        let bus = Bus::open(&BusConfig::Embedded, &Clock::system()).unwrap();
        Node { db: db.clone(), root, writer, committed, bus }
    }

    /// Hands an append over; what comes of it is waited for with `done`.
    pub fn hand(&self, append: Append) -> Result<Pending> {
        self.writer.write(Write::Entry(append))
    }

    pub async fn append(&self, append: Append) -> Result<Appended> {
        done(self.hand(append)?).await
    }

    /// Relays to a queue of the test.
    pub fn relay(&self, broker: impl Publish) -> JoinHandle<()> {
        Relay::new(self.db.clone(), broker, self.bus.clone(), self.committed.clone()).start(&self.root)
    }

    /// Ends what runs in it.
    pub async fn stop(&self) {
        assert!(self.root.stop(PATIENCE).await, "something had to be cut off");
    }
}

/// A commit may take as long as a busy machine needs.
pub fn patient() -> WriterConfig {
    WriterConfig { commit_within: PATIENCE, ..WriterConfig::default() }
}

pub async fn done(pending: Pending) -> Result<Appended> {
    pending.await.map(|written| written.entry().unwrap())
}

pub async fn stream(db: &Db) -> StreamId {
    let id = StreamId::new(&Clock::system());
    let mut tx = db.begin().await.unwrap();
    StreamStore::create(&mut tx, id, "conversation").await.unwrap();
    tx.commit().await.unwrap();
    id
}

pub fn user() -> UserId {
    UserId::new(&Clock::system())
}

pub fn says(stream: StreamId, sender: UserId, client_id: impl Into<String>, body: &str) -> Append {
    let (sender, client_id) = (Some(sender), Some(client_id.into()));
    Append { kind: "message", sender, client_id, body: body.to_owned(), ..happens(stream, "message") }
}

pub fn happens(stream: StreamId, kind: &'static str) -> Append {
    let id = EntryId::new(&Clock::system());
    Append { stream, id, kind, sender: None, client_id: None, body: "{}".to_owned() }
}

/// Every stream has exactly the entries 1 to head; tells how many there are in all.
pub async fn assert_dense(db: &Db) -> i64 {
    let odd: Vec<(StreamId, i64, i64, Option<i64>)> = db
        .sql(
            "SELECT streams.id, head, COUNT(seq), MAX(seq)
               FROM streams LEFT JOIN entries ON stream_id = streams.id
              GROUP BY streams.id, head
             HAVING COUNT(seq) <> head OR COALESCE(MAX(seq), 0) <> head",
        )
        .all()
        .await
        .unwrap();
    assert!(odd.is_empty(), "streams with gaps: {odd:?}");
    let (all,): (i64,) = db.sql("SELECT CAST(COALESCE(SUM(head), 0) AS BIGINT) FROM streams").one().await.unwrap();
    all
}

/// A broker that hands every event to the test, and refuses what it is told to.
#[derive(Clone, Debug)]
pub struct Queue {
    events: mpsc::Sender<Event>,
    refused_topic: Option<&'static str>,
    gone: Arc<AtomicBool>,
}

impl Queue {
    pub fn new() -> (Queue, mpsc::Receiver<Event>) {
        let (events, published) = mpsc::channel(20_000);
        (Queue { events, refused_topic: None, gone: Arc::default() }, published)
    }

    /// Is out of order, or is there again.
    pub fn set_gone(&self, gone: bool) {
        self.gone.store(gone, Relaxed);
    }

    pub fn refusing(self, topic: &'static str) -> Queue {
        Queue { refused_topic: Some(topic), ..self }
    }
}

impl Publish for Queue {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        if self.gone.load(Relaxed) {
            return Err(Error::unavailable("broker"));
        }
        if events.iter().any(|it| Some(&*it.topic) == self.refused_topic) {
            return Err(Error::TooLarge("event"));
        }
        for event in events {
            self.events.send(event.clone()).await.map_err(|_| Error::unavailable("broker"))?;
        }
        Ok(())
    }
}
