//! What people set for themselves: their name, whom they block, what they prefer.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{Body, Client, CurrentUser, Path};
use super::page::{Page, PageQuery, Paged};
use crate::actors::users::names::Name;
use crate::error::Result;
use crate::ids::UserId;
use crate::storage::blocks::Blocked;
use crate::storage::preferences::{Notifications, Preferences, Set, Theme};

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NameForm {
    username: String,
    /// The password: a name is not taken away from somebody whose token was stolen.
    #[schema(max_length = 1024)]
    password: String,
}

/// The name one has now.
#[derive(Serialize, ToSchema)]
pub(super) struct NameView {
    user_id: UserId,
    username: String,
}

/// Takes another name. The one that is left leads here for a while, and is nobody else's.
#[utoipa::path(put, path = "/api/v1/me/username", request_body = NameForm,
    responses((status = 200, body = NameView), (status = 409, description = "the name is taken")))]
pub(super) async fn rename(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Body(form): Body<NameForm>,
) -> Result<Json<NameView>> {
    let name = Name::read(&form.username)?;
    app.actors.auth.confirm(user.0, Some(&form.password)).await?;
    let profile = app.actors.users.rename(user.0.user, name, client.hand(user.0.user)).await?;
    Ok(Json(NameView { user_id: profile.user_id, username: profile.username.clone() }))
}

/// Somebody who is blocked.
#[derive(Serialize, ToSchema)]
pub(super) struct BlockView {
    user_id: UserId,
    username: String,
    display_name: String,
    avatar_url: Option<String>,
    blocked_at: DateTime<Utc>,
}

impl From<Blocked> for BlockView {
    fn from(it: Blocked) -> BlockView {
        let Blocked { user_id, username, display_name, avatar_url, blocked_at } = it;
        BlockView { user_id, username, display_name, avatar_url, blocked_at }
    }
}

/// Lists whom one blocks.
#[utoipa::path(get, path = "/api/v1/me/blocks", params(PageQuery),
    responses((status = 200, body = Paged<BlockView>)))]
pub(super) async fn blocks(State(app): State<App>, user: CurrentUser, page: Page) -> Result<Json<Paged<BlockView>>> {
    let blocked = app.actors.users.blocked(user.0.user, page.after()?, page.size_read()).await?;
    let paged = page.answer(blocked, |it: &Blocked| it.user_id)?;
    Ok(Json(paged.map(BlockView::from)))
}

/// Blocks somebody. Repeating it changes nothing.
#[utoipa::path(put, path = "/api/v1/me/blocks/{user_id}", params(("user_id" = UserId, Path)),
    responses((status = 204, description = "blocked")))]
pub(super) async fn block(State(app): State<App>, user: CurrentUser, Path(other): Path<UserId>) -> Result<StatusCode> {
    app.actors.users.block(user.0.user, other).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts a block. Repeating it changes nothing.
#[utoipa::path(delete, path = "/api/v1/me/blocks/{user_id}", params(("user_id" = UserId, Path)),
    responses((status = 204, description = "not blocked")))]
pub(super) async fn unblock(
    State(app): State<App>,
    user: CurrentUser,
    Path(other): Path<UserId>,
) -> Result<StatusCode> {
    app.actors.users.unblock(user.0.user, other).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What one prefers, whole.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreferencesForm {
    /// The version that was read.
    version: i64,
    /// What makes a notification.
    notifications: Notifications,
    /// Whether others see what one has read.
    read_receipts: bool,
    /// Whether others see that one is here.
    presence_visible: bool,
    /// A language tag as `en` or `pt-BR`.
    #[schema(min_length = 2, max_length = 35)]
    language: String,
    /// How pages look.
    theme: Theme,
}

impl From<Set> for PreferencesForm {
    fn from(Set { version, body }: Set) -> PreferencesForm {
        let Preferences { notifications, read_receipts, presence_visible, language, theme } = body;
        PreferencesForm { version, notifications, read_receipts, presence_visible, language, theme }
    }
}

/// Shows what one prefers.
#[utoipa::path(get, path = "/api/v1/me/preferences",
    responses((status = 200, body = PreferencesForm)))]
pub(super) async fn preferences(State(app): State<App>, user: CurrentUser) -> Result<Json<PreferencesForm>> {
    Ok(Json(app.actors.users.preferences(user.0.user).await?.into()))
}

/// Sets what one prefers.
#[utoipa::path(put, path = "/api/v1/me/preferences", request_body = PreferencesForm,
    responses((status = 200, body = PreferencesForm), (status = 409, description = "changed since it was read")))]
pub(super) async fn prefer(
    State(app): State<App>,
    user: CurrentUser,
    Body(form): Body<PreferencesForm>,
) -> Result<Json<PreferencesForm>> {
    let PreferencesForm { version, notifications, read_receipts, presence_visible, language, theme } = form;
    let body = Preferences { notifications, read_receipts, presence_visible, language, theme };
    Ok(Json(app.actors.users.prefer(user.0.user, version, body).await?.into()))
}
