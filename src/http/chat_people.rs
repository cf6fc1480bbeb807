//! People to talk with, by the paths of the older chat service. Folio knows everybody once: nothing is copied.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::extract::Body;
use super::page::{Page, PageQuery, Paged};
use super::users::UserView;
use crate::error::Result;
use crate::ids::UserId;
use crate::storage::users::Listed;

/// Whom to look for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Sought {
    /// How their name begins, upper or lower case. `q` says the same.
    #[param(max_length = 64)]
    #[serde(alias = "q")]
    query: Option<String>,
}

/// Finds people to talk with, by how their name begins.
#[utoipa::path(get, path = "/api/v1/chat/users/search", params(PageQuery, Sought), security(("bearer" = [])),
    responses((status = 200, body = Paged<UserView>)))]
pub(super) async fn search(State(app): State<App>, page: Page<Sought>) -> Result<Json<Paged<UserView>>> {
    let prefix = page.filters.query.as_deref().unwrap_or_default();
    let listed = app.actors.users.list(prefix, page.after()?, page.size_read()).await?;
    let paged = page.answer(listed, |it: &Listed| (it.username_folded.clone(), it.user_id))?;
    Ok(Json(paged.map(UserView::from)))
}

/// Somebody whom another system tells of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// Who.
    #[serde(alias = "id")]
    user_id: UserId,
    /// Their name there; what their profile says counts.
    #[serde(rename = "username")]
    _username: Option<String>,
    /// Their address there; what their account says counts.
    #[serde(rename = "email")]
    _email: Option<String>,
}

/// Takes note of somebody who exists elsewhere. Who has an account here can be talked with already, and is shown as they
/// are here; nobody else can.
#[utoipa::path(post, path = "/api/v1/chat/register-user", request_body = Told, security(("key" = [])),
    responses((status = 200, body = UserView)))]
pub(super) async fn register(State(app): State<App>, Body(it): Body<Told>) -> Result<Json<UserView>> {
    let profile = app.actors.profiles.get(it.user_id).await?;
    Ok(Json(UserView::from(&*profile)))
}
