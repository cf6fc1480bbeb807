//! The way out: a handler runs under deadline and panic guard, and every answer gets what all answers have.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout_at;

use super::Shell;
use super::encoded::{Encoded, GZIP_DYNAMIC_BYTES, gzip};
use super::head::{Call, text};
use super::limits::truncated;
use super::link::{Link, Phase, keep_busy};
use super::log::Line;
use crate::error::Error;
use crate::http::error::Refusal;
use crate::http::extract::About;
use crate::telemetry::under;

/// Bytes that are there, or a body that comes.
pub(super) type Body = Either<Full<Bytes>, axum::body::Body>;

/// Room for what every answer has is made once.
const COMMON_HEADERS: usize = 12;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, traceparent, retry-after, etag, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
);
const ALLOWED: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, idempotency-key, traceparent, x-request-id");

impl Shell {
    /// Runs a handler under its deadline and panic guard.
    pub(super) async fn handle(
        self: Arc<Shell>,
        link: Arc<Link>,
        call: Call,
        mut parts: Parts,
        body: Incoming,
        moved: Option<(Method, Uri)>,
    ) -> Response<Body> {
        let shell = self.clone();
        let _flying = shell.traffic.in_flight.hold();
        let route = &shell.routes[call.route.expect("a request reaches a handler through its route")];
        let body_read = AtomicBool::new(body.is_end_stream());
        let details = call.operation || shell.app.config.http.ops_listen.is_none();
        let about =
            About { caller: call.caller, address: call.address, details, body_read, shell: self, link: link.clone() };
        let about = Arc::new(about);
        parts.extensions.insert(about.clone());
        if let Some(moved) = moved {
            (parts.method, parts.uri) = moved;
        }
        let body = match body.is_end_stream() {
            true => axum::body::Body::empty(),
            false => axum::body::Body::new(Limited::new(body, shell.body_bytes_max(route))),
        };
        let within = route.policy.answer_within.unwrap_or(shell.app.config.http.answer_within);
        let mut router = shell.router.clone();
        let mut answer = pin!(tower::Service::call(&mut router, Request::from_parts(parts, body)));
        let polled = poll_fn(|cx| {
            let poll = || under(call.trace, || answer.as_mut().poll(cx));
            catch_unwind(AssertUnwindSafe(poll)).map_or_else(|panic| Poll::Ready(Err(panic)), |it| it.map(Ok))
        });
        let refusal = match timeout_at(call.started + within, polled).await {
            Ok(Ok(Ok(mut response))) => match response.extensions_mut().remove::<Refusal>() {
                Some(refusal) => refusal,
                None if is_foreign_refusal(&response) => Refusal::of_status(response.status()),
                None => {
                    let response = compressed(&call, response).await;
                    return shell.close(&link, &call, response);
                }
            },
            Ok(Err(_panic)) => under(call.trace, || Error::internal("a handler panicked").into()),
            Err(_) if !about.body_read.load(Relaxed) => late("the body took too long to arrive"),
            Err(_) => Error::Deadline.into(),
        };
        let response = shell.refuse(&call, &refusal, HeaderMap::with_capacity(16));
        shell.close(&link, &Call { code: Some(refusal.code), ..call }, response)
    }

    /// Answers out of memory.
    pub(super) fn ready(&self, call: &Call, encoded: &Encoded, mut headers: HeaderMap) -> Response<Body> {
        let (status, body) = encoded.answer(call.gzip, &mut headers);
        respond(status, headers, body)
    }

    /// Writes a refusal as an answer.
    pub(super) fn refuse(&self, call: &Call, refusal: &Refusal, mut headers: HeaderMap) -> Response<Body> {
        self.traffic.shed(refusal.status);
        let body = refusal.write(&call.id, &mut headers);
        respond(refusal.status, headers, body)
    }

    /// Puts on an answer what every answer has, counts it and logs it.
    pub(super) fn close(&self, link: &Arc<Link>, call: &Call, mut response: Response<Body>) -> Response<Body> {
        let (status, size, headers) = (response.status(), response.body().size_hint().exact(), response.headers_mut());
        headers.reserve(COMMON_HEADERS);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        let limit = if call.caller.is_some() { &self.by_user } else { &self.by_address };
        if let (Some(left), Some(limit)) = (call.left, limit) {
            limit.describe(left, headers);
        }
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            if let Some(origin) = call.origin.as_ref().filter(|it| self.origins.contains(it)) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
        }
        headers.insert(REQUEST_ID, call.id.clone());
        if let Some(traceparent) = call.traceparent.clone() {
            headers.insert(TRACEPARENT, traceparent);
        }
        self.record(call, status, size);
        link.enter(Phase::Idle);
        // A streamed answer keeps the connection busy until hyper has taken it whole, or dropped it.
        if size.is_some() { response } else { response.map(|it| keep_busy(it, link)) }
    }

    fn record(&self, call: &Call, status: StatusCode, bytes: Option<u64>) {
        let now = self.app.clock.moment();
        let took = now.since(call.moment);
        let route = call.route.map(|at| &self.routes[at]);
        let meter = route.and_then(|it| it.meter(&call.method)).unwrap_or(&self.traffic.unmatched);
        meter.record(status, took);
        if !status.is_server_error() && !self.log.takes(now, self.app.config.log.access_per_second) {
            return;
        }
        let level = if status.is_server_error() { "WARN" } else { "INFO" };
        let line = Line {
            target: "folio::http",
            event: "http.request",
            request_id: text(&call.id),
            trace_id: format!("{:032x}", call.trace),
            method: call.method.as_str(),
            route: route.map_or("unmatched", |it| &it.template),
            status: status.as_u16(),
            code: call.code,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            bytes,
            address: truncated(call.address).to_string(),
            user: call.caller.map(|it| format!("{:016x}", self.users.hash_one(it.number()))),
        };
        self.log.event(level, &line);
    }
}

pub(super) fn late(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", why)
}

/// The libraries refuse in plain text; handlers of ours do not.
fn is_foreign_refusal(response: &axum::response::Response) -> bool {
    let json = |it: &HeaderValue| it.as_bytes().starts_with(b"application/json");
    response.status().as_u16() >= 400 && !response.headers().get(header::CONTENT_TYPE).is_some_and(json)
}

/// Makes an answer smaller where that pays and costs little.
async fn compressed(call: &Call, response: axum::response::Response) -> Response<Body> {
    let size = response.body().size_hint().exact().unwrap_or(0);
    let kind = response.headers().get(header::CONTENT_TYPE).map(|it| it.as_bytes()).unwrap_or_default();
    let texts = kind.starts_with(b"application/json") || kind.starts_with(b"text/");
    if !texts || !GZIP_DYNAMIC_BYTES.contains(&size) || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response.map(Either::Right);
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    // A body of known size is there already: nothing is waited for, and nothing can fail.
    let plain = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
    let body = if call.gzip { gzip(&plain, 1) } else { plain };
    if call.gzip {
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    Response::from_parts(parts, Either::Left(Full::new(body)))
}

pub(super) fn preflight(call: &Call, allow: HeaderValue, mut headers: HeaderMap) -> Response<Body> {
    headers.clear();
    if call.origin.is_some() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    headers.insert(header::ALLOW, allow);
    respond(StatusCode::NO_CONTENT, headers, Bytes::new())
}

pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
