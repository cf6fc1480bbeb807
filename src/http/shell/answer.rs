//! The way out: a handler runs under deadline and panic guard, or its answer is kept already as the bytes that go out;
//! every answer gets what all answers have.

use std::future::poll_fn;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use ring::digest;
use serde::Serialize;
use tokio::time::timeout;

use super::Shell;
use super::head::{About, hex, number, text};
use super::limits::describe;
use super::routes::{Operation, Route};
use crate::error::Error;
use crate::http::error::Refusal;
use crate::telemetry::{traced, under};

/// Room for what every answer has is made once.
const COMMON_HEADERS: usize = 14;
/// Below it a compressed answer saves no packet.
const GZIP_BYTES_MIN: usize = 1024;
/// Answers made anew for each request are compressed in the request's time: above these bounds it pays, below it is
/// bounded to about a millisecond.
const GZIP_DYNAMIC_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=128 * 1024;
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

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
    let (app, bytes_max) = (shell.app.clone(), shell.body_bytes_max(route));
    let body = if body.is_end_stream() { Body::empty() } else { Body::new(Limited::new(body, bytes_max)) };
    let about = Arc::new(about);
    parts.extensions.insert(about.clone());
    let answer = traced(about.trace, (operation.run)(Request::from_parts(parts, body), app));
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
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(_panic)) => under(about.trace, || Error::internal("a handler panicked").into_response()),
            Err(_late) => Error::Deadline.into_response(),
        };
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            return about.refuse(refusal, HeaderMap::with_capacity(COMMON_HEADERS));
        }
        let response = match response.extensions_mut().remove::<Arc<Encoded>>() {
            Some(encoded) => encoded.answer(&about, HeaderMap::with_capacity(COMMON_HEADERS)),
            None => compressed(&about, response).await.map(Either::Right),
        };
        let response = about.close(None, response);
        match response.body().size_hint().exact() {
            Some(_) => response,
            // A streamed answer keeps its connection busy until hyper has taken it whole, or dropped it.
            None => response.map(|body| Either::Right(Body::new(body.map_frame(move |frame| (frame, &about).0)))),
        }
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
            describe(quota, headers);
        }
        if self.traced {
            let ours = format!("00-{:032x}-{:016x}-01", self.trace, self.number as u64);
            headers
                .extend(HeaderValue::try_from(ours).map(|it| (const { HeaderName::from_static("traceparent") }, it)));
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
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, const { HeaderValue::from_static("*") });
            }
        }
        headers.insert(const { HeaderName::from_static("x-request-id") }, id);
    }

    /// A whole refusal as bytes, for a client that the HTTP library does not serve, or not any more. Nobody knows
    /// which page it is from; the first of those that may call can read it.
    pub(super) fn raw(&self, refusal: Refusal) -> Vec<u8> {
        let (status, code, id, mut headers) = (refusal.status, refusal.code, hex(number()), HeaderMap::new());
        let body = refusal.write(&id, &mut headers);
        let reader = self.app.config.http.origins.first().and_then(|it| HeaderValue::from_str(it).ok());
        self.dress(id, reader.as_ref(), &mut headers);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CONNECTION, const { HeaderValue::from_static("close") });
        self.traffic.unmatched.record(status, Duration::ZERO);
        *self.traffic.refused.lock().entry(code).or_default() += 1;
        let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in &headers {
            out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        [&out, b"\r\n".as_slice(), &body].concat()
    }
}

/// An answer kept as the bytes that go out: encoded once, compressed once, named by its hash.
pub struct Encoded {
    plain: Bytes,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

impl Encoded {
    /// Encodes a value as JSON.
    pub fn json(value: &impl Serialize, cache_control: &'static str) -> Encoded {
        let plain = Bytes::from(serde_json::to_vec(value).unwrap_or_default());
        let hash = digest::digest(&digest::SHA256, &plain);
        let hash = u128::from_be_bytes(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"));
        Encoded {
            gzip: (plain.len() >= GZIP_BYTES_MIN).then(|| gzip(&plain, 6)),
            // Weak, so that it names the plain and the compressed form alike.
            etag: HeaderValue::from_str(&format!("W/\"{hash:032x}\"")).expect("hex is header text"),
            cache_control: HeaderValue::from_static(cache_control),
            plain,
        }
    }

    /// Whether `If-Match` or `If-None-Match` names this answer, or any.
    pub(in crate::http) fn is_named_by(&self, line: &HeaderValue) -> bool {
        let bare = |it: &str| it.trim().trim_start_matches("W/").as_bytes() == &self.etag.as_bytes()[2..];
        line == "*" || text(line).split(',').any(bare)
    }

    /// Answers out of memory. The request's header map becomes the answer's: hyper keeps it for the connection's next
    /// request, so none is allocated.
    pub(super) fn answer(&self, about: &About, mut headers: HeaderMap) -> Response<Sent> {
        headers.clear();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        if self.gzip.is_some() {
            headers.insert(header::VARY, const { HeaderValue::from_static("accept-encoding") });
        }
        if about.known.as_ref().is_some_and(|it| self.is_named_by(it)) {
            return respond(StatusCode::NOT_MODIFIED, headers, Bytes::new());
        }
        headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        let small = self.gzip.as_ref().filter(|_| about.gzip);
        if small.is_some() {
            headers.insert(header::CONTENT_ENCODING, const { HeaderValue::from_static("gzip") });
        }
        respond(StatusCode::OK, headers, small.unwrap_or(&self.plain).clone())
    }
}

/// Compresses; a low level where a request waits for it.
fn gzip(bytes: &[u8], level: u32) -> Bytes {
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::new(level));
    // Writing into a Vec cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// Makes an answer smaller, where that pays, costs little and was asked for.
async fn compressed(about: &About, mut response: Response<Body>) -> Response<Body> {
    let (size, headers) = (response.body().size_hint().exact().unwrap_or(0), response.headers_mut());
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let plain = kind.starts_with(b"application/json") || kind.starts_with(b"text/");
    if !GZIP_DYNAMIC_BYTES.contains(&size) || !plain || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    headers.append(header::VARY, const { HeaderValue::from_static("accept-encoding") });
    if about.gzip {
        headers.insert(header::CONTENT_ENCODING, const { HeaderValue::from_static("gzip") });
        headers.remove(header::CONTENT_LENGTH);
        // A body of known size is there already: nothing is waited for, and nothing can fail.
        let plain = std::mem::take(response.body_mut()).collect().await.map(|it| it.to_bytes()).unwrap_or_default();
        *response.body_mut() = gzip(&plain, 1).into();
    }
    response
}

/// What may be sent is what is asked for: it is the origin that counts.
pub(super) fn preflight(route: &Route, mut headers: HeaderMap) -> Response<Sent> {
    let (asked, allow) = (headers.remove(header::ACCESS_CONTROL_REQUEST_HEADERS), route.allow());
    headers.clear();
    headers.extend(asked.map(|it| (header::ACCESS_CONTROL_ALLOW_HEADERS, it)));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow.clone());
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, const { HeaderValue::from_static("600") });
    headers.insert(header::ALLOW, allow);
    respond(StatusCode::NO_CONTENT, headers, Bytes::new())
}

pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Sent> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
