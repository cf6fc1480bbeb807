//! An actor is started once, put away and taken up again, and no message falls in between.

use super::*;
use crate::actors::kernel::Mailbox;
use crate::actors::kernel::flock::Flock;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_first_uses_start_one_actor() {
    let (root, likes, world) = tree(Limits::default()).await;
    for key in 0..20 {
        let asks = (0..1_000).map(|_| {
            let likes = likes.clone();
            root.task("caller", async move { assert!(likes.get(&key).ask(Msg::Add).await.is_ok()) })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap();
        }
        assert_eq!(*world.rows.get(&key).unwrap(), 1_000);
    }
    assert_eq!(world.starts.load(SeqCst), 20);
}

#[tokio::test]
async fn a_failed_start_is_the_answer_and_the_next_caller_tries_again() {
    let (root, likes, world) = tree(Limits::default()).await;
    world.starts_to_fail.store(1, SeqCst);
    let one = likes.get(&1);
    let (a, b) = tokio::join!(one.ask(Msg::Add), one.ask(Msg::Add));
    assert_eq!((a, b), (Err(Error::NotFound("project")), Err(Error::NotFound("project"))));
    assert_eq!(one.ask(Msg::Add).await, Ok(1));
    assert_eq!((world.starts.load(SeqCst), root.history().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn putting_away_never_loses_and_never_refuses() {
    let seed = std::env::var("SEED").map_or(42, |seed| seed.parse().unwrap());
    let limits = Limits { sleep_after: Duration::ZERO, forget_after: Duration::from_nanos(1), ..endless() };
    let (root, likes, world) = tree(limits).await;
    let sweeper = root.task("sweeper", {
        let home = likes.0.clone();
        async move {
            loop {
                home.sweep();
                tokio::task::yield_now().await;
            }
        }
    });
    let (adds, notes) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let callers = (0..8).map(|caller| {
        let (likes, adds, notes) = (likes.clone(), adds.clone(), notes.clone());
        root.task("caller", async move {
            let mut chance = Chance(seed * 31 + caller);
            let mut held: Mailbox<Tally<0>> = likes.get(&0);
            for round in 0..4_000 {
                if chance.below(3) > 0 {
                    held = likes.get(&chance.key(64));
                }
                if chance.below(4) == 0 {
                    held.tell(Msg::Note).unwrap();
                    notes.fetch_add(1, SeqCst);
                } else {
                    held.ask(Msg::Add).await.unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error:?}"));
                    adds.fetch_add(1, SeqCst);
                }
                for _ in 0..chance.below(4) {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    sweeper.abort();
    assert!(root.stop(Duration::from_secs(5)).await);
    assert!(root.history().is_empty(), "{:?}", root.history());
    assert_eq!(world.rows.iter().map(|row| *row).sum::<u64>(), adds.load(SeqCst));
    assert_eq!(world.told.load(SeqCst), notes.load(SeqCst));
    assert_eq!(adds.load(SeqCst) + notes.load(SeqCst), 32_000);
    assert!(world.starts.load(SeqCst) > 200, "only {} starts: no race was run", world.starts.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pressure_puts_the_least_recently_used_to_sleep() {
    let (root, likes, world) = tree(Limits { awake_max: 100, ..Limits::default() }).await;
    for round in 1..=3 {
        for key in 0..1_000 {
            assert_eq!(likes.get(&key).ask(Msg::Add).await, Ok(round));
            assert!(likes.0.awake.load(SeqCst) <= 100);
        }
    }
    assert_eq!(world.starts.load(SeqCst), 1_000, "a sleeper keeps its state");
    let rows = root.snapshot().rows;
    let awake = rows.iter().filter(|row| row.phase == Phase::Awake).map(|row| row.key.parse::<u32>().unwrap());
    assert!(awake.clone().count() > 90 && awake.clone().all(|key| key >= 900), "{:?}", awake.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_directory_gives_up_the_oldest_sleepers_and_else_refuses() {
    let (_root, likes, world) = tree(Limits { known_max: 100, ..Limits::default() }).await;
    for key in 0..100 {
        likes.get(&key).ask(Msg::Add).await.unwrap();
    }
    let newcomer = likes.get(&1_000);
    assert!(is_unavailable(&newcomer.ask(Msg::Add).await), "all are awake");
    assert_eq!((likes.0.known.load(SeqCst), likes.0.slots.len()), (100, 100));
    until("all sleep", || {
        likes.sleep_idle();
        likes.lives() == 0
    })
    .await;
    let start = Instant::now();
    while newcomer.ask(Msg::Add).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "the same mailbox finds room once there is some");
        tokio::task::yield_now().await;
    }
    assert!(likes.0.known.load(SeqCst) < 100);
    assert_eq!(likes.get(&99).ask(Msg::Add).await, Ok(2), "the youngest are kept");
    assert_eq!(likes.get(&0).ask(Msg::Add).await, Ok(2), "the oldest is read again");
    assert_eq!(world.starts.load(SeqCst), 102);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopping_does_what_was_accepted_and_accepts_nothing_more() {
    for _ in 0..30 {
        let (root, likes, world) = tree(Limits::default()).await;
        let (outer, accepted) = (Root::start(Clock::system()).await.unwrap(), Arc::<AtomicU64>::default());
        let callers = (0..8).map(|_| {
            let (likes, accepted) = (likes.clone(), accepted.clone());
            outer.task("caller", async move {
                for key in (0..20).cycle() {
                    if likes.get(&key).tell(Msg::Note).is_err() {
                        return;
                    }
                    if accepted.fetch_add(1, SeqCst) % 20 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        until("it is busy", || world.told.load(SeqCst) > 100).await;
        assert!(root.stop(Duration::from_secs(5)).await);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(world.told.load(SeqCst), accepted.load(SeqCst));
        assert!(is_unavailable(&likes.get(&1).ask(Msg::Add).await) && likes.lives() == 0);
    }
}
