//! Keys of services: made, listed, revoked by those who give out rights.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::auth::NOT_KEPT;
use super::extract::{Body, Client, CurrentUser, Path};
use super::page::{Page, PageQuery, Paged};
use crate::actors::auth::api_keys::Made;
use crate::actors::auth::{NewKey, Scope};
use crate::error::Result;
use crate::ids::{KeyId, UserId};
use crate::storage::api_keys::ApiKey;

/// A key that is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyForm {
    /// What people will call it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it is for; each scope once.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// When it ends by itself, within ten years; never, if nothing is said.
    #[serde(default)]
    ends_at: Option<DateTime<Utc>>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeView {
    /// The key itself. It is shown here and never again.
    key: String,
    #[serde(flatten)]
    kept: KeyView,
}

/// A key, but for what makes it one.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Which; it stands in the key, too.
    id: KeyId,
    name: String,
    scopes: Vec<String>,
    /// Who made it; null: on the command line.
    made_by: Option<UserId>,
    created_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// The last use, a minute late.
    used_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for KeyView {
    fn from(it: ApiKey) -> KeyView {
        let ApiKey { id, name, scopes, made_by, created_at, ends_at, revoked_at, used_at, hash: _, changed_at: _ } = it;
        KeyView { id, name, scopes, made_by, created_at, ends_at, revoked_at, used_at }
    }
}

/// Makes a key for a service. The answer is the only place where it is ever seen.
#[utoipa::path(post, path = "/api/v1/keys", request_body = KeyForm,
    responses((status = 201, body = MadeView), (status = 409, description = "there are too many keys")))]
pub(super) async fn make(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Body(form): Body<KeyForm>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Json<MadeView>)> {
    let KeyForm { name, scopes, ends_at } = form;
    let Made { key, kept } = app.actors.keys.make(NewKey { name, scopes, ends_at }, &client.hand(who.user)).await?;
    Ok((StatusCode::CREATED, NOT_KEPT, Json(MadeView { key, kept: kept.into() })))
}

/// Lists keys, the newest first, also those that have ended.
#[utoipa::path(get, path = "/api/v1/keys", params(PageQuery),
    responses((status = 200, body = Paged<KeyView>)))]
pub(super) async fn list(State(app): State<App>, page: Page) -> Result<Json<Paged<KeyView>>> {
    let read = app.actors.keys.list(page.after()?, page.size_read()).await?;
    Ok(Json(page.answer(read.into_iter().map(KeyView::from).collect(), |it| it.id)?))
}

/// Revokes a key, within a second everywhere. Doing so twice changes nothing.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", params(("id" = KeyId, Path)),
    responses((status = 204)))]
pub(super) async fn revoke(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Path(id): Path<KeyId>,
) -> Result<StatusCode> {
    app.actors.keys.revoke(id, &client.hand(who.user)).await?;
    Ok(StatusCode::NO_CONTENT)
}
