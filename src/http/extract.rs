//! What handlers are given: who asks, the path, the query and the body as types.
//!
//! Types of queries and bodies say `#[serde(deny_unknown_fields)]`: what is not known is refused, and so is a field
//! that comes twice.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http_body_util::{BodyExt, LengthLimitError};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use serde::de::value::{Error as NotRead, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use tokio::time::timeout;
use url::form_urlencoded;

use super::error::Refusal;
pub(crate) use super::shell::About;
use super::shell::{is_word, text};
pub use crate::actors::auth::Client;
use crate::actors::auth::{Caller, Person};
use crate::error::{Error, Result};

/// The person whose token came with the request; 401 without one, 403 where a service asks.
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

/// The query as a type: 400 where it cannot be read, 422 with the parameter where it is not valid.
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
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Error::Unsupported("send application/json in UTF-8").into());
        }
        let (parts, body) = request.into_parts();
        let arrived = timeout(About::of(&parts).link.shell.app.config.http.head_within, body.collect()).await;
        let body = arrived.map_err(|_| Refusal::late("the body took too long to arrive"))?;
        let body = body.map_err(|error| match error.into_inner().is::<LengthLimitError>() {
            true => Error::TooLarge("the body is larger than is taken here"),
            false => Error::Malformed("the body ended early or is badly framed"),
        })?;
        let bytes = body.to_bytes();
        // A form whose fields may all be missing would be filled by a list, too.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Error::invalid("body", "must be an object").into());
        }
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            if !error.is_data() {
                let at = format!("the body is not JSON: {error}");
                return Refusal::new(StatusCode::BAD_REQUEST, "malformed", at);
            }
            // Read a second time, now with the path of the field: only failures pay for it.
            let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(&bytes));
            again.err().map_or_else(|| Error::invalid("body", error.to_string()), |it| invalid(&it, "body")).into()
        })
    }
}

fn invalid<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>, whole: &str) -> Error {
    let field = error.path().to_string();
    Error::invalid(if field == "." { whole.to_owned() } else { field }, error.inner().to_string())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default().to_ascii_lowercase();
    let (kind, charset) = kind.split_once(';').unwrap_or((&kind, ""));
    kind.trim() == "application/json" && (!charset.contains("charset") || charset.contains("utf-8"))
}

const KEY_HEADER: &str = "idempotency-key";

/// What the client calls a request, if it does: `Idempotency-Key`. The shell checks its form; the capability claims it,
/// together with the user and what was sent, in the transaction of the work itself.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let lines: Vec<&str> = parts.headers.get_all(KEY_HEADER).iter().map(text).collect();
        match lines[..] {
            [] => Ok(IdempotencyKey(None)),
            [line] if is_word(line.as_bytes()) => Ok(IdempotencyKey(Some(line.to_owned()))),
            [_] => Err(Error::invalid(KEY_HEADER, "must be 8 to 64 letters, digits, hyphens or underscores")),
            _ => Err(Error::Malformed("send one Idempotency-Key header")),
        }
    }
}
