//! The join of replay and live: nothing is missing, nothing comes twice, whatever happens at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::super::frames::Protocol;
use super::super::topics::Position;
use super::super::wire::Close;
use super::{Heard, Peer, Place, STREAM, until};
use crate::actors::kernel::streams::Audience;

fn at(seq: i64) -> Option<Position> {
    Some(Position { epoch: 1, seq })
}

/// Hears entries after a place, in order, up to the marker; returns the last.
async fn resumes(peer: &mut Peer, have: i64) -> i64 {
    let mut last = have;
    loop {
        match peer.hears().await {
            Heard::Entry(seq) => assert_eq!(seq, std::mem::replace(&mut last, seq) + 1),
            Heard::Resumed(seq) => {
                assert_eq!(seq, last);
                return last;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_resume_joins_live_without_gap_or_repeat() {
    let place = Place::new(|_| ()).await;
    for _ in 0..3_000 {
        place.told.commit("0");
    }
    let done = Arc::new(AtomicBool::new(false));
    let publisher = place.sockets.root.task("publisher", {
        let (place, done) = (place.clone(), done.clone());
        async move {
            while !done.load(Relaxed) {
                (0..4).for_each(|_| place.says("1"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let comers = (0..8_usize).map(|comer| {
        let comes = place.clone();
        place.sockets.root.task("comers", async move {
            for round in 0..100 {
                let protocol = if round % 2 == 0 { Protocol::Native } else { Protocol::SocketIo };
                let (session, mut peer) = comes.enters(protocol, 64 << 10).await;
                let away = [0, 1, 3, 50, 127, 128, 129, 300, 1_000, 2_500][(comer + round) % 10];
                let have = comes.told.entries.lock().len() as i64 - away;
                let topics = comes.sockets.topics.clone();
                let follow = comes.sockets.root.task("follow", async move {
                    assert_eq!(topics.follow(&session, STREAM, at(have)).await, Ok(()));
                });
                let last = resumes(&mut peer, have).await;
                for seq in last + 1..last + 6 {
                    assert_eq!(peer.hears().await, Heard::Entry(seq), "{away} away");
                }
                follow.await.unwrap();
            }
        })
    });
    for comer in comers.collect::<Vec<_>>() {
        comer.await.unwrap();
    }
    done.store(true, Relaxed);
    publisher.await.unwrap();
    assert_eq!(place.sockets.root.history().len(), 0, "{:?}", place.sockets.root.history());
    until("nobody is left", || place.sockets.topics.count() == 0).await;
}

#[tokio::test]
async fn what_the_topic_was_not_told_is_read_from_the_store() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
    assert_eq!(resumes(&mut peer, 0).await, 0);
    let told: Vec<_> = (0..700).map(|_| place.told.commit("x")).collect();
    // The last one alone, then some of the middle, then a repeat.
    place.sockets.topics.entries(STREAM, 1, &told[699..]);
    place.sockets.topics.entries(STREAM, 1, &told[300..400]);
    place.sockets.topics.entries(STREAM, 1, &told[..2]);
    for seq in 1..=700 {
        assert_eq!(peer.hears().await, Heard::Entry(seq));
    }
    place.says("next");
    assert_eq!(peer.hears().await, Heard::Entry(701));
}

#[tokio::test]
async fn a_position_that_means_nothing_is_told_so() {
    let place = Place::new(|config| config.replay_entries_max = 300).await;
    for _ in 0..400 {
        place.told.commit("x");
    }
    for (have, why) in [
        (Position { epoch: 2, seq: 1 }, "epoch"),
        (Position { epoch: 1, seq: 401 }, "ahead"),
        (Position { epoch: 1, seq: 99 }, "too_many"),
    ] {
        let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
        assert_eq!(place.sockets.topics.follow(&session, STREAM, Some(have)).await, Ok(()));
        let Heard::Other(text) = peer.hears().await else { panic!("no word of it") };
        assert!(text.contains(&format!(r#""seq":400,"reason":"{why}""#)), "{text}");
    }
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    assert_eq!(place.sockets.topics.follow(&session, STREAM, at(100)).await, Ok(()));
    assert_eq!(resumes(&mut peer, 100).await, 400);
}

#[tokio::test]
async fn a_node_that_lags_catches_up_with_what_its_client_has_heard_elsewhere() {
    let place = Place::new(|_| ()).await;
    let (first, mut early) = place.enters(Protocol::Native, 64 << 10).await;
    place.sockets.topics.follow(&first, STREAM, None).await.unwrap();
    assert_eq!(resumes(&mut early, 0).await, 0);
    // Committed by another node, whose word has not come yet.
    (0..5).for_each(|_| drop(place.told.commit("x")));
    let (second, mut late) = place.enters(Protocol::Native, 64 << 10).await;
    assert_eq!(place.sockets.topics.follow(&second, STREAM, at(5)).await, Ok(()));
    assert_eq!(resumes(&mut late, 5).await, 5);
    for seq in 1..=5 {
        assert_eq!(early.hears().await, Heard::Entry(seq));
    }
}

#[tokio::test]
async fn a_store_that_fails_sends_clients_away_to_come_back() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    place.told.failing.store(1, Relaxed);
    let followed = place.sockets.topics.follow(&session, STREAM, None).await;
    assert_eq!(followed.map_err(|it| it.code()), Err("unavailable"));
    assert_eq!(place.sockets.topics.count(), 0);
    place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
    assert_eq!(resumes(&mut peer, 0).await, 0);
    // A stumble is bridged.
    place.told.failing.store(2, Relaxed);
    place.told.commit("unheard");
    place.says("heard");
    assert_eq!((peer.hears().await, peer.hears().await), (Heard::Entry(1), Heard::Entry(2)));
    place.told.failing.store(u32::MAX, Relaxed);
    place.told.commit("unheard");
    place.says("heard");
    assert_eq!(peer.hears().await, Heard::Closed(Close::STORE, "history_unavailable".into()));
    place.told.failing.store(0, Relaxed);
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    assert_eq!(place.sockets.topics.follow(&session, STREAM, at(2)).await, Ok(()));
    assert_eq!(resumes(&mut peer, 2).await, 4);
}

#[tokio::test]
async fn a_history_that_was_replaced_is_not_told_on() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
    assert_eq!(resumes(&mut peer, 0).await, 0);
    let entry = place.told.commit("of another life");
    place.sockets.topics.entries(STREAM, 2, &[entry]);
    assert_eq!(peer.hears().await, Heard::Closed(Close::REPLACED, "history_replaced".into()));
    assert_eq!(place.sockets.topics.count(), 0);
}

#[tokio::test]
async fn who_follows_hears_values_and_the_last_of_many() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    assert_eq!(place.sockets.topics.follow(&session, STREAM, None).await, Ok(()));
    assert_eq!(place.sockets.topics.follow(&session, STREAM, None).await, Ok(()));
    assert_eq!(resumes(&mut peer, 0).await, 0);
    // No task runs between them, so they leave together.
    (0..100).for_each(|it| place.sockets.topics.volatile(STREAM, "views", &it.to_string()));
    place.sockets.topics.volatile(STREAM, "likes", "7");
    let told = |kind: &str, value: u8| {
        Heard::Other(format!(r#"{{"op":"volatile","topic":"{STREAM}","kind":"{kind}","body":{value}}}"#))
    };
    assert_eq!((peer.hears().await, peer.hears().await), (told("views", 99), told("likes", 7)));
}
