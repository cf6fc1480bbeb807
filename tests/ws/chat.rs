//! People talk over live connections: two tabs, two nodes, tunnels, and clients of both kinds.

use std::time::Duration;

use serde_json::{Value, json};

use super::Socket;
use crate::support::http::Server;
use crate::support::people::Somebody;

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

/// A tab of somebody that hears streams, each from a place.
pub async fn tab(server: &Server, somebody: &Somebody, streams: &[(&str, i64)]) -> Socket {
    let mut socket = Socket::to(server.address, "/ws").await;
    let places: Vec<Value> = streams.iter().map(|it| json!({ "stream": it.0, "epoch": 1, "seq": it.1 })).collect();
    let connect = json!({ "op": "connect", "id": 1, "token": somebody.access, "streams": places });
    socket.says(connect.to_string()).await;
    assert_eq!(socket.hears_json().await["op"], "connected");
    socket
}

/// What one hears next of a kind of frame, past all others.
pub async fn next(socket: &mut Socket, op: &str) -> Value {
    loop {
        let frame = socket.hears_json().await;
        if frame["op"] == op {
            return frame;
        }
        assert!(!matches!(frame["op"].as_str(), Some("error" | "reset")), "{frame}");
    }
}

/// The events of one stream from behind a place to another: each once and in order.
pub async fn events(socket: &mut Socket, stream: &str, after: i64, up_to: i64) -> Vec<Value> {
    let mut heard = Vec::new();
    while heard.len() < usize::try_from(up_to - after).unwrap() {
        let event = next(socket, "event").await;
        if event["stream"] == stream {
            assert_eq!(event["seq"], after + 1 + heard.len() as i64, "{event}");
            heard.push(event);
        }
    }
    heard
}

pub async fn asks(socket: &mut Socket, name: &str, body: Value) -> Value {
    socket.says(json!({ "op": "request", "id": 7, "name": name, "body": body }).to_string()).await;
    loop {
        let frame = socket.hears_json().await;
        match frame["op"].as_str() {
            Some("reply") => return frame["body"].clone(),
            Some("error") => return frame,
            _ => {}
        }
    }
}

/// Nothing more comes than what was asked for last.
pub async fn is_silent(socket: &mut Socket) {
    socket.says(r#"{"op":"ping"}"#).await;
    assert_eq!(socket.hears_json().await["op"], "pong");
}

#[tokio::test]
async fn two_tabs_hear_the_same_and_know_what_the_other_has_read() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let id = ada.talks_with(&bob).await;
    let own = [(ada.id.as_str(), 1), (id.as_str(), 0)];
    let (mut one, mut other) = (tab(&server, &ada, &own).await, tab(&server, &ada, &own).await);
    let mut bobs = tab(&server, &bob, &[(&bob.id, 1), (&id, 0)]).await;
    let said =
        asks(&mut bobs, "new_message", json!({ "conversation_id": id, "text": "hello", "client_id": "c-000001" }));
    let said = said.await;
    assert_eq!((&said["seq"], &said["text"]), (&1.into(), &"hello".into()), "{said}");
    for socket in [&mut one, &mut other] {
        let heard = &events(socket, &id, 0, 1).await[0];
        assert_eq!((&heard["id"], &heard["body"]["text"]), (&said["id"], &"hello".into()));
    }
    let again =
        asks(&mut bobs, "new_message", json!({ "conversation_id": id, "text": "hello", "client_id": "c-000001" }));
    assert_eq!(again.await["id"], said["id"], "said again, it is the same");
    let read = asks(&mut one, "receipt", json!({ "conversation_id": id, "read_seq": 1 })).await;
    assert_eq!(read, json!({ "delivered_seq": 1, "read_seq": 1 }));
    let told = &events(&mut other, &ada.id, 1, 2).await[0];
    assert_eq!((&told["kind"], &told["body"]["unread"]), (&"conversation.read".into(), &0.into()));
    let seen = next(&mut bobs, "volatile").await;
    assert_eq!((&seen["kind"], &seen["body"]["read_seq"]), (&"receipt".into(), &1.into()), "{seen}");
    server.end().await;
}

#[tokio::test]
async fn whoever_was_away_hears_each_message_once_however_often_the_line_was_cut() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let id = ada.talks_with(&bob).await;
    let mut heard = 0;
    for turn in 0..4 {
        let mut socket = tab(&server, &bob, &[(&id, heard)]).await;
        ada.says(&id, &format!("live {turn}")).await;
        let end = ada.says(&id, &format!("and more {turn}")).await;
        events(&mut socket, &id, heard, end).await;
        heard = end;
        if turn == 1 {
            // Cut with nothing in between, and once more while the former socket is still open.
            drop(tab(&server, &bob, &[(&id, heard)]).await);
            let mut second = tab(&server, &bob, &[(&id, heard)]).await;
            let end = ada.says(&id, "to both").await;
            events(&mut second, &id, heard, end).await;
            events(&mut socket, &id, heard, end).await;
            heard = end;
        }
        drop(socket);
        ada.says(&id, &format!("away {turn}")).await;
    }
    let all = bob.reads(&id, "?after=0&size=100").await;
    assert_eq!(all.len() as i64, heard + 1);
    server.end().await;
}

#[tokio::test]
async fn typing_is_told_once_a_second_and_kept_nowhere() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let id = ada.talks_with(&bob).await;
    let (mut adas, mut bobs) = (tab(&server, &ada, &[(&id, 0)]).await, tab(&server, &bob, &[(&id, 0)]).await);
    for socket in [&mut adas, &mut bobs] {
        next(socket, "resumed").await;
    }
    for body in [json!({ "conversation_id": id }), json!(id), json!(id)] {
        assert_eq!(asks(&mut bobs, "typing", body).await, json!({}));
    }
    let told = next(&mut adas, "volatile").await;
    assert_eq!((&told["kind"], &told["topic"]), (&"typing".into(), &id.as_str().into()));
    assert_eq!((&told["body"]["user_ids"], &told["body"]["expires_ms"]), (&json!([bob.id]), &5_000.into()));
    bob.says(&id, "hello").await;
    assert_eq!(adas.hears_json().await["op"], "event", "what was said within the second was not told again");
    server.clock.advance(Duration::from_secs(1));
    asks(&mut adas, "typing", json!(id)).await;
    asks(&mut bobs, "typing", json!(id)).await;
    let both = loop {
        let told = next(&mut adas, "volatile").await;
        if told["body"]["user_id"] == bob.id.as_str() {
            break told["body"]["user_ids"].clone();
        }
    };
    assert_eq!(both.as_array().unwrap().len(), 2, "whoever hears the last word knows everybody who types");
    let kept = bob.talk(&id).await["head"].clone();
    assert_eq!(kept, 1, "no entry tells of it");
    server.end().await;
}

#[tokio::test]
async fn every_operation_is_a_request_too() {
    let server = serving().await;
    let [ada, bob, eve] = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    let mut socket = tab(&server, &ada, &[]).await;
    let begun = asks(&mut socket, "begin_conversation", json!({ "title": "Boats", "user_ids": [bob.id] })).await;
    let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    let with = |more: Value| {
        let mut body = json!({ "conversation_id": id });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let said = asks(&mut socket, "new_message", with(json!({ "text": "hello" }))).await;
    let at_seq = |more: Value| {
        let mut body = with(more);
        body["seq"] = said["seq"].clone();
        body
    };
    let done = json!({});
    assert_eq!(asks(&mut socket, "edit_message", at_seq(json!({ "text": "Hello" }))).await["text"], "Hello");
    for (name, body) in [
        ("add_reaction", at_seq(json!({ "emoji": "ok" }))),
        ("remove_reaction", at_seq(json!({ "emoji": "ok" }))),
        ("pin_message", at_seq(json!({}))),
        ("add_members", with(json!({ "user_ids": [eve.id] }))),
        ("set_role", with(json!({ "user_id": eve.id, "role": "owner" }))),
        ("rename_conversation", with(json!({ "title": "Ships" }))),
        ("set_conversation", with(json!({ "notify": "nothing" }))),
        ("draft", with(json!({ "text": "a thought" }))),
        ("typing", json!(id)),
    ] {
        assert_eq!(asks(&mut socket, name, body).await, done, "{name}");
    }
    let joined = asks(&mut socket, "join_conversation", json!(id)).await;
    assert_eq!(
        (&joined["title"], &joined["notify"], &joined["member_count"]),
        (&"Ships".into(), &"nothing".into(), &3.into())
    );
    assert_eq!(asks(&mut socket, "list_pins", json!({ "conversation_id": id })).await[0]["text"], "Hello");
    assert_eq!(asks(&mut socket, "list_messages", with(json!({ "size": 10 }))).await["items"][0]["text"], "Hello");
    assert_eq!(asks(&mut socket, "list_conversations", Value::Null).await["items"][0]["draft"], "a thought");
    assert_eq!(asks(&mut socket, "unpin_message", at_seq(json!({}))).await, done);
    assert_eq!(asks(&mut socket, "delete_message", at_seq(json!({}))).await, done);
    assert_eq!(asks(&mut socket, "remove_member", with(json!({ "user_id": eve.id }))).await, done);
    for (name, body, code) in [
        ("new_message", json!({ "text": "hello" }), "invalid"),
        ("new_message", with(json!({ "text": 7 })), "invalid"),
        ("new_message", with(json!({ "text": "hello", "colour": "red" })), "invalid"),
        ("new_message", json!({ "conversation_id": "x", "text": "hello" }), "invalid"),
        ("delete_message", at_seq(json!({})), "not_found"),
        ("typing", json!("0199c1de-7c1a-7a30-8a60-0123456789ab"), "not_found"),
        ("list_messages", with(json!({ "size": 1_000 })), "invalid"),
        ("list_conversations", json!({ "size": 0 }), "invalid"),
    ] {
        let refused = asks(&mut socket, name, body).await;
        assert_eq!(refused["code"], code, "{name}: {refused}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_stock_client_says_new_message_and_hears_message_sent() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let id = ada.talks_with(&bob).await;
    let mut socket = Socket::to(server.address, "/socket.io/?EIO=4&transport=websocket").await;
    assert!(socket.hears().await.starts_with('0'));
    socket.says(format!("40{}", json!({ "token": ada.access }))).await;
    let said = format!("421{}", json!(["new_message", { "conversation_id": id, "content": "hello" }]));
    let (mut sent, mut acked, mut heard) = (None, None, None);
    let mut asked = false;
    while sent.is_none() || acked.is_none() || heard.is_none() {
        let text = socket.hears().await;
        // What is said before it follows the conversation lies before the end from which on it hears.
        if text.starts_with(&format!(r#"42["resumed",{{"stream":"{id}""#)) {
            socket.says(said.clone()).await;
            asked = true;
        } else if let Some(rest) = text.strip_prefix("431") {
            acked = Some(serde_json::from_str::<Value>(rest).unwrap()[0].clone());
        } else if let Some(rest) = text.strip_prefix("42") {
            let event: Value = serde_json::from_str(rest).unwrap();
            match event[0].as_str() {
                Some("message_sent") => sent = Some(event[1].clone()),
                Some("new_message") => heard = Some(event[1].clone()),
                _ => {}
            }
        }
    }
    let (sent, acked, heard) = (sent.unwrap(), acked.unwrap(), heard.unwrap());
    assert!(asked && sent["text"] == "hello" && sent["seq"] == 1, "{sent}");
    assert_eq!((&sent["id"], &heard["id"]), (&acked["id"], &acked["id"]), "{acked} {heard}");
    server.end().await;
}
