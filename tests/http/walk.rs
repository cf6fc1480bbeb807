//! Every route, asked by everybody: what is not allowed by the one table of rights is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use folio::actors::auth::rules::allow;
use folio::actors::auth::{Caller, Person, Right, Role, Scope, Service};
use folio::ids::{KeyId, SessionId, UserId};
use serde_json::Value;
use uuid::Uuid;

use crate::support::forge::{Forge, claims_of, signed_with};
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::raw::{Heard, ask, say};

/// The right of every route: one that is missing here fails the test.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, Right)] = &[
    ("GET",    "/health",                              Right::Look),
    ("GET",    "/health/live",                         Right::Look),
    ("GET",    "/health/ready",                        Right::Look),
    ("GET",    "/metrics",                             Right::Look),
    ("GET",    "/api/openapi.json",                    Right::Look),
    ("GET",    "/api/docs",                            Right::Look),
    ("GET",    "/api/v1/asyncapi.json",                Right::Look),
    ("POST",   "/api/v1/auth/register",                Right::Look),
    ("POST",   "/api/v1/auth/login",                   Right::Look),
    ("POST",   "/api/v1/auth/refresh",                 Right::Look),
    ("GET",    "/api/v1/auth/verify",                  Right::Look),
    ("POST",   "/api/v1/auth/verify",                  Right::Look),
    ("POST",   "/api/v1/auth/password/forgotten",      Right::Look),
    ("POST",   "/api/v1/auth/password/reset",          Right::Look),
    ("POST",   "/api/v1/auth/email/confirm",           Right::Look),
    ("POST",   "/api/v1/auth/logout",                  Right::Own),
    ("POST",   "/api/v1/auth/logout-all",              Right::Own),
    ("GET",    "/api/v1/auth/sessions",                Right::Own),
    ("DELETE", "/api/v1/auth/sessions/{id}",           Right::Own),
    ("PUT",    "/api/v1/auth/password",                Right::Own),
    ("PUT",    "/api/v1/auth/email",                   Right::Own),
    ("POST",   "/api/v1/auth/email/ask",               Right::Own),
    ("POST",   "/api/v1/auth/deactivate",              Right::Own),
    ("GET",    "/api/v1/auth/csrf",                    Right::Own),
    ("GET",    "/api/v1/auth/second-factor",           Right::Own),
    ("POST",   "/api/v1/auth/second-factor",           Right::Own),
    ("DELETE", "/api/v1/auth/second-factor",           Right::Own),
    ("POST",   "/api/v1/auth/second-factor/confirm",   Right::Own),
    ("GET",    "/api/v1/me/export",                    Right::Own),
    ("DELETE", "/api/v1/me",                           Right::Own),
    ("GET",    "/api/v1/users",                        Right::SeePeople),
    ("GET",    "/api/v1/users/{id}",                   Right::SeePeople),
    ("GET",    "/api/v1/profile/public/{username}",    Right::Look),
    ("GET",    "/api/v1/profile/user/{id}",            Right::Own),
    ("GET",    "/api/v1/profile/external/{id}",        Right::LookUpProfiles),
    ("GET",    "/api/v1/profile/me",                   Right::Own),
    ("PUT",    "/api/v1/profile/me",                   Right::Own),
    ("PATCH",  "/api/v1/profile/me",                   Right::Own),
    ("PUT",    "/api/v1/me/username",                  Right::Own),
    ("GET",    "/api/v1/me/blocks",                    Right::Own),
    ("PUT",    "/api/v1/me/blocks/{user_id}",          Right::Own),
    ("DELETE", "/api/v1/me/blocks/{user_id}",          Right::Own),
    ("GET",    "/api/v1/me/preferences",               Right::Own),
    ("PUT",    "/api/v1/me/preferences",               Right::Own),
    ("GET",    "/api/v1/me/audit",                     Right::Own),
    ("POST",   "/api/v1/keys",                         Right::ManageKeys),
    ("GET",    "/api/v1/keys",                         Right::ManageKeys),
    ("DELETE", "/api/v1/keys/{id}",                    Right::ManageKeys),
    ("GET",    "/api/v1/admin/audit",                  Right::Audit),
    ("GET",    "/api/v1/admin/users",                  Right::SeeAccounts),
    ("PUT",    "/api/v1/admin/users/{id}/role",        Right::Grant),
    ("PUT",    "/api/v1/admin/users/{id}/ban",         Right::Moderate),
    ("DELETE", "/api/v1/admin/users/{id}/ban",         Right::Moderate),
    ("DELETE", "/api/v1/admin/users/{id}/sessions",    Right::Moderate),
    ("GET",    "/api/v1/presence",                     Right::Own),
    ("GET",    "/api/v1/presence/{user_id}",           Right::Own),
    ("POST",   "/api/v1/realtime/ticket",              Right::Own),
    ("GET",    "/api/v1/events",                       Right::Own),
    ("GET",    "/ws",                                  Right::Look),
    ("GET",    "/socket.io/",                          Right::Look),
    ("POST",   "/socket.io/",                          Right::Look),
    ("PUT",    "/socket.io/",                          Right::Look),
    ("DELETE", "/api/v1/chat/conversations/{id}/members/{user_id}", Right::Own),
    ("DELETE", "/api/v1/chat/conversations/{id}/messages/{seq}", Right::Own),
    ("DELETE", "/api/v1/chat/conversations/{id}/messages/{seq}/reactions/{emoji}", Right::Own),
    ("DELETE", "/api/v1/chat/conversations/{id}/pins/{seq}", Right::Own),
    ("GET",    "/api/v1/chat/conversations",           Right::Own),
    ("GET",    "/api/v1/chat/conversations/{id}",      Right::Own),
    ("GET",    "/api/v1/chat/conversations/{id}/members", Right::Own),
    ("GET",    "/api/v1/chat/conversations/{id}/messages", Right::Own),
    ("GET",    "/api/v1/chat/conversations/{id}/messages/{seq}", Right::Own),
    ("GET",    "/api/v1/chat/conversations/{id}/pins", Right::Own),
    ("GET",    "/api/v1/chat/users/search",            Right::SeePeople),
    ("PATCH",  "/api/v1/chat/conversations/{id}",      Right::Own),
    ("PATCH",  "/api/v1/chat/conversations/{id}/messages/{seq}", Right::Own),
    ("POST",   "/api/v1/chat/conversations",           Right::Own),
    ("POST",   "/api/v1/chat/conversations/{id}/members", Right::Own),
    ("POST",   "/api/v1/chat/conversations/{id}/messages", Right::Own),
    ("POST",   "/api/v1/chat/conversations/{id}/typing", Right::Own),
    ("POST",   "/api/v1/chat/register-user",           Right::TellOfPeople),
    ("PUT",    "/api/v1/chat/conversations/{id}/draft", Right::Own),
    ("PUT",    "/api/v1/chat/conversations/{id}/members/{user_id}", Right::Own),
    ("PUT",    "/api/v1/chat/conversations/{id}/messages/{seq}/reactions/{emoji}", Right::Own),
    ("PUT",    "/api/v1/chat/conversations/{id}/pins/{seq}", Right::Own),
    ("PUT",    "/api/v1/chat/conversations/{id}/receipt", Right::Own),
    ("PUT",    "/api/v1/chat/conversations/{id}/settings", Right::Own),
];

/// What the shell says of somebody who has not the right; handlers refuse in words of their own.
const NOT_FOR_YOU: &str = "this is not for your role";

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

/// A path with ids that nothing has.
fn filled(template: &str) -> String {
    let nobody = Uuid::from_u128(0x019f_0000_0000_7000_8000_0000_0000_0000);
    let part = |it: &str| match it {
        "{username}" | "{file}" => "nobody".to_owned(),
        it if it.starts_with('{') => nobody.to_string(),
        it => it.to_owned(),
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

async fn asked(server: &Server, method: &str, path: &str, headers: &str) -> Heard {
    // An event source that comes back from nowhere is told so; others would listen for ever.
    let headers = format!("{headers}Last-Event-ID: nonsense\r\n");
    say(server.address, ask(&format!("{method} {path}"), &headers)).await.remove(0)
}

/// Whether the shell let it pass; what a handler says afterwards is its own business.
fn refusal(heard: &Heard) -> Option<u16> {
    let text = |field: &str| -> Value { heard.json()[field].clone() };
    match heard.status {
        401 if text("detail") == "a bearer token is needed" => Some(401),
        403 if text("detail") == NOT_FOR_YOU => Some(403),
        _ => None,
    }
}

#[tokio::test]
async fn every_route_has_a_row_here_and_every_row_a_route() {
    let server = serving().await;
    let api = say(server.address, ask("GET /api/openapi.json", "")).await.remove(0).json();
    let items = api["paths"].as_object().unwrap().iter().map(|(path, item)| (path, item.as_object().unwrap()));
    let found = items.flat_map(|(path, item)| item.keys().map(move |it| format!("{} {path}", it.to_uppercase())));
    let found: BTreeSet<String> = found.collect();
    let rows = ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let (missing, gone) = (Vec::from_iter(found.difference(&rows)), Vec::from_iter(rows.difference(&found)));
    assert!(missing.is_empty() && gone.is_empty(), "without a row: {missing:#?}; without a route: {gone:#?}");
    server.end().await;
}

#[tokio::test]
async fn every_route_is_open_to_those_of_its_right_and_to_nobody_else() {
    let server = serving().await;
    let mut people = Vec::new();
    for role in Role::ALL {
        people.push((server.with_role(&format!("a-{}", role.name()), role).await, role));
    }
    let admin = people.last().unwrap().0.clone();
    let mut services = Vec::new();
    for scope in Scope::ALL {
        services.push((admin.makes_a_key(&[scope.name()]).await.0, scope));
    }
    let mut wrong = Vec::new();
    for (method, template, right) in ROUTES {
        let path = filled(template);
        let mut check = |who: &str, caller: Option<&Caller>, heard: &Heard| {
            let expected = allow(*right, caller).err().map(|it| if it.code() == "forbidden" { 403 } else { 401 });
            // Everybody may ask whose token it is, but has to bring one of a person.
            let asks_about_a_token = template.ends_with("/verify") && !matches!(caller, Some(Caller::Person(_)));
            if refusal(heard) != expected && !(asks_about_a_token && heard.status == 401) {
                wrong.push(format!("{method} {path} as {who}: {} instead of {expected:?}", heard.status));
            }
            if heard.status >= 500 {
                wrong.push(format!("{method} {path} as {who}: {}", heard.status));
            }
        };
        check("nobody", None, &asked(&server, method, &path, "").await);
        for (somebody, role) in &people {
            // What was asked before may have ended the session.
            let somebody = somebody.again().await;
            let caller = person(&somebody, *role);
            check(role.name(), Some(&caller), &asked(&server, method, &path, &somebody.bearer()).await);
        }
        for (key, scope) in &services {
            let caller = service(*scope);
            for headers in [format!("X-API-Key: {key}\r\n"), format!("Authorization: Bearer {key}\r\n")] {
                check(scope.name(), Some(&caller), &asked(&server, method, &path, &headers).await);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    server.end().await;
}

fn person(somebody: &Somebody, role: Role) -> Caller {
    Caller::Person(Person { user: somebody.id.parse().unwrap(), session: SessionId(Uuid::nil()), role })
}

fn service(scope: Scope) -> Caller {
    Caller::Service(Service { key: KeyId(Uuid::nil()), scopes: [scope].into_iter().collect() })
}

#[tokio::test]
async fn a_token_that_is_not_good_opens_nothing_not_even_what_is_open() {
    let server = serving().await;
    let (eve, ada) = (server.with_role("eve", Role::Admin).await, server.with_role("ada", Role::Admin).await);
    let bob = server.with_role("bob", Role::User).await;
    let (key, id) = eve.makes_a_key(&["users:read", "profiles:read"]).await;
    let claims = claims_of(&eve).to_string();
    let foreign = signed_with(b"the key of another house", &Forge::of(&server).await.header(), &claims);
    let out = ada.again().await;
    assert_eq!(out.asks("POST", "/api/v1/auth/logout").await.status, 204);
    assert_eq!(eve.asks("DELETE", &format!("/api/v1/keys/{id}")).await.status, 204);
    let reason = serde_json::json!({ "reason": "x" });
    let banned = eve.sends("PUT", &format!("/api/v1/admin/users/{}/ban", bob.id), &reason).await;
    assert_eq!(banned.status, 204);
    let mut headers = vec![
        ("another key's", format!("Authorization: Bearer {foreign}\r\n")),
        ("signed out", out.bearer()),
        ("banned", bob.bearer()),
        ("a revoked key", format!("X-API-Key: {key}\r\n")),
        ("a refresh token", format!("Authorization: Bearer {}\r\n", eve.refresh)),
    ];
    walk_refused(&server, &headers).await;
    server.clock.advance(Duration::from_secs(31 * 60));
    headers.push(("expired", eve.bearer()));
    walk_refused(&server, &headers).await;
    server.end().await;
}

async fn walk_refused(server: &Server, headers: &[(&str, String)]) {
    let mut wrong = Vec::new();
    for (method, template, _) in ROUTES {
        for (what, headers) in headers {
            let heard = asked(server, method, &filled(template), headers).await;
            if heard.status != 401 {
                wrong.push(format!("{method} {template} with one that is {what}: {}", heard.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An answer without what is another in every answer.
fn masked(heard: &Heard) -> String {
    let mut body = heard.json();
    body["request_id"] = Value::Null;
    let head = heard.head.lines().filter(|it| !["x-request-id", "date"].iter().any(|name| it.starts_with(name)));
    format!("{}\n{body}", head.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn what_is_anothers_looks_as_if_it_were_not_there() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let sessions = ada.gets("/api/v1/auth/sessions").await.json();
    let text = sessions.to_string();
    let session = sessions.pointer("/items/0/id").or(sessions.pointer("/0/id")).or(sessions.pointer("/sessions/0/id"));
    let session = session.and_then(Value::as_str).unwrap_or_else(|| panic!("a session in {text}")).to_owned();
    let nobody = UserId::new(&server.clock);
    for (method, template, theirs) in [("DELETE", "/api/v1/auth/sessions/{}", session.as_str())] {
        let foreign = bob.asks(method, &template.replace("{}", theirs)).await;
        let missing = bob.asks(method, &template.replace("{}", &nobody.to_string())).await;
        assert_eq!(foreign.status, 404, "{template}");
        assert_eq!(masked(&foreign), masked(&missing), "{template}");
    }
    assert_eq!(ada.gets("/api/v1/me/audit").await.status, 200, "and nothing happened to it");
    server.end().await;
}

#[tokio::test]
async fn whoever_is_gone_looks_as_if_they_had_never_been() {
    let server = serving().await;
    let (eve, ada, bob) =
        (server.with_role("eve", Role::Admin).await, server.with_user("ada").await, server.with_user("bob").await);
    let (key, _) = eve.makes_a_key(&["profiles:read", "users:read"]).await;
    let ban = format!("/api/v1/admin/users/{}/ban", ada.id);
    assert_eq!(eve.sends("PUT", &ban, &serde_json::json!({ "reason": "x" })).await.status, 204);
    let (nobody, key) = (UserId::new(&server.clock).to_string(), format!("X-API-Key: {key}\r\n"));
    for (path, gone, missing, headers) in [
        ("/api/v1/users/{}", ada.id.as_str(), nobody.as_str(), bob.bearer()),
        ("/api/v1/users/{}", &ada.id, &nobody, key.clone()),
        ("/api/v1/profile/user/{}", &ada.id, &nobody, bob.bearer()),
        ("/api/v1/profile/external/{}", &ada.id, &nobody, key),
        ("/api/v1/profile/public/{}", "ada", "nobody", String::new()),
    ] {
        let gone = asked(&server, "GET", &path.replace("{}", gone), &headers).await;
        let missing = asked(&server, "GET", &path.replace("{}", missing), &headers).await;
        assert_eq!((gone.status, masked(&gone)), (404, masked(&missing)), "{path}");
    }
    server.end().await;
}
