//! What one actor a key costs: to find, to start, to keep, to look at.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use folio::actors::kernel::{Keyed, Limits, Outcome, Reply, Role, Root, Turn};
use folio::clock::Clock;
use folio::error::Result;

use super::median::median;

const FEW: u128 = 1_000;
const MANY: u128 = 100_000;
const LOOKUPS: usize = 1_000_000;

struct Tally(u64);

struct Add(Reply<u64>);

impl Role for Tally {
    type Key = u128;
    type Msg = Add;
    type Args = ();
    type Owed = ();
    const NAME: &'static str = "tally";

    async fn start(_: &u128, (): &()) -> Result<Self> {
        Ok(Self(0))
    }

    async fn handle(&mut self, Add(reply): Add, _: &mut Turn<Self>) -> Outcome {
        self.0 += 1;
        reply.send(Ok(self.0));
        Ok(())
    }

    fn label(_: &Add) -> &'static str {
        "add"
    }
}

/// Nobody sleeps unless told to.
fn limits() -> Limits {
    let hour = Duration::from_secs(3_600);
    Limits { awake_max: 1 << 20, known_max: 1 << 20, sleep_after: hour, forget_after: 2 * hour, ..Limits::default() }
}

async fn tree(limits: Limits) -> (Root, Keyed<Tally>) {
    let root = Root::start(Clock::system()).await.expect("a tree starts");
    let tallies = root.keyed((), limits).await.expect("a kind starts");
    (root, tallies)
}

/// As ids are: nothing in them but chance.
fn key(number: u128) -> u128 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

async fn wake(tallies: &Keyed<Tally>, count: u128) -> Duration {
    let start = Instant::now();
    for number in 0..count {
        tallies.get(&key(number)).ask(Add).await.expect("it answers");
    }
    start.elapsed() / u32::try_from(count).expect("a count fits")
}

async fn sleep(tallies: &Keyed<Tally>) {
    while tallies.lives() > 0 {
        tallies.sleep_idle();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells the size of a process");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second number is pages") * 4_096
}

/// What each of many takes beyond the first thousand, which are there before.
async fn memory() {
    let (root, tallies) = tree(limits()).await;
    wake(&tallies, FEW).await;
    sleep(&tallies).await;
    let before = resident();
    let started = wake(&tallies, MANY).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    println!("started in {started:?} each");
    println!("FLOOR keyed.awake_bytes={}", each(before));
    sleep(&tallies).await;
    println!("asleep, after all were awake at once, what the allocator kept included: {} bytes", each(before));
    let woken = wake(&tallies, 10_000).await;
    println!("woken in {woken:?} each");
    root.stop(Duration::from_secs(10)).await;
}

/// The same where few are awake at a time, as in a house with limits. Comes first, while the process is small.
async fn memory_asleep() {
    let (root, tallies) = tree(Limits { awake_max: FEW as usize, ..limits() }).await;
    wake(&tallies, FEW).await;
    let before = resident();
    wake(&tallies, MANY).await;
    println!("FLOOR keyed.asleep_bytes={}", each(before));
    root.stop(Duration::from_secs(10)).await;
}

fn each(before: u64) -> u64 {
    resident().saturating_sub(before) / u64::try_from(MANY - FEW).expect("a count fits")
}

/// The time of one lookup on each of some threads, over some keys.
fn lookup(tallies: &Keyed<Tally>, threads: usize, keys: usize) -> f64 {
    let keys: Vec<u128> = (0..keys as u128).map(key).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let keys = &keys;
            scope.spawn(move || {
                for number in 0..LOOKUPS {
                    black_box(tallies.get(&keys[(number * 7_919 + thread * 5_000) % keys.len()]));
                }
            });
        }
    });
    start.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

fn lookups(tallies: &Keyed<Tally>) {
    for (name, threads, keys) in [("one key", 1, 1), ("one key, two threads", 2, 1), ("two threads", 2, 10_000)] {
        println!("lookup, {name}: {:.0} ns", median((0..7).map(|_| lookup(tallies, threads, keys)).collect()));
    }
    println!("FLOOR keyed.lookup_ns={:.0}", median((0..7).map(|_| lookup(tallies, 1, 10_000)).collect()));
}

async fn snapshots(root: Root, tallies: Keyed<Tally>) {
    let mover = root.task("mover", async move {
        for number in (0..10_000).cycle() {
            tallies.get(&key(number)).ask(Add).await.expect("it answers");
        }
    });
    let (mut rows, mut kinds) = (vec![], vec![]);
    for _ in 0..31 {
        let start = Instant::now();
        assert_eq!(root.snapshot().rows.len(), 10_000);
        rows.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        assert_eq!(black_box(root.kinds()).len(), 1);
        kinds.push(start.elapsed().as_secs_f64() * 1e3);
        tokio::task::yield_now().await;
    }
    mover.abort();
    println!("kinds alone: {:.2} ms", median(kinds));
    println!("FLOOR keyed.snapshot_ms={:.2}", median(rows));
}

/// Measures and prints.
pub fn run() {
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = workers.expect("a runtime starts");
    runtime.block_on(memory_asleep());
    runtime.block_on(memory());
    let (root, tallies) = runtime.block_on(tree(limits()));
    runtime.block_on(wake(&tallies, 10_000));
    lookups(&tallies);
    runtime
        .block_on(async { root.task("bench", snapshots(root.clone(), tallies.clone())).await })
        .expect("the bench ends");
    let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1));
    criterion.bench_function("keyed/lookup", |b| b.iter(|| tallies.get(&key(7))));
    criterion.bench_function("keyed/start", |b| {
        let mut fresh = 1_u128 << 100;
        b.iter(|| {
            fresh += 1;
            runtime.block_on(tallies.get(&fresh).ask(Add))
        });
    });
    criterion.final_summary();
}
