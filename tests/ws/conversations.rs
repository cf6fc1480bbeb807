//! Conversations as they are heard: who comes in hears them from there on, who is taken out hears no more.

use serde_json::{Value, json};

use super::Socket;
use super::front_door::{serving, shows, stock};
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::talks::at;

/// Hears events of a stock client until one of a name comes; gives its object.
async fn hears(socket: &mut Socket, name: &str) -> Value {
    loop {
        let told = socket.hears().await;
        let Some(text) = told.strip_prefix("42") else { continue };
        let event: Value = serde_json::from_str(text).unwrap();
        if event[0] == name {
            return event[1].clone();
        }
    }
}

pub async fn adds(owner: &Somebody, conversation: &str, who: &Somebody) {
    let heard = owner.sends("POST", &at(conversation, "/members"), &json!({ "user_ids": [who.id] })).await;
    assert_eq!(heard.status, 200, "{}", heard.json());
}

async fn removes(owner: &Somebody, conversation: &str, who: &Somebody) {
    let heard = owner.asks("DELETE", &at(conversation, &format!("/members/{}", who.id))).await;
    assert!(matches!(heard.status, 200 | 204), "{}", heard.status);
}

/// Eve listens on one node while she is taken into a conversation and out of it on another.
async fn comes_and_goes(here: &Server, there: &Server) {
    let (ada, eve) = (here.with_user("ada").await, here.with_user("eve").await);
    let group = ada.gathers("Boats", &[]).await;
    let direct = ada.talks_with(&eve).await;
    ada.says(&group, "before eve").await;
    let mut socket = stock(there, &eve).await;
    assert_eq!(hears(&mut socket, "resumed").await["stream"], json!(direct));
    adds(&ada, &group, &eve).await;
    ada.says(&group, "hello eve").await;
    let heard = hears(&mut socket, "new_message").await;
    assert_eq!((&heard["stream"], &heard["body"]["text"]), (&json!(group), &json!("hello eve")));
    removes(&ada, &group, &eve).await;
    assert_eq!(hears(&mut socket, "conversation.left").await["body"]["conversation_id"], json!(group));
    ada.says(&group, "without eve").await;
    ada.says(&direct, "just us").await;
    assert_eq!(hears(&mut socket, "new_message").await["body"]["text"], "just us");
    adds(&ada, &group, &eve).await;
    ada.says(&group, "again").await;
    assert_eq!(hears(&mut socket, "new_message").await["body"]["text"], "again");
}

#[tokio::test]
async fn who_comes_in_hears_from_there_on_and_who_is_taken_out_no_more() {
    let server = serving().await;
    comes_and_goes(&server, &server).await;
    server.end().await;
}

#[tokio::test]
async fn it_is_the_same_between_two_nodes() {
    let server = serving().await;
    if !server.app.storage.bus.is_shared() {
        return server.end().await;
    }
    let beside = server.beside(folio::http::routes()).await;
    comes_and_goes(&server, &beside).await;
    beside.end().await;
    server.end().await;
}

#[tokio::test]
async fn nobody_follows_what_they_are_not_part_of_nor_what_was_said_before_they_came() {
    let server = serving().await;
    let (ada, eve) = (server.with_user("ada").await, server.with_user("eve").await);
    let group = ada.gathers("Boats", &[]).await;
    ada.says(&group, "before eve").await;
    let from_the_start = json!([{ "stream": group, "epoch": 1, "seq": 0 }]);
    let (mut socket, _) = shows(&server, json!({ "token": eve.access }), from_the_start.clone()).await;
    let told = socket.hears_json().await;
    assert_eq!((&told["op"], &told["reason"]), (&json!("reset"), &json!("not_found")));
    adds(&ada, &group, &eve).await;
    ada.says(&group, "hello eve").await;
    let (mut socket, _) = shows(&server, json!({ "token": eve.access }), from_the_start).await;
    let mut said = Vec::new();
    loop {
        let told = socket.hears_json().await;
        match told["op"].as_str() {
            Some("resumed") => break,
            _ if told["kind"] == "message" => said.push(told["body"]["text"].clone()),
            _ => {}
        }
    }
    assert_eq!(said, ["hello eve"]);
    removes(&ada, &group, &eve).await;
    socket.says(json!({ "op": "follow", "id": 7, "stream": group }).to_string()).await;
    loop {
        let told = socket.hears_json().await;
        if told["id"] == 7 {
            assert_eq!(told["code"], "not_found", "{told}");
            break;
        }
    }
    server.end().await;
}
