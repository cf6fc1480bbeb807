//! Tasks outside the actors are seen, survived and ended.

use super::*;
use crate::actors::kernel::{Tasks, What};

fn tasks(root: &Root, name: &str) -> Tasks {
    root.tasks().into_iter().find(|tasks| tasks.name == name).expect("the name is in use")
}

#[tokio::test]
async fn a_panicking_task_is_an_event_and_nothing_more() {
    let root = Root::start(Clock::system()).await.unwrap();
    let waiting = root.task("relay", std::future::pending());
    root.task("relay", async { panic!("out of the tree") }).await.unwrap();
    let history = root.history();
    let [event] = &history[..] else { panic!("{history:?}") };
    assert!(matches!(&event.what, What::TaskPanicked { task: "relay", panic } if panic.message == "out of the tree"));
    until("it is gone", || tasks(&root, "relay").running == 1).await;
    assert_eq!((tasks(&root, "relay").begun, tasks(&root, "relay").panics, root.healthy()), (2, 1, true));
    assert!(root.stop(Duration::from_secs(5)).await);
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(tasks(&root, "relay").running, 0);
    let late = root.task("relay", std::future::pending());
    assert!(late.await.unwrap_err().is_cancelled(), "nothing begins after the stop");
}

#[tokio::test]
async fn a_kept_task_begins_again_within_its_budget_and_then_half_opens() {
    let (clock, begun) = (Clock::manual(), Arc::<AtomicUsize>::default());
    let root = Root::start(clock.clone()).await.unwrap();
    root.keep("lane", {
        let begun = begun.clone();
        move |_| {
            let nth = begun.fetch_add(1, SeqCst);
            assert!(nth != 1, "no second beginning");
            async move { assert!(nth >= 6, "not yet") }
        }
    });
    for nth in 1..=5 {
        until("it has panicked", || tasks(&root, "lane").panics == nth).await;
        let before = begun.load(SeqCst);
        until("it is asleep", || {
            clock.advance(Duration::from_millis(500));
            begun.load(SeqCst) > before
        })
        .await;
    }
    until("it is out of order", || !root.healthy()).await;
    assert!(root.history().iter().any(|event| matches!(event.what, What::TaskFenced { task: "lane" })));
    clock.advance(Duration::from_secs(30));
    until("it has ended well", || tasks(&root, "lane").running == 0).await;
    assert_eq!((tasks(&root, "lane").panics, tasks(&root, "lane").restarts, root.healthy()), (6, 6, true));
}

#[tokio::test]
async fn stopping_gives_time_to_who_asks_for_it_and_ends_the_last_begun_first() {
    let root = Root::start(Clock::system()).await.unwrap();
    let ends = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for name in ["writer", "relay", "sessions"] {
        let ends = ends.clone();
        root.keep(name, move |stop| {
            let ends = ends.clone();
            async move {
                stop.requested().await;
                tokio::task::yield_now().await;
                ends.lock().push(name);
            }
        });
    }
    let stubborn = root.keep("stubborn", |_| std::future::pending());
    assert!(root.stop(Duration::from_secs(5)).await);
    assert_eq!(*ends.lock(), ["sessions", "relay", "writer"]);
    assert!(stubborn.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn who_holds_a_stop_and_ignores_it_is_cut_off_in_the_end() {
    let root = Root::start(Clock::system()).await.unwrap();
    let deaf = root.keep("deaf", |stop| async move {
        std::future::pending::<()>().await;
        drop(stop);
    });
    until("it runs", || tasks(&root, "deaf").running == 1).await;
    tokio::task::yield_now().await;
    assert!(!root.stop(Duration::from_millis(20)).await);
    assert!(deaf.await.unwrap_err().is_cancelled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tasks_come_and_go_and_none_is_forgotten() {
    let root = Root::start(Clock::system()).await.unwrap();
    for _ in 0..10_000 {
        root.task("connection", tokio::task::yield_now());
    }
    until("all are gone", || tasks(&root, "connection").running == 0).await;
    assert_eq!(tasks(&root, "connection").begun, 10_000);
}
