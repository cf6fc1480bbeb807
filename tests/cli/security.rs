//! What touches somebody's safety stands in the log, without anything secret.

use serde_json::{Value, json};

use super::program::{Place, Serving};
use crate::support::eventually;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};

#[tokio::test]
async fn what_touches_somebodys_safety_is_logged_by_name_and_without_secrets() {
    let place = Place::new();
    let mut folio = place.folio(&["serve", "--listen", "127.0.0.1:0"]);
    folio.env("FOLIO_LOG", "info").env("FOLIO_LOG_FORMAT", "json").env("FOLIO_BCRYPT_COST", "10");
    let server = Serving::start(&mut folio);
    let address = server.address.parse().unwrap();
    let body = json!({ "username": "ada", "email": "canary.mailbox@example.org", "password": PASSWORD });
    assert_eq!(post(address, "/api/v1/auth/register", "", &body).await.status, 201);
    assert_eq!(sign_in(address, "ada", "canary wrong one").await.status, 401);
    let ada = Somebody::of(address, "ada", &sign_in(address, "ada", PASSWORD).await.json());
    assert_eq!(ada.gets("/api/v1/me/export").await.status, 200);
    let body = json!({ "old_password": PASSWORD, "new_password": "canary password two" });
    assert_eq!(ada.sends("PUT", "/api/v1/auth/password", &body).await.status, 204);
    let expected = ["login.failed", "login.ok", "data.exported", "password.changed"];
    let noted = |what: &str| {
        let lines = server.logged();
        let lines = lines.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        lines.filter(|it| it["event"] == "security" && it["what"] == what).collect::<Vec<_>>()
    };
    for what in expected {
        eventually(what, async || !noted(what).is_empty()).await;
        let line = noted(what).remove(0);
        for field in ["timestamp", "user", "audit"] {
            assert!(line[field].is_string(), "{field} is missing in {line}");
        }
    }
    let said = server.logged();
    for secret in [PASSWORD, "canary", &ada.access, &ada.refresh] {
        assert!(!said.contains(secret), "{secret}");
    }
}
