//! The native protocol: connect, requests, streams and resume.

use std::time::Duration;

use folio::actors::kernel::streams::Audience;
use folio::ids::StreamId;
use folio::ws::wire::Close;
use serde_json::{Value, json};

use super::Socket;
use super::house::{PRIVATE, person, routes, say};
use crate::support::http::{Server, until};
use crate::support::streams;

async fn serving() -> Server {
    Server::start_with(routes(), |_| ()).await
}

/// A client who is let in and has heard so.
async fn connected(server: &Server, streams: &Value) -> Socket {
    let mut socket = Socket::to(server.address, "/ws").await;
    socket.says(json!({"op": "connect", "id": 1, "token": "ada", "streams": streams}).to_string()).await;
    let told = socket.hears_json().await;
    assert_eq!((&told["op"], &told["id"], &told["user"]), (&json!("connected"), &json!(1), &json!(person(1).user)));
    socket
}

async fn stream(server: &Server) -> StreamId {
    streams::stream(&server.app.storage.db).await
}

/// The next frame that is no ping.
async fn but_pings(socket: &mut Socket) -> Value {
    loop {
        let told = socket.hears_json().await;
        if told["op"] != "ping" {
            return told;
        }
    }
}

/// `op` and `seq` of the next frame.
async fn next(socket: &mut Socket) -> (String, i64) {
    let told = socket.hears_json().await;
    (told["op"].as_str().unwrap().to_owned(), told["seq"].as_i64().unwrap_or(-1))
}

#[tokio::test]
async fn a_client_connects_and_is_told_its_limits() {
    let server = serving().await;
    let mut socket = Socket::to(server.address, "/ws").await;
    socket.says(r#"{"op":"connect","id":7,"ticket":"bob","ping_ms":10000}"#).await;
    let told = socket.hears_json().await;
    let same = json!({"op": "connected", "id": 7, "user": person(2).user, "ping_ms": 10_000, "pong_ms": 20_000, "limits": {
        "message_bytes_max": 65_536, "messages_per_second": null, "messages_burst": null, "requests_waiting_max": 64, "streams_max": 500, "replay_entries_max": 5_000,
        "outbox_bytes_max": 1_048_576, "outbox_frames_max": 1_024}});
    assert_eq!(told, same);
    socket.says(r#"{"op":"ping"}"#).await;
    assert_eq!(socket.hears_json().await, json!({"op": "pong"}));
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(socket.hears_json().await, json!({"op": "ping"}));
    server.clock.advance(Duration::from_secs(20));
    assert_eq!(socket.ends().await, 0, "silent for too long");
    server.end().await;
}

#[tokio::test]
async fn who_does_not_sign_in_or_is_nobody_is_sent_away() {
    let server = serving().await;
    for (says, code) in [(r#"{"op":"connect","token":"mallory"}"#, 4401), (r#"{"op":"connect","token":"later"}"#, 4010)]
    {
        let mut socket = Socket::to(server.address, "/ws").await;
        socket.says(says).await;
        assert_eq!(socket.ends().await, code, "{says}");
    }
    let mut silent = Socket::to(server.address, "/ws").await;
    until("it is there", || server.app.sockets.roll.count() == 1).await;
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(silent.ends().await, 4401);
    let mut early = Socket::to(server.address, "/ws").await;
    early.says(r#"{"op":"request","id":1,"name":"say"}"#).await;
    assert_eq!(early.hears_json().await["code"], "unauthenticated");
    early.says(r#"{"op":"connect","token":"ada"}"#).await;
    assert_eq!(early.hears_json().await["op"], "connected", "it is let in none the less");
    early.says(r#"{"op":"connect","token":"ada"}"#).await;
    assert_eq!(early.hears_json().await["op"], "connected", "saying it twice is no harm");
    for op in ["token", "connect"] {
        let mut other = connected(&server, &json!([])).await;
        other.says(json!({"op": op, "id": 2, "ticket": "bob"}).to_string()).await;
        assert_eq!(other.ends().await, 4400, "{op}");
    }
    let mut bytes = connected(&server, &json!([])).await;
    bytes.sends(b"x").await;
    assert_eq!(bytes.ends().await, 1003);
    server.end().await;
}

#[tokio::test]
async fn a_token_runs_out_unless_it_is_renewed() {
    let server = serving().await;
    let mut socket = connected(&server, &json!([])).await;
    for _ in 0..11 {
        server.clock.advance(Duration::from_secs(20));
        socket.says(r#"{"op":"request","id":5,"name":"nothing"}"#).await;
        while socket.hears_json().await["op"] != "error" {}
    }
    server.clock.advance(Duration::from_secs(20));
    assert_eq!(but_pings(&mut socket).await["op"], "auth_expiring");
    socket.says(r#"{"op":"token","id":9,"token":"ada"}"#).await;
    assert_eq!(but_pings(&mut socket).await, json!({"op": "reply", "id": 9, "body": {}}));
    for _ in 0..16 {
        server.clock.advance(Duration::from_secs(20));
        socket.says(r#"{"op":"pong"}"#).await;
    }
    assert_eq!(socket.ends().await, 4401);
    server.end().await;
}

#[tokio::test]
async fn requests_are_answered_by_their_number() {
    let server = serving().await;
    let stream = stream(&server).await;
    let mut socket = connected(&server, &json!([])).await;
    let say = json!({"op": "request", "id": 2, "name": "say", "body": {"stream": stream, "text": "hi"}});
    socket.says(say.to_string()).await;
    assert_eq!(socket.hears_json().await, json!({"op": "reply", "id": 2, "body": {"seq": 1}}));
    for (says, code) in [
        (r#"{"op":"request","id":3,"name":"fly"}"#, "unknown_request"),
        (r#"{"op":"request","id":3,"name":"say","body":{"stream":"x"}}"#, "not_found"),
        (r#"{"op":"request","id":3}"#, "invalid"),
        (r#"{"op":"follow","id":3}"#, "malformed"),
    ] {
        socket.says(says).await;
        let told = socket.hears_json().await;
        assert_eq!(
            (&told["op"], &told["id"], &told["code"], &told["temporary"]),
            (&json!("error"), &json!(3), &json!(code), &json!(false))
        );
    }
    for at in 0..65 {
        socket.says(json!({"op": "request", "id": at, "name": "wait"}).to_string()).await;
    }
    let told = socket.hears_json().await;
    assert_eq!((&told["id"], &told["code"], &told["temporary"]), (&json!(64), &json!("unavailable"), &json!(true)));
    drop(socket);
    until("it has ended", || server.app.sockets.roll.count() == 0).await;
    server.end().await;
}

#[tokio::test]
async fn frames_that_mean_nothing_are_told_so_and_ten_in_a_row_are_enough() {
    let server = serving().await;
    let deep = format!(r#"{{"op":"request","body":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    let mut socket = connected(&server, &json!([])).await;
    socket.says(deep).await;
    assert_eq!(socket.hears_json().await["code"], "invalid", "it has no name");
    socket.says(r#"{"op":"pong"}"#).await;
    let bad =
        ["x", "[]", "{}", r#"{"op":null}"#, r#"{"op":"fly"}"#, r#"{"op":1}"#, r#"{"op":"request","id":-1}"#, "\"\""];
    for says in bad {
        socket.says(says).await;
        assert_eq!(socket.hears_json().await["code"], "malformed", "{says:.40}");
    }
    socket.says(r#"{"op":"pong"}"#).await;
    for says in bad.iter().chain([&"{", &"}"]) {
        socket.says(*says).await;
        assert_eq!(socket.hears_json().await["code"], "malformed", "{says:.40}");
    }
    assert_eq!(socket.ends().await, 1008);
    server.end().await;
}

#[tokio::test]
async fn what_was_missed_comes_in_order_then_the_marker_then_what_is_said_now() {
    let server = serving().await;
    let (one, two, silent) = (stream(&server).await, stream(&server).await, stream(&server).await);
    for at in 0..300 {
        say(&server.app, one, None, &json!(at)).await.unwrap();
    }
    let streams = json!([
        {"stream": one, "epoch": 1, "seq": 10},
        {"stream": two, "epoch": 7, "seq": 0},
        {"stream": silent, "epoch": 1, "seq": 5},
        {"stream": PRIVATE, "epoch": 1, "seq": 0},
        {"stream": silent},
    ]);
    let mut socket = connected(&server, &streams).await;
    for seq in 11..=300 {
        assert_eq!(next(&mut socket).await, ("event".to_owned(), seq));
    }
    assert_eq!(next(&mut socket).await, ("resumed".to_owned(), 300));
    for (stream, reason) in [(two, "epoch"), (silent, "ahead"), (PRIVATE, "not_found")] {
        let told = socket.hears_json().await;
        assert_eq!((&told["op"], &told["stream"], &told["reason"]), (&json!("reset"), &json!(stream), &json!(reason)));
    }
    assert_eq!(socket.hears_json().await, json!({"op": "resumed", "stream": silent, "epoch": 1, "seq": 0}));
    say(&server.app, two, None, &json!("not followed")).await.unwrap();
    say(&server.app, one, Some(person(2).user), &json!("now")).await.unwrap();
    let told = socket.hears_json().await;
    assert_eq!(
        (&told["seq"], &told["kind"], &told["body"], &told["sender"]),
        (&json!(301), &json!("message"), &json!({"text": "now"}), &json!(person(2).user))
    );
    server.app.sockets.topics.volatile(one, "typing", r#"{"user":"bob"}"#);
    assert_eq!(
        socket.hears_json().await,
        json!({"op": "volatile", "topic": one, "kind": "typing", "body": {"user": "bob"}})
    );
    socket.says(json!({"op": "follow", "id": 4, "stream": one, "epoch": 1, "seq": 0}).to_string()).await;
    assert_eq!(socket.hears_json().await, json!({"op": "reply", "id": 4, "body": {}}), "once is enough");
    socket.says(json!({"op": "unfollow", "id": 5, "stream": one}).to_string()).await;
    assert_eq!(socket.hears_json().await, json!({"op": "reply", "id": 5, "body": {}}));
    assert_eq!(server.app.sockets.topics.count(), 1, "what nobody follows is forgotten");
    server.end().await;
}

#[tokio::test]
async fn a_user_is_cut_from_every_device_and_the_first_makes_room_for_one_too_many() {
    let server = Server::start_with(routes(), |config| config.sockets.sessions_per_user_max = 2).await;
    let mut first = connected(&server, &json!([])).await;
    let (mut second, mut third) = (connected(&server, &json!([])).await, connected(&server, &json!([])).await);
    assert_eq!(first.ends().await, 4409);
    let (user, revoked) = (person(1).user, Close::new(4401, "revoked"));
    server.app.sockets.roll.cut(None, |it| it.person.session == person(9).session, &revoked);
    assert_eq!(server.app.sockets.roll.of(user).len(), 2, "another sign-in");
    server.app.sockets.roll.cut(Some(user), |it| it.grants < 2, &revoked);
    assert_eq!((second.ends().await, third.ends().await), (4401, 4401));
    until("nobody is left", || server.app.sockets.roll.of(user).is_empty()).await;
    server.end().await;
}

#[tokio::test]
async fn a_stop_asks_everybody_to_come_back() {
    let mut server = serving().await;
    let mut sockets = [connected(&server, &json!([])).await, connected(&server, &json!([])).await];
    server.begin_to_stop();
    for socket in &mut sockets {
        let told = socket.hears_json().await;
        assert_eq!(told["op"], "reconnect");
        assert!(told["after_ms"].as_u64().unwrap() <= 10_000);
        assert_eq!(socket.ends().await, 1012);
    }
    drop(sockets);
    assert!(server.stopped().await, "every session was waited for");
    server.end().await;
}
