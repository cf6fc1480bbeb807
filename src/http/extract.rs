//! What handlers are given: who asks, the path, the query and the body as types.
//!
//! Types of queries and bodies say `#[serde(deny_unknown_fields)]`: what is not known is refused, and so is a field
//! that comes twice.

use std::convert::Infallible;
use std::num::ParseIntError;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use serde::Deserialize;
use serde::de::value::{Error as NotRead, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use url::form_urlencoded;

use super::error::Refusal;
pub(crate) use super::shell::About;
use super::shell::text;
pub use crate::actors::auth::Client;
use crate::actors::auth::{Caller, Person};
use crate::error::{Error, Result};

/// The person whose token came with the request; 401 without one, 403 where a service asks.
#[derive(Clone, Copy, Debug)]
pub struct CurrentUser(pub Person);

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        match About::of(parts).caller {
            Some(Caller::Person(it)) => Ok(CurrentUser(it)),
            Some(Caller::Service(_)) => Err(Error::Forbidden("this is for people, not for services")),
            None => Err(Error::Unauthenticated("a bearer token is needed")),
        }
    }
}

/// Whoever asks, if they say so: for what is open to everybody and shows more to some.
#[derive(Clone, Copy, Debug)]
pub struct Viewer(pub Option<Caller>);

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Viewer(About::of(parts).caller))
    }
}

const DEVICE_LETTERS_MAX: usize = 200;

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let device = parts.headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let device = device.chars().filter(|it| !it.is_control()).take(DEVICE_LETTERS_MAX).collect();
        Ok(Client { address: About::of(parts).address, device })
    }
}

/// The parts of the path. What cannot be an id names nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let mut words = About::of(parts).link.shell.words(parts.uri.path());
        let read: Result<T, NotRead> = match words.len() {
            1 => T::deserialize(words.remove(0).into_deserializer()),
            _ => T::deserialize(SeqDeserializer::new(words.into_iter())),
        };
        read.map(Path).map_err(|_| Error::NotFound("thing"))
    }
}

/// A number that is part of a path.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Number(pub i64);

impl TryFrom<String> for Number {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Number, ParseIntError> {
        text.parse().map(Number)
    }
}

/// The query as a type: 400 where it cannot be read, 422 with the parameter where it is not valid.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        read_query(parts.uri.query().unwrap_or_default()).map(Query)
    }
}

/// Reads a query, or a part of one.
pub(super) fn read_query<T: DeserializeOwned>(query: &str) -> Result<T> {
    let escapes = query.split('%').skip(1).all(|it| it.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2);
    let text = percent_encoding::percent_decode_str(query).decode_utf8();
    if !escapes || text.is_err() {
        return Err(Error::Malformed("the query is not percent-encoded UTF-8"));
    }
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| invalid(&error, "query"))
}

/// A JSON body as a type: 415, 413, 400 (no JSON) or 422 (JSON of another shape, with the path of the field).
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read_json(&read_body(request).await?).map(Body)
    }
}

/// Takes the whole body of a request that says it is JSON.
pub(super) async fn read_body(request: Request) -> Result<Bytes, Refusal> {
    if !is_json(request.headers()) {
        return Err(Error::Unsupported("send application/json in UTF-8").into());
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|error| unread(&error))?.to_bytes();
    About::of(&parts).body_read.store(true, Relaxed);
    Ok(bytes)
}

/// Reads a body as a type.
pub(super) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let error = match serde_json::from_slice(bytes) {
        // A form whose fields may all be missing is filled by a list, too.
        Ok(_) if bytes.trim_ascii_start().starts_with(b"[") => {
            return Err(Error::invalid("body", "must be an object").into());
        }
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    if !error.is_data() {
        let at = format!("the body is not JSON: {error}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "malformed", at));
    }
    // Read a second time, now with the path of the field: only failures pay for it.
    let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes));
    Err(again.err().map_or_else(|| Error::invalid("body", error.to_string()), |it| invalid(&it, "body")).into())
}

fn invalid<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>, whole: &str) -> Error {
    let field = error.path().to_string();
    Error::invalid(if field == "." { whole.to_owned() } else { field }, error.inner().to_string())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).and_then(|it| it.ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    parts.next() == Some("application/json")
        && parts.all(|it| matches!(it, "charset=utf-8" | "charset=\"utf-8\"") || !it.starts_with("charset"))
}

fn unread(error: &axum::Error) -> Refusal {
    let mut causes = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |it| it.source());
    match causes.any(|it| it.is::<LengthLimitError>()) {
        true => Error::TooLarge("the body is larger than this route takes").into(),
        false => Error::Malformed("the body ended early or is badly framed").into(),
    }
}

const KEY_HEADER: &str = "idempotency-key";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// What the client calls a request, if it does: `Idempotency-Key`. The shell checks its form; the capability claims it,
/// together with the user and what was sent, in the transaction of the work itself.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        idempotency_key(&parts.headers).map(IdempotencyKey)
    }
}

/// The key as it was sent; none is fine, two are not, and neither is one of another form.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    let lines: Vec<&str> = headers.get_all(KEY_HEADER).iter().map(text).collect();
    match lines[..] {
        [] => Ok(None),
        [line] if KEY_BYTES.contains(&line.len()) && line.bytes().all(word) => Ok(Some(line.to_owned())),
        [_] => Err(Error::invalid(KEY_HEADER, "must be 8 to 64 letters, digits, hyphens or underscores")),
        _ => Err(Error::Malformed("send one Idempotency-Key header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Result<Option<String>> {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|it| _ = headers.append(KEY_HEADER, HeaderValue::from_bytes(it.as_bytes()).unwrap()));
        idempotency_key(&headers)
    }

    #[test]
    fn a_key_is_one_word_of_eight_to_sixty_four() {
        let longest = "k".repeat(64);
        for good in ["order-42", "A_b-0000", longest.as_str()] {
            assert_eq!(heard(&[good]), Ok(Some(good.to_owned())));
        }
        assert_eq!(heard(&[]), Ok(None));
        for bad in ["", "seven77", "with blank", "semi;colon", "caf\u{e9}-cafe", &"k".repeat(65)] {
            assert_eq!(heard(&[bad]).map_err(|it| it.code()), Err("invalid"), "{bad:?}");
        }
        assert_eq!(heard(&["order-42", "order-42"]).map_err(|it| it.code()), Err("malformed"));
    }
}
