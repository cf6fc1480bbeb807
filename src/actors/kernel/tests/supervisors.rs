//! Supervisors are supervised too.

use super::*;
use crate::actors::kernel::What;

fn losses(root: &Root) -> usize {
    root.history().iter().filter(|event| matches!(event.what, What::SupervisorLost { .. })).count()
}

#[tokio::test]
async fn a_lost_supervisor_comes_back_with_its_keys_and_then_escalates() {
    let clock = Clock::manual();
    let (root, likes, _) = tree_at(clock.clone(), endless()).await;
    for lost in 1..=4 {
        while likes.get(&1).ask(Msg::Add).await.is_err() {
            tokio::task::yield_now().await;
        }
        let before = likes.0.supervisor().get_id();
        likes.0.supervisor().kill();
        until("the loss is noted", || losses(&root) == lost).await;
        if lost <= 3 {
            until("another takes over", || likes.0.supervisor().get_id() != before).await;
        } else {
            until("it escalates", || !root.healthy()).await;
        }
    }
    assert!(is_unavailable(&likes.get(&1).ask(Msg::Add).await), "a kind without a supervisor refuses");
    clock.advance(Duration::from_secs(61));
    until("it is tried again", || root.healthy()).await;
    while likes.get(&1).ask(Msg::Add).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(root.history().iter().any(|event| matches!(event.what, What::Escalated { kind: "likes" })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_supervisor_lost_in_a_storm_leaves_no_key_behind() {
    for _ in 0..20 {
        let (root, likes, _) = tree(endless()).await;
        let storm = (0..16).map(|key| {
            let likes = likes.clone();
            root.task("storm", async move {
                for _ in 0..60 {
                    let _ = likes.get(&key).ask(Msg::Panic).await;
                    let _ = likes.get(&key).ask(Msg::Add).await;
                }
            })
        });
        let storm: Vec<_> = storm.collect();
        for _ in 0..3 {
            let before = likes.0.supervisor().get_id();
            likes.0.supervisor().kill();
            until("another takes over", || likes.0.supervisor().get_id() != before).await;
        }
        for one in storm {
            one.await.unwrap();
        }
        for key in 0..16 {
            let start = Instant::now();
            while likes.get(&key).ask(Msg::Add).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(30), "key {key} hangs");
                tokio::task::yield_now().await;
            }
        }
        assert!(root.stop(Duration::from_secs(5)).await);
    }
}

#[test]
fn every_actor_decides_about_its_children_itself() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors/kernel");
    let mut actors = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let here = source.matches(" Actor for ").count();
        assert_eq!(here, source.matches("async fn handle_supervisor_evt").count(), "{}", path.display());
        actors += here;
    }
    assert_eq!(actors, 3, "the root, a supervisor, and the shell around every role");
}
