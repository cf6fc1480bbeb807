//! What group commit gains over one transaction an append, and what a lone append pays for it.
//!
//! All run in turn, so that a noisy machine moves all. The peer of a crowd does the same work, ten connections at a time,
//! each append a transaction. A lone append has two peers: the smallest transaction there is, one row of one table; and the
//! least that stores what an append stores, entry, head and line of the outbox, without a look for repeats and without a
//! queue. The ratio is held against the first.
//! `-- writer --lone` leaves the crowds out.

use std::time::{Duration, Instant};

use folio::actors::kernel::Root;
use folio::actors::kernel::writer::Writer;
use folio::clock::Clock;
use folio::config::WriterConfig;
use folio::storage::db::{Db, Sql, Tx};
use folio::storage::streams;
use folio::storage::writes::Write;
use tokio::task::JoinSet;

use super::median::median;
use super::stores::{CONNECTIONS, Pages, on_each_engine};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1_500);
const WAITING: usize = 1_000;
const LONE: usize = 2_000;

#[derive(Clone)]
struct Bench {
    db: Db,
    writer: Writer,
    pages: Pages,
}

impl Bench {
    async fn start(root: &Root, db: Db) -> Bench {
        db.write(Sql::Split {
            sqlite: "CREATE TABLE bare (id INTEGER PRIMARY KEY, stream_id BLOB NOT NULL, sender_id BLOB NOT NULL,
                                        body TEXT NOT NULL, created_at TEXT NOT NULL) STRICT",
            postgres: "CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, stream_id UUID NOT NULL, sender_id UUID NOT NULL,
                                          body TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL)",
        })
        .execute()
        .await
        .unwrap();
        let pages = Pages::make(&db).await;
        let writer = Writer::start(root, &db, &WriterConfig::default(), std::sync::Arc::default());
        Bench { db, writer, pages }
    }

    async fn by_writer(&self, task: usize) {
        self.writer.write(Write::Entry(self.pages.append(task))).unwrap().await.unwrap();
    }

    async fn by_transaction(&self, task: usize) {
        let append = self.pages.append(task);
        let mut tx = self.db.begin().await.unwrap();
        streams::append(&mut tx, &[&append], Clock::system().now()).await.unwrap().remove(0).unwrap();
        tx.commit().await.unwrap();
    }

    /// One row.
    async fn bare(&self, task: usize) {
        let it = self.pages.append(task);
        let mut tx = self.db.begin().await.unwrap();
        let stmt = tx.sql("INSERT INTO bare (stream_id, sender_id, body, created_at) VALUES ($1, $2, $3, $4)");
        stmt.bind(it.stream).bind(it.sender).bind(it.body).bind(Clock::system().now()).execute().await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What an append stores, and nothing else.
    async fn plain(&self, task: usize) {
        let it = self.pages.append(task);
        let mut tx: Tx<'_> = self.db.begin().await.unwrap();
        let grow = tx.sql("UPDATE streams SET head = head + 1 WHERE id = $1 RETURNING head");
        let (head,): (i64,) = grow.bind(it.stream).one().await.unwrap();
        let entry = tx.sql(
            "INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let entry = entry.bind(it.stream).bind(head).bind(it.id).bind(it.kind).bind(it.sender);
        entry.bind(it.client_id).bind(it.body).bind(Clock::system().now()).execute().await.unwrap();
        let line =
            tx.sql("INSERT INTO outbox (topic, key, first_seq, last_seq, created_at) VALUES ($1, $2, $3, $3, $4)");
        line.bind("stream.grown").bind(it.stream).bind(head).bind(Clock::system().now()).execute().await.unwrap();
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

async fn crowds(name: &str, bench: &Bench) {
    let (mut grouped, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        grouped.push(bench.rate(WAITING, true).await);
        single.push(bench.rate(CONNECTIONS, false).await);
    }
    let ratio = median(grouped.iter().zip(&single).map(|(many, one)| many / one).collect());
    println!("{name}: {:.0} appends/s by group commit, {:.0} one by one", median(grouped), median(single));
    println!("FLOOR writer.batch_ratio_{name}={ratio:.1}");
}

async fn lone(name: &str, bench: &Bench) {
    let (mut lone, mut bare, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..LONE {
        let begun = Instant::now();
        bench.by_writer(turn).await;
        lone.push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        bench.bare(turn).await;
        bare.push(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        bench.plain(turn).await;
        plain.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let (lone, bare, plain) = (median(lone), median(bare), median(plain));
    println!("{name}: p50 of a lone append {lone:.3} ms, of one row {bare:.3} ms, of the same rows {plain:.3} ms");
    println!("{name}: a lone append takes {:.2} of the least that stores the same", lone / plain);
    println!("FLOOR writer.single_ratio_{name}={:.2}", lone / bare);
}

/// Measures and prints.
#[tokio::main]
pub async fn run() {
    let root = Root::start(Clock::system()).await.unwrap();
    let with_crowds = !std::env::args().any(|it| it == "--lone");
    on_each_engine(async |name, db, _| {
        let bench = Bench::start(&root, db).await;
        // In a task, as whoever asks is: the thread that starts a runtime is not one of its workers.
        let measured = root.task("bench", async move {
            if with_crowds {
                crowds(name, &bench).await;
            }
            lone(name, &bench).await;
            bench.check().await;
        });
        measured.await.unwrap();
    })
    .await;
    root.stop(Duration::from_secs(5)).await;
}
