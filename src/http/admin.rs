//! What those do who keep the peace and run Folio: accounts, roles, bans, and what happened to whom.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{Body, Client, CurrentUser, Path};
use super::page::{Page, PageQuery, Paged};
use crate::actors::auth::Role;
use crate::actors::users::names::fold;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::account_list::{self, Listed, Narrowed};
use crate::storage::accounts;

const PREFIX_BYTES_MAX: usize = 256;
const REASON_LETTERS_MAX: usize = 500;

/// Whether somebody may come in.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AccountState {
    Active,
    Deactivated,
    Banned,
    Deleting,
    Deleted,
}

/// What the list of accounts is narrowed to.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AccountFilters {
    /// Names that begin so, in any case.
    prefix: Option<String>,
    /// Those alone who are in this state.
    #[param(inline)]
    state: Option<AccountState>,
    /// Those alone who have this role.
    #[param(inline)]
    role: Option<Role>,
}

/// An account with what only its owner sees otherwise.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    user_id: UserId,
    username: String,
    email: Option<String>,
    email_confirmed_at: Option<DateTime<Utc>>,
    role: String,
    state: AccountState,
    created_at: DateTime<Utc>,
    /// The place in the list.
    #[serde(skip)]
    folded: String,
}

impl From<Listed> for AccountView {
    fn from(it: Listed) -> AccountView {
        let Listed { id, name, name_folded, email, email_confirmed_at, role, state, created_at } = it;
        let state = match state {
            accounts::State::Active => AccountState::Active,
            accounts::State::Deactivated => AccountState::Deactivated,
            accounts::State::Banned => AccountState::Banned,
            accounts::State::Deleting => AccountState::Deleting,
            accounts::State::Deleted => AccountState::Deleted,
        };
        let (user_id, username, folded) = (id, name, name_folded);
        AccountView { user_id, username, email, email_confirmed_at, role, state, created_at, folded }
    }
}

/// Lists accounts by name.
#[utoipa::path(get, path = "/api/v1/admin/users", params(PageQuery, AccountFilters),
    responses((status = 200, body = Paged<AccountView>)))]
pub(super) async fn list(State(app): State<App>, page: Page<AccountFilters>) -> Result<Json<Paged<AccountView>>> {
    let prefix = page.filters.prefix.as_deref().unwrap_or_default();
    if prefix.len() > PREFIX_BYTES_MAX || prefix.contains('\0') {
        return Err(Error::invalid("prefix", "is not the beginning of a name"));
    }
    let state = page.filters.state.map(|it| match it {
        AccountState::Active => accounts::State::Active,
        AccountState::Deactivated => accounts::State::Deactivated,
        AccountState::Banned => accounts::State::Banned,
        AccountState::Deleting => accounts::State::Deleting,
        AccountState::Deleted => accounts::State::Deleted,
    });
    let to = Narrowed { prefix: fold(prefix), state, role: page.filters.role.map(Role::name) };
    let read = account_list::list(&app.storage.db, &to, page.after()?, page.size_read()).await?;
    let read = read.into_iter().map(AccountView::from).collect();
    Ok(Json(page.answer(read, |it| (it.folded.clone(), it.user_id))?))
}

/// A role for somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleForm {
    role: Role,
}

/// Gives somebody a role. Tokens that say another are void within a second.
#[utoipa::path(put, path = "/api/v1/admin/users/{id}/role", params(("id" = UserId, Path)), request_body = RoleForm,
    responses((status = 204), (status = 409, description = "`last_admin`")))]
pub(super) async fn grant(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Path(id): Path<UserId>,
    Body(form): Body<RoleForm>,
) -> Result<StatusCode> {
    app.actors.moderation.grant(who, &client.hand(who.user), id, form.role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why somebody is kept out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BanForm {
    /// For those who look at it later, and for whom it is about.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Keeps somebody out: no token of theirs is good a second later. Doing so twice changes nothing.
#[utoipa::path(put, path = "/api/v1/admin/users/{id}/ban", params(("id" = UserId, Path)), request_body = BanForm,
    responses((status = 204)))]
pub(super) async fn ban(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Path(id): Path<UserId>,
    Body(form): Body<BanForm>,
) -> Result<StatusCode> {
    let reason = form.reason.trim();
    let fits = (1..=REASON_LETTERS_MAX).contains(&reason.chars().count()) && !reason.contains('\0');
    if !fits {
        return Err(Error::invalid("reason", format!("must have 1 to {REASON_LETTERS_MAX} letters")));
    }
    app.actors.moderation.ban(who, &client.hand(who.user), id, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets somebody come in again. Doing so twice changes nothing.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/ban", params(("id" = UserId, Path)),
    responses((status = 204)))]
pub(super) async fn unban(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Path(id): Path<UserId>,
) -> Result<StatusCode> {
    app.actors.moderation.unban(who, &client.hand(who.user), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every session of somebody.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/sessions", params(("id" = UserId, Path)),
    responses((status = 204)))]
pub(super) async fn end_sessions(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    client: Client,
    Path(id): Path<UserId>,
) -> Result<StatusCode> {
    app.actors.moderation.end_sessions(who, &client.hand(who.user), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
