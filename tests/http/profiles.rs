//! Profiles: read, written by whoever saw the last version, and shown to each as is their due.

use folio::actors::auth::{Hand, NewKey, Scope};
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::raw::{Heard, ask, get, say, send_json};

const ME: &str = "/api/v1/profile/me";

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

fn form(version: i64) -> Value {
    json!({
        "version": version,
        "display_name": "Ada Lovelace",
        "headline": "Poetical science",
        "bio": "One line,\nand another 🦊",
        "location": "London",
        "age": 36,
        "links": [{ "label": "Home", "url": "https://example.org/ä" }],
        "expertise": ["engines", "verse"],
        "contact": [
            { "kind": "email", "value": "ada@example.org", "visibility": "nobody" },
            { "kind": "matrix", "value": "@ada:example.org", "visibility": "signed_in" },
            { "kind": "web", "value": "example.org/ada", "visibility": "everyone" },
        ],
        "theme_music_url": "https://example.org/waltz.mp3",
        "avatar_url": "https://example.org/ada.png",
    })
}

/// Everything but some fields.
fn without(mut value: Value, fields: &[&str]) -> Value {
    fields.iter().for_each(|it| _ = value.as_object_mut().unwrap().remove(*it));
    value
}

async fn sends_if(ada: &Somebody, method: &str, etag: &str, body: &Value) -> Heard {
    let headers = format!("{}If-Match: {etag}\r\n", ada.bearer());
    say(ada.address, send_json(&format!("{method} {ME}"), &headers, body.to_string().as_bytes())).await.remove(0)
}

#[tokio::test]
async fn what_somebody_writes_is_what_everybody_reads() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let empty = ada.gets("/profile/me").await.json();
    assert_eq!((&empty["version"], &empty["username"], &empty["bio"]), (&1.into(), &"ada".into(), &"".into()));
    let written = ada.sends("PUT", "/profile/me", &form(1)).await;
    assert_eq!(written.status, 200, "{}", written.json());
    let added = ["user_id", "username", "created_at", "updated_at"];
    assert_eq!(without(written.json(), &added), form(2));
    for _ in 0..2 {
        assert_eq!(ada.gets(ME).await.json(), written.json());
        let public = get(server.address, "/api/profile/public/ADA", "").await;
        let shared = ["version", "contact"];
        assert_eq!(without(public.json(), &["contact"]), without(written.json(), &shared));
        let by_id = bob.gets(&format!("/profile/user/{}", ada.id)).await;
        assert_eq!(without(by_id.json(), &["contact"]), without(public.json(), &["contact"]));
    }
    let listed = bob.gets("/api/v1/users?prefix=ada").await.json();
    assert_eq!(listed["items"][0]["display_name"], "Ada Lovelace");
    server.end().await;
}

#[tokio::test]
async fn of_two_devices_that_saw_one_version_the_second_hears_of_the_first() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let (phone, desk) = (form(1), json!({ "version": 1, "display_name": "Countess" }));
    assert_eq!(ada.sends("PUT", ME, &phone).await.status, 200);
    let late = ada.sends("PUT", ME, &desk).await;
    assert_eq!((late.status, late.json()["error"].as_str()), (409, Some("version_conflict")));
    // The first asks again because it did not hear the answer.
    let again = ada.sends("PUT", ME, &phone).await;
    assert_eq!((again.status, &again.json()["version"]), (200, &2.into()));
    assert_eq!(ada.gets(ME).await.json()["display_name"], "Ada Lovelace");

    let etag = ada.gets(ME).await.header("etag").to_owned();
    let body = without(desk, &["version"]);
    assert_eq!(sends_if(&ada, "PUT", "W/\"0\"", &body).await.status, 409);
    assert_eq!(sends_if(&ada, "PUT", &etag, &body).await.status, 200);
    assert_eq!(sends_if(&ada, "PUT", &etag, &body).await.status, 409, "it names what was before");
    let unseen = ada.sends("PUT", ME, &body).await;
    assert_eq!(unseen.status, 422);
    assert!(unseen.json()["fields"]["version"].is_string(), "{}", unseen.json());
    server.end().await;
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    ada.sends("PUT", ME, &form(1)).await;
    let patched = ada.sends("PATCH", ME, &json!({ "version": 2, "age": null, "bio": "New." })).await;
    assert_eq!(patched.status, 200, "{}", patched.json());
    let mut expected = form(3);
    (expected["age"], expected["bio"]) = (Value::Null, "New.".into());
    assert_eq!(without(patched.json(), &["user_id", "username", "created_at", "updated_at"]), expected);
    for (body, status) in [
        (json!({ "version": 3, "username": "root" }), 422),
        (json!({ "version": 3, "display_name": "" }), 422),
        (json!({ "version": 2, "bio": "Other." }), 409),
        (json!({ "bio": "Other." }), 422),
        (json!({ "version": "3", "bio": "Other." }), 422),
    ] {
        assert_eq!(ada.sends("PATCH", ME, &body).await.status, status, "{body}");
    }
    assert_eq!(ada.gets(ME).await.json()["version"], 3);
    server.end().await;
}

#[tokio::test]
async fn a_read_that_would_say_the_same_again_says_so_shorter() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let id: folio::ids::UserId = ada.id.parse().unwrap();
    for path in [ME, "/api/v1/profile/public/ada", &format!("/api/v1/profile/user/{}", ada.id)] {
        let first = ada.gets(path).await;
        let headers = format!("{}If-None-Match: {}\r\n", ada.bearer(), first.header("etag"));
        // Once from memory, and once after it was taken out of it.
        for near in [true, false] {
            if !near {
                server.app.actors.profiles.forget(id).await;
            }
            let heard = get(server.address, path, &headers).await;
            assert_eq!((heard.status, heard.body.len()), (304, 0), "{path} {near}");
            assert_eq!(heard.header("etag"), first.header("etag"));
        }
        assert!(first.header("cache-control").contains("no-cache"), "{path}");
    }
    let headers = format!("{}If-None-Match: *\r\n", ada.bearer());
    let body = form(1).to_string();
    let written = say(server.address, send_json(&format!("PUT {ME}"), &headers, body.as_bytes())).await.remove(0);
    assert_eq!(written.status, 200, "a write always tells");
    server.end().await;
}

fn kinds(heard: &Heard) -> Vec<String> {
    assert_eq!(heard.status, 200, "{}", heard.json());
    heard.json()["contact"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_contact_is_told_only_to_those_it_is_meant_for_in_whatever_order_they_ask() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    ada.sends("PUT", ME, &form(1)).await;
    let public = "/api/v1/profile/public/ada";
    for _ in 0..3 {
        assert_eq!(kinds(&ada.gets(ME).await), ["email", "matrix", "web"]);
        assert_eq!(kinds(&get(server.address, public, "").await), ["web"]);
        assert_eq!(kinds(&bob.gets(public).await), ["matrix", "web"]);
        assert_eq!(kinds(&bob.gets(&format!("/api/v1/profile/user/{}", ada.id)).await), ["matrix", "web"]);
        assert_eq!(kinds(&get(server.address, public, "").await), ["web"]);
    }
    let seen = get(server.address, public, "").await;
    assert!(!String::from_utf8(seen.body).unwrap().contains("visibility"));
    let bobs = format!("If-None-Match: {}\r\n", bob.gets(public).await.header("etag"));
    assert_eq!(get(server.address, public, &bobs).await.status, 200, "what is shown to others has another tag");
    let hidden = json!({ "version": 2, "contact": [] });
    assert_eq!(ada.sends("PATCH", ME, &hidden).await.status, 200);
    assert_eq!(kinds(&bob.gets(public).await), [""; 0]);
    server.end().await;
}

#[tokio::test]
async fn a_profile_for_other_systems_takes_a_key() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let path = format!("/profile/external/{}", ada.id);
    assert_eq!(get(server.address, &path, "").await.status, 401);
    assert_eq!(ada.gets(&path).await.status, 403);
    ada.sends("PUT", ME, &form(1)).await;
    for (scope, status) in [(Scope::ProfilesRead, 200), (Scope::UsersRead, 403)] {
        let asked = NewKey { name: "shop".to_owned(), scopes: vec![scope], ends_at: None };
        let key = server.app.actors.keys.make(asked, &Hand::command_line()).await.unwrap().key;
        let headers = format!("Authorization: Bearer {key}\r\n");
        for path in [path.clone(), path.replace("/profile", "/api/v1/profile")] {
            let heard = get(server.address, &path, &headers).await;
            assert_eq!(heard.status, status, "{scope:?}");
            assert!(status != 200 || kinds(&heard) == ["web"], "a service is nobody who has signed in");
        }
        let people = get(server.address, &format!("/api/users/{}", ada.id), &headers).await;
        assert_eq!(people.status, 603 - status, "{scope:?}");
        assert_eq!(get(server.address, ME, &headers).await.status, 403, "a key is nobody's profile");
    }
    let heard = say(server.address, ask("DELETE /api/v1/profile/me", &ada.bearer())).await.remove(0);
    assert_eq!((heard.status, heard.header("allow")), (405, "GET, HEAD, PUT, PATCH, OPTIONS"));
    server.end().await;
}

/// A field at its limit, and past it.
fn limits() -> Vec<(&'static str, Value, Value)> {
    let link = |label: &str, url: &str| json!({ "label": label, "url": url });
    let contact = |kind: &str, value: &str| json!({ "kind": kind, "value": value, "visibility": "nobody" });
    let url = |bytes: usize| format!("https://example.org/{}", "a".repeat(bytes - 20));
    let marks = |count: usize| format!("a{}", "\u{301}".repeat(count));
    vec![
        ("display_name", json!("ž".repeat(64)), json!("ž".repeat(65))),
        ("display_name", json!(marks(16)), json!(marks(17))),
        ("display_name", json!("a"), json!(" \u{200b} ")),
        ("display_name", json!("a b"), json!("a\u{0}b")),
        ("display_name", json!("a b"), json!("gnp.\u{202e}exe")),
        ("headline", json!("h".repeat(120)), json!("h".repeat(121))),
        ("headline", json!(""), json!("two\nlines")),
        ("bio", json!("b".repeat(5_000)), json!("b".repeat(5_001))),
        ("bio", json!("a\n\tb"), json!("\u{1b}[2J")),
        ("location", json!("l".repeat(100)), json!("l".repeat(101))),
        ("age", json!(0), json!(-1)),
        ("age", json!(150), json!(151)),
        ("age", json!(null), json!("36")),
        ("age", json!(36), json!(36.5)),
        ("age", json!(36), json!(i64::MAX)),
        ("links", json!(vec![link("x", "http://x"); 20]), json!(vec![link("x", "http://x"); 21])),
        ("links", json!([link(&"l".repeat(40), &url(2_048))]), json!([link("x", &url(2_049))])),
        ("links", json!([]), json!([link(&"l".repeat(41), "http://x")])),
        ("links", json!([]), json!([link("", "http://x")])),
        ("links", json!([]), json!([link("x", "javascript:alert(1)")])),
        ("links", json!([]), json!([{ "label": "x", "url": "http://x", "rel": "me" }])),
        ("expertise", json!(vec!["e".repeat(40); 30]), json!(vec!["e"; 31])),
        ("expertise", json!([]), json!(["e".repeat(41)])),
        ("expertise", json!([]), json!([7])),
        ("contact", json!(vec![contact(&"k".repeat(40), &"v".repeat(200)); 10]), json!(vec![contact("k", "v"); 11])),
        ("contact", json!([]), json!([contact("k", &"v".repeat(201))])),
        ("contact", json!([]), json!([{ "kind": "k", "value": "v", "visibility": "friends" }])),
        ("contact", json!([]), json!([{ "kind": "k", "value": "v" }])),
        ("theme_music_url", json!(url(2_048)), json!(url(2_049))),
        ("theme_music_url", json!(null), json!("file:///etc/passwd")),
        ("avatar_url", json!("http://example.org"), json!("data:image/png;base64,AAAA")),
        ("avatar_url", json!(null), json!("https://a@b.example/")),
    ]
}

#[tokio::test]
async fn every_field_is_taken_at_its_limit_and_refused_past_it() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let mut version = 1;
    for (field, good, bad) in limits() {
        let mut body = form(version);
        body[field] = bad.clone();
        let heard = ada.sends("PUT", ME, &body).await;
        let fields = heard.json()["fields"].as_object().cloned().unwrap_or_default();
        assert_eq!(heard.status, 422, "{field} {bad}: {}", heard.json());
        assert!(fields.keys().all(|it| it.starts_with(field)) && !fields.is_empty(), "{field} {bad}: {fields:?}");
        body[field] = good.clone();
        let heard = ada.sends("PUT", ME, &body).await;
        assert_eq!(heard.status, 200, "{field} {good}: {}", heard.json());
        assert_eq!(heard.json()[field], good);
        version = heard.json()["version"].as_i64().unwrap();
    }
    for body in [json!({}), json!([]), json!(null), json!({ "version": version }), json!({ "user_id": ada.id })] {
        assert_eq!(ada.sends("PUT", ME, &body).await.status, 422, "{body}");
    }
    assert_eq!(ada.gets(ME).await.json()["version"], version, "what was refused changed nothing");
    server.end().await;
}
