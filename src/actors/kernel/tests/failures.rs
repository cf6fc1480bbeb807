//! A failure stays where it is, is answered at once, and costs budget.

use super::*;
use crate::actors::kernel::{Cause, What};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_panics_touch_no_sibling() {
    async fn storm<const KIND: usize>(kind: Keyed<Tally<KIND>>) {
        for key in 0..100 {
            kind.get(&key).ask(Msg::Add).await.unwrap();
        }
        let mut chance = Chance(7 + KIND as u64);
        for round in 0..3_400_u64 {
            let victim = kind.get(&chance.key(50));
            let answer = if round % 10 == 0 { victim.ask(Msg::Fail).await } else { victim.ask(Msg::Panic).await };
            assert!(is_unavailable(&answer), "round {round}: {answer:?}");
            kind.get(&(50 + chance.key(50))).ask(Msg::Add).await.unwrap();
        }
    }
    let (root, likes, world) = tree(endless()).await;
    let views = root.keyed::<Tally<1>>(Arc::<World>::default(), endless()).await.unwrap();
    let stock = root.keyed::<Tally<2>>(Arc::<World>::default(), endless()).await.unwrap();
    let storms =
        [root.task("storm", storm(likes.clone())), root.task("storm", storm(views)), root.task("storm", storm(stock))];
    for storm in storms {
        storm.await.unwrap();
    }
    assert_eq!(root.tasks().iter().map(|tasks| tasks.panics).sum::<u64>(), 0);
    // A caller hears a little before the failure is counted.
    until("all are counted", || {
        root.kinds().iter().map(|kind| kind.meter.failed + kind.meter.lost).sum::<u64>() == 10_200
    })
    .await;
    let seen = root.snapshot();
    let siblings = seen.rows.iter().filter(|row| row.key.parse::<u32>().unwrap() >= 50);
    assert_eq!(siblings.clone().count(), 150);
    assert!(siblings.clone().all(|row| row.restarts == 0 && row.meter.failed == 0));
    assert_eq!(seen.rows.iter().map(|row| row.meter.failed + row.meter.lost).sum::<u64>(), 10_200);
    until("all are noted", || root.history().len() == 10_000).await;
    assert!(seen.healthy);
    for key in 0..50 {
        assert!(likes.get(&key).ask(Msg::Add).await.unwrap() >= 2, "read again from the rows");
    }
    assert_eq!(world.rows.len(), 100);
}

#[tokio::test]
async fn the_history_says_who_failed_why_where_and_doing_what() {
    let (root, likes, world) = tree(endless()).await;
    assert!(is_unavailable(&likes.get(&3).ask(Msg::Panic).await));
    assert!(is_unavailable(&likes.get(&3).ask(Msg::Fail).await));
    world.starts_to_panic.store(1, SeqCst);
    assert!(is_unavailable(&likes.get(&4).ask(Msg::Add).await));
    until("all is noted", || root.history().len() == 3).await;
    let incidents: Vec<_> = root
        .history()
        .into_iter()
        .map(|event| if let What::Failed(incident) = event.what { incident } else { panic!("{event:?}") })
        .collect();
    let Cause::Panic(panic) = &incidents[0].cause else { panic!("{:?}", incidents[0]) };
    assert_eq!((incidents[0].kind, &*incidents[0].key, &*panic.message), ("likes", "3", "boom 3"));
    assert!(panic.location.contains("tests/mod.rs:"), "{}", panic.location);
    assert_eq!(incidents[0].doing.unwrap().label, "panic");
    assert_eq!(incidents[1].cause, Cause::Error("state not trusted".into()));
    assert!(matches!(&incidents[2].cause, Cause::Panic(panic) if panic.message == "no start"));
    assert_eq!(row(&root, 3).last_failure.unwrap().cause, incidents[1].cause);
}

#[tokio::test]
async fn a_spent_budget_fences_one_key_and_half_opens() {
    let clock = Clock::manual();
    let (root, likes, _) = tree_at(clock.clone(), Limits::default()).await;
    let (bad, good) = (likes.get(&1), likes.get(&2));
    good.ask(Msg::Add).await.unwrap();
    for left in (0..5).rev() {
        assert!(is_unavailable(&bad.ask(Msg::Panic).await));
        until_phase(&likes, 1, |phase| matches!(phase, Phase::Resting { .. })).await;
        assert_eq!(row(&root, 1).budget_left, left);
        clock.advance(Duration::from_secs(5));
        assert_eq!(bad.ask(Msg::Add).await, Ok(5 - left as u64));
    }
    assert!(is_unavailable(&bad.ask(Msg::Panic).await));
    until_phase(&likes, 1, |phase| matches!(phase, Phase::Fenced { .. })).await;
    clock.advance(Duration::from_secs(1));
    let Err(Error::Unavailable { retry_after, .. }) = bad.ask(Msg::Add).await else { panic!("not fenced") };
    assert_eq!((retry_after, root.kinds()[0].fenced), (Duration::from_secs(29), 1));
    assert_eq!(good.ask(Msg::Add).await, Ok(2));
    clock.advance(Duration::from_secs(30));
    let (failed, crowd) = tokio::join!(bad.ask(Msg::Panic), bad.ask(Msg::Add)); // Half open: one try only.
    assert!(is_unavailable(&failed) && is_unavailable(&crowd));
    until_phase(&likes, 1, |phase| matches!(phase, Phase::Fenced { .. })).await;
    assert!(is_unavailable(&bad.ask(Msg::Add).await));
    let fences = root.history().iter().filter(|event| matches!(event.what, What::Fenced(_))).count();
    assert_eq!(fences, 2);
    likes.reset(&1); // The operator knows better.
    assert_eq!(bad.ask(Msg::Add).await, Ok(6));
    assert_eq!(root.snapshot().rows.iter().map(|row| row.budget_left).min(), Some(5));
}

#[tokio::test]
async fn a_half_open_try_that_succeeds_gives_the_whole_budget_back() {
    let clock = Clock::manual();
    let (root, likes, _) = tree_at(clock.clone(), Limits::default()).await;
    for _ in 0..6 {
        let _ = likes.get(&1).ask(Msg::Panic).await;
        until_phase(&likes, 1, |phase| matches!(phase, Phase::Resting { .. } | Phase::Fenced { .. })).await;
        clock.advance(Duration::from_secs(5));
        until_phase(&likes, 1, |phase| matches!(phase, Phase::Asleep | Phase::Fenced { .. })).await;
    }
    clock.advance(Duration::from_secs(26));
    assert_eq!(likes.get(&1).ask(Msg::Add).await, Ok(1));
    until("the try is over", || row(&root, 1).budget_left == 5).await;
}

#[tokio::test]
async fn callers_of_a_dying_actor_hear_at_once_and_the_next_wait_for_its_restart() {
    let clock = Clock::manual();
    let (root, likes, _) = tree_at(clock.clone(), Limits::default()).await;
    let one = likes.get(&1);
    one.ask(Msg::Add).await.unwrap();
    let (a, b, c) = tokio::join!(one.ask(Msg::Panic), one.ask(Msg::Add), one.ask(Msg::Add));
    assert!(is_unavailable(&a) && is_unavailable(&b) && is_unavailable(&c));
    until_phase(&likes, 1, |phase| matches!(phase, Phase::Resting { .. })).await;
    // The restart is 50 to 63 ms away.
    let (answer, ()) = tokio::join!(one.ask(Msg::Add), async {
        until("it waits", || row(&root, 1).depth == 1).await;
        clock.advance(Duration::from_millis(49));
        assert!(matches!(row(&root, 1).phase, Phase::Resting { .. }));
        clock.advance(Duration::from_millis(14));
    });
    assert_eq!(answer, Ok(2));
}

#[tokio::test]
async fn a_kill_cuts_a_blocked_actor_short_and_it_comes_back() {
    let (root, likes, _) = tree(endless()).await;
    let one = likes.get(&1);
    one.ask(Msg::Add).await.unwrap();
    let (cut, ()) = tokio::join!(one.ask(Msg::Block), async {
        until_blocked(&likes, 1).await;
        likes.kill(&1);
    });
    assert!(is_unavailable(&cut));
    assert_eq!(one.ask(Msg::Add).await, Ok(2));
    assert!(
        matches!(&root.history()[..], [event] if matches!(&event.what, What::Failed(it) if it.cause == Cause::Killed))
    );
}
