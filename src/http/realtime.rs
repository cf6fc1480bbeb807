//! The doors of live connections, and the ticket that opens them.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::header::{self, HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Refusal;
use super::extract::{Client, CurrentUser};
use super::{App, cookies};
use crate::actors::auth::socket_tickets::LIVES;
use crate::error::{Error, Result};
use crate::ws::frames::DESCRIPTION;
use crate::ws::requests::Proof;
use crate::ws::{Upgrade, native, sse};

/// The token that came along.
fn token<'a>(app: &App, headers: &'a HeaderMap) -> Result<&'a str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()?.split_at_checked(7));
    let token = bearer.map(|it| it.1).or_else(|| cookies::access(app, headers));
    token.ok_or(Error::Unauthenticated("a bearer token is needed"))
}

/// What opens a socket.
#[derive(Serialize, ToSchema)]
pub(super) struct TicketView {
    /// Good once.
    ticket: String,
    /// Seconds that it is good for.
    expires_in: i64,
}

/// Gives a ticket that signs in one live connection: for pages whose token is in a cookie.
#[utoipa::path(post, path = "/api/v1/realtime/ticket", tag = "realtime", security(("bearer" = [])),
    responses((status = 200, body = TicketView)))]
pub(super) async fn ticket(State(app): State<App>, _: CurrentUser, headers: HeaderMap) -> Result<Json<TicketView>> {
    let claims = app.actors.auth.verify(token(&app, &headers)?.as_bytes(), app.clock.now())?;
    let ticket = app.actors.auth.socket_ticket(claims)?;
    Ok(Json(TicketView { ticket, expires_in: LIVES.num_seconds() }))
}

/// Describes what is said on live connections.
#[utoipa::path(get, path = "/api/v1/asyncapi.json", tag = "realtime",
    responses((status = 200, content_type = "application/json")))]
pub(super) async fn description() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], DESCRIPTION)
}

/// Opens a live connection in Folio's own protocol.
#[utoipa::path(get, path = "/ws", tag = "realtime", responses((status = 101, description = "a WebSocket")))]
pub(super) async fn native(State(app): State<App>, upgrade: Upgrade) -> Result<Response, Refusal> {
    native::serve(upgrade, &app.sockets, &app.live.house)
}

/// Opens a live connection for stock Socket.IO clients, and carries it where it polls.
#[utoipa::path(method(get, post, put), path = "/socket.io/", tag = "realtime", responses((status = 200)))]
pub(super) async fn stock(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    app.live.stock.serve(request).await
}

/// Tells everything that concerns whoever asks, as it happens.
#[utoipa::path(get, path = "/api/v1/events", tag = "realtime", security(("bearer" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "the id of the last event heard")),
    responses((status = 200, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(app): State<App>,
    _: CurrentUser,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (proof, since) = (Proof::Token(token(&app, &headers)?.to_owned()), sse::last_event_id(&headers)?);
    Ok(sse::serve(&app.sockets, &app.live.house, &client, proof, since).await?)
}
