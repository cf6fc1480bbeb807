//! The way out: a handler runs under deadline and panic guard, and every answer gets what all answers have.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::encoded::{Encoded, GZIP_DYNAMIC_BYTES, gzip};
use super::head::About;
use super::routes::{Operation, Route};
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

/// Runs a handler under its deadline and panic guard. What it is given is moved once, and no part of what waits.
pub(super) fn handle(
    about: About,
    operation: &Operation,
    mut parts: Parts,
    body: Incoming,
) -> impl Future<Output = Response<Sent>> + Send + use<> {
    let shell = &about.link.shell;
    let route = &shell.routes.all[about.route.expect("a request reaches a handler through its route")];
    let within = route.policy.answer_within.unwrap_or(shell.app.config.http.answer_within);
    let (app, body) = match body.is_end_stream() {
        true => (shell.app.clone(), Body::empty()),
        false => (shell.app.clone(), Body::new(Limited::new(body, shell.body_bytes_max(route)))),
    };
    about.body_read.store(body.is_end_stream(), Relaxed);
    let about = Arc::new(about);
    parts.extensions.insert(about.clone());
    let answer = traced(about.trace(), (operation.run)(Request::from_parts(parts, body), app));
    async move {
        let answered = {
            let _flying = about.link.shell.traffic.in_flight.hold();
            let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
            // Most handlers have their answer at once: only those that wait are given a timer, which is large.
            match poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
                Poll::Ready(answered) => Ok(answered),
                Poll::Pending => Box::pin(timeout(within, answer)).await,
            }
        };
        let refusal = match answered {
            Ok(Ok(mut response)) => match response.extensions_mut().remove::<Refusal>() {
                Some(refusal) => refusal,
                None => {
                    let response = match response.extensions_mut().remove::<Arc<Encoded>>() {
                        Some(encoded) => encoded.answer(&about, HeaderMap::with_capacity(COMMON_HEADERS)),
                        None => compressed(&about, response).await.map(Either::Right),
                    };
                    return about.close(None, response).map(|body| kept(body, about));
                }
            },
            Ok(Err(_panic)) => under(about.trace(), || Error::internal("a handler panicked").into()),
            Err(_) if !about.body_read.load(Relaxed) => late("the body took too long to arrive"),
            Err(_) => Error::Deadline.into(),
        };
        about.refuse(refusal, HeaderMap::with_capacity(COMMON_HEADERS))
    }
}

/// A streamed answer keeps its connection busy until hyper has taken it whole, or dropped it.
fn kept(body: Sent, about: Arc<About>) -> Sent {
    match body {
        Either::Right(body) if body.size_hint().exact().is_none() => {
            Either::Right(Body::new(body.map_frame(move |frame| (frame, &about).0)))
        }
        body => body,
    }
}

impl About {
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
        if let Some(traceparent) = self.traceparent() {
            headers.insert(const { HeaderName::from_static("traceparent") }, traceparent);
        }
        self.record(status, code, size);
        response
    }
}

impl Shell {
    fn dress(&self, id: HeaderValue, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
        headers.insert(header::REFERRER_POLICY, const { HeaderValue::from_static("no-referrer") });
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
        headers.entry(header::CACHE_CONTROL).or_insert(const { HeaderValue::from_static("no-cache") });
        if !self.app.config.http.origins.is_empty() {
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
        let reader = self.app.config.http.origins.first().and_then(|it| HeaderValue::from_str(it).ok());
        self.dress(id, reader.as_ref(), &mut headers);
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

/// Makes an answer smaller, where that pays, costs little and was asked for.
async fn compressed(about: &About, response: Response<Body>) -> Response<Body> {
    let (headers, size) = (response.headers(), response.body().size_hint().exact().unwrap_or(0));
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let plain = kind.starts_with(b"application/json") || kind.starts_with(b"text/");
    if !GZIP_DYNAMIC_BYTES.contains(&size) || !plain || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, mut body) = response.into_parts();
    parts.headers.append(header::VARY, const { HeaderValue::from_static("accept-encoding") });
    if about.gzip {
        // A body of known size is there already: nothing is waited for, and nothing can fail.
        let plain = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
        parts.headers.insert(header::CONTENT_ENCODING, const { HeaderValue::from_static("gzip") });
        parts.headers.remove(header::CONTENT_LENGTH);
        body = gzip(&plain, 1).into();
    }
    Response::from_parts(parts, body)
}

pub(super) fn preflight(route: &Route, mut headers: HeaderMap) -> Response<Sent> {
    let allow = route.allow();
    headers.clear();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, const { HeaderValue::from_static("600") });
    headers.insert(header::ALLOW, allow);
    respond(StatusCode::NO_CONTENT, headers, Bytes::new())
}

pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Sent> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
