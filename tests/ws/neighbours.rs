//! Those one talks with: who of them is here is told unasked, and what they read while one was away.

use std::time::Duration;

use folio::ids::{StreamId, UserId};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Socket;
use super::chat::{events, next, tab};
use super::conversations::adds;
use super::front_door::{shows, signed_in, source, stock};
use super::house::tell;
use super::presence::{look, seen, serving};
use super::sse::reads;
use super::talks::named;
use crate::support::eventually;
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::streams::happens;

/// Who came or left, as a stock client hears it; looks go by the clock of the server.
async fn online(server: &Server, socket: &mut Socket) -> (Value, Value) {
    loop {
        server.clock.advance(Duration::from_millis(500));
        if let Ok(told) = timeout(Duration::from_millis(50), named(socket, "user_online")).await {
            return (told["user_id"].clone(), told["online"].clone());
        }
    }
}

async fn is_here(server: &Server, viewer: &Somebody, other: &Somebody) {
    eventually("somebody is here", async || {
        look(server);
        seen(viewer, other).await["online"] == true
    })
    .await;
}

#[tokio::test]
async fn a_stock_client_hears_unasked_who_is_here_of_those_it_talks_with() {
    let server = serving().await;
    let [ada, bob] = [server.with_user("ada").await, server.with_user("bob").await];
    let [carol, eve] = [server.with_user("carol").await, server.with_user("eve").await];
    ada.talks_with(&bob).await;
    let mut bobs = signed_in(&server, &bob).await;
    is_here(&server, &ada, &bob).await;
    let mut adas = stock(&server, &ada).await;
    assert_eq!(online(&server, &mut adas).await, (json!(bob.id), json!(true)), "who was here before");
    let (_carols, _eves) = (signed_in(&server, &carol).await, signed_in(&server, &eve).await);
    is_here(&server, &ada, &carol).await;
    is_here(&server, &ada, &eve).await;
    bobs.0.close(None).await.unwrap();
    loop {
        let (who, online) = online(&server, &mut adas).await;
        assert_eq!(who, json!(bob.id), "of strangers nothing");
        // That he is here may be on its way twice.
        if online == false {
            break;
        }
    }
    eve.talks_with(&ada).await;
    assert_eq!(online(&server, &mut adas).await, (json!(eve.id), json!(true)), "who begins to talk is none any more");
    let mut source = source(&server, &ada.again().await.bearer()).await;
    let mut told = reads(&mut source, "event: presence\n").await;
    let whole = told.split_once("event: presence\n").is_some_and(|it| it.1.contains("\n\n"));
    told += &if whole { String::new() } else { reads(&mut source, "\n\n").await };
    assert!(told.contains(&eve.id) && told.contains(&bob.id) && !told.contains(&carol.id), "{told}");
    server.end().await;
}

#[tokio::test]
async fn who_comes_into_a_group_and_those_who_are_in_it_hear_at_once_that_the_others_are_here() {
    let server = serving().await;
    let [ada, bob, eve] = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    let group = ada.gathers("Boats", &[&bob]).await;
    let (mut adas, mut eves) = (stock(&server, &ada).await, stock(&server, &eve).await);
    is_here(&server, &eve, &ada).await;
    is_here(&server, &ada, &eve).await;
    adds(&ada, &group, &eve).await;
    let hear = async { (online(&server, &mut eves).await, online(&server, &mut adas).await) };
    let (told_eve, told_ada) = timeout(Duration::from_secs(20), hear).await.expect("somebody is not told");
    assert_eq!(told_eve, (json!(ada.id), json!(true)), "she finds who is here");
    assert_eq!(told_ada, (json!(eve.id), json!(true)), "and who is here finds her");
    let _bobs = signed_in(&server, &bob).await;
    let told = timeout(Duration::from_secs(20), online(&server, &mut eves)).await.expect("nothing is told of bob");
    assert_eq!(told, (json!(bob.id), json!(true)), "from then on she hears of everybody");
    server.end().await;
}

#[tokio::test]
async fn what_others_have_read_meanwhile_is_told_to_whoever_comes_back() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let id = ada.talks_with(&bob).await;
    let said = ada.says(&id, "hello").await;
    let mut adas = tab(&server, &ada, &[(&ada.id, 1), (&id, 0)]).await;
    events(&mut adas, &id, 0, said).await;
    drop(adas);
    bob.has_read(&id, said).await;
    let mut adas = tab(&server, &ada, &[(&ada.id, 1), (&id, said)]).await;
    let told = next(&mut adas, "volatile").await;
    let body = json!({ "conversation_id": id, "user_id": bob.id, "delivered_seq": said, "read_seq": said });
    assert_eq!(told, json!({ "op": "volatile", "topic": ada.id, "kind": "receipt", "body": body }));

    let mut stocks = stock(&server, &ada).await;
    assert_eq!(named(&mut stocks, "resumed").await["stream"], json!(id));
    let said = ada.says(&id, "and again").await;
    let offset = loop {
        let text = stocks.hears().await;
        if let Some(event) = text.strip_prefix(r#"42["new_message","#) {
            let event: Vec<Value> = serde_json::from_str(&format!("[{event}")).unwrap();
            break event[1].clone();
        }
    };
    drop(stocks);
    let mut wishes = bob.gets("/api/v1/me/preferences").await.json();
    wishes["read_receipts"] = false.into();
    assert_eq!(bob.sends("PUT", "/api/v1/me/preferences", &wishes).await.status, 200);
    bob.has_read(&id, said).await;
    let mut stocks = Socket::to(server.address, "/socket.io/?EIO=4&transport=websocket").await;
    stocks.says(format!("40{}", json!({ "token": ada.access, "offset": offset }))).await;
    let told = named(&mut stocks, "receipt").await;
    let body = json!({ "conversation_id": id, "user_id": bob.id, "delivered_seq": said });
    assert_eq!(told["body"], body, "what he has read is his own from now on");
    server.end().await;
}

#[tokio::test]
async fn who_came_and_went_before_they_could_hear_it_hears_nothing_that_is_said() {
    let server = serving().await;
    let (ada, eve) = (server.with_user("ada").await, server.with_user("eve").await);
    let (group, direct) = (ada.gathers("Boats", &[]).await, ada.talks_with(&eve).await);
    let mut socket = stock(&server, &eve).await;
    assert_eq!(named(&mut socket, "resumed").await["stream"], json!(direct));
    let own: StreamId = eve.id.parse::<UserId>().unwrap().stream();
    let joined = json!({ "conversation_id": group, "epoch": 1, "joined_seq": 0 });
    tell(&server.app, happens(own, "conversation.joined"), &joined).await.unwrap();
    assert_eq!(named(&mut socket, "conversation.joined").await["body"], joined);
    ada.says(&group, "without eve").await;
    ada.says(&direct, "just us").await;
    assert_eq!(named(&mut socket, "new_message").await["body"]["text"], "just us");
    server.end().await;
}

#[tokio::test]
async fn a_client_says_what_it_is_or_it_is_guessed() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    for (device, kind) in [(json!("desktop"), "desktop"), (json!("toaster"), "other"), (json!({"is": 1}), "other")] {
        let (socket, told) = shows(&server, json!({"token": bob.access, "device": device}), json!([])).await;
        assert_eq!(told["op"], "connected", "{told}");
        let mut stocks = Socket::to(server.address, "/socket.io/?EIO=4&transport=websocket").await;
        stocks.says(format!("40{}", json!({"token": bob.access, "device": device}))).await;
        named(&mut stocks, "resumed").await;
        eventually("he is here with both", async || {
            look(&server);
            seen(&ada, &bob).await["devices"] == json!([kind])
        })
        .await;
        drop((socket, stocks));
        eventually("he has left", async || {
            look(&server);
            seen(&ada, &bob).await["online"] == false
        })
        .await;
    }
    server.end().await;
}

#[tokio::test]
async fn who_hears_as_many_conversations_as_may_be_is_told_of_one_more() {
    let server = Server::start_with(folio::http::routes(), |it| it.sockets.topics_max = 2).await;
    let [ada, bob, eve] = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    ada.talks_with(&bob).await;
    let mut socket = stock(&server, &ada).await;
    let one_more = eve.talks_with(&ada).await;
    let told = named(&mut socket, "reset").await;
    assert_eq!(told, json!({ "stream": one_more, "reason": "too_many_streams" }));
    server.end().await;
}
