//! Proof of the promises: nothing lost, nothing shared, everything bounded.

mod commits;
mod failures;
mod lives;
mod mailboxes;
mod neighbours;
mod pools;
mod supervisors;
mod tasks;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Notify;

use super::guard::trace;
use super::{Budget, Keyed, Limits, Outcome, Phase, Reply, Role, Root, Row, Turn};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// What the tests' actors start from; `rows` plays the database.
#[derive(Default)]
struct World {
    rows: DashMap<u32, u64>,
    alive: DashMap<u32, usize>,
    starts: AtomicUsize,
    starts_to_fail: AtomicUsize,
    starts_to_panic: AtomicUsize,
    told: AtomicU64,
    gate: Notify,
}

/// Counts for one key; three kinds of it are three kinds of actor.
struct Tally<const KIND: usize> {
    key: u32,
    count: u64,
    world: Arc<World>,
}

enum Msg {
    Add(Reply<u64>),
    Note,
    Panic(Reply<u64>),
    Fail(Reply<u64>),
    Block(Reply<u64>),
    Trace(Reply<u128>),
}

impl<const KIND: usize> Role for Tally<KIND> {
    type Key = u32;
    type Msg = Msg;
    type Args = Arc<World>;
    type Owed = ();
    const NAME: &'static str = ["likes", "views", "stock"][KIND];
    const MESSAGES_MAX: u32 = 1_024;

    async fn start(key: &u32, world: &Arc<World>) -> Result<Self> {
        world.starts.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        if take_one(&world.starts_to_fail) {
            return Err(Error::NotFound("project"));
        }
        assert!(!take_one(&world.starts_to_panic), "no start");
        let count = world.rows.get(key).map_or(0, |row| *row);
        let mut alive = world.alive.entry(*key).or_default();
        assert_eq!(*alive, 0, "two lives of one key");
        *alive += 1;
        Ok(Self { key: *key, count, world: world.clone() })
    }

    async fn handle(&mut self, msg: Msg, _: &mut Turn<Self>) -> Outcome {
        match msg {
            Msg::Add(reply) => {
                self.count += 1;
                self.world.rows.insert(self.key, self.count);
                reply.send(Ok(self.count));
            }
            Msg::Note => drop(self.world.told.fetch_add(1, SeqCst)),
            Msg::Panic(_reply) => panic!("boom {}", self.key),
            Msg::Fail(_reply) => return Err("state not trusted".into()),
            Msg::Block(reply) => {
                self.world.gate.notified().await;
                reply.send(Ok(0));
            }
            Msg::Trace(reply) => reply.send(Ok(trace())),
        }
        Ok(())
    }

    fn label(msg: &Msg) -> &'static str {
        match msg {
            Msg::Add(_) => "add",
            Msg::Note => "note",
            Msg::Panic(_) => "panic",
            Msg::Fail(_) => "fail",
            Msg::Block(_) => "block",
            Msg::Trace(_) => "trace",
        }
    }
}

impl<const KIND: usize> Drop for Tally<KIND> {
    fn drop(&mut self) {
        *self.world.alive.get_mut(&self.key).expect("it was counted at its start") -= 1;
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Restarts at once and without end, for tests that are not about the budget.
fn endless() -> Limits {
    let budget =
        Budget { restarts: usize::MAX, wait_min: Duration::ZERO, wait_max: Duration::ZERO, ..Budget::default() };
    Limits { budget, ..Limits::default() }
}

async fn tree(limits: Limits) -> (Root, Keyed<Tally<0>>, Arc<World>) {
    tree_at(Clock::system(), limits).await
}

async fn tree_at(clock: Clock, limits: Limits) -> (Root, Keyed<Tally<0>>, Arc<World>) {
    let (root, world) = (Root::start(clock).await.unwrap(), Arc::<World>::default());
    let likes = root.keyed(world.clone(), limits).await.unwrap();
    (root, likes, world)
}

fn row(root: &Root, key: u32) -> Row {
    root.snapshot().rows.into_iter().find(|row| row.key == key.to_string()).expect("the key is known")
}

fn is_unavailable<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(Error::Unavailable { .. }))
}

/// Waits until something holds; a test that waits in vain fails.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}

async fn until_blocked<const KIND: usize>(kind: &Keyed<Tally<KIND>>, key: u32) {
    let slot = kind.0.slot(&key).unwrap();
    until("it is blocked", || slot.inner.lock().meter.doing.is_some_and(|doing| doing.label == "block")).await;
}

async fn until_phase<R: Role<Key = u32>>(kind: &Keyed<R>, key: u32, holds: impl Fn(Phase) -> bool) {
    let slot = kind.0.slot(&key).unwrap();
    until("it is in that phase", || holds(slot.inner.lock().phase)).await;
}

/// The tests' source of chance; the seed is printed when a round fails.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn key(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(u64::from(end))).unwrap()
    }
}
