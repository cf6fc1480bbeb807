//! Databases to write to, and what is written: SQLite in a temporary folder, PostgreSQL where `TEST_POSTGRES_URL` says,
//! durable both.

use folio::clock::Clock;
use folio::config::{DatabaseConfig, Secret};
use folio::ids::{EntryId, StreamId, UserId, v7};
use folio::storage::db::{Db, Sql};
use folio::storage::streams::{Append, StreamStore};

/// Connections that do not belong to a writer.
pub const CONNECTIONS: usize = 10;
const STREAMS: usize = 100;
const BODY: &str =
    "a body of about one hundred bytes, as people write them: with a few words, and then a few more ....";

/// Runs a bench on each engine, in a database of its own that is open already.
pub async fn on_each_engine(bench: impl AsyncFn(&'static str, Db, DatabaseConfig)) {
    let folder = tempfile::TempDir::new().unwrap();
    let sqlite = DatabaseConfig::Sqlite {
        path: folder.path().join("folio.db"),
        readers: 2,
        acquire_within: std::time::Duration::from_secs(2),
    };
    let db = Db::open(&sqlite).await.unwrap();
    db.migrate().await.unwrap();
    bench("sqlite", db, sqlite).await;

    let url = std::env::var("TEST_POSTGRES_URL").expect("start the servers: scripts/services up postgres");
    let named = |url: String| DatabaseConfig::Postgres {
        url: Secret::new(url),
        connections_max: CONNECTIONS as u32 + 1,
        acquire_within: std::time::Duration::from_secs(2),
    };
    let outside = Db::open(&named(url.clone())).await.unwrap();
    let schema = async |sql: &'static str| outside.write(Sql::from(sql)).execute().await.unwrap();
    schema("DROP SCHEMA IF EXISTS folio_bench CASCADE").await;
    schema("CREATE SCHEMA folio_bench").await;
    let postgres = named(format!("{url}?options[search_path]=folio_bench"));
    let db = Db::open(&postgres).await.unwrap();
    db.migrate().await.unwrap();
    bench("postgres", db, postgres).await;
    schema("DROP SCHEMA folio_bench CASCADE").await;
}

/// Some streams, and somebody who writes to them.
#[derive(Clone)]
pub struct Pages {
    streams: Vec<StreamId>,
    sender: UserId,
}

impl Pages {
    /// Makes them.
    pub async fn make(db: &Db) -> Pages {
        let (clock, mut tx, mut streams) = (Clock::system(), db.begin().await.unwrap(), Vec::new());
        for _ in 0..STREAMS {
            streams.push(StreamStore::create(&mut tx, StreamId::new(&clock), "bench").await.unwrap().id);
        }
        tx.commit().await.unwrap();
        Pages { streams, sender: UserId::new(&clock) }
    }

    /// What a task says next, in its stream.
    pub fn append(&self, task: usize) -> Append {
        let clock = Clock::system();
        Append {
            stream: self.streams[task % STREAMS],
            id: EntryId::new(&clock),
            kind: "message",
            sender: Some(self.sender),
            client_id: Some(v7(&clock).simple().to_string()),
            body: BODY.to_owned(),
        }
    }
}
