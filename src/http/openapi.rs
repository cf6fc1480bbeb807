//! The description of the API, from the handlers' own types, and a page that shows it.
//!
//! The page is a file of its own with one script and one style beside it, all served from here: it needs nothing from
//! another host, and its content policy lets it load nothing else.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::IntoResponse;
use hyper::header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Info, LicenseBuilder, OpenApi, Ref, ResponseBuilder, Server};
use utoipa::{PartialSchema, ToSchema};

use super::App;
use super::error::RefusalForm;
use super::shell::Encoded;
use crate::error::{Error, Result};

const PAGE: &str = include_str!("../../web/docs/index.html");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const ASSETS: [(&str, &str, &str); 2] = [
    ("docs.css", "text/css; charset=utf-8", include_str!("../../web/docs/docs.css")),
    ("docs.js", "text/javascript; charset=utf-8", include_str!("../../web/docs/docs.js")),
];

/// The description of all this; answered from memory.
#[utoipa::path(get, path = "/api/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn show() -> Error {
    Error::NotFound("description")
}

/// The description as it was encoded when the shell was made.
pub(super) fn ready(app: &App, _: &matchit::Params<'_, '_>) -> Option<Arc<Encoded>> {
    app.description.get().cloned()
}

/// A page for people that shows the description and tries it out.
#[utoipa::path(get, path = "/api/docs", responses((status = 200, description = "a page", content_type = "text/html")))]
pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)
}

/// What the page is made of.
#[utoipa::path(get, path = "/api/docs/{file}", params(("file" = String, Path)), responses((status = 200, description = "a style or a script")))]
pub(super) async fn asset(Path(file): Path<String>) -> Result<impl IntoResponse> {
    let asset = ASSETS.iter().find(|it| it.0 == file).ok_or(Error::NotFound("file"))?;
    Ok(([(header::CONTENT_TYPE, asset.1)], asset.2))
}

/// Adds to the handlers' own descriptions what is the same for all of them.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    api.info = Info::new("Folio", env!("CARGO_PKG_VERSION"));
    api.info.description = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
    api.info.license =
        Some(LicenseBuilder::new().name("MIT or Apache-2.0").identifier(Some(env!("CARGO_PKG_LICENSE"))).build());
    api.servers = Some(vec![Server::new("/")]);
    // Either is taken; an operation that needs somebody signed in says so itself.
    api.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new("bearer", [""; 0])]);

    let components = api.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.security_schemes.insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    components.schemas.insert(RefusalForm::name().into_owned(), RefusalForm::schema());
    let form = ContentBuilder::new().schema(Some(Ref::from_schema_name(RefusalForm::name()))).build();
    let refusal = ResponseBuilder::new().description("Any refusal").content("application/json", form).build();
    components.responses.insert("Refusal".to_owned(), refusal.into());

    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(name(method, path));
            operation.tags = Some(vec![tag(path).to_owned()]);
            let default = operation.responses.responses.entry("default".to_owned());
            default.or_insert_with(|| Ref::from_response_name("Refusal").into());
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
    all.into_iter().filter_map(|(method, it)| Some((method, it.as_mut()?)))
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
