//! What was not done, as an answer: the only place that knows which status a refusal has.
//!
//! Every refusal has one form: `{"detail", "error", "request_id", "fields"?, "retry_after"?}`. `error` is the stable
//! code; `detail` is for people.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::shell::text;
use crate::error::Error;

/// An answer that is no success. Handlers, extractors and the shell make one; only the shell writes it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Refusal {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// For people.
    detail: Cow<'static, str>,
    /// The stable code: the only part to compare.
    #[serde(rename = "error")]
    pub(super) code: &'static str,
    /// What to name when asking about it.
    request_id: String,
    /// Field by field, what is not valid.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
    /// Seconds to wait before asking again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip)]
    also: Option<Box<HeaderMap>>,
}

impl Refusal {
    /// A refusal that only the shell has a word for.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Refusal {
        let (request_id, fields, retry_after, also) = Default::default();
        Refusal { status, detail: detail.into(), code, request_id, fields, retry_after, also }
    }

    /// What was begun did not arrive in time.
    pub(super) fn late(why: &'static str) -> Refusal {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", why)
    }

    /// The same, with one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.also.get_or_insert_default().insert(name, value);
        self
    }

    /// Writes the form and its headers.
    pub(super) fn write(mut self, request_id: &HeaderValue, headers: &mut HeaderMap) -> Bytes {
        text(request_id).clone_into(&mut self.request_id);
        headers.clear();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.extend(self.also.take().into_iter().flat_map(|it| *it));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        serde_json::to_vec(&self).unwrap_or_default().into()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let status = match &error {
            Error::Malformed(_) => StatusCode::BAD_REQUEST,
            Error::Unauthenticated(_) | Error::SecondFactor { .. } => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict { .. } => StatusCode::CONFLICT,
            Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Error::Full => StatusCode::INSUFFICIENT_STORAGE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let Error::Internal(source) = &error {
            tracing::error!(event = "http.internal", %source, "a request failed");
        }
        let refusal = Refusal::new(status, error.code(), error.to_string());
        // Whole seconds, rounded up: whoever waits that long is not too early.
        let retry_after = error.retry_after().map(|it| (it.as_millis().div_ceil(1_000) as u64).max(1));
        let fields = if let Error::Invalid { fields, .. } = error { fields } else { BTreeMap::new() };
        Refusal { fields, retry_after, ..refusal }
    }
}

/// The answer itself is empty: the shell finds the refusal in its extensions and writes the form.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Extension(self)).into_response()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Refusal::from(self).into_response()
    }
}
