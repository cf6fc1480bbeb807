//! What an actor in front of the writer costs: the same appends handed over by actors, each in the order of its stream,
//! and handed to the writer bare. Rounds alternate; SQLite in a temporary folder and PostgreSQL, durable both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use folio::actors::kernel::writer::Writer;
use folio::actors::kernel::{Keyed, Limits, Outcome, Reply, Role, Root, Turn};
use folio::clock::Clock;
use folio::config::WriterConfig;
use folio::error::Result;
use folio::ids::StreamId;
use folio::storage::db::Db;
use folio::storage::streams::{Append, Appended};
use folio::storage::writes::{Write, Written};
use tokio::task::JoinSet;

use super::median::median;
use super::stores::{Pages, on_each_engine};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
const WAITING: usize = 1_000;

/// What is said in one place, in order.
struct Talk(i64);

struct Say(Append, Reply<Appended>);

impl Role for Talk {
    type Key = StreamId;
    type Msg = Say;
    type Args = Writer;
    type Owed = Reply<Appended>;
    const NAME: &'static str = "talks";
    const MESSAGES_MAX: u32 = 1_024;

    async fn start(_: &StreamId, _: &Writer) -> Result<Talk> {
        Ok(Talk(0))
    }

    async fn handle(&mut self, Say(append, reply): Say, turn: &mut Turn<Self>) -> Outcome {
        turn.commit(Write::Entry(append), reply);
        Ok(())
    }

    fn writer(writer: &Writer) -> Option<&Writer> {
        Some(writer)
    }

    fn settled(&mut self, outcome: Result<Written>, reply: Reply<Appended>) {
        let outcome = outcome.map(|written| written.entry().expect("an entry was written"));
        if let Ok(appended) = &outcome {
            assert!(appended.seq > self.0, "settled in the order of the stream");
            self.0 = appended.seq;
        }
        reply.send(outcome);
    }

    fn label(_: &Say) -> &'static str {
        "say"
    }
}

#[derive(Clone)]
struct Bench {
    writer: Writer,
    talks: Keyed<Talk>,
    pages: Pages,
}

impl Bench {
    async fn start(root: &Root, db: &Db) -> Bench {
        let writer = Writer::start(root, db, &WriterConfig::default(), Arc::default());
        let talks = root.keyed(writer.clone(), Limits::default()).await.unwrap();
        Bench { writer, talks, pages: Pages::make(db).await }
    }

    async fn say(&self, task: usize, through_actor: bool) {
        let append = self.pages.append(task);
        if through_actor {
            self.talks.get(&append.stream).ask(|reply| Say(append, reply)).await.unwrap();
        } else {
            self.writer.write(Write::Entry(append)).unwrap().await.unwrap();
        }
    }

    /// Appends a second that a crowd gets done.
    async fn rate(&self, through_actor: bool) -> f64 {
        let (begun, mut tasks) = (Instant::now(), JoinSet::new());
        for task in 0..WAITING {
            let bench = self.clone();
            tasks.spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < ROUND {
                    bench.say(task, through_actor).await;
                    done += 1;
                }
                done
            });
        }
        let done: u32 = tasks.join_all().await.iter().sum();
        f64::from(done) / begun.elapsed().as_secs_f64()
    }
}

async fn measure(name: &str, db: &Db) {
    let root = Root::start(Clock::system()).await.unwrap();
    // A writer of its own for each way, since an actor takes the order of its stream for its own.
    let (actors, bare) = (Bench::start(&root, db).await, Bench::start(&root, db).await);
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push((actors.rate(true).await, bare.rate(false).await));
    }
    let ratio = median(rates.iter().map(|(actors, bare)| bare / actors).collect());
    println!("{name}: {:.0} appends/s through actors", median(rates.iter().map(|it| it.0).collect()));
    println!("FLOOR commit.actor_ratio_{name}={ratio:.2}");
    root.stop(Duration::from_secs(5)).await;
}

/// Measures and prints.
#[tokio::main]
pub async fn run() {
    on_each_engine(async |name, db, _| measure(name, &db).await).await;
}
