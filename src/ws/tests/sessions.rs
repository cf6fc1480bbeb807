//! Sessions by themselves: what comes back, who is cut, what a slow one costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use super::super::frames::{Chunk, Protocol};
use super::super::wire::Close;
use super::{Heard, Place, STREAM, until};

#[tokio::test]
async fn messages_of_every_size_come_back_whole() {
    let place = Place::new(|config| config.message_bytes_max = 1 << 20).await;
    let (_session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    for size in [1, 125, 126, 65_535, 65_536, 1 << 20] {
        let text = "y".repeat(size);
        peer.socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(peer.hears().await, Heard::Other(text));
    }
    peer.socket.send(Message::text("z".repeat((1 << 20) + 1))).await.unwrap();
    assert!(matches!(peer.hears().await, Heard::Closed(Close::TOO_BIG, _)));
}

#[tokio::test]
async fn a_session_that_panics_ends_and_takes_its_bonds_along() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 64 << 10).await;
    place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
    assert_eq!(peer.hears().await, Heard::Resumed(0));
    peer.socket.send(Message::text("boom")).await.unwrap();
    assert_eq!(peer.hears().await, Heard::Gone);
    until("nobody is there", || place.sockets.roll.count() == 0 && place.sockets.topics.count() == 0).await;
    assert_eq!(place.sockets.root.history().len(), 1, "the panic is known");
}

#[tokio::test]
async fn values_that_wait_are_replaced_by_the_last_of_their_kind() {
    let place = Place::new(|_| ()).await;
    let (session, _peer) = place.enters(Protocol::Native, 4 << 10).await;
    let filler = Chunk::told(Protocol::Native, "volatile", &format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000)));
    while session.outbox(|outbox| outbox.depth().1 == 0) {
        session.send(&filler);
    }
    let before = session.outbox(|outbox| outbox.depth());
    for at in 0..1_000 {
        session.send(&Chunk::volatile(STREAM, "views", &format!("{at:04}"), Protocol::Native));
        session.send(&Chunk::volatile(STREAM, "likes", &format!("{at:04}"), Protocol::Native));
    }
    assert_eq!(session.outbox(|outbox| outbox.depth()).1, before.1 + 2);
}

#[tokio::test]
async fn the_last_word_never_falls_into_a_frame() {
    let place = Place::new(|_| ()).await;
    let (session, mut peer) = place.enters(Protocol::Native, 4 << 10).await;
    let filler = Chunk::told(Protocol::Native, "volatile", &format!(r#"{{"text":"{}"}}"#, "x".repeat(3_000)));
    while session.outbox(|outbox| outbox.depth().0) < 100_000 {
        session.send(&filler);
    }
    session.close(&Close::new(Close::POLICY, "enough"));
    let mut frames = 0;
    loop {
        match peer.hears().await {
            Heard::Other(_) => frames += 1,
            end => break assert_eq!(end, Heard::Closed(Close::POLICY, "enough".into())),
        }
    }
    assert!(frames > 0);
}

#[tokio::test]
async fn a_stop_lets_nobody_in() {
    let place = Place::new(|_| ()).await;
    let (_session, mut peer) = place.enters(Protocol::SocketIo, 64 << 10).await;
    place.sockets.send_away();
    assert!(matches!(peer.hears().await, Heard::Other(text) if text.starts_with(r#"42["reconnect",{"after_ms":"#)));
    assert_eq!(peer.hears().await, Heard::Closed(Close::RESTART, "restart".into()));
    let refused = super::Session::open(&place.sockets, Protocol::Native, [127, 0, 0, 1].into());
    assert_eq!(refused.err().map(|it| it.code()), Some("unavailable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_sent_away_with_its_place_and_the_others_hear_everything() {
    let place = Place::new(|_| ()).await;
    let (mut stalled, mut readers, mut worst, heard) = (vec![], vec![], (0, 0), Arc::new(AtomicI64::new(0)));
    for _ in 0..10 {
        let (session, mut peer) = place.enters(Protocol::Native, 16 << 10).await;
        place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
        assert_eq!(peer.hears().await, Heard::Resumed(0));
        stalled.push((session, peer));
        let (session, mut peer) = place.enters(Protocol::SocketIo, 16 << 10).await;
        place.sockets.topics.follow(&session, STREAM, None).await.unwrap();
        assert_eq!(peer.hears().await, Heard::Resumed(0));
        let counts = heard.clone();
        let reads = async move {
            for seq in 1..=4_000 {
                assert_eq!(peer.hears().await, Heard::Entry(seq));
                counts.fetch_add(1, Relaxed);
            }
        };
        readers.push(place.sockets.root.task("readers", reads));
    }
    let body = format!("{:0900}", 0);
    for said in 1..=4_000_i64 {
        place.says(&body);
        worst = worst.max(stalled.iter().map(|it| it.0.outbox(|outbox| outbox.depth())).max().unwrap());
        if said % 32 == 0 {
            // As fast as the slowest of those who read, or they would be sent away as well.
            until("it was heard", || heard.load(Relaxed) >= said * 10).await;
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(worst.0 <= 1 << 20 && worst.1 <= 1_024 && worst.1 > 800, "{worst:?}");
    // Who reads again in time finds whole frames without a hole, then the code and how far it got.
    let (session, mut late) = stalled.pop().unwrap();
    assert!(session.outbox(|outbox| outbox.depth().0) < 160 << 10, "what waited was dropped but for one write");
    let mut last = 0;
    let end = loop {
        match late.hears().await {
            Heard::Entry(seq) => assert_eq!(seq, std::mem::replace(&mut last, seq) + 1),
            end => break end,
        }
    };
    assert_eq!(end, Heard::Closed(Close::SLOW_CONSUMER, format!("slow_consumer {STREAM} {last}")));
    drop(late);
    until("the others are cut", || {
        place.clock.advance(Duration::from_secs(1));
        place.sockets.roll.count() == 0
    })
    .await;
}
