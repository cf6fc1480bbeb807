//! Everything that is yours: a copy of it, and an end to it.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::extract::{Body, Client, CurrentUser};
use crate::error::Result;
use crate::storage::exports::Export;

const AS_FILE: [(HeaderName, &str); 2] =
    [(header::CONTENT_DISPOSITION, "attachment; filename=\"folio.json\""), (header::CACHE_CONTROL, "no-store")];

/// Gives you everything that is kept about you. One export every few minutes.
#[utoipa::path(get, path = "/api/v1/me/export", tag = "me",
    responses((status = 200, body = Export), (status = 429)))]
pub(super) async fn export(
    State(app): State<App>,
    CurrentUser(person): CurrentUser,
    client: Client,
) -> Result<([(HeaderName, &'static str); 2], Json<Export>)> {
    Ok((AS_FILE, Json(app.actors.account.export(person, &client).await?)))
}

/// Password and code, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaveForm {
    password: Option<String>,
    /// A code of the second factor, where there is one.
    code: Option<String>,
}

/// What becomes of the account.
#[derive(Serialize, ToSchema)]
pub(super) struct LeavingView {
    /// Until then signing in takes it back.
    delete_after: DateTime<Utc>,
}

/// Ends your account and all that is yours. Every session ends at once.
#[utoipa::path(delete, path = "/api/v1/me", tag = "me", request_body = LeaveForm,
    responses((status = 202, body = LeavingView)))]
pub(super) async fn leave(
    State(app): State<App>,
    CurrentUser(person): CurrentUser,
    client: Client,
    Body(LeaveForm { password, code }): Body<LeaveForm>,
) -> Result<(StatusCode, Json<LeavingView>)> {
    let delete_after = app.actors.account.leave(person, password.as_deref(), code.as_deref(), &client).await?;
    Ok((StatusCode::ACCEPTED, Json(LeavingView { delete_after })))
}
