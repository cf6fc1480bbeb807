//! Who is here: on several devices and nodes, through tunnels, hidden and blocked.

use std::time::Duration;

use folio::config::{BusConfig, Secret};
use folio::http::routes;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Socket;
use super::front_door::{signed_in, stock};
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::{eventually, server_url, unique};

/// Nobody is asked whether they are there: these clients do not answer.
pub async fn serving() -> Server {
    Server::start_with(routes(), |it| it.sockets.ping_every = Duration::from_secs(3_600)).await
}

/// Enough time for a look, however calm it has to be before the next change is told.
pub fn look(server: &Server) {
    server.clock.advance(Duration::from_secs(3));
}

/// Asks for something; fails unless it is done.
pub async fn asks(socket: &mut Socket, name: &str, body: Value) -> Value {
    socket.says(json!({"op": "request", "id": 9, "name": name, "body": body}).to_string()).await;
    loop {
        let told = socket.hears_json().await;
        if told["id"] == 9 {
            return told;
        }
    }
}

/// A client of somebody that follows others, and how they are now.
async fn follows(server: &Server, who: &Somebody, others: &[&Somebody]) -> (Socket, Vec<Value>) {
    let mut socket = signed_in(server, who).await;
    let users: Vec<&str> = others.iter().map(|it| &*it.id).collect();
    let body = json!({"users": users});
    socket.says(json!({"op": "request", "id": 9, "name": "presence.follow", "body": body}).to_string()).await;
    let told = presence(&mut socket).await;
    assert_eq!(socket.hears_json().await, json!({"op": "reply", "id": 9, "body": {}}));
    (socket, told["state"].as_array().unwrap().clone())
}

/// The next frame about presence.
async fn presence(socket: &mut Socket) -> Value {
    loop {
        let told = socket.hears_json().await;
        if told["op"] == "presence" {
            return told;
        }
    }
}

/// The next step: the list that it is in, and who.
async fn step(server: &Server, socket: &mut Socket) -> (String, Value) {
    let told = loop {
        server.clock.advance(Duration::from_millis(500));
        if let Ok(told) = timeout(Duration::from_millis(50), presence(socket)).await {
            break told;
        }
    };
    let mut steps = ["joins", "leaves", "updates"].into_iter().flat_map(|list| {
        told[list].as_array().unwrap().iter().map(move |it| (list.to_owned(), it.clone())).collect::<Vec<_>>()
    });
    let step = steps.next().expect("one of three");
    assert!(steps.next().is_none(), "{told}");
    step
}

pub async fn seen(viewer: &Somebody, other: &Somebody) -> Value {
    let heard = viewer.gets(&format!("/api/v1/presence/{}", other.id)).await;
    assert_eq!(heard.status, 200, "{}", heard.json());
    heard.json()
}

#[tokio::test]
async fn whoever_follows_hears_joins_updates_and_leaves_of_people_not_of_devices() {
    let server = serving().await;
    let (ada, bob, carol) =
        (server.with_user("ada").await, server.with_user("bob").await, server.with_user("carol").await);
    let (mut socket, state) = follows(&server, &ada, &[&bob, &carol]).await;
    let nobody = |it: &Somebody| json!({"user_id": it.id, "online": false, "status": "offline", "devices": [], "last_seen": null});
    assert_eq!(state, [nobody(&bob), nobody(&carol)]);
    let mut first = signed_in(&server, &bob).await;
    let (list, told) = step(&server, &mut socket).await;
    assert_eq!((&*list, &told["user_id"], &told["status"]), ("joins", &json!(bob.id), &json!("online")));
    assert_eq!((&told["devices"], &told["last_seen"]), (&json!(["other"]), &json!(null)));
    assert_eq!(seen(&ada, &bob).await, told, "REST says the same");
    assert_eq!(asks(&mut first, "presence.set", json!({"state": "away"})).await["op"], "reply");
    let (list, told) = step(&server, &mut socket).await;
    assert_eq!((&*list, &told["status"]), ("updates", &json!("away")));
    let mut second = signed_in(&server, &bob.again().await).await;
    let (list, told) = step(&server, &mut socket).await;
    assert_eq!((&*list, &told["status"]), ("updates", &json!("online")), "on the other device");
    first.0.close(None).await.unwrap();
    second.0.close(None).await.unwrap();
    let (list, told) = step(&server, &mut socket).await;
    assert_eq!((&*list, &told["online"]), ("leaves", &json!(false)));
    assert!(told["last_seen"].is_string(), "{told}");
    // It is stored behind what is told.
    eventually("REST says the same", async || seen(&ada, &bob).await["last_seen"] == told["last_seen"]).await;
    let both = ada.gets(&format!("/api/v1/presence?users={},{}", ada.id, bob.id)).await.json();
    assert_eq!((&both["people"][0]["online"], &both["people"][1]["online"]), (&json!(true), &json!(false)));
    asks(&mut socket, "presence.unfollow", json!({"users": [bob.id]})).await;
    let _third = signed_in(&server, &bob).await;
    let _carol = signed_in(&server, &carol).await;
    assert_eq!(step(&server, &mut socket).await.1["user_id"], json!(carol.id), "of bob nothing more");
    server.end().await;
}

#[tokio::test]
async fn a_tunnel_is_no_leave_and_an_update_never_two_steps() {
    let server = serving().await;
    let (ada, bob, carol) =
        (server.with_user("ada").await, server.with_user("bob").await, server.with_user("carol").await);
    let (mut socket, _) = follows(&server, &ada, &[&bob, &carol]).await;
    let tunnel = signed_in(&server, &bob).await;
    assert_eq!(step(&server, &mut socket).await.0, "joins");
    drop(tunnel);
    eventually("the connection is gone", async || server.app.sockets.roll.of(bob.id.parse().unwrap()).is_empty()).await;
    look(&server);
    let back = signed_in(&server, &bob).await;
    for _ in 0..5 {
        look(&server);
    }
    let carols = signed_in(&server, &carol).await;
    assert_eq!(step(&server, &mut socket).await.1["user_id"], json!(carol.id), "of bob nothing was heard");
    drop((back, carols));
    eventually("both are gone", async || server.app.sockets.roll.count() == 1).await;
    let mut left = [step(&server, &mut socket).await, step(&server, &mut socket).await];
    left.sort_by_key(|it| it.1["user_id"] == json!(carol.id));
    assert_eq!(left.map(|it| it.0), ["leaves", "leaves"], "nobody came back");
    server.end().await;
}

#[tokio::test]
async fn who_hides_has_left_and_who_is_blocked_was_never_here() {
    let server = serving().await;
    let (ada, bob, eve) = (server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await);
    let mut bobs = signed_in(&server, &bob).await;
    let (mut adas, _) = follows(&server, &ada, &[&bob]).await;
    assert_eq!(step(&server, &mut adas).await.0, "joins");
    assert_eq!(asks(&mut bobs, "presence.set", json!({"state": "invisible"})).await["op"], "reply");
    assert_eq!(step(&server, &mut adas).await.0, "leaves");
    assert_eq!(bob.gets("/api/v1/me/preferences").await.json()["presence_visible"], json!(false), "it stays");
    assert_eq!(seen(&ada, &bob).await["online"], json!(false));
    asks(&mut bobs, "presence.set", json!({"state": "online"})).await;
    assert_eq!(step(&server, &mut adas).await.0, "joins");
    let mut set = bob.gets("/api/v1/me/preferences").await.json();
    set["presence_visible"] = json!(false);
    assert_eq!(bob.sends("PUT", "/api/v1/me/preferences", &set).await.status, 200);
    assert_eq!(step(&server, &mut adas).await.0, "leaves", "by REST as well");
    asks(&mut bobs, "presence.set", json!({"state": "online"})).await;
    assert_eq!(step(&server, &mut adas).await.0, "joins");
    assert_eq!(bob.asks("PUT", &format!("/api/v1/me/blocks/{}", ada.id)).await.status, 204);
    let gone = presence(&mut adas).await;
    assert_eq!((&gone["leaves"][0]["user_id"], &gone["leaves"][0]["last_seen"]), (&json!(bob.id), &json!(null)));
    assert_eq!(seen(&ada, &bob).await["online"], json!(false), "for her he is not here");
    assert_eq!(seen(&bob, &ada).await["online"], json!(false), "nor she for him");
    assert_eq!(seen(&eve, &bob).await["online"], json!(true), "for others he is");
    let (_, state) = follows(&server, &ada, &[&bob]).await;
    assert_eq!(state[0]["online"], json!(false));
    server.end().await;
}

#[tokio::test]
async fn nodes_tell_each_other_who_is_here_and_a_lost_one_has_nobody() {
    let prefix = unique("presence") + ":";
    let bus = BusConfig::Redis { url: Secret::new(server_url("TEST_REDIS_URL")), prefix };
    let server = Server::start_with(routes(), |it| {
        (it.bus, it.sockets.ping_every) = (bus, Duration::from_secs(3_600));
    })
    .await;
    let (ada, bob, carol) =
        (server.with_user("ada").await, server.with_user("bob").await, server.with_user("carol").await);
    let _bobs = signed_in(&server, &bob).await;
    look(&server);
    let mut beside = server.beside(routes()).await;
    let there = Somebody { address: beside.address, ..ada.clone() };
    eventually("the one that starts asks", async || {
        seen(&there, &bob).await["online"] == true || {
            look(&beside);
            false
        }
    })
    .await;
    let (mut socket, _) = follows(&server, &ada, &[&carol]).await;
    let carols = signed_in(&beside, &carol).await;
    let mut joined = false;
    eventually("she is heard of on the other node", async || {
        look(&beside);
        look(&server);
        joined = joined || seen(&ada, &carol).await["online"] == true;
        joined
    })
    .await;
    assert_eq!(presence(&mut socket).await["joins"][0]["user_id"], json!(carol.id));
    beside.begin_to_stop();
    drop(carols);
    assert!(beside.stopped().await);
    assert_eq!(seen(&ada, &carol).await["online"], json!(true), "she may be on her way to another node");
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(presence(&mut socket).await["leaves"][0]["user_id"], json!(carol.id));
    beside.end().await;
    server.end().await;
}

#[tokio::test]
async fn a_stock_client_hears_who_is_online_by_the_name_it_knows() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let mut socket = stock(&server, &ada).await;
    socket.says(format!(r#"425["presence.follow",{}]"#, json!({"users": [bob.id]}))).await;
    assert!(socket.hears().await.starts_with(r#"42["presence",{"state":[{"#));
    assert_eq!(socket.hears().await, "435[{}]");
    let _bobs = signed_in(&server, &bob).await;
    look(&server);
    let told: Value = serde_json::from_str(&socket.hears().await[2..]).unwrap();
    assert_eq!(
        (&told[0], &told[1]["user_id"], &told[1]["online"]),
        (&json!("user_online"), &json!(bob.id), &json!(true))
    );
    server.end().await;
}

#[tokio::test]
async fn nonsense_about_presence_is_refused_and_changes_nothing() {
    let server = Server::start_with(routes(), |it| it.presence.followed_max = 2).await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let mut socket = signed_in(&server, &ada).await;
    let long = "x".repeat(10_240);
    let strangers: Vec<String> = (0..3).map(|_| folio::ids::UserId::new(&server.clock).to_string()).collect();
    for (name, body, code) in [
        ("presence.set", json!({"state": "<b>here</b>"}), "invalid"),
        ("presence.set", json!({"state": long}), "invalid"),
        ("presence.set", json!({"state": "away", "text": "x"}), "invalid"),
        ("presence.set", json!(null), "invalid"),
        ("presence.follow", json!({"users": ["x"]}), "invalid"),
        ("presence.follow", json!({"users": strangers}), "too_many_followed"),
    ] {
        let told = asks(&mut socket, name, body.clone()).await;
        assert_eq!((&told["op"], &told["code"]), (&json!("error"), &json!(code)), "{name} {body:.80}");
    }
    for (path, status) in [
        ("?users=".to_owned(), 422),
        ("?users=x".to_owned(), 422),
        (String::new(), 422),
        (format!("?users={}", vec![&*bob.id; 101].join(",")), 422),
        (format!("/{}", strangers[0]), 404),
        ("/x".to_owned(), 404),
    ] {
        assert_eq!(ada.gets(&format!("/api/v1/presence{path}")).await.status, status, "{path:.80}");
    }
    let stranger = ada.gets(&format!("/api/v1/presence?users={}", strangers[0])).await.json();
    assert_eq!(stranger["people"][0]["online"], json!(false), "who is nobody is not here");
    server.end().await;
}
