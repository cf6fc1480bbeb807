//! How Folio is heard: the live connections.
//!
//! A route that wants one takes an [`Upgrade`]. The handshake is a request like every other: it has its ids, limits,
//! token, log line and counters. Then the session runs in the connection's own task, which still counts as one, and
//! hears when the server stops.

use std::future::Future;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::error::Error;
use crate::http::error::Refusal;
use crate::http::extract::About;
use crate::http::shell::{Link, Taken};
use crate::telemetry;

/// A valid handshake: 400 or 426 without one, 403 from a page that may not call.
pub struct Upgrade {
    accept: HeaderValue,
    link: Arc<Link>,
}

impl Upgrade {
    /// Answers the handshake; the session runs once the answer has gone.
    pub fn take_over<F, S>(self, session: F) -> Response
    where
        F: FnOnce(Taken) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let trace = telemetry::trace();
        let session = move |taken| telemetry::traced(trace, session(taken)).boxed();
        *self.link.session.lock() = Some(Box::new(session));
        let websocket = HeaderValue::from_static("websocket");
        let upgrade = HeaderValue::from_static("upgrade");
        let headers =
            [(header::CONNECTION, upgrade), (header::UPGRADE, websocket), (header::SEC_WEBSOCKET_ACCEPT, self.accept)];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        let about = About::of(parts);
        if parts.version != Version::HTTP_11 {
            return Err(Error::Malformed("a handshake needs HTTP/1.1").into());
        }
        if !has_word(headers, &header::UPGRADE, "websocket") || !has_word(headers, &header::CONNECTION, "upgrade") {
            let websocket = HeaderValue::from_static("websocket");
            return Err(required("this speaks WebSocket").with(header::UPGRADE, websocket));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|it| it != "13") {
            let version = HeaderValue::from_static("13");
            return Err(required("this speaks version 13").with(header::SEC_WEBSOCKET_VERSION, version));
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let key = keys.next().filter(|it| keys.next().is_none() && is_key(it.as_bytes()));
        let key = key.ok_or(Error::Malformed("the key of the handshake is not valid"))?;
        if let Some(origin) = headers.get(header::ORIGIN).filter(|it| !about.link.shell.allows_origin(it)) {
            let host = headers.get(header::HOST).map(text).unwrap_or_default();
            if text(origin).split_once("://").is_none_or(|it| !it.1.eq_ignore_ascii_case(host)) {
                return Err(Error::Forbidden("pages of this origin may not connect").into());
            }
        }
        let accept = derive_accept_key(key.as_bytes());
        let accept = HeaderValue::from_str(&accept).expect("base64 is header text");
        Ok(Upgrade { accept, link: about.link.clone() })
    }
}

fn required(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", why)
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let (digits, end) = key.split_at_checked(22).unwrap_or_default();
    end == b"==" && digits.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/'))
}

fn has_word(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|line| text(line).split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
