//! Server-sent events: the frames of a session as the body of one answer that does not end.
//!
//! The answer takes what waits whenever its socket has room, so the outbox bounds it like any other. A comment is sent
//! with every beat, which is how a client that is gone is noticed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::poll_fn;
use hyper::header::{self, HeaderMap};

use super::Sockets;
use super::bonds::End;
use super::following::{away, follow_own};
use super::frames::{Chunk, Mark, Protocol};
use super::offset::Offset;
use super::requests::Requests;
use super::session::Session;
use crate::actors::auth::Client;
use crate::actors::auth::tokens::Claims;
use crate::actors::presence::rules::DeviceKind;
use crate::error::Result;
use crate::storage::streams::Why;

const BODY_BYTES: usize = 64 << 10;

/// The position that a client comes back with.
///
/// # Errors
/// When it is not one that was given out.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<Offset>> {
    let value = headers.get("last-event-id").filter(|it| !it.is_empty());
    value.map(|it| it.to_str().unwrap_or_default().parse()).transpose()
}

/// Answers with what concerns the holder of a token, from the last event heard or from now.
///
/// # Errors
/// When there is no place for one more session, or the holder was cut off.
pub fn serve<R: Requests>(
    sockets: &Arc<Sockets>,
    requests: &Arc<R>,
    client: &Client,
    claims: &Claims,
    since: Option<Offset>,
) -> Result<Response> {
    let session = Session::open(sockets, Protocol::Sse, client.address)?;
    *session.kind.lock() = DeviceKind::of(&client.device);
    let answer = answer(session.clone());
    let left = u64::try_from(claims.exp - sockets.clock.now().timestamp()).unwrap_or_default();
    session.sign_in(claims.holder(), Some(Duration::from_secs(left)))?;
    requests.arrived(&session)?;
    let kept = since.filter(|it| sockets.recovers(it));
    if let Some(lost) = since.filter(|_| kept.is_none()) {
        let mark = Mark { stream: lost.stream, seq: lost.seq };
        session.send(&Chunk::reset(mark, lost.epoch, Why::Expired, Protocol::Sse));
    }
    let (streams, requests) = (requests.streams(claims.holder().person, kept), requests.clone());
    let following = session.clone();
    session.begin(async move {
        let streams = streams.await.map_err(|_| away())?;
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
    let end = End(session);
    let events =
        poll_fn(move |cx| end.0.poll_take(BODY_BYTES, cx).map(|it| it.map(|it| Ok::<_, Infallible>(it.concat()))));
    (headers, Body::from_stream(events)).into_response()
}
