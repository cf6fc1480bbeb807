//! A second factor: set up, asked for, lost, removed.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::authenticator::code;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post};
use crate::support::raw::Heard;

const PATH: &str = "/api/v1/auth/second-factor";
const STEP: Duration = Duration::from_secs(30);

async fn login(address: SocketAddr, code: Option<&str>) -> Heard {
    let mut body = json!({ "username": "ada", "password": PASSWORD });
    if let Some(code) = code {
        body["code"] = code.into();
    }
    post(address, "/api/v1/auth/login", "", &body).await
}

/// Turns it on; gives the secret and the recovery codes.
async fn turn_on(server: &Server, ada: &Somebody) -> (String, Vec<String>) {
    let begun = ada.sends("POST", PATH, &json!({ "password": PASSWORD })).await;
    assert_eq!((begun.status, begun.header("cache-control")), (200, "no-store"));
    let begun = begun.json();
    let secret = begun["secret"].as_str().unwrap().to_owned();
    assert!(begun["otpauth_url"].as_str().unwrap().contains(&format!("Folio:ada?secret={secret}&")), "{begun}");
    let confirmed =
        ada.sends("POST", &format!("{PATH}/confirm"), &json!({ "code": code(&secret, server.clock.now()) })).await;
    assert_eq!((confirmed.status, confirmed.header("cache-control")), (200, "no-store"), "{}", confirmed.json());
    let codes = confirmed.json()["recovery_codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect();
    (secret, codes)
}

#[tokio::test]
async fn once_it_is_on_nobody_comes_in_without_a_code_and_each_code_works_once() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (address, ada) = (server.address, server.with_user("ada").await);
    assert_eq!(ada.gets(PATH).await.json(), json!({ "on": false, "recovery_codes_left": 0 }));
    let (secret, codes) = turn_on(&server, &ada).await;
    assert_eq!(codes.len(), 10);
    assert_eq!(ada.gets(PATH).await.json(), json!({ "on": true, "recovery_codes_left": 10 }));

    let needed = login(address, None).await;
    assert_eq!((needed.status, &needed.json()["error"]), (401, &"second_factor_needed".into()));
    let wrong =
        post(address, "/api/v1/auth/login", "", &json!({ "username": "ada", "password": "not this one" })).await;
    assert_eq!(wrong.json()["error"], "unauthenticated", "who does not know the password learns nothing");
    let used = login(address, Some(&code(&secret, server.clock.now()))).await;
    assert_eq!((used.status, &used.json()["error"]), (401, &"second_factor_wrong".into()), "it confirmed the setup");
    server.clock.advance(STEP);
    let now = code(&secret, server.clock.now());
    assert_eq!(login(address, Some(&now)).await.status, 200);
    assert_eq!(login(address, Some(&now)).await.status, 401, "once");
    server.clock.advance(STEP * 3);
    assert_eq!(login(address, Some(&code(&secret, server.clock.now() - STEP * 2))).await.status, 401, "too late");

    assert_eq!(
        login(address, Some(&codes[0].to_lowercase().replace('-', " "))).await.status,
        200,
        "the telephone is lost"
    );
    assert_eq!(login(address, Some(&codes[0])).await.status, 401, "once");
    assert_eq!(ada.gets(PATH).await.json()["recovery_codes_left"], 9);
    server.end().await;
}

#[tokio::test]
async fn a_code_at_the_same_moment_from_two_places_lets_one_in() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (address, ada) = (server.address, server.with_user("ada").await);
    let (secret, _) = turn_on(&server, &ada).await;
    server.clock.advance(STEP);
    let now = code(&secret, server.clock.now());
    let tries = futures_util::future::join_all((0..4).map(|_| login(address, Some(&now)))).await;
    assert_eq!(tries.iter().filter(|it| it.status == 200).count(), 1);
    server.end().await;
}

#[tokio::test]
async fn wrong_codes_are_guesses_and_guesses_are_slowed() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (address, ada) = (server.address, server.with_user("ada").await);
    let (secret, _) = turn_on(&server, &ada).await;
    server.clock.advance(STEP);
    let mut heard = Vec::new();
    for _ in 0..11 {
        heard.push(login(address, Some("000000")).await.status);
    }
    assert_eq!((heard[..10].iter().all(|it| *it == 401), heard[10]), (true, 429), "{heard:?}");
    assert_eq!(login(address, Some(&code(&secret, server.clock.now()))).await.status, 429);
    let path = format!("{PATH}/confirm");
    for (path, body) in [(PATH, json!({ "password": "not this one" })), (path.as_str(), json!({ "code": "000000" }))] {
        assert!((400..500).contains(&ada.sends("POST", path, &body).await.status), "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn it_is_removed_by_password_and_code_only() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (address, ada) = (server.address, server.with_user("ada").await);
    let nothing = ada.sends("DELETE", PATH, &json!({ "password": PASSWORD })).await;
    assert_eq!(nothing.status, 404);
    let (secret, codes) = turn_on(&server, &ada).await;
    let again = ada.sends("POST", PATH, &json!({ "password": PASSWORD })).await;
    assert_eq!((again.status, &again.json()["error"]), (409, &"second_factor_on".into()));
    server.clock.advance(STEP);
    let now = code(&secret, server.clock.now());
    for (password, code, status) in [
        ("not this one", now.as_str(), 403),
        (PASSWORD, "", 401),
        (PASSWORD, "000000", 401),
        (PASSWORD, "AAAAA-AAAAA", 401),
        (PASSWORD, "٠٠٠٠٠٠", 401),
        (PASSWORD, codes[1].as_str(), 204),
        (PASSWORD, codes[2].as_str(), 404),
    ] {
        let heard = ada.sends("DELETE", PATH, &json!({ "password": password, "code": code })).await;
        assert_eq!(heard.status, status, "{password} {code}");
    }
    assert_eq!(login(address, None).await.status, 200);
    let other = ada.sends("POST", PATH, &json!({ "password": PASSWORD })).await.json();
    assert_ne!(other["secret"], secret.as_str(), "another one");
    assert_eq!(login(address, None).await.status, 200, "what is not confirmed is not asked for");
    server.end().await;
}

#[tokio::test]
async fn the_owner_is_told_and_the_tables_alone_let_nobody_in() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = server.with_user("ada").await;
    let (secret, codes) = turn_on(&server, &ada).await;
    let db = &server.app.storage.db;
    let told: Vec<(String,)> =
        db.sql("SELECT subject FROM mails WHERE recipient = 'ada@example.org'").all().await.unwrap();
    assert!(told.iter().any(|it| it.0.contains("second factor")), "{told:?}");
    let kept: Vec<(Vec<u8>,)> =
        db.sql("SELECT secret FROM second_factors UNION ALL SELECT hash FROM recovery_codes").all().await.unwrap();
    assert_eq!(kept.len(), 11);
    for (bytes,) in kept {
        for plain in codes.iter().chain([&secret]) {
            assert!(!bytes.windows(5).any(|it| plain.as_bytes().starts_with(it)), "{plain}");
        }
    }
    let what: Vec<(String,)> = db.sql("SELECT what FROM audit ORDER BY id").all().await.unwrap();
    assert!(what.iter().any(|it| it.0 == "second_factor.on"), "{what:?}");
    let strangers = post(server.address, PATH, "", &json!({ "password": PASSWORD })).await;
    assert_eq!(strangers.status, 401);
    server.end().await;
}
