//! A mailbox is bounded, measured, and carries what belongs to a message.

use super::*;
use crate::actors::kernel::guard::caught;

#[tokio::test]
async fn a_full_mailbox_refuses_at_once_and_recovers() {
    let (root, likes, world) = tree(Limits::default()).await;
    let one = likes.get(&1);
    let blocked = root.task("caller", {
        let one = one.clone();
        async move { assert_eq!(one.ask(Msg::Block).await, Ok(0)) }
    });
    until_blocked(&likes, 1).await;
    let accepted = (0..2_000).filter(|_| one.tell(Msg::Note).is_ok()).count();
    assert_eq!(accepted, 1_023);
    assert!(is_unavailable(&one.ask(Msg::Add).await));
    let seen = row(&root, 1);
    assert_eq!((seen.depth, seen.shed, seen.meter.doing.unwrap().label), (1_024, 978, "block"));
    assert!(seen.oldest_wait.is_some());
    world.gate.notify_one();
    blocked.await.unwrap();
    until("all is done", || row(&root, 1).depth == 0).await;
    assert_eq!(one.ask(Msg::Add).await, Ok(1));
    assert_eq!(world.told.load(SeqCst), 1_023);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_done() {
    let (root, likes, world) = tree(Limits::default()).await;
    let one = likes.get(&1);
    let blocked = root.task("caller", {
        let one = one.clone();
        async move { assert!(is_unavailable(&one.ask(Msg::Block).await)) }
    });
    until_blocked(&likes, 1).await;
    assert!(is_unavailable(&one.ask(Msg::Add).await), "its deadline passes while the actor is blocked");
    blocked.await.unwrap();
    world.gate.notify_one();
    until("all is done", || row(&root, 1).depth == 0).await;
    assert_eq!((row(&root, 1).meter.expired, world.rows.len()), (1, 0));
}

#[tokio::test]
async fn a_trace_travels_with_its_message() {
    let (_root, likes, _) = tree(Limits::default()).await;
    let heard = caught(77 << 64, likes.get(&1).ask(Msg::Trace)).await.unwrap();
    assert_eq!(heard, Ok(77 << 64));
    assert_eq!(likes.get(&1).ask(Msg::Trace).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handled_is_counted_exactly_also_after_the_key_is_given_up() {
    let limits = Limits { forget_after: Duration::from_secs(60), ..Limits::default() };
    let clock = Clock::manual();
    let (root, likes, _) = tree_at(clock.clone(), limits).await;
    for round in 0..1_000_u32 {
        likes.get(&(round % 10)).ask(Msg::Add).await.unwrap();
    }
    until("all is done", || root.kinds()[0].meter.handled == 1_000).await;
    let waits: u32 = root.kinds()[0].meter.waiting.counts().iter().sum();
    assert_eq!((waits, root.kinds()[0].known, root.kinds()[0].awake), (1_000, 10, 10));
    for _ in 0..2 {
        clock.advance(Duration::from_secs(61));
        until("they sleep", || likes.lives() == 0).await;
    }
    until("they are given up", || likes.0.known.load(SeqCst) == 0).await;
    assert!(root.snapshot().rows.is_empty() && root.kinds()[0].meter.handled == 1_000);
}

#[tokio::test]
async fn a_scraper_reads_what_every_kind_and_every_task_has_done() {
    let (root, likes, _) = tree(endless()).await;
    for _ in 0..3 {
        likes.get(&1).ask(Msg::Add).await.unwrap();
    }
    assert!(is_unavailable(&likes.get(&1).ask(Msg::Panic).await));
    until("it is back", || root.kinds()[0].restarts == 1).await;
    let mut out = crate::telemetry::Exposition::default();
    root.collect(&mut out);
    let text = out.finish();
    for line in [
        "folio_actors_known{type=\"likes\"} 1",
        "folio_actor_handled_total{type=\"likes\"} 3",
        "folio_actor_failures_total{type=\"likes\"} 1",
        "folio_actor_restarts_total{type=\"likes\"} 1",
        "folio_actor_mailbox_wait_seconds_count{type=\"likes\"} 4",
        "folio_actor_handle_seconds_bucket{type=\"likes\",le=\"+Inf\"} 3",
        "folio_tasks{task=\"sweeps\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}
