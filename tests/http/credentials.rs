//! Passwords and addresses: how they are changed, and how somebody gets back in without.

use std::time::Duration;

use folio::http;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};

const NEW: &str = "another walk, in the hills";

async fn serving() -> Server {
    Server::start(http::routes(), |_| ()).await
}

/// Everything that was written to an address: subject and body, the newest last.
async fn mails(server: &Server, to: &'static str) -> Vec<(String, String)> {
    let text = "SELECT subject, body FROM mails WHERE recipient = $1 ORDER BY id";
    server.app.storage.db.sql(text).bind(to).all().await.unwrap()
}

/// The word of the link in the last mail to an address.
async fn link(server: &Server, to: &'static str) -> String {
    let (_, body) = mails(server, to).await.pop().expect("a mail");
    let word = body.split("#token=").nth(1).unwrap_or_else(|| panic!("no link in {body}"));
    word.split_whitespace().next().unwrap().to_owned()
}

async fn audited(server: &Server, what: &'static str) -> i64 {
    let stmt = server.app.storage.db.sql("SELECT COUNT(*) FROM audit WHERE what = $1").bind(what);
    stmt.one::<(i64,)>().await.unwrap().0
}

async fn changes(who: &Somebody, body: Value) -> u16 {
    who.sends("PUT", "/api/v1/auth/password", &body).await.status
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_the_old_one_and_other_sessions_end() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let (other, bob) = (ada.again().await, server.with_user("bob").await);
    assert_eq!(changes(&ada, json!({ "new_password": NEW })).await, 403);
    assert_eq!(changes(&ada, json!({ "old_password": "wrong again", "new_password": NEW })).await, 403);
    for weak in ["1234567", "password1", "ada@Ada"] {
        let body = json!({ "old_password": PASSWORD, "new_password": weak });
        let heard = ada.sends("PUT", "/api/v1/auth/password", &body).await;
        assert!(heard.status == 422 && heard.json()["fields"]["new_password"].is_string(), "{weak}");
    }
    assert!(other.is_known().await, "nothing has changed so far");
    assert_eq!(changes(&ada, json!({ "old_password": PASSWORD, "new_password": NEW })).await, 204);
    assert!(ada.is_known().await && !other.is_known().await && bob.is_known().await);
    assert_eq!((other.refreshes().await.status, ada.refreshes().await.status), (401, 200));
    assert_eq!(sign_in(server.address, "ada", PASSWORD).await.status, 401);
    assert_eq!(sign_in(server.address, "ada", NEW).await.status, 200);
    assert_eq!(audited(&server, "password.changed").await, 1);
    assert_eq!(mails(&server, "ada@example.org").await.pop().unwrap().0, "Your password was changed");
    server.end().await;
}

#[tokio::test]
async fn other_sessions_go_on_where_that_is_wanted() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let other = ada.again().await;
    let body = json!({ "old_password": PASSWORD, "new_password": NEW, "keep_sessions": true });
    assert_eq!(changes(&ada, body).await, 204);
    assert!(ada.is_known().await && other.is_known().await);
    server.end().await;
}

#[tokio::test]
async fn whoever_forgot_the_password_sets_another_by_mail_once() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let forgotten = async |email: &str| {
        let heard = post(server.address, "/api/v1/auth/password/forgotten", "", &json!({ "email": email })).await;
        (heard.status, heard.body)
    };
    assert_eq!(forgotten("Ada@EXAMPLE.org").await, forgotten("nobody@example.org").await);
    assert_eq!(forgotten("no address").await.0, 422);
    assert!(mails(&server, "nobody@example.org").await.is_empty());
    let word = link(&server, "ada@example.org").await;
    let reset = async |word: &str, password: &str| {
        let body = json!({ "token": word, "new_password": password });
        post(server.address, "/api/v1/auth/password/reset", "", &body).await
    };
    assert_eq!(reset(&word, "1234567").await.status, 422);
    assert_eq!(reset(&word, NEW).await.status, 204, "a weak one did not use it up");
    let used = reset(&word, "a third walk, at night").await;
    assert_eq!((used.status, &used.json()["error"]), (422, &"bad_ticket".into()));
    for bad in ["", "x", &"A".repeat(22), &"A".repeat(10_000), &ada.access] {
        assert_eq!(reset(bad, NEW).await.json()["error"], "bad_ticket", "{bad:.40}");
    }
    assert!(!ada.is_known().await && ada.refreshes().await.status == 401, "every session has ended");
    assert_eq!(sign_in(server.address, "ada", PASSWORD).await.status, 401);
    assert_eq!(sign_in(server.address, "ada", NEW).await.status, 200);
    assert_eq!(audited(&server, "password.reset").await, 1);

    assert_eq!(forgotten("ada@example.org").await.0, 202);
    let late = link(&server, "ada@example.org").await;
    server.clock.advance(Duration::from_secs(1_801));
    assert_eq!(reset(&late, NEW).await.json()["error"], "bad_ticket");
    server.end().await;
}

#[tokio::test]
async fn nobodys_mailbox_is_filled_by_others() {
    let server = serving().await;
    server.with_user("ada").await;
    let before = mails(&server, "ada@example.org").await.len();
    for _ in 0..10 {
        let body = json!({ "email": "ada@example.org" });
        assert_eq!(post(server.address, "/api/v1/auth/password/forgotten", "", &body).await.status, 202);
    }
    assert!(mails(&server, "ada@example.org").await.len() - before <= 3);
    server.end().await;
}

#[tokio::test]
async fn an_address_is_confirmed_and_another_one_taken_when_its_mail_is_answered() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    server.with_user("bob").await;
    let confirm =
        async |word: &str| post(server.address, "/api/v1/auth/email/confirm", "", &json!({ "token": word })).await;
    let word = link(&server, "ada@example.org").await;
    assert_eq!((confirm(&word).await.status, confirm(&word).await.status), (204, 422));
    assert_eq!(ada.asks("POST", "/api/v1/auth/email/ask").await.status, 404, "nothing is left to confirm");
    let change = async |body: Value| ada.sends("PUT", "/api/v1/auth/email", &body).await;
    assert_eq!(change(json!({ "email": "ada@new.example" })).await.status, 403);
    assert_eq!(change(json!({ "email": "ada@new.example", "password": "wrong again" })).await.status, 403);
    let taken = change(json!({ "email": "BOB@example.org", "password": PASSWORD })).await;
    assert_eq!((taken.status, &taken.json()["error"]), (409, &"email_taken".into()));
    assert_eq!(change(json!({ "email": "ada@new.example", "password": PASSWORD })).await.status, 202);
    let by = async |email: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        post(server.address, "/login", "", &body).await.status
    };
    assert_eq!((by("ada@new.example").await, by("ada@example.org").await), (401, 200), "not yet");
    let word = link(&server, "ada@new.example").await;
    assert_eq!(confirm(&word).await.status, 204);
    assert_eq!((by("ada@new.example").await, by("ada@example.org").await), (200, 401));
    assert_eq!(mails(&server, "ada@example.org").await.pop().unwrap().0, "Your address was changed");
    assert_eq!((audited(&server, "email.confirmed").await, audited(&server, "email.changed").await), (1, 1));
    server.end().await;
}

#[tokio::test]
async fn somebody_leaves_for_a_while_and_comes_back_by_signing_in() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    assert_eq!(ada.sends("POST", "/api/v1/auth/deactivate", &json!({})).await.status, 403);
    let body = json!({ "password": PASSWORD });
    assert_eq!(ada.sends("POST", "/api/v1/auth/deactivate", &body).await.status, 204);
    assert!(!ada.is_known().await && ada.refreshes().await.status == 401);
    assert!(ada.again().await.is_known().await);
    assert_eq!((audited(&server, "account.deactivated").await, audited(&server, "account.restored").await), (1, 1));
    server.end().await;
}

#[tokio::test]
async fn a_password_from_elsewhere_opens_once_and_is_hashed_anew() {
    let server = serving().await;
    server.with_user("ada").await;
    let db = &server.app.storage.db;
    let stored = async || db.sql("SELECT password FROM users").one::<(String,)>().await.unwrap().0;
    let set = async |hash: String| {
        db.write("UPDATE users SET password = $1").bind(hash).execute().await.unwrap();
    };
    set(bcrypt::hash("brought along", 4).unwrap().replacen("$2b$", "$2y$", 1)).await;
    assert_eq!(sign_in(server.address, "ada", "brought alonG").await.status, 401);
    assert_eq!(sign_in(server.address, "ada", "brought along").await.status, 200);
    assert!(stored().await.starts_with("bcrypt-sha256$2b$04$"), "{}", stored().await);
    let hashed = stored().await;
    assert_eq!(sign_in(server.address, "ada", "brought along").await.status, 200);
    assert_eq!(stored().await, hashed, "what is hashed as it should be stays");
    set("x".to_owned()).await;
    assert_eq!(sign_in(server.address, "ada", "x").await.status, 401);
    server.end().await;
}
