//! The description of the API, from the handlers' own types, and a page that shows it.
//!
//! The page is a file of its own with one script and one style beside it, all served from here: it needs nothing from
//! another host, and its content policy lets it load nothing else.

use std::sync::Arc;

use axum::response::IntoResponse;
use hyper::header;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

use super::error::Refusal;
use super::extract::Path;
use super::shell::Encoded;
use super::{App, Routes};
use crate::actors::auth::rules::{RULES, Rule};
use crate::actors::auth::{Caller, Right, Role};
use crate::error::{Error, Result};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const FILES: [(&str, &str, &str); 3] = [
    ("index.html", "text/html; charset=utf-8", include_str!("../../web/docs/index.html")),
    ("docs.css", "text/css; charset=utf-8", include_str!("../../web/docs/docs.css")),
    ("docs.js", "text/javascript; charset=utf-8", include_str!("../../web/docs/docs.js")),
];

/// The description of all this; answered from memory.
#[utoipa::path(get, path = "/api/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn show() -> Error {
    Error::NotFound("description")
}

/// The description as it was encoded when the shell was made.
pub(super) fn ready(app: &App, _: Option<&Caller>, _: &matchit::Params<'_, '_>) -> Option<Arc<Encoded>> {
    app.description.get().cloned()
}

/// A page for people that shows the description and tries it out.
#[utoipa::path(get, path = "/api/docs", responses((status = 200, description = "a page", content_type = "text/html")))]
pub(super) async fn page() -> Result<impl IntoResponse> {
    asset(Path("index.html".to_owned())).await
}

/// What the page is made of.
#[utoipa::path(get, path = "/api/docs/{file}", params(("file" = String, Path)), responses((status = 200, description = "a style or a script")))]
pub(super) async fn asset(Path(file): Path<String>) -> Result<impl IntoResponse> {
    let &(_, kind, text) = FILES.iter().find(|it| it.0 == file).ok_or(Error::NotFound("file"))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, POLICY), (header::CONTENT_TYPE, kind)], text))
}

/// What is the same whatever the routes. Either security is taken; an operation that needs somebody signed in says so.
pub(super) fn base() -> OpenApi {
    serde_json::from_str(include_str!("../../web/docs/base.json")).expect("the base is a description")
}

/// Adds to the handlers' own descriptions what is the same for all of them, and who may call them.
pub(super) fn complete(api: &OpenApi, routes: &Routes) -> Value {
    let mut api = json!(api);
    api["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    api["components"]["schemas"][&*Refusal::name()] = json!(Refusal::schema());
    for (path, item) in api["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            operation["operationId"] = name(method, path).into();
            let right = routes.rights().find(|it| it.1 == path && it.0.as_str().eq_ignore_ascii_case(method));
            if let Some((.., right)) = right.filter(|it| it.2 != Right::Look) {
                operation["security"] = holders(right);
            }
            operation["tags"] = json!([tag(path)]);
            if operation["responses"]["default"].is_null() {
                operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Refusal" });
            }
        }
    }
    api
}

/// Who holds a right: people, of some roles only or of all, and services with a key for it.
fn holders(right: Right) -> Value {
    let rules = || RULES.iter().filter(|it| it.right == right);
    let roles = |it: &Rule| if it.roles.len() < Role::ALL.len() { it.roles } else { &[] };
    let people = rules().filter(|it| !it.roles.is_empty()).map(|it| json!({ "bearer": roles(it) }));
    people.chain(rules().filter_map(|it| it.scope).map(|it| json!({ "key": [it] }))).collect()
}

/// A name that no other operation has: functions in two files may be called alike.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// The capability that a path belongs to.
fn tag(path: &str) -> &str {
    let capability = path.strip_prefix("/api/v1/").and_then(|it| it.split('/').next());
    capability.unwrap_or(if path.starts_with("/api/") { "description" } else { "operation" })
}
