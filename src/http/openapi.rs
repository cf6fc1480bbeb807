//! The description of the API, from the handlers' own types, and a page that shows it.
//!
//! The page is one file, style and script inside. Its content policy names both by their hashes and lets it load nothing
//! but the description.

use std::sync::Arc;

use axum::Extension;
use axum::response::{Html, IntoResponse};
use hyper::header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, Ref};
use utoipa::{PartialSchema, ToSchema};

use super::error::Refusal;
use super::extract::About;
use super::shell::Encoded;
use crate::actors::auth::rules::{RULES, Rule};
use crate::actors::auth::{Right, Role};

const PAGE: &str = include_str!("../../web/docs/index.html");
const POLICY: &str = "default-src 'none'; script-src 'sha256-Id4nNYlL4Tjzv3K1O7IOHJrLrli8s/X3gs+pWSM1XMA='; \
                      style-src 'sha256-ORVdeNjq8Lajv0zqOJfW6JItZas0EEFmBIWljZA0+xw='; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The description of all this; answered from memory.
#[utoipa::path(get, path = "/api/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn show(Extension(about): Extension<Arc<About>>) -> Extension<Arc<Encoded>> {
    Extension(about.link.shell.description.clone())
}

/// A page for people that shows the description and tries it out.
#[utoipa::path(get, path = "/api/docs", tag = "description",
    responses((status = 200, description = "a page", content_type = "text/html")))]
pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

/// What is the same whatever the routes. Either security is taken; an operation that needs somebody signed in says so.
pub(super) fn base() -> OpenApi {
    let mut base: OpenApi = serde_json::from_str(include_str!("../../web/docs/base.json")).expect("it is valid");
    base.info.version = env!("CARGO_PKG_VERSION").to_owned();
    base.components.get_or_insert_default().schemas.insert(Refusal::name().into_owned(), Refusal::schema());
    base
}

/// Adds to what a handler says of itself what is the same for all of them, and who may call it.
pub(super) fn complete(operation: &mut Operation, method: &str, path: &str, right: Right) {
    // A name that no other operation has: functions in two files may be called alike.
    let name = format!("{method}{path}").to_lowercase().replace(['/', '.', '-'], "_");
    operation.operation_id = Some(name.replace(['{', '}'], ""));
    operation.tags.get_or_insert_with(|| vec![path.split('/').nth(3).unwrap_or("operation").to_owned()]);
    operation.security = (right != Right::Look).then(|| holders(right));
    let refusal = || Ref::from_response_name(Refusal::name()).into();
    operation.responses.responses.entry("default".to_owned()).or_insert_with(refusal);
}

/// Who holds a right: people, of some roles only or of all, and services with a key for it.
fn holders(right: Right) -> Vec<SecurityRequirement> {
    let rules = || RULES.iter().filter(|it| it.right == right);
    let some = |it: &'static Rule| it.roles.iter().filter(|_| it.roles.len() < Role::ALL.len()).map(|it| it.name());
    let people = rules().filter(|it| !it.roles.is_empty()).map(|it| SecurityRequirement::new("bearer", some(it)));
    let services = rules().filter_map(|it| it.scope).map(|it| SecurityRequirement::new("key", [it.name()]));
    people.chain(services).collect()
}
