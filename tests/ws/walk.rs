//! Every request of live connections, asked by everybody: each role, nobody, whoever was cut off, whoever does not belong.

use std::collections::BTreeSet;
use std::time::Duration;

use folio::actors::auth::Role;
use folio::ids::{ConversationId, UserId};
use folio::ws::calls;
use folio::ws::wire::Close;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::Socket;
use super::front_door::{serving, shows, signed_in};
use crate::support::http::Server;
use crate::support::people::Somebody;

/// A form for each request, about a conversation, a message in it and somebody: one that is missing here fails the test.
fn forms(conversation: &str, user: &str, token: &str) -> Vec<(&'static str, Value)> {
    let about = |more: Value| {
        let mut form = json!({ "conversation_id": conversation });
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        form
    };
    vec![
        ("token", json!({ "token": token })),
        ("presence.follow", about(json!({ "users": [user] }))),
        ("presence.unfollow", json!({ "users": [user] })),
        ("presence.set", json!({ "state": "online" })),
        ("list_conversations", Value::Null),
        ("begin_conversation", json!({ "user_id": user })),
        ("join_conversation", about(json!({}))),
        ("rename_conversation", about(json!({ "title": "Another" }))),
        ("set_conversation", about(json!({ "notify": "all", "muted_until": null }))),
        ("add_members", about(json!({ "user_ids": [user] }))),
        ("set_role", about(json!({ "user_id": user, "role": "owner" }))),
        ("remove_member", about(json!({ "user_id": user }))),
        ("list_messages", about(json!({}))),
        ("new_message", about(json!({ "text": "Here I am" }))),
        ("edit_message", about(json!({ "seq": SEQ, "text": "Otherwise" }))),
        ("add_reaction", about(json!({ "seq": SEQ, "emoji": "👍" }))),
        ("remove_reaction", about(json!({ "seq": SEQ, "emoji": "👍" }))),
        ("list_pins", about(json!({}))),
        ("pin_message", about(json!({ "seq": SEQ }))),
        ("unpin_message", about(json!({ "seq": SEQ }))),
        ("receipt", about(json!({ "read_seq": SEQ }))),
        ("typing", about(json!({}))),
        ("draft", about(json!({ "text": "I thought" }))),
        ("delete_message", about(json!({ "seq": SEQ }))),
    ]
}

/// Where the first message of a group lies that was just begun.
const SEQ: i64 = 1;

/// The answer, or the code of the refusal; or, where the server took its leave, the code of that.
async fn asked(socket: &mut Socket, name: &str, body: &Value) -> Result<Value, Value> {
    // Whoever was sent away may still say something: what counts is what is heard.
    let request = json!({ "op": "request", "id": 7, "name": name, "body": body });
    let _ = socket.0.send(Message::text(request.to_string())).await;
    loop {
        match socket.next().await {
            Some(Message::Text(text)) => {
                let mut frame: Value = serde_json::from_str(&text).unwrap();
                match (frame["op"].as_str(), frame["id"].as_u64()) {
                    (Some("reply"), Some(7)) => return Ok(frame["body"].take()),
                    (Some("error"), Some(7)) => return Err(frame),
                    _ => {}
                }
            }
            Some(Message::Close(frame)) => {
                return Err(json!({ "closed": frame.map(|it| u16::from(it.code)) }));
            }
            Some(_) => {}
            None => return Err(json!({ "closed": null })),
        }
    }
}

/// A group of somebody's with one message in it.
async fn group(owner: &Somebody, others: &[&Somebody]) -> String {
    let id = owner.gathers("A walk", others).await;
    assert_eq!(owner.says(&id, "Here we are").await, SEQ);
    id
}

#[test]
fn every_request_has_a_form_here() {
    let forms = forms("", "", "");
    let here: BTreeSet<&str> = forms.iter().map(|it| it.0).collect();
    assert_eq!(here, calls::names().collect::<BTreeSet<_>>());
    assert_eq!(here.len(), forms.len());
}

#[tokio::test]
async fn every_role_may_ask_for_what_is_its_own() {
    let server = serving().await;
    for role in Role::ALL {
        let owner = server.with_role(&format!("a-{}", role.name()), role).await;
        let (bob, other) = (
            server.with_user(&format!("bob-{}", role.name())).await,
            server.with_user(&format!("cy-{}", role.name())).await,
        );
        let conversation = group(&owner, &[&bob]).await;
        let mut socket = signed_in(&server, &owner).await;
        for (name, form) in forms(&conversation, &other.id, &owner.access) {
            let answer = asked(&mut socket, name, &form).await;
            assert!(answer.is_ok(), "{name} as {}: {answer:?}", role.name());
        }
    }
    server.end().await;
}

#[tokio::test]
async fn whoever_is_nobody_or_nobody_any_more_is_answered_nothing() {
    let server = Server::start_with(folio::http::routes(), |it| it.sockets.sessions_per_user_max = 100).await;
    let (eve, ada) = (server.with_role("eve", Role::Admin).await, server.with_user("ada").await);
    let conversation = group(&ada, &[&eve]).await;
    let forms = forms(&conversation, &eve.id, &ada.access);
    let (key, _) = eve.makes_a_key(&["users:read", "profiles:read"]).await;
    for token in [key.as_str(), &ada.refresh, "", "nonsense"] {
        let (mut socket, told) = shows(&server, json!({ "token": token }), json!([])).await;
        assert_eq!(told["op"], "error", "{told}");
        assert_eq!(socket.ends().await, Close::UNAUTHENTICATED);
    }
    for (name, form) in &forms {
        let mut socket = Socket::to(server.address, "/ws").await;
        let refused = asked(&mut socket, name, form).await;
        assert_eq!(refused.expect_err(name)["code"], "unauthenticated", "{name} from nobody");
    }
    for what in ["signed out", "banned", "expired"] {
        let somebody = server.with_user(what.replace(' ', "-").as_str()).await;
        let conversation = group(&somebody, &[&ada]).await;
        let mut sockets = Vec::new();
        for _ in &forms {
            sockets.push(signed_in(&server, &somebody).await);
        }
        match what {
            "signed out" => assert_eq!(somebody.asks("POST", "/api/v1/auth/logout").await.status, 204),
            "banned" => {
                let ban = format!("/api/v1/admin/users/{}/ban", somebody.id);
                assert_eq!(eve.sends("PUT", &ban, &json!({ "reason": "x" })).await.status, 204);
            }
            _ => server.clock.advance(Duration::from_secs(31 * 60)),
        }
        for ((name, form), socket) in self::forms(&conversation, &ada.id, &somebody.access).iter().zip(&mut sockets) {
            let refused = asked(socket, name, form).await.expect_err(name);
            let ended = refused["closed"] == Close::UNAUTHENTICATED || refused["code"] == "unauthenticated";
            assert!(ended, "{name} from somebody who is {what}: {refused}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_anothers_looks_as_if_it_were_not_there_and_stays_as_it_was() {
    let server = serving().await;
    let (ada, bob, cy) = (server.with_user("ada").await, server.with_user("bob").await, server.with_user("cy").await);
    let conversation = group(&ada, &[&cy]).await;
    let (nothing, nobody) = (ConversationId::new(&server.clock), UserId::new(&server.clock));
    let mut socket = signed_in(&server, &bob).await;
    let before = (ada.talk(&conversation).await, ada.reads(&conversation, "").await);
    let theirs = forms(&conversation, &cy.id, &ada.access);
    let missing = forms(&nothing.to_string(), &cy.id, &nobody.to_string());
    for ((name, form), (_, absent)) in theirs.iter().zip(&missing).filter(|it| it.0.1.get("conversation_id").is_some())
    {
        let (refused, absent) = (asked(&mut socket, name, form).await, asked(&mut socket, name, absent).await);
        assert_eq!(refused, absent, "{name}");
        assert_eq!(refused.expect_err(name)["code"], "not_found", "{name}");
    }
    let with_anothers_token = asked(&mut socket, "token", &json!({ "token": ada.access })).await;
    assert_eq!(with_anothers_token.expect_err("it is ada's")["code"], "forbidden");
    assert_eq!((ada.talk(&conversation).await, ada.reads(&conversation, "").await), before);
    server.end().await;
}
