//! Keys of services: made by an admin, shown once, good for what they are for, until they are revoked.

use std::time::Duration;

use chrono::TimeDelta;
use folio::actors::auth::Role;
use folio::ids::KeyId;
use serde_json::{Value, json};

use crate::support::http::{Server, until};
use crate::support::raw::{Heard, get};

/// What a service with this key hears.
async fn asks(server: &Server, key: &str, path: &str) -> Heard {
    get(server.address, path, &format!("X-API-Key: {key}\r\n")).await
}

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_what_makes_it_one() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let ends = server.clock.now() + TimeDelta::days(30);
    let asked = json!({ "name": "chat", "scopes": ["users:read", "profiles:read"], "ends_at": ends });
    let made = eve.sends("POST", "/api/v1/keys", &asked).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"));
    let made = made.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("folio_{}_", id.replace('-', ""))), "{key} says which it is");
    assert_eq!((&made["name"], &made["scopes"], &made["made_by"]), (&asked["name"], &asked["scopes"], &json!(eve.id)));
    let listed = eve.gets("/api/v1/keys").await;
    let secret = key.rsplit_once('_').unwrap().1.to_owned();
    assert!(!String::from_utf8_lossy(&listed.body).contains(&secret), "{}", listed.json());
    let listed = listed.json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["used_at"]), (&made["id"], &Value::Null));
    assert!(listed["items"][0].get("hash").is_none() && listed["next"].is_null(), "{listed}");
    server.end().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_or_has_ended_is_good_for_nothing() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let (key, id) = eve.makes_a_key(&["users:read"]).await;
    assert_eq!(asks(&server, &key, "/api/v1/me/audit").await.status, 403, "it is known, though not for this");
    for _ in 0..2 {
        assert_eq!(eve.asks("DELETE", &format!("/api/v1/keys/{id}")).await.status, 204, "twice is once");
        assert_eq!(asks(&server, &key, "/api/v1/me/audit").await.status, 401);
    }
    let listed = eve.gets("/api/v1/keys").await.json();
    assert!(listed["items"][0]["revoked_at"].is_string(), "{listed}");
    let ends =
        json!({ "name": "short", "scopes": ["users:read"], "ends_at": server.clock.now() + TimeDelta::seconds(60) });
    let made = eve.sends("POST", "/api/v1/keys", &ends).await.json();
    let short = made["key"].as_str().unwrap();
    assert_eq!(asks(&server, short, "/api/v1/me/audit").await.status, 403);
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(asks(&server, short, "/api/v1/me/audit").await.status, 401);
    let missing = KeyId::new(&server.clock);
    assert_eq!(eve.asks("DELETE", &format!("/api/v1/keys/{missing}")).await.status, 404);
    assert_eq!(eve.asks("DELETE", "/api/v1/keys/1").await.status, 404);
    server.end().await;
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted_within_a_minute() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let (key, _) = eve.makes_a_key(&["users:read"]).await;
    let at = serde_json::to_value(server.clock.now()).unwrap();
    asks(&server, &key, "/api/v1/me/audit").await;
    server.clock.advance(Duration::from_secs(61));
    let noted = async || eve.gets("/api/v1/keys").await.json()["items"][0]["used_at"].clone() == at;
    crate::support::eventually("the use is noted", noted).await;
    server.end().await;
}

#[tokio::test]
async fn a_key_that_was_made_or_revoked_elsewhere_is_found_by_itself() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let (key, id) = eve.makes_a_key(&["users:read"]).await;
    // As another node or the command line does it: in the database, without a word.
    let (db, now) = (&server.app.storage.db, server.clock.now());
    let mut tx = db.begin().await.unwrap();
    folio::storage::api_keys::revoke(&mut tx, id.parse().unwrap(), now).await.unwrap();
    tx.commit().await.unwrap();
    let identify = |key: &str| server.app.actors.keys.identify(key.as_bytes(), server.clock.now());
    assert!(identify(&key).is_ok(), "not looked yet");
    server.clock.advance(Duration::from_millis(500));
    until("the revoked key is found out", || identify(&key).is_err()).await;
    server.end().await;
}

#[tokio::test]
async fn a_key_is_for_nobody_but_the_service_that_has_all_of_it() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let (key, other) = (eve.makes_a_key(&["users:read"]).await.0, eve.makes_a_key(&["users:read"]).await.0);
    let (head, tail) = key.rsplit_at_secret();
    let crossed = format!("{head}{}", other.rsplit_at_secret().1);
    let unknown = format!("folio_{}_{tail}", KeyId::new(&server.clock).0.simple());
    let flipped = key[..key.len() - 2].to_owned() + if key.ends_with("AA") { "BA" } else { "AA" };
    let shouted = key.to_uppercase();
    for bad in [
        &crossed,
        &unknown,
        &flipped,
        &shouted,
        &key[..40],
        &format!("{key}A"),
        "folio_",
        "folio__",
        &"folio_".repeat(100),
    ] {
        let heard = asks(&server, bad, "/api/v1/me/audit").await;
        assert_eq!((heard.status, heard.json()["error"].as_str()), (401, Some("unauthenticated")), "{bad}");
    }
    server.end().await;
}

trait Key {
    fn rsplit_at_secret(&self) -> (&str, &str);
}

impl Key for String {
    fn rsplit_at_secret(&self) -> (&str, &str) {
        self.split_at("folio_".len() + 32 + 1)
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_is_not_made() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let good = json!({ "name": "chat", "scopes": ["users:read"] });
    let now = server.clock.now();
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" ")),
        ("name", json!("a\u{0}b")),
        ("name", json!("x".repeat(65))),
        ("name", json!(7)),
        ("scopes", json!([])),
        ("scopes", json!(["users:read", "users:read"])),
        ("scopes", json!(["everything"])),
        ("scopes", json!("users:read")),
        ("ends_at", json!(now)),
        ("ends_at", json!("2026-02-30T00:00:00Z")),
        ("ends_at", json!("0000-00-00")),
        ("ends_at", json!("+292278994-08-17T07:12:55Z")),
        ("ends_at", json!(4_000_000_000_i64)),
        ("made_by", json!(eve.id)),
        ("hash", json!("x")),
    ] {
        let mut asked = good.clone();
        asked[field] = value;
        let heard = eve.sends("POST", "/api/v1/keys", &asked).await;
        assert_eq!(heard.status, 422, "{asked}: {}", heard.json());
    }
    assert_eq!(eve.gets("/api/v1/keys").await.json()["items"], json!([]), "nothing was made");
    server.end().await;
}
