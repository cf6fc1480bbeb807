//! What group commit gains over one transaction an append, and what a lone append pays for it.
//!
//! Both run in turn, so that a noisy machine moves both. The peer of a crowd does the same work, ten connections at
//! a time, each append a transaction; the peer of a lone append is the smallest transaction there is: one row.
//! SQLite lies in a temporary folder, PostgreSQL where `TEST_POSTGRES_URL` says, durable both.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and ends at the first surprise")]

use std::time::{Duration, Instant};

use folio::actors::kernel::Root;
use folio::actors::kernel::writer::Writer;
use folio::clock::Clock;
use folio::config::{DatabaseConfig, Secret, WriterConfig};
use folio::ids::{EntryId, StreamId, UserId, v7};
use folio::storage::db::{Db, Engine, Sql};
use folio::storage::streams::{self, Append, StreamStore};
use folio::storage::writes::Write;
use tokio::task::JoinSet;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1_500);
const WAITING: usize = 1_000;
const CONNECTIONS: usize = 10;
const LONE: usize = 150;
const BODY: &str =
    "a body of about one hundred bytes, as people write them: with a few words, and then a few more ....";

#[derive(Clone)]
struct Bench {
    db: Db,
    writer: Writer,
    streams: Vec<StreamId>,
    sender: UserId,
}

impl Bench {
    async fn start(root: &Root, db: Db) -> Bench {
        let clock = Clock::system();
        db.migrate().await.unwrap();
        db.write(Sql::Split {
            sqlite: "CREATE TABLE bare (id INTEGER PRIMARY KEY, stream_id BLOB NOT NULL, sender_id BLOB NOT NULL,
                                        body TEXT NOT NULL, created_at TEXT NOT NULL) STRICT",
            postgres: "CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, stream_id UUID NOT NULL, sender_id UUID NOT NULL,
                                          body TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL)",
        })
        .execute()
        .await
        .unwrap();
        let (mut tx, mut streams) = (db.begin().await.unwrap(), Vec::new());
        for _ in 0..100 {
            streams.push(StreamStore::create(&mut tx, StreamId::new(&clock), "bench").await.unwrap().id);
        }
        tx.commit().await.unwrap();
        let writer = Writer::start(root, &db, &WriterConfig::default(), std::sync::Arc::default());
        Bench { db, writer, streams, sender: UserId::new(&clock) }
    }

    fn append(&self, task: usize) -> Append {
        let clock = Clock::system();
        Append {
            stream: self.streams[task % self.streams.len()],
            id: EntryId::new(&clock),
            kind: "message",
            sender: Some(self.sender),
            client_id: Some(v7(&clock).simple().to_string()),
            body: BODY.to_owned(),
            at: clock.now(),
        }
    }

    async fn by_writer(&self, task: usize) {
        self.writer.write(Write::Entry(self.append(task))).unwrap().await.unwrap();
    }

    async fn by_transaction(&self, task: usize) {
        let append = self.append(task);
        let mut tx = self.db.begin().await.unwrap();
        streams::append(&mut tx, &[&append]).await.unwrap().remove(0).unwrap();
        tx.commit().await.unwrap();
    }

    async fn bare(&self, task: usize) {
        let append = self.append(task);
        let mut tx = self.db.begin().await.unwrap();
        tx.sql("INSERT INTO bare (stream_id, sender_id, body, created_at) VALUES ($1, $2, $3, $4)")
            .bind(append.stream)
            .bind(append.sender)
            .bind(append.body)
            .bind(append.at)
            .execute()
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Appends a second that a crowd gets done.
    async fn rate(&self, crowd: usize, grouped: bool) -> f64 {
        let (begun, mut tasks) = (Instant::now(), JoinSet::new());
        for task in 0..crowd {
            let bench = self.clone();
            tasks.spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < ROUND {
                    if grouped {
                        bench.by_writer(task).await;
                    } else {
                        bench.by_transaction(task).await;
                    }
                    done += 1;
                }
                done
            });
        }
        let done: u32 = tasks.join_all().await.iter().sum();
        f64::from(done) / begun.elapsed().as_secs_f64()
    }

    /// Everything that was counted is stored, each stream dense.
    async fn check(&self) {
        let odd = "SELECT COUNT(*) FROM streams
                    WHERE head <> (SELECT COUNT(*) FROM entries WHERE stream_id = streams.id)";
        let (odd,): (i64,) = self.db.sql(odd).one().await.unwrap();
        assert_eq!(odd, 0, "streams with gaps");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(bench: &Bench) {
    let name = if bench.db.engine() == Engine::Sqlite { "sqlite" } else { "postgres" };
    let (mut grouped, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        grouped.push(bench.rate(WAITING, true).await);
        single.push(bench.rate(CONNECTIONS, false).await);
    }
    let ratio = median(grouped.iter().zip(&single).map(|(many, one)| many / one).collect());
    println!("{name}: {:.0} appends/s by group commit, {:.0} one by one", median(grouped), median(single));
    println!("FLOOR writer.batch_ratio_{name}={ratio:.1}");

    let (mut lone, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..ROUNDS * LONE {
        let begun = Instant::now();
        bench.by_writer(turn).await;
        let between = Instant::now();
        bench.bare(turn).await;
        lone.push((between - begun).as_secs_f64() * 1e3);
        bare.push(between.elapsed().as_secs_f64() * 1e3);
    }
    let (lone, bare) = (median(lone), median(bare));
    println!("{name}: p50 of a lone append {lone:.3} ms, of the bare transaction {bare:.3} ms");
    println!("FLOOR writer.single_ratio_{name}={:.2}", lone / bare);
    bench.check().await;
}

#[tokio::main]
async fn main() {
    let root = Root::start(Clock::system()).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let sqlite = DatabaseConfig::Sqlite { path: folder.path().join("folio.db"), readers: 2 };
    let bench = Bench::start(&root, Db::open(&sqlite).await.unwrap()).await;
    measure(&bench).await;

    let url = std::env::var("TEST_POSTGRES_URL").expect("start the servers: scripts/services up postgres");
    let open = async |url: String| {
        let config = DatabaseConfig::Postgres { url: Secret::new(url), connections_max: CONNECTIONS as u32 + 1 };
        Db::open(&config).await.unwrap()
    };
    let outside = open(url.clone()).await;
    outside.write("DROP SCHEMA IF EXISTS bench_writer CASCADE").execute().await.unwrap();
    outside.write("CREATE SCHEMA bench_writer").execute().await.unwrap();
    let bench = Bench::start(&root, open(format!("{url}?options[search_path]=bench_writer")).await).await;
    measure(&bench).await;
    root.stop(Duration::from_secs(5)).await;
    outside.write("DROP SCHEMA bench_writer CASCADE").execute().await.unwrap();
}
