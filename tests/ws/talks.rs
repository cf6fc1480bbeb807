//! People who talk over HTTP and are heard live: who joins, who leaves, who comes back.

use serde_json::{Value, json};

use super::Socket;
use super::front_door::{signed_in, source, stock};
use super::presence::asks;
use super::sse::reads;
use crate::support::http::Server;
use crate::support::people::Somebody;

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

impl Somebody {
    /// Begins a group with others, and gives its id.
    pub async fn begins(&self, others: &[&Somebody]) -> String {
        let ids: Vec<&str> = others.iter().map(|it| &*it.id).collect();
        let heard = self.sends("POST", "/api/v1/chat/conversations", &json!({"title": "walks", "user_ids": ids})).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
        heard.json()["id"].as_str().unwrap().to_owned()
    }

    async fn tells(&self, conversation: &str, text: &str) {
        let path = format!("/api/v1/chat/conversations/{conversation}/messages");
        let heard = self.sends("POST", &path, &json!({"text": text})).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
    }
}

/// The next entry of a stream, or what is said of it.
async fn of(socket: &mut Socket, stream: &str) -> Value {
    loop {
        let told = socket.hears_json().await;
        if told["stream"] == stream {
            return told;
        }
    }
}

/// The next event of a name that a stock client hears.
pub async fn named(socket: &mut Socket, name: &str) -> Value {
    loop {
        let text = socket.hears().await;
        if let Ok(Value::Array(event)) = serde_json::from_str(text.trim_start_matches(char::is_numeric))
            && event[0] == name
        {
            return event[1].clone();
        }
    }
}

#[tokio::test]
async fn who_is_taken_out_hears_so_and_nothing_that_comes_behind() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let walks = ada.begins(&[&bob]).await;
    let mut socket = signed_in(&server, &bob).await;
    socket.says(json!({"op": "follow", "id": 2, "stream": walks, "epoch": 1, "seq": 0}).to_string()).await;
    while of(&mut socket, &walks).await["op"] != "resumed" {}
    ada.tells(&walks, "one").await;
    assert_eq!(of(&mut socket, &walks).await["body"]["text"], "one");
    let out = ada.asks("DELETE", &format!("/api/v1/chat/conversations/{walks}/members/{}", bob.id)).await;
    assert_eq!(out.status, 204);
    ada.tells(&walks, "two").await;
    let told = of(&mut socket, &walks).await;
    assert_eq!((&told["kind"], &told["body"]["user_id"]), (&json!("member.removed"), &json!(bob.id)));
    let told = of(&mut socket, &walks).await;
    assert_eq!((&told["op"], &told["reason"]), (&json!("reset"), &json!("not_found")));
    ada.tells(&walks, "three").await;
    socket.says(json!({"op": "follow", "id": 3, "stream": walks, "epoch": 1, "seq": 1}).to_string()).await;
    let told = socket.hears_json().await;
    assert_eq!((&told["id"], &told["code"]), (&json!(3), &json!("not_found")), "nothing was heard in between");
    let streams = json!([{"stream": walks, "epoch": 1, "seq": 0}]);
    let (mut back, _) = super::front_door::shows(&server, json!({"token": bob.access}), streams).await;
    assert_eq!(of(&mut back, &walks).await["reason"], "not_found");
    let back_in = json!({"user_ids": [bob.id]});
    ada.sends("POST", &format!("/api/v1/chat/conversations/{walks}/members"), &back_in).await;
    ada.tells(&walks, "four").await;
    back.says(json!({"op": "follow", "id": 3, "stream": walks, "epoch": 1, "seq": 0}).to_string()).await;
    let told = of(&mut back, &walks).await;
    assert_eq!(told["kind"], "member.added", "from where he came in again: {told}");
    assert_eq!(of(&mut back, &walks).await["body"]["text"], "four");
    server.end().await;
}

#[tokio::test]
async fn a_stock_client_and_an_event_source_hear_a_new_conversation_unasked() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let (mut socket, mut events) = (stock(&server, &bob).await, source(&server, &bob.bearer()).await);
    reads(&mut events, "event: resumed\n").await;
    let walks = ada.begins(&[&bob]).await;
    ada.tells(&walks, "one").await;
    assert_eq!(named(&mut socket, "conversation.joined").await["body"]["conversation_id"], json!(walks));
    assert_eq!(named(&mut socket, "new_message").await["body"]["text"], "one");
    let heard = reads(&mut events, "\"one\"").await;
    let id = heard.lines().filter_map(|it| it.strip_prefix("id: ")).next_back().expect("an id").to_owned();
    drop(events);
    let other = ada.begins(&[&bob]).await;
    ada.tells(&other, "two").await;
    ada.tells(&walks, "three").await;
    let mut events = source(&server, &format!("{}Last-Event-ID: {id}\r\n", bob.bearer())).await;
    let heard = reads(&mut events, "\"three\"").await;
    let heard = if heard.contains("\"two\"") { heard } else { heard + &reads(&mut events, "\"two\"").await };
    assert!(heard.contains("\"two\"") && heard.contains("conversation.joined"), "what lies in other streams: {heard}");
    server.end().await;
}

#[tokio::test]
async fn the_members_of_a_conversation_are_followed_by_its_name() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let (carol, walks) = (server.with_user("carol").await, ada.begins(&[&bob]).await);
    let mut socket = signed_in(&server, &ada).await;
    let body = json!({"conversation_id": walks});
    socket.says(json!({"op": "request", "id": 9, "name": "presence.follow", "body": body}).to_string()).await;
    let told = socket.hears_json().await;
    assert_eq!((&told["op"], told["state"].as_array().map(Vec::len)), (&json!("presence"), Some(1)));
    assert_eq!(told["state"][0]["user_id"], json!(bob.id));
    let mut stranger = signed_in(&server, &carol).await;
    let refused = asks(&mut stranger, "presence.follow", json!({"conversation_id": walks})).await;
    assert_eq!(refused["code"], "not_found");
    server.end().await;
}
