//! What answers hold: nothing that their description does not name, and nothing that is a secret or another's.

use std::collections::BTreeSet;

use folio::actors::auth::Role;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody};
use crate::support::raw::{Heard, get, say, send_json};

/// What a story of all routes leaves out: a code of an authenticator or a cookie is needed, or the form is free.
const LEFT_OUT: &[&str] =
    &["POST /api/v1/auth/second-factor/confirm", "GET /api/v1/auth/csrf", "GET /api/openapi.json"];

/// A story that asks every route, and what was heard.
struct Story {
    server: Server,
    api: Value,
    told: BTreeSet<String>,
    wrong: Vec<String>,
    /// What was heard, to look for what should not be in it.
    heard: Vec<(String, String)>,
}

impl Story {
    async fn begin() -> Story {
        let server = Server::start(folio::http::routes(), |_| ()).await;
        let api = get(server.address, "/api/openapi.json", "").await.json();
        Story { server, api, told: BTreeSet::new(), wrong: Vec::new(), heard: Vec::new() }
    }

    /// Asks, wants that answer, and looks whether it holds what is described.
    async fn ask(&mut self, route: &str, path: &str, headers: &str, body: Value, status: u16) -> Value {
        let (method, template) = route.split_once(' ').unwrap();
        let path = if path.is_empty() { template } else { path };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = match bytes.is_empty() {
            true => crate::support::raw::ask(&format!("{method} {path}"), headers),
            false => send_json(&format!("{method} {path}"), headers, &bytes),
        };
        let heard: Heard = say(self.server.address, request).await.remove(0);
        let text = String::from_utf8_lossy(&heard.body).into_owned();
        assert_eq!(heard.status, status, "{route}: {text}");
        self.told.insert(route.to_owned());
        self.heard.push((route.to_owned(), text));
        if heard.body.is_empty() {
            return Value::Null;
        }
        let answer = heard.json();
        let pointer = |it: &str| it.replace('~', "~0").replace('/', "~1");
        let at = format!("/paths/{}/{}/responses/{status}", pointer(template), method.to_lowercase());
        match self.api.pointer(&at).and_then(|it| it.pointer("/content/application~1json/schema")) {
            Some(schema) => outside(&self.api, schema, &answer, route, &mut self.wrong),
            None => self.wrong.push(format!("{route}: {status} with a body is not described")),
        }
        answer
    }

    /// Every route whose answer is described as JSON and that was not asked.
    fn left_out(&self) -> Vec<String> {
        let paths = self.api["paths"].as_object().unwrap().iter();
        let each = |(path, item): (&String, &Value)| -> Vec<String> {
            let answers =
                |it: &Value| {
                    it["responses"].as_object().unwrap().iter().any(|(status, it)| {
                        status.starts_with('2') && it.pointer("/content/application~1json").is_some()
                    })
                };
            let methods =
                item.as_object().unwrap().iter().filter(|it| it.1.is_object() && it.1.get("responses").is_some());
            methods.filter(|it| answers(it.1)).map(|it| format!("{} {path}", it.0.to_uppercase())).collect()
        };
        paths.flat_map(each).filter(|it| !self.told.contains(it) && !LEFT_OUT.contains(&it.as_str())).collect()
    }
}

/// Notes every field that the schema does not name, and every one that it wants and that is not there.
fn outside(api: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return outside(api, api.pointer(&reference[1..]).expect("it leads somewhere"), value, at, found);
    }
    if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let tried = choices.iter().map(|it| {
            let mut found = Vec::new();
            outside(api, it, value, at, &mut found);
            found
        });
        let fewest = tried.min_by_key(Vec::len).unwrap_or_default();
        return found.extend(fewest.into_iter().filter(|_| !value.is_null()));
    }
    match value {
        Value::Array(items) if schema["items"].is_object() => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, it)| outside(api, &schema["items"], it, &format!("{at}[{n}]"), found));
        }
        Value::Object(fields) => {
            let (mut known, mut wanted) = (serde_json::Map::new(), Vec::new());
            named(api, schema, &mut known, &mut wanted);
            let free = known.is_empty() && schema["allOf"].is_null();
            for (name, it) in fields.iter().filter(|_| !free) {
                match known.get(name).or(schema.get("additionalProperties").filter(|it| it.is_object())) {
                    Some(schema) => outside(api, schema, it, &format!("{at}.{name}"), found),
                    None => found.push(format!("{at}: {name} is not described")),
                }
            }
            let missing = wanted.iter().filter(|it| !fields.contains_key(*it));
            found.extend(missing.map(|it| format!("{at}: {it} is described as always there")));
        }
        _ => {}
    }
}

/// The fields of a schema with those that it takes from others, and those that are always there.
fn named(api: &Value, schema: &Value, known: &mut serde_json::Map<String, Value>, wanted: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return named(api, api.pointer(&reference[1..]).expect("it leads somewhere"), known, wanted);
    }
    known.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    wanted.extend(schema["required"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()));
    schema["allOf"].as_array().into_iter().flatten().for_each(|it| named(api, it, known, wanted));
}

#[tokio::test]
async fn every_answer_is_what_its_description_says_and_holds_no_secret() {
    let mut story = Story::begin().await;
    let eve = story.server.with_role("eve", Role::Admin).await;
    for route in ["GET /health", "GET /health/live", "GET /health/ready"] {
        story.ask(route, "", "", Value::Null, 200).await;
    }
    let ada = comes_in(&mut story).await;
    has_a_profile(&mut story, &ada).await;
    is_looked_at(&mut story, &eve, &ada).await;
    let left = story.ask("DELETE /api/v1/me", "", &ada.bearer(), json!({ "password": PASSWORD }), 202).await;
    assert!(left["delete_after"].is_string(), "{left}");
    let left_out = story.left_out();
    assert!(story.wrong.is_empty() && left_out.is_empty(), "{:#?} not asked: {left_out:#?}", story.wrong);
    for (route, text) in &story.heard {
        for secret in ["$2b$", "$argon2", "bcrypt", PASSWORD, "a secret of at least"] {
            assert!(!text.contains(secret), "{route}: {text}");
        }
        // Only its owner and those who run Folio see an address.
        let open = ["/api/v1/admin/", "/api/v1/auth/register", "/api/v1/me/export"];
        assert!(!text.contains("@example.org") || open.iter().any(|it| route.contains(it)), "{route}: {text}");
    }
    story.server.end().await;
}

async fn comes_in(story: &mut Story) -> Somebody {
    let (route, body) =
        ("POST /api/v1/auth/register", json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD }));
    story.ask(route, "", "", body, 201).await;
    let body = json!({ "username": "ada", "password": PASSWORD });
    let signed_in = story.ask("POST /api/v1/auth/login", "", "", body, 200).await;
    let ada = Somebody::of(story.server.address, "ada", &signed_in);
    let refreshed = story.ask("POST /api/v1/auth/refresh", "", "", json!({ "refresh_token": ada.refresh }), 200).await;
    let ada = Somebody { access: refreshed["access_token"].as_str().unwrap().to_owned(), ..ada };
    story.ask("GET /api/v1/auth/verify", "", &ada.bearer(), Value::Null, 200).await;
    story.ask("POST /api/v1/auth/verify", "", "", json!({ "token": ada.access }), 200).await;
    story.ask("GET /api/v1/auth/sessions", "", &ada.bearer(), Value::Null, 200).await;
    story.ask("GET /api/v1/auth/second-factor", "", &ada.bearer(), Value::Null, 200).await;
    story.ask("POST /api/v1/auth/second-factor", "", &ada.bearer(), json!({ "password": PASSWORD }), 200).await;
    ada
}

async fn has_a_profile(story: &mut Story, ada: &Somebody) {
    let (me, bearer) = ("/api/v1/profile/me", ada.bearer());
    let version = story.ask(&format!("GET {me}"), "", &bearer, Value::Null, 200).await["version"].clone();
    let body = json!({ "version": version, "display_name": "Ada", "bio": "Numbers.", "links": [{ "label": "home", "url": "https://ada.example" }],
        "contact": [{ "kind": "mail", "value": "write to me", "visibility": "signed_in" }] });
    let version = story.ask(&format!("PUT {me}"), "", &bearer, body, 200).await["version"].clone();
    story.ask(&format!("PATCH {me}"), "", &bearer, json!({ "version": version, "headline": "Engines" }), 200).await;
    let bob = story.server.with_user("bob").await;
    let block = format!("/api/v1/me/blocks/{}", bob.id);
    story.ask("PUT /api/v1/me/blocks/{user_id}", &block, &bearer, Value::Null, 204).await;
    story.ask("GET /api/v1/me/blocks", "", &bearer, Value::Null, 200).await;
    let set = story.ask("GET /api/v1/me/preferences", "", &bearer, Value::Null, 200).await;
    story.ask("PUT /api/v1/me/preferences", "", &bearer, set, 200).await;
    let body = json!({ "username": "ada-l", "password": PASSWORD });
    story.ask("PUT /api/v1/me/username", "", &bearer, body, 200).await;
    story.ask("GET /api/v1/me/audit", "", &bearer, Value::Null, 200).await;
    story.ask("GET /api/v1/me/export", "", &bearer, Value::Null, 200).await;
}

async fn is_looked_at(story: &mut Story, eve: &Somebody, ada: &Somebody) {
    let (bearer, id) = (eve.bearer(), &ada.id);
    let body = json!({ "name": "chat", "scopes": ["users:read", "profiles:read"] });
    let made = story.ask("POST /api/v1/keys", "", &bearer, body, 201).await;
    let key = format!("X-API-Key: {}\r\n", made["key"].as_str().unwrap());
    story.ask("GET /api/v1/keys", "", &bearer, Value::Null, 200).await;
    for headers in [&bearer, &key] {
        story.ask("GET /api/v1/users", "", headers, Value::Null, 200).await;
        story.ask("GET /api/v1/users/{id}", &format!("/api/v1/users/{id}"), headers, Value::Null, 200).await;
    }
    let public = "GET /api/v1/profile/public/{username}";
    story.ask(public, "/api/v1/profile/public/ada-l", "", Value::Null, 200).await;
    story.ask("GET /api/v1/profile/user/{id}", &format!("/api/v1/profile/user/{id}"), &bearer, Value::Null, 200).await;
    let external = format!("/api/v1/profile/external/{id}");
    story.ask("GET /api/v1/profile/external/{id}", &external, &key, Value::Null, 200).await;
    story.ask("GET /api/v1/admin/users", "", &bearer, Value::Null, 200).await;
    story.ask("GET /api/v1/admin/audit", "", &bearer, Value::Null, 200).await;
}
