//! Guessing is slowed, names are not told, and the owner comes in all the same.

use std::net::{IpAddr, Ipv4Addr};

use folio::http;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, post, sign_in};
use crate::support::raw::{Heard, get};

/// A Folio that believes what its proxy says about addresses.
async fn behind_a_proxy() -> Server {
    Server::start(http::routes(), |it| it.trusted_proxies = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()]).await
}

async fn tries(server: &Server, from: &str, body: &Value) -> Heard {
    post(server.address, "/login", &format!("X-Forwarded-For: {from}\r\n"), body).await
}

fn login(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

async fn hashed(server: &Server) -> u64 {
    let text = String::from_utf8(get(server.address, "/metrics", "").await.body).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("folio_passwords_done_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn the_eleventh_wrong_password_waits_and_so_does_the_right_one_from_there_alone() {
    let server = behind_a_proxy().await;
    server.with_user("ada").await;
    server.with_user("bob").await;
    let known = tries(&server, "192.0.2.1", &login("ada", PASSWORD)).await.json();
    for _ in 0..10 {
        assert_eq!(tries(&server, "192.0.2.1", &login("ada", "wrong again")).await.status, 401);
    }
    for password in ["wrong again", PASSWORD, PASSWORD] {
        let heard = tries(&server, "192.0.2.1", &login("ADA", password)).await;
        assert_eq!((heard.status, heard.header("retry-after")), (429, "30"));
    }
    assert_eq!(tries(&server, "192.0.2.1", &login("bob", PASSWORD)).await.status, 200, "another account");
    assert_eq!(tries(&server, "198.51.100.1", &login("ada", PASSWORD)).await.status, 200, "another address");
    let mut from_device = login("ada", PASSWORD);
    from_device["device_token"] = known["device_token"].clone();
    assert_eq!(tries(&server, "192.0.2.1", &from_device).await.status, 200, "a device that is known");
    from_device["device_token"] = "made up".into();
    assert_eq!(tries(&server, "192.0.2.1", &from_device).await.status, 429);
    let count = "SELECT COUNT(*) FROM audit WHERE what = $1";
    let count = async |what: &'static str| server.app.storage.db.sql(count).bind(what).one::<(i64,)>().await.unwrap().0;
    assert_eq!((count("login.failed").await, count("login.slowed").await), (10, 1));
    server.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(tries(&server, "192.0.2.1", &login("ada", PASSWORD)).await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn a_name_that_nobody_has_is_answered_like_one_that_somebody_has() {
    let server = behind_a_proxy().await;
    server.with_user("ada").await;
    server.with_user("bad").await;
    server.app.storage.db.write("UPDATE users SET state = 'banned' WHERE name = 'bad'").execute().await.unwrap();
    let told = async |from: &str, name: &str, password: &str| {
        let before = hashed(&server).await;
        let heard = tries(&server, from, &login(name, password)).await;
        let form = heard.json();
        let work = hashed(&server).await - before;
        (heard.status, form["error"].clone(), form["detail"].clone(), heard.header("retry-after").to_owned(), work)
    };
    for _ in 0..12 {
        let known = told("192.0.2.1", "ada", "wrong again").await;
        assert!(matches!(known.0, 401 | 429));
        assert_eq!(known, told("192.0.2.2", "nobody at all", "wrong again").await);
        assert_eq!(known, told("192.0.2.3", "bad", PASSWORD).await);
        assert_eq!(known, told("192.0.2.4", "nobody@example.org", "wrong again").await);
        assert_eq!(known, told("192.0.2.5", "\u{0}\u{202e}", "").await);
    }
    server.end().await;
}

#[tokio::test]
async fn an_address_that_tries_many_names_waits() {
    let server = Server::start_with(http::routes(), |it| {
        it.auth.guesses_per_address = 5;
        it.http.trusted_proxies = vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()];
    });
    let server = server.await;
    server.with_user("ada").await;
    for name in 0..5 {
        assert_eq!(tries(&server, "2001:db8::1", &login(&format!("name{name}"), PASSWORD)).await.status, 401);
    }
    assert_eq!(tries(&server, "2001:db8::2", &login("ada", PASSWORD)).await.status, 429, "the same household");
    assert_eq!(tries(&server, "2001:db8:0:1::1", &login("ada", PASSWORD)).await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn more_passwords_than_can_wait_are_refused_at_once_and_others_are_answered() {
    let server = Server::start_with(http::routes(), |it| {
        it.auth.password_threads = 1;
        it.auth.password_waiting_max = 2;
    });
    let server = server.await;
    let ada = server.with_user("ada").await;
    let names: Vec<String> = (0..40).map(|it| format!("name{it}")).collect();
    let asked = join_all(names.iter().map(|it| sign_in(server.address, it, PASSWORD)));
    let (heard, known) = tokio::join!(asked, ada.is_known());
    let refused = heard.iter().filter(|it| it.status == 503).count();
    assert!(heard.iter().all(|it| matches!(it.status, 401 | 503)) && refused > 0 && known, "{refused}");
    assert!(heard.iter().filter(|it| it.status == 503).all(|it| !it.header("retry-after").is_empty()));
    server.end().await;
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let server = Server::start_with(http::routes(), |it| it.log.filter = "debug".into()).await;
    let secrets = ["canary password one", "canary password two", "canary.mailbox", "canary wrong one"];
    let body = json!({ "username": "ada", "email": "canary.mailbox@example.org", "password": secrets[0] });
    assert_eq!(post(server.address, "/register", "", &body).await.status, 201);
    let tokens = sign_in(server.address, "ada", secrets[0]).await.json();
    sign_in(server.address, secrets[2], secrets[3]).await;
    let ada = crate::support::people::Somebody::of(server.address, "ada", &tokens);
    let next = ada.refreshes().await.json();
    let body = json!({ "old_password": secrets[0], "new_password": secrets[1] });
    assert_eq!(ada.sends("PUT", "/api/v1/auth/password", &body).await.status, 204);
    post(server.address, "/api/v1/auth/password/forgotten", "", &json!({ "email": "canary.mailbox@example.org" }))
        .await;
    post(server.address, "/verify", "", &json!({ "token": ada.access })).await;
    let logged: String = server.logged().iter().map(Value::to_string).collect();
    let mut secrets: Vec<String> = secrets.iter().map(|it| (*it).to_owned()).collect();
    for field in ["access_token", "refresh_token", "device_token"] {
        secrets.extend([&tokens, &next].iter().filter_map(|it| it[field].as_str().map(str::to_owned)));
    }
    assert!(secrets.len() == 9 && !logged.is_empty());
    for secret in secrets {
        assert!(!logged.contains(&secret), "{secret}");
    }
    server.end().await;
}
