//! Server-sent events: the frames of a session as the body of one answer that does not end.
//!
//! The answer takes what waits whenever its socket has room, so the outbox bounds it like any other. A comment is sent
//! with every beat, which is how a client that is gone is noticed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::poll_fn;
use hyper::header::{self, HeaderMap};
use scopeguard::guard;

use super::Sockets;
use super::following::{away, follow_own};
use super::frames::{Chunk, Protocol};
use super::recall::Offset;
use super::requests::{Proof, Requests};
use super::session::Session;
use super::topics::Position;
use crate::actors::auth::Client;
use crate::error::Result;

const BODY_BYTES: usize = 64 << 10;

/// The position that a client comes back with.
///
/// # Errors
/// When it is not one that was given out.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<Offset>> {
    let value = headers.get("last-event-id").filter(|it| !it.is_empty());
    value.map(|it| it.to_str().unwrap_or_default().parse()).transpose()
}

/// Answers with what concerns whoever shows something, from the last event heard or from now.
///
/// # Errors
/// When there is no place for one more session, or nobody is let in.
pub async fn serve<R: Requests>(
    sockets: &Arc<Sockets>,
    requests: &Arc<R>,
    client: &Client,
    proof: Proof,
    since: Option<Offset>,
) -> Result<Response> {
    let session = Session::of(sockets, Protocol::Sse, client)?;
    let answer = answer(session.clone());
    let who = requests.sign_in(&session, proof).await?;
    let kept = since.filter(|it| sockets.recovers(it));
    if let Some(Offset { stream, epoch, seq, .. }) = since.filter(|_| kept.is_none()) {
        session.send(&Chunk::place(stream, Position { epoch, seq }, Some("expired"), Protocol::Sse));
    }
    let (following, requests) = (session.clone(), requests.clone());
    session.begin(async move {
        let streams = requests.streams(who, kept).await.map_err(|_| away())?;
        follow_own(&*requests, &following, streams).await.map(|()| None)
    })?;
    Ok(answer)
}

/// Answers with everything that the session is told, until it ends.
pub fn answer(session: Arc<Session>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that gathers answers would keep events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let session = guard(session, |it| it.end());
    let events =
        poll_fn(move |cx| session.poll_take(BODY_BYTES, cx).map(|it| it.map(|it| Ok::<_, Infallible>(it.concat()))));
    (headers, Body::from_stream(events)).into_response()
}
