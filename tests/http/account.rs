//! What somebody has of their account as a whole: a copy, and an end that can be taken back for a while.

use std::time::Duration;

use folio::ids::UserId;
use serde_json::json;

use crate::support::eventually;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};
use crate::support::raw::get;

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test]
async fn an_export_holds_what_is_known_and_no_secret() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let setup = ada.sends("POST", "/api/v1/auth/second-factor", &json!({ "password": PASSWORD })).await.json();
    let mut tx = server.app.storage.db.begin().await.unwrap();
    let seen = tx.sql("INSERT INTO last_seen (user_id, seen_at) VALUES ($1, $2)");
    seen.bind(ada.id.parse::<UserId>().unwrap()).bind(server.clock.now()).execute().await.unwrap();
    tx.commit().await.unwrap();
    let heard = ada.gets("/api/v1/me/export").await;
    assert_eq!((heard.status, heard.header("cache-control")), (200, "no-store"));
    assert!(heard.header("content-disposition").starts_with("attachment"), "{}", heard.head);
    let export = heard.json();
    assert_eq!(
        (&export["account"]["username"], &export["account"]["email"]),
        (&"ada".into(), &"ada@example.org".into())
    );
    assert_eq!((&export["profile"]["display_name"], &export["names"][0]["name"]), (&"ada".into(), &"ada".into()));
    assert!(export["account"]["last_seen_at"].is_string(), "{}", export["account"]);
    assert_eq!((&export["preferences"], &export["cut_short"]), (&json!({}), &json!([])));
    assert_eq!(export["sessions"].as_array().unwrap().len(), 1);
    let what: Vec<&str> = export["history"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert!(what.contains(&"login.ok") && what.contains(&"account.registered"), "{what:?}");
    let db = &server.app.storage.db;
    let (password,): (String,) = db.sql("SELECT password FROM users WHERE name = 'ada'").one().await.unwrap();
    let text = String::from_utf8(heard.body.clone()).unwrap();
    for secret in [&password, &ada.refresh, &ada.access, setup["secret"].as_str().unwrap(), PASSWORD, "bob"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let again = ada.gets("/api/v1/me/export").await;
    assert_eq!((again.status, again.header("retry-after")), (429, "600"));
    assert_eq!(bob.gets("/api/v1/me/export").await.status, 200, "everybody has a limit of their own");
    server.clock.advance(Duration::from_secs(600));
    assert_eq!(ada.gets("/api/v1/me/export").await.status, 200);
    assert_eq!(get(server.address, "/api/v1/me/export", "").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn many_exports_at_once_are_one() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = server.with_user("ada").await;
    let heard = futures_util::future::join_all((0..4).map(|_| ada.gets("/api/v1/me/export"))).await;
    let mut heard: Vec<u16> = heard.iter().map(|it| it.status).collect();
    heard.sort_unstable();
    assert_eq!(heard, [200, 429, 429, 429]);
    server.end().await;
}

#[tokio::test]
async fn leaving_ends_every_session_and_coming_back_within_a_week_takes_it_back() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = server.with_user("ada").await;
    let page = "/api/v1/profile/public/ada";
    assert_eq!(get(server.address, page, "").await.status, 200);
    for (body, status) in [
        (json!({}), 403),
        (json!({ "password": "not this one" }), 403),
        (json!({ "password": PASSWORD, "sure": true }), 422),
    ] {
        assert_eq!(ada.sends("DELETE", "/api/v1/me", &body).await.status, status, "{body}");
    }
    let left = ada.sends("DELETE", "/api/v1/me", &json!({ "password": PASSWORD })).await;
    assert_eq!(left.status, 202);
    let until: chrono::DateTime<chrono::Utc> = left.json()["delete_after"].as_str().unwrap().parse().unwrap();
    assert_eq!((until - server.clock.now()).num_days(), 7);
    assert_eq!(ada.gets("/api/v1/auth/sessions").await.status, 401);
    let refreshed = post(server.address, "/api/v1/auth/refresh", "", &json!({ "refresh_token": ada.refresh })).await;
    assert_eq!(refreshed.status, 401);
    let told: Vec<(String,)> =
        server.app.storage.db.sql("SELECT subject FROM mails WHERE recipient = 'ada@example.org'").all().await.unwrap();
    assert!(told.iter().any(|it| it.0.contains("removed")), "{told:?}");

    assert_eq!(get(server.address, page, "").await.status, 404, "nobody sees her while she leaves");

    server.clock.advance(DAY * 7 - Duration::from_secs(60));
    assert_eq!(sign_in(server.address, "ada", PASSWORD).await.status, 200);
    assert_eq!(get(server.address, page, "").await.status, 200);
    server.clock.advance(DAY);
    let waited = sign_in(server.address, "ada", PASSWORD).await;
    assert_eq!(waited.status, 200, "it was taken back for good");
    server.end().await;
}

#[tokio::test]
async fn after_a_week_nothing_of_somebody_is_left_but_that_there_was_somebody() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = server.with_user("ada").await;
    server.with_user("bob").await;
    assert_eq!(ada.sends("DELETE", "/api/v1/me", &json!({ "password": PASSWORD })).await.status, 202);
    server.clock.advance(DAY * 7);
    assert_eq!(sign_in(server.address, "ada", PASSWORD).await.status, 401, "too late, swept or not");
    let db = &server.app.storage.db;
    eventually("she is gone", async || {
        server.clock.advance(Duration::from_secs(60));
        let (left,): (i64,) = db.sql("SELECT COUNT(*) FROM users WHERE delete_after IS NOT NULL").one().await.unwrap();
        left == 0
    })
    .await;
    assert_eq!(sign_in(server.address, "ada@example.org", PASSWORD).await.status, 401);
    assert_eq!(get(server.address, "/api/v1/profile/public/ada", "").await.status, 404);
    let listed = bob_again(&server).await.gets("/api/v1/users").await.json();
    assert!(!listed.to_string().contains("deleted user") && listed.to_string().contains("bob"), "{listed}");
    for name in ["deleted user", "", &format!("deleted user {}", ada.id)] {
        for password in ["", PASSWORD] {
            assert!(
                (400..500).contains(&sign_in(server.address, name, password).await.status),
                "{name:?} {password:?}"
            );
        }
    }
    let again = json!({ "username": "ada", "password": PASSWORD });
    assert_eq!(
        post(server.address, "/api/v1/auth/register", "", &again).await.status,
        409,
        "her name is nobody else's yet"
    );
    let again = json!({ "username": "another", "email": "ada@example.org", "password": PASSWORD });
    assert_eq!(post(server.address, "/api/v1/auth/register", "", &again).await.status, 201, "her address is free");
    assert_eq!(sign_in(server.address, "bob", PASSWORD).await.status, 200, "nobody else is touched");
    server.clock.advance(DAY * 31);
    let again = json!({ "username": "ada", "password": PASSWORD });
    assert_eq!(post(server.address, "/api/v1/auth/register", "", &again).await.status, 201, "now it is");
    server.end().await;
}

async fn bob_again(server: &Server) -> Somebody {
    Somebody::of(server.address, "bob", &sign_in(server.address, "bob", PASSWORD).await.json())
}
