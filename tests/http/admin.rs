//! Those who keep the peace and give out roles: what they do works at once, on those alone who stand lower.

use folio::actors::auth::Role;
use folio::ids::UserId;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

fn path(of: &Somebody, what: &str) -> String {
    format!("/api/v1/admin/users/{}/{what}", of.id)
}

async fn bans(by: &Somebody, whom: &Somebody) -> u16 {
    by.sends("PUT", &path(whom, "ban"), &json!({ "reason": "spam" })).await.status
}

async fn grants(by: &Somebody, to: &Somebody, role: &str) -> (u16, Value) {
    let heard = by.sends("PUT", &path(to, "role"), &json!({ "role": role })).await;
    (heard.status, if heard.body.is_empty() { Value::Null } else { heard.json()["error"].clone() })
}

async fn refreshes(whom: &Somebody) -> u16 {
    post(whom.address, "/api/v1/auth/refresh", "", &json!({ "refresh_token": whom.refresh })).await.status
}

/// What happened to somebody, the newest first.
async fn noted(by: &Somebody, whom: &Somebody) -> Vec<String> {
    let heard = by.gets(&format!("/api/v1/admin/audit?user_id={}", whom.id)).await.json();
    let items = heard["items"].as_array().unwrap().iter();
    items.map(|it| it["what"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_role_counts_from_the_next_token_and_the_old_one_is_void_at_once() {
    let server = serving().await;
    let (eve, ada) = (server.with_role("eve", Role::Admin).await, server.with_user("ada").await);
    assert_eq!(ada.gets("/api/v1/admin/audit").await.status, 403);
    assert_eq!(grants(&eve, &ada, "operator").await.0, 204);
    assert_eq!(ada.gets("/api/v1/me/audit").await.status, 401, "the token says what is no longer so");
    let refreshed = post(ada.address, "/api/v1/auth/refresh", "", &json!({ "refresh_token": ada.refresh })).await;
    assert_eq!(refreshed.status, 200, "the session goes on");
    let ada = Somebody { access: refreshed.json()["access_token"].as_str().unwrap().to_owned(), ..ada };
    assert_eq!(ada.gets("/api/v1/admin/audit").await.status, 200);
    assert_eq!(grants(&eve, &ada, "operator").await.0, 204, "again changes nothing");
    assert_eq!(ada.gets("/api/v1/admin/audit").await.status, 200);
    assert_eq!(noted(&eve, &ada).await.iter().filter(|it| *it == "role.changed").count(), 1);
    server.end().await;
}

#[tokio::test]
async fn nobody_raises_themselves_and_an_admin_is_always_left() {
    let server = serving().await;
    let (eve, ada) = (server.with_role("eve", Role::Admin).await, server.with_user("ada").await);
    for (by, to, role, expected) in [
        (&eve, &eve, "user", (403, json!("forbidden"))),
        (&ada, &ada, "admin", (403, json!("forbidden"))),
        (&eve, &ada, "root", (422, json!("invalid"))),
        (&eve, &ada, "Admin", (422, json!("invalid"))),
    ] {
        assert_eq!(grants(by, to, role).await, expected, "{} to {}: {role}", by.name, to.name);
    }
    let confirmed = json!({ "password": PASSWORD });
    for (method, path) in [("DELETE", "/api/v1/me"), ("POST", "/api/v1/auth/deactivate")] {
        let heard = eve.sends(method, path, &confirmed).await;
        assert_eq!((heard.status, &heard.json()["error"]), (409, &json!("last_admin")), "{path}");
    }
    assert_eq!(grants(&eve, &ada, "admin").await.0, 204);
    let ada = ada.again().await;
    // Both at once: whoever comes second is no admin any more.
    let (one, other) = tokio::join!(grants(&eve, &ada, "user"), grants(&ada, &eve, "user"));
    let done = [one.0, other.0].iter().filter(|it| **it == 204).count();
    assert_eq!(done, 1, "{one:?} {other:?}");
    let last = if one.0 == 204 { eve } else { ada };
    assert_eq!(grants(&last, &server.with_user("bob").await, "admin").await.0, 204);
    assert_eq!(last.sends("POST", "/api/v1/auth/deactivate", &confirmed).await.status, 204, "another is left");
    server.end().await;
}

#[tokio::test]
async fn whoever_is_banned_is_out_at_once_and_comes_back_when_the_ban_ends() {
    let server = serving().await;
    let (mod_, ada) = (server.with_role("mia", Role::Moderator).await, server.with_user("ada").await);
    let (eve, stranger) = (server.with_role("eve", Role::Admin).await, sign_in(ada.address, "nobody", PASSWORD).await);
    for _ in 0..2 {
        assert_eq!(bans(&mod_, &ada).await, 204, "twice is once");
        assert_eq!((ada.gets("/api/v1/me/audit").await.status, refreshes(&ada).await), (401, 401));
    }
    let heard = sign_in(ada.address, &ada.name, PASSWORD).await;
    assert_eq!((heard.status, &heard.json()["detail"]), (401, &stranger.json()["detail"]), "as if there were no ada");
    for _ in 0..2 {
        assert_eq!(mod_.asks("DELETE", &path(&ada, "ban")).await.status, 204);
    }
    assert_eq!((ada.gets("/api/v1/me/audit").await.status, refreshes(&ada).await), (401, 401), "what ended has ended");
    let ada = ada.again().await;
    let mine = ada.gets("/api/v1/me/audit").await.json();
    let ban = mine["items"].as_array().unwrap().iter().find(|it| it["what"] == "account.banned").unwrap();
    assert_eq!(
        (&ban["by"], &ban["address"], &ban["detail"]),
        (&json!("staff"), &Value::Null, &json!({ "reason": "spam" }))
    );
    let all = noted(&eve, &ada).await;
    let count = |what: &str| all.iter().filter(|it| *it == what).count();
    assert_eq!((count("account.banned"), count("account.unbanned")), (1, 1), "{all:?}");
    server.end().await;
}

#[tokio::test]
async fn nobody_is_touched_by_those_who_do_not_stand_higher() {
    let server = serving().await;
    let roles = [Role::User, Role::Moderator, Role::Operator, Role::Admin];
    let mut people = Vec::new();
    for role in roles {
        people.push((server.with_role(&format!("one-{}", role.name()), role).await, role));
        people.push((server.with_role(&format!("two-{}", role.name()), role).await, role));
    }
    let standing = |role: Role| roles.iter().position(|it| *it == role).unwrap();
    for (by, high) in &people {
        for (on, low) in &people {
            let may = *high != Role::User && standing(*high) > standing(*low);
            let status = by.asks("DELETE", &path(on, "sessions")).await.status;
            // A session of the lower one may have ended a moment ago; sign in again for the next.
            assert_eq!(status, if may { 204 } else { 403 }, "{} on {}", by.name, on.name);
            if may {
                assert_eq!(refreshes(on).await, 401);
            } else {
                assert_eq!(bans(by, on).await, 403, "{} on {}", by.name, on.name);
            }
        }
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_asked_for_nobody_is_not_found() {
    let server = serving().await;
    let eve = server.with_role("eve", Role::Admin).await;
    let nobody = UserId::new(&server.clock);
    for id in [nobody.to_string(), "1".into(), "null".into(), "me".into(), nobody.to_string().to_uppercase() + "0"] {
        let at = |what: &str| format!("/api/v1/admin/users/{id}/{what}");
        assert_eq!(eve.sends("PUT", &at("ban"), &json!({ "reason": "x" })).await.status, 404, "{id}");
        assert_eq!(eve.asks("DELETE", &at("ban")).await.status, 404, "{id}");
        assert_eq!(eve.asks("DELETE", &at("sessions")).await.status, 404, "{id}");
        assert_eq!(eve.sends("PUT", &at("role"), &json!({ "role": "user" })).await.status, 404, "{id}");
    }
    let ada = server.with_user("ada").await;
    for body in [
        json!({}),
        json!({ "reason": "" }),
        json!({ "reason": "  " }),
        json!({ "reason": "a\u{0}b" }),
        json!({ "reason": "x".repeat(501) }),
        json!({ "reason": "x", "until": 1 }),
        json!([]),
    ] {
        assert_eq!(eve.sends("PUT", &path(&ada, "ban"), &body).await.status, 422, "{body}");
    }
    assert_eq!(ada.gets("/api/v1/me/audit").await.status, 200, "nothing was changed");
    server.end().await;
}

#[tokio::test]
async fn operators_find_accounts_by_name_state_and_role() {
    let server = serving().await;
    let olga = server.with_role("olga", Role::Operator).await;
    let (ada, adam, bob) =
        (server.with_user("ada").await, server.with_user("Adam").await, server.with_user("bob").await);
    assert_eq!(bans(&olga, &adam).await, 204);
    let named = async |query: &str| -> Vec<String> {
        let heard = olga.gets(&format!("/api/v1/admin/users{query}")).await;
        assert_eq!(heard.status, 200, "{query}: {}", heard.json());
        heard.json()["items"].as_array().unwrap().iter().map(|it| it["username"].as_str().unwrap().to_owned()).collect()
    };
    for (query, names) in [
        ("", &["ada", "Adam", "bob", "olga"][..]),
        ("?prefix=AD", &["ada", "Adam"]),
        ("?state=banned", &["Adam"]),
        ("?role=operator", &["olga"]),
        ("?role=user&state=active", &["ada", "bob"]),
        ("?prefix=b&state=banned", &[]),
        ("?prefix=%25", &[]),
    ] {
        assert_eq!(named(query).await, names, "{query}");
    }
    let first = olga.gets("/api/v1/admin/users?size=3").await.json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(named(&format!("?size=3&cursor={next}")).await, ["olga"]);
    let seen = first["items"][0].clone();
    assert_eq!(
        (&seen["email"], &seen["state"], &seen["role"]),
        (&json!("ada@example.org"), &json!("active"), &json!("user"))
    );
    for query in ["?state=sleeping", "?role=root", "?name=ada", "?prefix=a&prefix=b"] {
        assert_eq!(olga.gets(&format!("/api/v1/admin/users{query}")).await.status, 422, "{query}");
    }
    let text = seen.to_string();
    assert!(!text.contains("$2b$") && seen.get("password").is_none() && seen.get("grants").is_none(), "{text}");
    assert_eq!(
        (ada.gets("/api/v1/admin/users").await.status, bob.gets("/api/v1/admin/users").await.status),
        (403, 403)
    );
    server.end().await;
}

#[tokio::test]
async fn what_happened_is_told_to_its_owner_and_to_operators_alone() {
    let server = serving().await;
    let (olga, ada) = (server.with_role("olga", Role::Operator).await, server.with_user("ada").await);
    let bob = server.with_user("bob").await;
    assert_eq!(sign_in(ada.address, "ada", "a wrong password").await.status, 401);
    let mine = ada.gets("/api/v1/me/audit").await.json();
    let whats: Vec<&str> = mine["items"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["login.failed", "login.ok", "account.registered"], "the newest first");
    assert_eq!(mine["items"][1]["by"], "you");
    assert!(mine["items"][1]["address"].is_string(), "{mine}");
    let theirs = bob.gets("/api/v1/me/audit").await.json();
    assert!(!theirs.to_string().contains(&ada.id), "{theirs}");
    let (page, mut seen) = ("/api/v1/admin/audit?size=2", Vec::new());
    let mut next = Some(page.to_owned());
    while let Some(path) = next {
        let heard = olga.gets(&path).await.json();
        seen.extend(heard["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        next = heard["next"].as_str().map(|it| format!("{page}&cursor={it}"));
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(seen, sorted, "each once, the newest first");
    assert!(seen.len() >= 7, "{seen:?}");
    server.end().await;
}
