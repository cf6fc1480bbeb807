//! Engine.IO 4 by its published behaviour, case by case.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Socket, echoing, get, post, text};
use crate::support::http::{Server, until};
use crate::support::raw::{ask, say};

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

async fn serving() -> (Server, SocketAddr) {
    let server = echoing(|config| {
        config.sockets.ping_every = Duration::from_millis(300);
        config.sockets.pong_within = Duration::from_millis(200);
    });
    let server = server.await;
    let address = server.address;
    (server, address)
}

fn opened(packet: &str) -> Value {
    serde_json::from_str(packet.strip_prefix('0').expect("an open packet")).expect("it is JSON")
}

/// Opens a session that polls; returns the target of its requests.
async fn polls(address: SocketAddr) -> String {
    let heard = get(address, POLLING).await;
    format!("{POLLING}&sid={}", opened(text(&heard))["sid"].as_str().unwrap())
}

#[tokio::test]
async fn a_session_opens_on_either_transport_and_says_what_may_be_counted_on() {
    let (server, address) = serving().await;
    let heard = get(address, POLLING).await;
    let mut told = opened(text(&heard));
    assert_eq!((heard.status, told["sid"].take().is_string()), (200, true));
    let same = json!({"sid": null, "upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000});
    assert_eq!(told, same);
    let mut socket = Socket::to(address, WEBSOCKET).await;
    let mut told = opened(&socket.hears().await);
    assert_eq!((told["sid"].take().is_string(), &told["upgrades"]), (true, &json!([])));
    drop(socket);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_in_the_words_of_the_protocol() {
    let (server, address) = serving().await;
    for (query, code) in [
        ("transport=polling", 5),
        ("EIO=abc&transport=polling", 5),
        ("EIO=3&transport=polling", 5),
        ("EIO=4", 0),
        ("EIO=4&transport=abc", 0),
        ("EIO=4&transport=polling&sid=nobody", 1),
    ] {
        let heard = get(address, &format!("/engine.io/?{query}")).await;
        assert_eq!((heard.status, &heard.json()["code"]), (400, &json!(code)), "{query}");
    }
    for method in ["POST", "PUT"] {
        let heard = say(address, ask(&format!("{method} {POLLING}"), "Content-Length: 0\r\n")).await;
        assert_eq!((heard[0].status, &heard[0].json()["code"]), (400, &json!(2)), "{method}");
    }
    for query in [
        "transport=websocket",
        "EIO=abc&transport=websocket",
        "EIO=4",
        "EIO=4&transport=abc",
        "EIO=4&transport=websocket&sid=nobody",
    ] {
        assert_eq!(Socket::try_to(address, &format!("/engine.io/?{query}")).await.err(), Some(400), "{query}");
    }
    server.end().await;
}

#[tokio::test]
async fn packets_come_back_through_polling_as_they_were_sent() {
    let (server, address) = serving().await;
    let target = polls(address).await;
    for payload in ["4hello", "4test1\u{1e}4test2\u{1e}4test3", "4hello\u{1e}bAQIDBA=="] {
        let heard = post(address, &target, payload.as_bytes()).await;
        assert_eq!((heard.status, text(&heard)), (200, "ok"));
        assert_eq!(text(&get(address, &target).await), payload);
    }
    server.end().await;
}

#[tokio::test]
async fn a_payload_that_is_none_ends_the_session() {
    let (server, address) = serving().await;
    for (payload, status) in
        [(&b"abc"[..], 400), (b"b?", 400), (b"", 400), (b"\xff\xfe", 400), (&[b'4'; 1_000_001], 413)]
    {
        let target = polls(address).await;
        assert_eq!(post(address, &target, payload).await.status, status);
        assert_eq!(get(address, &target).await.status, 400, "the session is gone");
    }
    server.end().await;
}

#[tokio::test]
async fn two_polls_at_once_end_the_session_and_so_does_one_that_is_given_up() {
    let (server, address) = serving().await;
    let target = polls(address).await;
    let first = get(address, &target);
    let second = async {
        // Once the first is under way, and not before.
        until("the first poll waits", || server.app.sockets.roll.count() == 1).await;
        tokio::task::yield_now().await;
        get(address, &target).await
    };
    let (first, second) = tokio::join!(first, second);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(if first.status == 200 { text(&first) } else { text(&second) }, "1");
    assert_eq!(get(address, &target).await.status, 400);

    let target = polls(address).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&ask(&format!("GET {target}"), "")).await.unwrap();
    drop(stream);
    until("the session has ended", || server.app.sockets.roll.count() == 0).await;
    assert_eq!(get(address, &target).await.status, 400);
    server.end().await;
}

#[tokio::test]
async fn a_socket_echoes_text_and_bytes_and_ends_on_what_is_no_packet() {
    let (server, address) = serving().await;
    let mut socket = Socket::to(address, WEBSOCKET).await;
    socket.hears().await;
    socket.says("4hello").await;
    assert_eq!(socket.hears().await, "4hello");
    socket.sends(&[1, 2, 3, 4]).await;
    assert_eq!(socket.hears_bytes().await, [1, 2, 3, 4]);
    socket.says("abc").await;
    assert_eq!(socket.ends().await, 1002);
    server.end().await;
}

#[tokio::test]
async fn the_server_asks_and_whoever_does_not_answer_is_gone() {
    let (server, address) = serving().await;
    let beat = Duration::from_millis(300);
    let target = polls(address).await;
    let mut socket = Socket::to(address, WEBSOCKET).await;
    socket.hears().await;
    for _ in 0..3 {
        server.clock.advance(beat);
        assert_eq!(text(&get(address, &target).await), "2");
        assert_eq!(post(address, &target, b"3").await.status, 200);
        assert_eq!(socket.hears().await, "2");
        socket.says("3").await;
        // Behind the pong, so that it was heard.
        socket.says("4heard").await;
        assert_eq!(socket.hears().await, "4heard");
    }
    server.clock.advance(beat);
    assert_eq!(socket.hears().await, "2");
    server.clock.advance(Duration::from_millis(200));
    assert_eq!(socket.ends().await, 0, "cut, not closed: nobody is there to hear");
    until("both sessions have ended", || server.app.sockets.roll.count() == 0).await;
    assert_eq!(get(address, &target).await.status, 400);
    server.end().await;
}

#[tokio::test]
async fn a_client_leaves_by_a_packet() {
    let (server, address) = serving().await;
    let target = polls(address).await;
    let (poll, push) = tokio::join!(get(address, &target), post(address, &target, b"1"));
    assert_eq!((poll.status, text(&poll), push.status), (200, "6", 200));
    assert_eq!(get(address, &target).await.status, 400);
    let mut socket = Socket::to(address, WEBSOCKET).await;
    socket.hears().await;
    socket.says("1").await;
    assert_eq!(socket.ends().await, 1000);
    server.end().await;
}

#[tokio::test]
async fn a_session_moves_from_polling_to_a_socket_and_nothing_is_lost() {
    let (server, address) = serving().await;
    let target = polls(address).await;
    assert_eq!(post(address, &target, b"4before").await.status, 200);
    let path = target.replace("polling", "websocket");
    let mut socket = Socket::to(address, &path).await;
    socket.says("2probe").await;
    assert_eq!(socket.hears().await, "3probe");
    assert_eq!(text(&get(address, &target).await), "4before");
    assert_eq!(text(&get(address, &target).await), "6", "a poll that has nothing to say ends at once");
    assert_eq!(post(address, &target, b"4between").await.status, 200);
    socket.says("5").await;
    socket.says("4hello").await;
    assert_eq!(socket.hears().await, "4between");
    assert_eq!(socket.hears().await, "4hello");
    assert_eq!(get(address, &target).await.status, 400, "polls are over");
    assert_eq!(Socket::try_to(address, &path).await.err(), Some(400), "and so are other sockets");
    socket.says("4still").await;
    assert_eq!(socket.hears().await, "4still");
    server.end().await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_gone_through_with_leaves_the_session_as_it_was() {
    let (server, address) = serving().await;
    let target = polls(address).await;
    let path = target.replace("polling", "websocket");
    for text in ["4hello", "5x", "2"] {
        let mut socket = Socket::to(address, &path).await;
        assert_eq!(Socket::try_to(address, &path).await.err(), Some(400), "one at a time");
        socket.says(text).await;
        assert_eq!(socket.ends().await, 0);
    }
    assert_eq!(post(address, &target, b"4here").await.status, 200);
    assert_eq!(text(&get(address, &target).await), "4here");
    server.end().await;
}
