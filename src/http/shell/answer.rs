//! The way out: a handler runs under deadline and panic guard, and every answer gets what all answers have.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout_at;

use super::encoded::{Encoded, GZIP_DYNAMIC_BYTES, gzip};
use super::head::About;
use super::link::{Phase, keep_busy};
use super::{Shell, hex};
use crate::error::Error;
use crate::http::error::Refusal;
use crate::telemetry::{traced, under};

/// Room for what every answer has is made once.
const COMMON_HEADERS: usize = 14;
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, traceparent, retry-after, etag, ratelimit-limit, ratelimit-remaining, ratelimit-reset",
);
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, if-match, if-none-match, idempotency-key, traceparent, x-request-id",
);

/// What is there already goes out as it is; a handler's body is in a box.
pub(super) type Sent = Either<Full<Bytes>, Body>;

/// Begins to run a handler. What it is given is moved once, and no part of what waits.
pub(super) fn handle(
    about: Arc<About>,
    mut parts: Parts,
    body: Incoming,
) -> impl Future<Output = Response<Sent>> + Send + use<> {
    let shell = &about.link.shell;
    let route = &shell.routes.all[about.route.expect("a request reaches a handler through its route")];
    about.body_read.store(body.is_end_stream(), Relaxed);
    parts.extensions.insert(about.clone());
    let body = match body.is_end_stream() {
        true => Body::empty(),
        false => Body::new(Limited::new(body, shell.body_bytes_max(route))),
    };
    let within = route.policy.answer_within.unwrap_or(shell.app.config.http.answer_within);
    let mut router = shell.router.clone();
    let answer = tower::Service::call(&mut router, Request::from_parts(parts, body));
    attend(about, within, answer)
}

/// Runs a handler under its deadline and panic guard.
async fn attend(about: Arc<About>, within: Duration, answer: RouteFuture<Infallible>) -> Response<Sent> {
    let _flying = about.link.shell.traffic.in_flight.hold();
    let answer = traced(about.trace, answer);
    let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
    // Most handlers have their answer at once: only those that wait are given a timer, which is large.
    let answered = match poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
        Poll::Ready(answered) => Ok(answered),
        Poll::Pending => Box::pin(timeout_at(about.started + within, answer)).await,
    };
    let refusal = match answered {
        Ok(Ok(Ok(mut response))) => match response.extensions_mut().remove::<Refusal>() {
            Some(refusal) => refusal,
            None if is_foreign_refusal(&response) => Refusal::of_status(response.status()),
            None => {
                let response = match response.extensions_mut().remove::<Arc<Encoded>>() {
                    Some(encoded) => about.ready(&encoded, HeaderMap::with_capacity(COMMON_HEADERS)),
                    None if pays(&response) => Box::pin(compressed(&about, response)).await.map(Either::Right),
                    None => response.map(Either::Right),
                };
                return about.close(None, response);
            }
        },
        Ok(Err(_panic)) => under(about.trace, || Error::internal("a handler panicked").into()),
        Err(_) if !about.body_read.load(Relaxed) => late("the body took too long to arrive"),
        Err(_) => Error::Deadline.into(),
    };
    about.refuse(refusal, HeaderMap::with_capacity(COMMON_HEADERS))
}

impl About {
    /// Answers out of memory.
    pub(super) fn ready(&self, encoded: &Encoded, mut headers: HeaderMap) -> Response<Sent> {
        let (status, body) = encoded.answer(self, &mut headers);
        respond(status, headers, body)
    }

    /// Writes a refusal as an answer.
    pub(super) fn refuse(&self, refusal: Refusal, mut headers: HeaderMap) -> Response<Sent> {
        let (status, code) = (refusal.status, refusal.code);
        let body = refusal.write(&self.id(), &mut headers);
        self.close(Some(code), respond(status, headers, body))
    }

    /// Puts on an answer what every answer has, counts it and logs it.
    pub(super) fn close(&self, code: Option<&'static str>, mut response: Response<Sent>) -> Response<Sent> {
        let (status, size, headers) = (response.status(), response.body().size_hint().exact(), response.headers_mut());
        headers.reserve(COMMON_HEADERS);
        self.link.shell.dress(self.id(), self.origin.as_ref(), headers);
        if let Some(quota) = self.quota {
            quota.describe(headers);
        }
        if let Some(traceparent) = self.traceparent.clone() {
            headers.insert(const { HeaderName::from_static("traceparent") }, traceparent);
        }
        self.record(status, code, size);
        self.link.enter(Phase::Idle);
        // A streamed answer keeps the connection busy until hyper has taken it whole, or dropped it.
        response.map(|it| match it {
            Either::Right(body) if size.is_none() => Either::Right(keep_busy(body, &self.link)),
            body => body,
        })
    }
}

impl Shell {
    fn dress(&self, id: HeaderValue, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
        headers.insert(header::REFERRER_POLICY, const { HeaderValue::from_static("no-referrer") });
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
        headers.entry(header::CACHE_CONTROL).or_insert(const { HeaderValue::from_static("no-cache") });
        if !self.origins.is_empty() {
            headers.append(header::VARY, const { HeaderValue::from_static("origin") });
            if let Some(origin) = origin.filter(|it| self.allows_origin(it)) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
        }
        headers.insert(const { HeaderName::from_static("x-request-id") }, id);
    }

    /// A whole refusal as bytes, for a client that the HTTP library does not serve, or not any more. Nobody knows
    /// which page it is from; the first of those that may call can read it.
    pub(super) fn raw(&self, refusal: Refusal) -> Vec<u8> {
        let (status, id, mut headers) = (refusal.status, hex(self.number()), HeaderMap::new());
        let body = refusal.write(&id, &mut headers);
        self.dress(id, self.origins.first(), &mut headers);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CONNECTION, const { HeaderValue::from_static("close") });
        self.traffic.unmatched.record(status, Duration::ZERO);
        let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in &headers {
            out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        [&out, b"\r\n".as_slice(), &body].concat()
    }
}

pub(super) fn late(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", why)
}

/// The libraries refuse in plain text; handlers of ours do not.
fn is_foreign_refusal(response: &Response<Body>) -> bool {
    let json = |it: &HeaderValue| it.as_bytes().starts_with(b"application/json");
    response.status().as_u16() >= 400 && !response.headers().get(header::CONTENT_TYPE).is_some_and(json)
}

/// Whether making an answer smaller pays, and costs little.
fn pays(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let kind = || headers.get(header::CONTENT_TYPE).map(|it| it.as_bytes()).unwrap_or_default();
    GZIP_DYNAMIC_BYTES.contains(&response.body().size_hint().exact().unwrap_or(0))
        && (kind().starts_with(b"application/json") || kind().starts_with(b"text/"))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Makes an answer smaller, where it was asked for so.
async fn compressed(about: &About, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.append(header::VARY, const { HeaderValue::from_static("accept-encoding") });
    if !about.gzip {
        return Response::from_parts(parts, body);
    }
    // A body of known size is there already: nothing is waited for, and nothing can fail.
    let plain = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
    parts.headers.insert(header::CONTENT_ENCODING, const { HeaderValue::from_static("gzip") });
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, gzip(&plain, 1).into())
}

pub(super) fn preflight(about: &About, allow: HeaderValue, mut headers: HeaderMap) -> Response<Sent> {
    headers.clear();
    if about.origin.is_some() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, const { HeaderValue::from_static("600") });
    }
    headers.insert(header::ALLOW, allow);
    respond(StatusCode::NO_CONTENT, headers, Bytes::new())
}

fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Sent> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
