//! Bodies of every broken kind, sent to every route that takes one: a clear refusal each, and nothing has changed.

use folio::actors::auth::Role;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::raw::{get, say, send};

/// Every route that takes a body as the description has it, with the path filled in: method, path, schema of the body.
fn routes(api: &Value, somebody: &Somebody) -> Vec<(String, String, Value)> {
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = operation.pointer("/requestBody/content/application~1json/schema");
            // Open to services alone, which are refused in the same way.
            if path.ends_with("/register-user") {
                continue;
            }
            let Some(reference) = schema.and_then(|it| it["$ref"].as_str()) else { continue };
            let path = path.replace("{id}", &somebody.id).replace("{user_id}", &somebody.id).replace("{seq}", "1");
            routes.push((method.to_uppercase(), path, api.pointer(&reference[1..]).unwrap().clone()));
        }
    }
    routes
}

/// Bodies that no route takes, and what is answered.
fn bodies() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000)).into_bytes();
    let keys: String = (0..15_000).map(|it| format!("\"k{it}\":1,")).collect();
    vec![
        ("nothing", b"".to_vec(), &[400]),
        ("blanks", b"   ".to_vec(), &[400]),
        ("null", b"null".to_vec(), &[422]),
        ("a list", b"[]".to_vec(), &[422]),
        ("a text", b"\"x\"".to_vec(), &[422]),
        ("a number", b"1".to_vec(), &[422]),
        ("an empty object", b"{}".to_vec(), &[422, 403, 400]),
        ("half an object", b"{\"username\":".to_vec(), &[400, 422]),
        ("two documents", b"{}{}".to_vec(), &[400, 422]),
        ("single quotes", b"{'username':'ada'}".to_vec(), &[400]),
        ("a comma too many", b"{\"username\":\"ada\",}".to_vec(), &[400, 422]),
        ("NaN", b"{\"age\":NaN}".to_vec(), &[400, 422]),
        ("a BOM", b"\xef\xbb\xbf{}".to_vec(), &[400]),
        ("no UTF-8", b"{\"username\":\"\xff\xfe\"}".to_vec(), &[400, 422]),
        ("half a surrogate", b"{\"username\":\"\\ud800\"}".to_vec(), &[400, 422]),
        ("UTF-16", b"{\0}\0".to_vec(), &[400]),
        ("lists in lists", deep("[", "]"), &[400, 422]),
        ("objects in objects", deep("{\"a\":", ""), &[400, 422]),
        ("thousands of fields", format!("{{{keys}\"z\":1}}").into_bytes(), &[422]),
        ("a quarter megabyte and more", vec![b' '; 300 * 1024], &[413]),
        ("__proto__", br#"{"__proto__":{"role":"admin"}}"#.to_vec(), &[422]),
        ("constructor", br#"{"constructor":{"prototype":{"role":"admin"}}}"#.to_vec(), &[422]),
        ("a huge number", b"1e999999".to_vec(), &[400, 422]),
        ("many digits", [b"{\"version\":", "9".repeat(10_000).as_bytes(), b"}"].concat(), &[400, 422]),
    ]
}

/// What cannot be the value of any field, whatever the field.
fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(1.5),
        json!(-1),
        json!(9_007_199_254_740_993_u64),
        json!({ "$ne": null }),
        json!([["a"]]),
        json!({}),
        json!("\u{0}"),
        json!("x".repeat(100_000)),
    ]
}

async fn serving() -> (Server, Somebody, Value) {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let eve = server.with_role("eve", Role::Admin).await;
    let api = get(server.address, "/api/openapi.json", "").await.json();
    (server, eve, api)
}

/// All that could have been added or taken away.
async fn everything(server: &Server) -> Vec<i64> {
    const COUNTS: [&str; 7] = [
        "SELECT COUNT(*) FROM users",
        "SELECT COUNT(*) FROM names",
        "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL",
        "SELECT COUNT(*) FROM api_keys",
        "SELECT COUNT(*) FROM blocks",
        "SELECT COUNT(*) FROM second_factors",
        "SELECT COUNT(*) FROM mails",
    ];
    let mut counts = Vec::new();
    for text in COUNTS {
        let (count,): (i64,) = server.app.storage.db.sql(text).one().await.unwrap();
        counts.push(count);
    }
    counts
}

#[tokio::test]
async fn a_body_of_any_broken_kind_is_refused_by_every_route_and_changes_nothing() {
    let (server, eve, api) = serving().await;
    let routes = routes(&api, &eve);
    assert!(routes.len() > 15, "{routes:?}");
    let (before, profile) = (everything(&server).await, eve.gets("/api/v1/profile/me").await.json());
    let mut wrong = Vec::new();
    for (method, path, _) in &routes {
        for (what, body, expected) in bodies() {
            let headers = format!("{}Content-Type: application/json\r\n", eve.bearer());
            let heard = say(server.address, send(&format!("{method} {path}"), &headers, &body)).await.remove(0);
            // A route that takes all of nothing may refuse for what it then lacks.
            let known = expected.contains(&heard.status)
                || (what == "an empty object" && heard.status < 500 && heard.status >= 400);
            if !known {
                wrong.push(format!("{method} {path} with {what}: {}", heard.status));
            }
        }
        for kind in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: application/xml\r\n",
            "Content-Type: application/json; charset=utf-16\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
        ] {
            let heard =
                say(server.address, send(&format!("{method} {path}"), &format!("{}{kind}", eve.bearer()), b"{}"));
            let status = heard.await.remove(0).status;
            if status != 415 {
                wrong.push(format!("{method} {path} with {kind:?}: {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(everything(&server).await, before, "nothing has changed");
    assert_eq!(eve.gets("/api/v1/profile/me").await.json(), profile);
    server.end().await;
}

#[tokio::test]
async fn a_field_of_any_other_type_or_name_is_refused_and_changes_nothing() {
    let (server, eve, api) = serving().await;
    let before = everything(&server).await;
    let profile = eve.gets("/api/v1/profile/me").await.json();
    let mut wrong = Vec::new();
    for (method, path, schema) in routes(&api, &eve) {
        let fields: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        for field in fields.iter().map(String::as_str).chain(["role", "user_id", "is_admin", "grants"]) {
            let other = !fields.iter().any(|it| it == field);
            for value in if other { vec![json!("admin")] } else { values() } {
                let body = json!({ field: value }).to_string();
                let headers = format!("{}Content-Type: application/json\r\n", eve.bearer());
                let heard =
                    say(server.address, send(&format!("{method} {path}"), &headers, body.as_bytes())).await.remove(0);
                if !(400..500).contains(&heard.status) || (other && heard.status != 422) {
                    wrong.push(format!("{method} {path} with {}: {}", &body[..body.len().min(80)], heard.status));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(everything(&server).await, before, "nothing has changed");
    assert_eq!(eve.gets("/api/v1/profile/me").await.json(), profile);
    server.end().await;
}
