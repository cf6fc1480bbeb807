//! Where somebody is signed in, and how that ends.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::cookies;
use super::extract::{Client, CurrentUser, Path};
use crate::error::Result;
use crate::ids::SessionId;

/// Ends the session of the token that is sent.
#[utoipa::path(post, path = "/api/v1/auth/logout", responses((status = 204)))]
pub(super) async fn sign_out(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    sent: HeaderMap,
) -> Result<(StatusCode, HeaderMap)> {
    app.actors.auth.sign_out(user.0, &client).await?;
    Ok((StatusCode::NO_CONTENT, cookies::clear(&app, &sent)?))
}

/// Ends every session of whoever asks.
#[utoipa::path(post, path = "/api/v1/auth/logout-all", responses((status = 204)))]
pub(super) async fn sign_out_everywhere(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    sent: HeaderMap,
) -> Result<(StatusCode, HeaderMap)> {
    app.actors.auth.sign_out_everywhere(user.0, &client).await?;
    Ok((StatusCode::NO_CONTENT, cookies::clear(&app, &sent)?))
}

/// A sign-in on one device.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionView {
    id: SessionId,
    /// What the program called itself.
    device: String,
    /// From where it was last heard of.
    address: String,
    created_at: DateTime<Utc>,
    /// When it was last refreshed.
    last_seen_at: DateTime<Utc>,
    /// When it ends, however often it is refreshed.
    ends_at: DateTime<Utc>,
    /// Whether it is the one that asks.
    current: bool,
}

/// Every sign-in of somebody.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionsView {
    /// The oldest first.
    items: Vec<SessionView>,
}

/// Lists the sessions of whoever asks. There are never more than a setting allows.
#[utoipa::path(get, path = "/api/v1/auth/sessions",
    responses((status = 200, body = SessionsView)))]
pub(super) async fn list(State(app): State<App>, user: CurrentUser) -> Result<Json<SessionsView>> {
    let items = app.actors.auth.sessions(user.0).await?.into_iter().map(|it| SessionView {
        current: it.id == user.0.session,
        id: it.id,
        device: it.device,
        address: it.address,
        created_at: it.created_at,
        last_seen_at: it.seen_at,
        ends_at: it.ends_at,
    });
    Ok(Json(SessionsView { items: items.collect() }))
}

/// Ends one session of whoever asks.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", params(("id" = SessionId, Path)),
    responses((status = 204)))]
pub(super) async fn end(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Path(id): Path<SessionId>,
) -> Result<StatusCode> {
    app.actors.auth.end_session(user.0, id, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
