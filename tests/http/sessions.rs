//! Sessions: how they go on, how they end, and that they end everywhere.

use std::time::Duration;

use folio::storage::db::Engine;
use folio::storage::signing_keys;
use folio::{http, ids};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::engines::{Fresh, postgres_url};
use crate::support::eventually;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};
use crate::support::proxy::{Mode, Proxy};

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn serving() -> Server {
    Server::start(http::routes(), |_| ()).await
}

async fn count(server: &Server, text: &'static str) -> i64 {
    server.app.storage.db.sql(text).one::<(i64,)>().await.unwrap().0
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_the_same_question_has_the_same_answer_for_ten_seconds() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    server.clock.advance(Duration::from_secs(1_200));
    let first = ada.refreshes().await;
    assert_eq!((first.status, first.header("cache-control")), (200, "no-store"));
    let first = first.json();
    assert_ne!(first["refresh_token"], ada.refresh.as_str());
    assert_eq!((&first["user_id"], &first["username"]), (&ada.id.as_str().into(), &"ada".into()));
    server.clock.advance(Duration::from_secs(9));
    let mut again = ada.refreshes().await.json();
    assert_eq!(again["expires_in"], 1_791);
    again["expires_in"] = first["expires_in"].clone();
    assert_eq!(again, first);
    let next = Somebody::of(server.address, "ada", &first);
    assert!(next.is_known().await && ada.is_known().await);
    assert_eq!(next.refreshes().await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn whoever_comes_late_with_a_used_token_ends_the_session() {
    let server = serving().await;
    let (ada, other) = (server.with_user("ada").await, server.with_user("bob").await);
    let elsewhere = ada.again().await;
    let next = Somebody::of(server.address, "ada", &ada.refreshes().await.json());
    server.clock.advance(Duration::from_secs(11));
    assert_eq!(ada.refreshes().await.status, 401);
    assert_eq!(next.refreshes().await.status, 401);
    assert!(!next.is_known().await && !ada.is_known().await);
    assert!(elsewhere.is_known().await && other.is_known().await, "the family alone");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM audit WHERE what = 'token.reused'").await, 1);
    server.end().await;
}

#[tokio::test]
async fn ten_refreshes_at_once_make_one_successor() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let answers = join_all((0..10).map(|_| ada.refreshes())).await;
    let tokens: Vec<Value> = answers.iter().map(|it| it.json()["refresh_token"].clone()).collect();
    assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [200; 10]);
    assert!(tokens.iter().all(|it| *it == tokens[0]), "{tokens:?}");
    assert_eq!(count(&server, "SELECT COUNT(*) FROM refresh_tokens").await, 2);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let long = "A".repeat(100_000);
    for token in ["", "x", "not base64!", &ada.access, &"A".repeat(43), &long, "\u{0}"] {
        let heard = post(server.address, "/auth/refresh", "", &json!({ "refresh_token": token })).await;
        assert_eq!(heard.status, 401, "{token:.50}");
    }
    for body in [json!({}), json!({ "refresh_token": 1 }), json!({ "refresh_token": ada.refresh, "x": 1 }), json!([])] {
        assert_eq!(post(server.address, "/auth/refresh", "", &body).await.status, 422, "{body}");
    }
    assert_eq!(ada.refreshes().await.status, 200, "none of it used it up");
    server.end().await;
}

#[tokio::test]
async fn tokens_end_by_themselves_and_a_session_after_ninety_days_whatever_is_done() {
    let server = serving().await;
    let mut ada = server.with_user("ada").await;
    let idle = ada.again().await;
    server.clock.advance(Duration::from_secs(1_799));
    assert!(ada.is_known().await);
    server.clock.advance(Duration::from_secs(1));
    assert!(!ada.is_known().await);
    for _ in 0..15 {
        let heard = ada.refreshes().await;
        assert_eq!(heard.status, 200, "{}", heard.json());
        ada = Somebody::of(server.address, "ada", &heard.json());
        assert!(ada.is_known().await);
        server.clock.advance(6 * DAY);
    }
    assert_eq!((ada.refreshes().await.status, idle.refreshes().await.status), (401, 401));
    server.end().await;
}

#[tokio::test]
async fn signing_out_ends_one_session_or_all() {
    let server = serving().await;
    let one = server.with_user("ada").await;
    let (two, three) = (one.again().await, one.again().await);
    assert_eq!(one.asks("POST", "/auth/logout").await.status, 204);
    assert_eq!(one.gets("/auth/verify").await.status, 401);
    assert_eq!((one.refreshes().await.status, one.asks("POST", "/auth/logout").await.status), (401, 401));
    assert!(two.is_known().await);
    assert_eq!(two.asks("POST", "/api/v1/auth/logout-all").await.status, 204);
    assert!(!two.is_known().await && !three.is_known().await);
    assert_eq!((two.refreshes().await.status, three.refreshes().await.status), (401, 401));
    assert!(one.again().await.is_known().await, "one may come back");
    server.end().await;
}

#[tokio::test]
async fn somebody_sees_their_sessions_and_ends_one_and_nobody_elses() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let device = "User-Agent: telescope 1.0\r\n";
    let login = json!({ "username": "ada", "password": PASSWORD });
    let other = post(server.address, "/login", device, &login).await.json();
    let other = Somebody::of(server.address, "ada", &other);
    let listed = ada.gets("/api/v1/auth/sessions").await.json();
    let items = listed["items"].as_array().unwrap();
    let told: Vec<_> = items.iter().map(|it| (it["device"].as_str().unwrap(), it["current"] == true)).collect();
    assert_eq!(told, [("", true), ("telescope 1.0", false)]);
    assert!(items.iter().all(|it| it["address"] == "127.0.0.1" && it["last_seen_at"] == it["created_at"]));
    let at = |it: &Value| format!("/api/v1/auth/sessions/{}", it["id"].as_str().unwrap());
    let foreign = bob.asks("DELETE", &at(&items[0])).await;
    let missing = bob.asks("DELETE", &format!("/api/v1/auth/sessions/{}", ids::v7(&server.clock))).await;
    assert_eq!((foreign.status, &foreign.json()["detail"]), (missing.status, &missing.json()["detail"]));
    assert_eq!((foreign.status, bob.asks("DELETE", "/api/v1/auth/sessions/7").await.status), (404, 404));
    assert_eq!(ada.asks("DELETE", &at(&items[1])).await.status, 204);
    assert!(ada.is_known().await && !other.is_known().await && bob.is_known().await);
    assert_eq!(ada.asks("DELETE", &at(&items[1])).await.status, 404);
    assert_eq!(ada.gets("/api/v1/auth/sessions").await.json()["items"].as_array().unwrap().len(), 1);
    server.end().await;
}

#[tokio::test]
async fn one_session_too_many_ends_the_one_that_was_heard_of_least_lately() {
    let server = Server::start_with(http::routes(), |it| it.auth.sessions_per_user_max = 2).await;
    let one = server.with_user("ada").await;
    let mut all = vec![one.clone()];
    for _ in 0..2 {
        server.clock.advance(Duration::from_secs(1));
        all.push(one.again().await);
    }
    let mut known = Vec::new();
    for it in &all {
        known.push(it.is_known().await);
    }
    assert_eq!(known, [false, true, true]);
    server.end().await;
}

#[tokio::test]
async fn who_is_cut_off_on_one_node_is_cut_off_on_the_other() {
    let fresh = Fresh::new(Engine::Postgres).await;
    let here = Server::start_on(fresh, http::routes(), |_| ()).await;
    let there = here.beside(http::routes()).await;
    let ada = here.with_user("ada").await;
    let on = |node: &Server, it: &Somebody| Somebody { address: node.address, ..it.clone() };
    assert!(on(&there, &ada).is_known().await, "a token is good on every node");
    let mut listening = there.app.actors.auth.listen();
    assert_eq!(ada.asks("POST", "/auth/logout").await.status, 204);
    assert!(!ada.is_known().await);
    // Without a bus between them the other looks by itself, twice a second.
    eventually("the other node hears of it", async || {
        there.clock.advance(Duration::from_millis(500));
        !on(&there, &ada).is_known().await
    })
    .await;
    assert!(listening.recv().await.is_ok(), "sockets are told");
    let later = here.beside(http::routes()).await;
    assert!(!on(&later, &ada).is_known().await, "a node that starts afterwards knows it too");
    later.end().await;
    there.end().await;
    here.end().await;
}

#[tokio::test]
async fn a_new_key_signs_and_nobody_is_signed_out() {
    let server = serving().await;
    let before = server.with_user("ada").await;
    let header = |it: &Somebody| it.access.split('.').next().unwrap().to_owned();
    let (db, now) = (&server.app.storage.db, server.clock.now());
    let mut tx = db.begin().await.unwrap();
    let ends = now + chrono::TimeDelta::seconds(1_900);
    signing_keys::rotate(&mut tx, ids::v7(&server.clock), now, ends).await.unwrap();
    tx.commit().await.unwrap();
    server.clock.advance(Duration::from_secs(11));
    eventually("the new key signs", async || {
        server.clock.advance(Duration::from_millis(500));
        header(&before.again().await) != header(&before)
    })
    .await;
    assert!(before.is_known().await && before.again().await.is_known().await);
    server.clock.advance(Duration::from_secs(1_799));
    assert!(!before.is_known().await && before.refreshes().await.status == 200);
    server.end().await;
}

#[tokio::test]
async fn nobody_is_let_in_while_nobody_knows_who_was_cut_off() {
    let fresh = Fresh::new(Engine::Postgres).await;
    let (proxy, url) = Proxy::before(&postgres_url()).await;
    let through = fresh.config_at(&url);
    let server = Server::start_on(fresh, http::routes(), |it| it.database = through).await;
    let ada = server.with_user("ada").await;
    proxy.set(Mode::Cut);
    let status = async || ada.gets("/auth/verify").await.status;
    eventually("the token is not taken", async || {
        server.clock.advance(Duration::from_millis(100));
        status().await == 503
    })
    .await;
    proxy.set(Mode::Pass);
    eventually("the token is taken again", async || {
        server.clock.advance(Duration::from_millis(100));
        status().await == 200
    })
    .await;
    assert_eq!(sign_in(server.address, "ada", PASSWORD).await.status, 200);
    eventually("what the outage held up is published", async || {
        server.clock.advance(Duration::from_secs(1));
        let db = &server.app.storage.db;
        db.sql("SELECT COUNT(*) FROM outbox").one::<(i64,)>().await.is_ok_and(|it| it.0 == 0)
    })
    .await;
    server.end().await;
}
