//! `kill -9` in the middle of load: what was acknowledged is stored, what was stored is published, nothing twice.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use folio::config::{DatabaseConfig, Secret};
use folio::error::{Error, Result};
use folio::ids::{StreamId, UserId};
use folio::storage::broker::Event;
use folio::storage::db::{Db, Engine};
use uuid::Uuid;

use crate::support::PATIENCE;
use crate::support::engines::Fresh;
use crate::support::streams::{Node, Queue, assert_dense, says, stream};
use crate::support::{eventually, spawn};

crate::on_both_engines! { nothing_acknowledged_is_lost_over_kills }

const CLIENTS: usize = 32;
/// How far before its last acknowledgement a client starts again: repeats on purpose.
const REPEATS: i64 = 3;

fn sender(client: usize) -> UserId {
    UserId(Uuid::from_u128(client as u128 + 1))
}

pub fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|_| Error::unavailable("broker"))
}

/// One line an event on standard output.
#[derive(Clone)]
struct Pipe;

impl folio::actors::kernel::outbox::Publish for Pipe {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        events.iter().try_for_each(|it| say(format_args!("pub {} {}", it.key, it.seq.unwrap_or_default())))
    }
}

/// The process that is killed: clients, a writer and a relay. Prints what was acknowledged and what was published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the kill loop"]
async fn child() {
    let Ok(starts) = std::env::var("CRASH_STARTS") else { return };
    let config = match (std::env::var("CRASH_FILE"), std::env::var("CRASH_URL")) {
        (Ok(path), _) => DatabaseConfig::Sqlite { path: path.into(), readers: 2, acquire_within: PATIENCE },
        (_, url) => {
            DatabaseConfig::Postgres { url: Secret::new(url.unwrap()), connections_max: 5, acquire_within: PATIENCE }
        }
    };
    let db = Db::open(&config).await.unwrap();
    let node = Node::start(&db).await;
    // Before the relay, which publishes at once what the last kill left behind.
    say(format_args!("begin")).unwrap();
    node.relay(Pipe);
    let streams: Vec<(StreamId,)> = db.sql("SELECT id FROM streams ORDER BY id").all().await.unwrap();
    for start in starts.split(',') {
        let (client, start) = start.split_once(':').unwrap();
        let (client, start): (usize, i64) = (client.parse().unwrap(), start.parse().unwrap());
        let (node, (stream,)) = (node.clone(), streams[client % streams.len()]);
        spawn(async move {
            for turn in start.. {
                let it = node.append(says(stream, sender(client), format!("c-{turn}"), "hi")).await.unwrap();
                say(format_args!("ack {client} {turn} {} {}", it.seq, it.id)).unwrap();
            }
        });
    }
    pending::<()>().await;
}

/// What was seen over all kills.
#[derive(Default)]
struct Seen {
    acked: HashMap<(usize, i64), (i64, Uuid)>,
    published: HashMap<Uuid, HashSet<i64>>,
    repeats: usize,
}

impl Seen {
    /// Takes in what one process said before it was killed; the last line may be cut off.
    fn read(&mut self, said: &str) {
        let mut ends: HashMap<Uuid, i64> = HashMap::new();
        for line in said.split_inclusive('\n').filter_map(|it| it.strip_suffix('\n')) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", client, turn, seq, id] => {
                    let key = (client.parse().unwrap(), turn.parse().unwrap());
                    let stored = (seq.parse().unwrap(), id.parse().unwrap());
                    if let Some(first) = self.acked.insert(key, stored) {
                        assert_eq!(first, stored, "a repeat was answered with another row");
                        self.repeats += 1;
                    }
                }
                ["pub", key, seq] => {
                    let (key, seq): (Uuid, i64) = (key.parse().unwrap(), seq.parse().unwrap());
                    let end = ends.entry(key).or_insert(seq);
                    assert!(seq <= *end + 1, "published {seq} after {end}");
                    *end = seq.max(*end);
                    self.published.entry(key).or_default().insert(seq);
                }
                _ => {}
            }
        }
    }

    /// Where the clients of one of several processes go on.
    fn starts(&self, process: usize, processes: usize) -> String {
        let last = |client| self.acked.keys().filter(|it| it.0 == client).map(|it| it.1 + 1 - REPEATS).max();
        let start = |client| format!("{client}:{}", last(client).unwrap_or(0).max(0));
        (process..CLIENTS).step_by(processes).map(start).collect::<Vec<_>>().join(",")
    }
}

/// Runs a process until it is killed, and gives what it said.
fn life(config: &DatabaseConfig, starts: &str, wait: Duration) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::crash::child", "--ignored", "--nocapture"]).env("CRASH_STARTS", starts);
    match config {
        DatabaseConfig::Sqlite { path, .. } => command.env("CRASH_FILE", path),
        DatabaseConfig::Postgres { url, .. } => command.env("CRASH_URL", url.expose()),
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim_end() != "begin" {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the process never began");
    }
    let killer = std::thread::spawn(move || {
        // The moment is any moment: that is what is tried.
        std::thread::sleep(wait);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut output, &mut said).unwrap();
    killer.join().unwrap();
    String::from_utf8(said).unwrap()
}

async fn nothing_acknowledged_is_lost_over_kills(fresh: &Fresh) {
    let kills: u64 = std::env::var("CRASH_KILLS").map_or(8, |it| it.parse().unwrap());
    let (config, db) = (fresh.config(), fresh.open().await);
    for _ in 0..5 {
        stream(&db).await;
    }
    // One process has a file, several have a server.
    let processes = if fresh.engine == Engine::Sqlite { 1 } else { 2 };
    let mut seen = Seen::default();
    for kill in 0..kills {
        let lives: Vec<_> = (0..processes)
            .map(|process| {
                let (config, starts) = (config.clone(), seen.starts(process, processes));
                let wait = Duration::from_millis(5 + (kill * 7_919 + process as u64 * 131) % 495);
                tokio::task::spawn_blocking(move || life(&config, &starts, wait))
            })
            .collect();
        for life in lives {
            seen.read(&life.await.unwrap());
        }
        for (key, places) in &seen.published {
            let end = places.iter().max().copied();
            assert_eq!(end, Some(places.len() as i64), "an event of {key} was left out");
        }
    }
    // What waited in the outbox at the last kill is published by whoever starts next.
    let (queue, mut rest) = Queue::new();
    let node = Node::start(&db).await;
    node.relay(queue);
    eventually("an empty outbox", async || {
        while let Ok(event) = rest.try_recv() {
            seen.published.entry(event.key).or_default().insert(event.seq.unwrap());
        }
        db.sql("SELECT COUNT(*) FROM outbox").one().await.ok() == Some((0_i64,))
    })
    .await;
    node.stop().await;
    while let Ok(event) = rest.try_recv() {
        seen.published.entry(event.key).or_default().insert(event.seq.unwrap());
    }
    let stored = all_is_there(&db, &seen, kills).await;
    let (acked, repeats) = (seen.acked.len(), seen.repeats);
    say(format_args!("{:?}: {kills} kills, {acked} acknowledged, {stored} stored, {repeats} repeats", fresh.engine))
        .unwrap();
}

async fn all_is_there(db: &Db, seen: &Seen, kills: u64) -> i64 {
    let all = assert_dense(db).await;
    let rows: Vec<(UserId, String, i64, Uuid)> =
        db.sql("SELECT sender_id, client_id, seq, id FROM entries").all().await.unwrap();
    let stored: HashSet<(UserId, String, i64, Uuid)> = rows.into_iter().collect();
    let there = |client: usize, turn: i64, seq, id| stored.contains(&(sender(client), format!("c-{turn}"), seq, id));
    let lost = seen.acked.iter().filter(|((client, turn), (seq, id))| !there(*client, *turn, *seq, *id)).count();
    assert_eq!(lost, 0, "acknowledged and lost");
    let flying = (CLIENTS as u64 * kills) as i64;
    assert!(all - seen.acked.len() as i64 <= flying, "only what was in flight is stored without an acknowledgement");
    let keys: HashSet<(&UserId, &str)> = stored.iter().map(|it| (&it.0, &*it.1)).collect();
    assert_eq!(keys.len() as i64, all, "stored twice");
    let published: usize = seen.published.values().map(HashSet::len).sum();
    assert_eq!(published as i64, all, "stored and never published");
    if db.engine() == Engine::Sqlite {
        let (check,): (String,) = db.sql("PRAGMA integrity_check").one().await.unwrap();
        assert_eq!(check, "ok");
    }
    all
}
