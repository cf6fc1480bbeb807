//! Registering, signing in, and whose token this is.

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, post, sign_in};
use crate::support::raw::{Heard, ask, get, say};

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

#[tokio::test]
async fn somebody_registers_comes_in_by_name_or_address_and_is_known_by_the_token() {
    let server = serving().await;
    let body = json!({ "username": "Ada", "email": "Ada@Example.org", "password": PASSWORD, "age": 36 });
    let heard = post(server.address, "/api/v1/auth/register", "", &body).await;
    assert_eq!(heard.status, 201, "{}", heard.json());
    let registered = heard.json();
    assert_eq!((&registered["username"], &registered["email"]), (&"Ada".into(), &"Ada@example.org".into()));
    for who in
        [json!({ "username": "ADA" }), json!({ "email": "ada@EXAMPLE.org" }), json!({ "username": "ada@example.org" })]
    {
        let mut body = who.clone();
        body["password"] = PASSWORD.into();
        let heard = post(server.address, "/api/v1/auth/login", "", &body).await;
        assert_eq!((heard.status, heard.header("cache-control")), (200, "no-store"), "{who}: {}", heard.json());
        let tokens = heard.json();
        assert_eq!(tokens["user_id"], registered["user_id"]);
        assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"bearer".into(), &1_800.into()));
        assert_eq!((&tokens["role"], &tokens["username"]), (&"user".into(), &"Ada".into()));
        let token = tokens["access_token"].as_str().unwrap();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let asked = [
            get(server.address, "/auth/verify", &bearer).await,
            post(server.address, "/verify", "", &json!({ "token": token })).await,
            post(server.address, "/validate-token", &bearer, &json!({ "token": token })).await,
            say(server.address, ask("POST /validate-token", &bearer)).await.remove(0),
        ];
        for heard in asked {
            assert_eq!(heard.status, 200, "{}", heard.json());
            let said = heard.json();
            assert_eq!((&said["valid"], &said["is_active"]), (&true.into(), &true.into()));
            assert_eq!((&said["user_id"], &said["username"]), (&registered["user_id"], &"Ada".into()));
        }
    }
    assert_eq!(get(server.address, "/auth/verify", "").await.status, 401);
    assert_eq!(post(server.address, "/verify", "", &json!({ "token": "x.y.z" })).await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn nobody_comes_in_with_a_wrong_password_or_an_unknown_name() {
    let server = serving().await;
    server.with_user("ada").await;
    let wrong = sign_in(server.address, "ada", "another long walk").await;
    let unknown = sign_in(server.address, "eve", PASSWORD).await;
    for field in ["error", "detail"] {
        assert_eq!(wrong.json()[field], unknown.json()[field]);
    }
    assert_eq!((wrong.status, unknown.status), (401, 401));
    server.end().await;
}

async fn registers(server: &Server, change: impl FnOnce(&mut Value)) -> Heard {
    let mut body = json!({ "username": "grace", "password": PASSWORD });
    change(&mut body);
    post(server.address, "/register", "", &body).await
}

#[tokio::test]
async fn what_cannot_be_registered_is_told_field_by_field() {
    let server = serving().await;
    let long = "n".repeat(65);
    let huge = "n".repeat(100_000);
    for (field, value) in [
        ("username", json!("a")),
        ("username", json!(long)),
        ("username", json!(huge)),
        ("username", json!(" grace")),
        ("username", json!("gr\u{430}ce")),
        ("username", json!("a\u{202e}b")),
        ("username", json!("admin")),
        ("username", json!("ROOT")),
        ("username", json!(7)),
        ("email", json!("grace")),
        ("email", json!("grace@example.org\r\nBcc: x@example.org")),
        ("email", json!(format!("{huge}@example.org"))),
        ("password", json!("1234567")),
        ("password", json!("n".repeat(1_025))),
        ("password", json!("password123")),
        ("password", json!("Grace123")),
        ("age", json!(-1)),
        ("age", json!(151)),
        ("age", json!(1.5)),
        ("age", json!("36")),
        ("display_name", json!("")),
        ("display_name", json!("a\u{0}b")),
        ("display_name", json!(long)),
        ("role", json!("admin")),
    ] {
        let heard = registers(&server, |it| it[field] = value.clone()).await;
        assert_eq!(heard.status, 422, "{field} {value:.40}");
        assert!(heard.json()["fields"][field].is_string(), "{field}: {}", heard.json());
    }
    let (rows,): (i64,) = server.app.storage.db.sql("SELECT COUNT(*) FROM users").one().await.unwrap();
    assert_eq!(rows, 0);
    let heard = registers(&server, |it| it["name"] = "Grace Hopper".into()).await;
    assert_eq!(heard.status, 201, "{}", heard.json());
    server.end().await;
}

#[tokio::test]
async fn a_name_is_taken_in_every_form_and_by_what_looks_like_it() {
    let server = serving().await;
    assert_eq!(registers(&server, |it| it["email"] = "grace@example.org".into()).await.status, 201);
    for name in ["grace", "GRACE", "ｇｒａｃｅ", "ᴳᴿᴬᶜᴱ"] {
        let heard = registers(&server, |it| it["username"] = name.into()).await;
        assert_eq!((heard.status, &heard.json()["error"]), (409, &"username_taken".into()), "{name}");
    }
    assert_eq!(registers(&server, |it| it["username"] = "bill".into()).await.status, 201);
    let alike = registers(&server, |it| it["username"] = "bi1l".into()).await;
    assert_eq!(alike.json()["error"], "username_taken");
    let mail = registers(&server, |it| {
        it["username"] = "another".into();
        it["email"] = "GRACE@Example.Org".into();
    });
    assert_eq!(mail.await.json()["error"], "email_taken");
    assert_eq!(registers(&server, |it| it["username"] = "another".into()).await.status, 201, "the name stayed free");
    server.end().await;
}

#[tokio::test]
async fn one_name_asked_for_by_many_at_once_is_one_persons() {
    let server = serving().await;
    let heard = futures_util::future::join_all((0..8).map(|_| registers(&server, |_| ()))).await;
    let made = heard.iter().filter(|it| it.status == 201).count();
    assert!(made == 1 && heard.iter().all(|it| matches!(it.status, 201 | 409)), "{made}");
    server.end().await;
}

#[tokio::test]
async fn an_address_that_registers_too_many_waits() {
    let server = Server::start_with(folio::http::routes(), |it| {
        it.auth.guesses_per_address = 3;
        it.http.rate_limit = Some(folio::config::RateLimitConfig {
            per_address_burst: 1_000,
            per_address_minute: 1_000,
            per_user_burst: 1_000,
            per_user_minute: 1_000,
        });
    });
    let server = server.await;
    for name in ["one", "two", "three"] {
        assert_eq!(registers(&server, |it| it["username"] = name.into()).await.status, 201);
    }
    assert_eq!(registers(&server, |it| it["username"] = "four".into()).await.status, 429);
    server.end().await;
}
