//! The browser client: tokens that no script reads, and changes that no other site can cause.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, post};
use crate::support::raw::{Heard, ask, get, say, send_json};

const ME: &str = "/api/v1/auth/sessions";
const CHANGE: &str = "/api/v1/auth/logout";

/// What a browser keeps of an answer.
struct Browser {
    address: SocketAddr,
    cookies: String,
    proof: String,
}

fn set_cookies(heard: &Heard) -> Vec<&str> {
    heard.head.lines().filter_map(|it| it.strip_prefix("set-cookie: ")).collect()
}

impl Browser {
    fn of(address: SocketAddr, heard: &Heard) -> Browser {
        let pairs: Vec<&str> = set_cookies(heard).iter().map(|it| it.split(';').next().unwrap()).collect();
        Browser { address, cookies: pairs.join("; "), proof: heard.json()["csrf_token"].as_str().unwrap().to_owned() }
    }

    async fn asks(&self, line: &str, headers: &str) -> Heard {
        say(self.address, ask(line, &format!("Cookie: {}\r\n{headers}", self.cookies))).await.remove(0)
    }

    async fn posts(&self, path: &str, headers: &str, body: &Value) -> Heard {
        post(self.address, path, &format!("Cookie: {}\r\n{headers}", self.cookies), body).await
    }
}

async fn signed_in(server: &Server) -> Browser {
    server.with_user("ada").await;
    let body = json!({ "username": "ada", "password": PASSWORD, "cookies": true });
    let heard = post(server.address, "/api/v1/auth/login", "", &body).await;
    assert_eq!((heard.status, heard.header("cache-control")), (200, "no-store"));
    assert!(heard.json().get("access_token").is_none() && heard.json().get("refresh_token").is_none());
    Browser::of(server.address, &heard)
}

#[tokio::test]
async fn cookies_are_out_of_reach_for_scripts_and_other_sites() {
    for (site, access, refresh, secure) in [
        ("https://folio.example", "__Host-folio_access=", "__Secure-folio_refresh=", true),
        ("http://127.0.0.1:8080", "folio_access=", "folio_refresh=", false),
    ] {
        let server = Server::start_with(folio::http::routes(), |it| it.mail.site = site.into()).await;
        server.with_user("ada").await;
        let body = json!({ "username": "ada", "password": PASSWORD, "cookies": true });
        let heard = post(server.address, "/api/v1/auth/login", "", &body).await;
        let lines = set_cookies(&heard);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with(access) && lines[0].contains("; Path=/;"), "{lines:?}");
        assert!(lines[1].starts_with(refresh) && lines[1].contains("; Path=/api/v1/auth;"), "{lines:?}");
        for line in lines {
            assert!(line.contains("; HttpOnly; SameSite=Strict") && line.contains("; Secure") == secure, "{line}");
            assert!(!line.contains("Domain") && line.contains("; Max-Age="), "{line}");
        }
        let plain =
            post(server.address, "/api/v1/auth/login", "", &json!({ "username": "ada", "password": PASSWORD })).await;
        assert!(set_cookies(&plain).is_empty() && plain.json().get("csrf_token").is_none());
        server.end().await;
    }
}

#[tokio::test]
async fn a_cookie_reads_and_changes_only_with_proof_of_the_same_site() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = signed_in(&server).await;
    let sessions = ada.asks(&format!("GET {ME}"), "").await;
    assert_eq!(sessions.json()["items"].as_array().unwrap().len(), 2);
    assert_eq!(get(server.address, ME, "").await.status, 401);
    let (ours, proof) = ("Origin: http://x\r\n", format!("X-CSRF-Token: {}\r\n", ada.proof));
    let another = post(
        server.address,
        "/api/v1/auth/login",
        "",
        &json!({ "username": "ada", "password": PASSWORD, "cookies": true }),
    )
    .await;
    let foreign_proof = format!("X-CSRF-Token: {}\r\n", another.json()["csrf_token"].as_str().unwrap());
    for headers in [
        String::new(),
        ours.to_owned(),
        proof.clone(),
        format!("{ours}{foreign_proof}"),
        format!("{ours}X-CSRF-Token: \r\n"),
        format!("{ours}X-CSRF-Token: AAAA\r\n"),
        format!("Origin: https://evil.example\r\n{proof}"),
        format!("Origin: https://x.evil.example\r\n{proof}"),
        format!("Origin: null\r\n{proof}"),
        format!("Origin: http://x:81\r\n{proof}"),
        format!("Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n{proof}"),
        format!("Sec-Fetch-Site: same-site\r\n{proof}"),
        format!("Sec-Fetch-Site: cross-site\r\n{proof}"),
    ] {
        let heard = ada.asks(&format!("POST {CHANGE}"), &headers).await;
        assert_eq!((heard.status, &heard.json()["error"]), (403, &"csrf".into()), "{headers:?}");
    }
    assert_eq!(ada.asks(&format!("GET {ME}"), "").await.status, 200, "nothing was changed");
    let again = ada.asks("GET /api/v1/auth/csrf", "").await.json();
    assert_eq!(again["csrf_token"], ada.proof.as_str(), "a page that was loaded again finds out");
    for headers in ["Origin: http://X\r\n", "Origin: http://folio.example\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        let body = json!({ "password": "not this one" });
        let heard = ada.posts("/api/v1/auth/second-factor", &format!("{headers}{proof}"), &body).await;
        assert_eq!(heard.json()["error"], "forbidden", "{headers:?} is let in, and the password is wrong");
    }
    let gone = ada.asks(&format!("POST {CHANGE}"), &format!("{ours}{proof}")).await;
    assert_eq!((gone.status, set_cookies(&gone).len()), (204, 2));
    assert!(set_cookies(&gone).iter().all(|it| it.contains("=; ") && it.contains("Max-Age=0")), "{}", gone.head);
    assert_eq!(ada.asks(&format!("GET {ME}"), "").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn a_cookie_goes_on_by_its_refresh_cookie_from_pages_of_ours() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let ada = signed_in(&server).await;
    let (path, body) = ("/api/v1/auth/refresh", json!({ "cookies": true }));
    for headers in ["", "Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(ada.posts(path, headers, &body).await.status, 403, "{headers:?}");
    }
    let next = ada.posts(path, "Origin: http://x\r\n", &json!({})).await;
    assert_eq!((next.status, set_cookies(&next).len()), (200, 2), "{}", next.json());
    assert!(next.json().get("refresh_token").is_none(), "what came in a cookie is never told to a script");
    let next = Browser::of(server.address, &next);
    assert_eq!(next.proof, ada.proof, "one sign-in, one proof");
    assert_eq!(next.asks(&format!("GET {ME}"), "").await.status, 200);
    assert_eq!(post(server.address, path, "", &body).await.status, 422);
    server.end().await;
}

#[tokio::test]
async fn a_cookie_that_is_not_good_keeps_nobody_from_what_is_open() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    server.with_user("ada").await;
    let login = json!({ "username": "ada", "password": PASSWORD });
    for cookie in ["folio_access=nonsense", "folio_access=", "=;;=;", "folio_access", "a=\"b; c=d"] {
        let line = format!("Cookie: {cookie}\r\n");
        assert_eq!(get(server.address, "/health", &line).await.status, 200, "{cookie}");
        assert_eq!(get(server.address, ME, &line).await.status, 401, "{cookie}");
        assert_eq!(post(server.address, "/api/v1/auth/login", &line, &login).await.status, 200, "{cookie}");
    }
    let heard = post(
        server.address,
        "/api/v1/auth/login",
        "",
        &json!({ "username": "ada", "password": PASSWORD, "cookies": true }),
    )
    .await;
    let good = Browser::of(server.address, &heard);
    let first = format!("Cookie: {}; folio_access=nonsense\r\n", good.cookies);
    assert_eq!(get(server.address, ME, &first).await.status, 200, "the first of a name counts");
    let first = format!("Cookie: folio_access=nonsense; {}\r\n", good.cookies);
    assert_eq!(get(server.address, ME, &first).await.status, 401);
    let both = format!("Cookie: {}\r\nAuthorization: Bearer nonsense\r\n", good.cookies);
    assert_eq!(get(server.address, ME, &both).await.status, 401, "a token in the head counts alone");
    let large = format!("Cookie: folio_access={}\r\n", "a".repeat(17_000));
    assert_eq!(say(server.address, ask(&format!("GET {ME}"), &large)).await.remove(0).status, 431);
    let request =
        send_json("POST /api/v1/auth/login", &format!("Cookie: {}\r\n", good.cookies), login.to_string().as_bytes());
    assert_eq!(say(server.address, request).await.remove(0).status, 200, "signing in again needs no proof");
    server.end().await;
}
