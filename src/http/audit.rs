//! What happened to accounts: to one's own, and, for operators, to anybody's.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::extract::CurrentUser;
use super::page::{Page, PageQuery, Paged};
use crate::error::Result;
use crate::ids::UserId;
use crate::storage::audit::{self, Incident};

/// By whose hand it was done, as the owner of the account is told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Doer {
    /// The owner.
    You,
    /// Whoever keeps the peace or runs Folio.
    Staff,
    /// Somebody who was not signed in.
    Unknown,
}

/// Something that happened to one's own account.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnIncidentView {
    id: Uuid,
    /// Such as `login.failed` or `role.changed`.
    what: String,
    by: Doer,
    /// From where; nothing is said of where staff is.
    address: Option<String>,
    /// On which device, in its own words.
    device: Option<String>,
    /// What else there is to say.
    #[schema(value_type = Object)]
    detail: Value,
    created_at: DateTime<Utc>,
}

/// Something that happened to an account.
#[derive(Serialize, ToSchema)]
pub(super) struct IncidentView {
    id: Uuid,
    /// Such as `login.failed` or `role.changed`.
    what: String,
    /// Whose account, if there is one.
    user_id: Option<UserId>,
    /// Who did it; null: nobody known, or the command line.
    actor_id: Option<Uuid>,
    /// From where; empty for the command line.
    address: String,
    /// On which device, in its own words.
    device: String,
    /// What else there is to say.
    #[schema(value_type = Object)]
    detail: Value,
    created_at: DateTime<Utc>,
}

/// Lists what happened to one's own account, the newest first.
#[utoipa::path(get, path = "/api/v1/me/audit", params(PageQuery),
    responses((status = 200, body = Paged<OwnIncidentView>)))]
pub(super) async fn own(
    State(app): State<App>,
    CurrentUser(who): CurrentUser,
    page: Page,
) -> Result<Json<Paged<OwnIncidentView>>> {
    let read = audit::list(&app.storage.db, Some(who.user), page.after()?, page.size_read()).await?;
    let view = |it: Incident| {
        let by = match it.actor_id {
            Some(actor) if actor == who.user.0 => Doer::You,
            None if !it.address.is_empty() => Doer::Unknown,
            _ => Doer::Staff,
        };
        let told = |text: String| Some(text).filter(|_| !matches!(by, Doer::Staff));
        let (address, device) = (told(it.address), told(it.device));
        OwnIncidentView { id: it.id, what: it.what, address, device, detail: it.detail, created_at: it.created_at, by }
    };
    Ok(Json(page.answer(read.into_iter().map(view).collect(), |it| it.id)?))
}

/// What the list of incidents is narrowed to.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditFilters {
    /// What happened to this user alone.
    user_id: Option<UserId>,
}

/// Lists what happened to anybody's account, the newest first.
#[utoipa::path(get, path = "/api/v1/admin/audit", params(PageQuery, AuditFilters),
    responses((status = 200, body = Paged<IncidentView>)))]
pub(super) async fn all(State(app): State<App>, page: Page<AuditFilters>) -> Result<Json<Paged<IncidentView>>> {
    let read = audit::list(&app.storage.db, page.filters.user_id, page.after()?, page.size_read()).await?;
    let view = |it: Incident| {
        let Incident { id, user_id, actor_id, what, address, device, detail, created_at } = it;
        IncidentView { id, what, user_id, actor_id, address, device, detail, created_at }
    };
    Ok(Json(page.answer(read.into_iter().map(view).collect(), |it| it.id)?))
}
