//! What is read from the head of a request, and what no route should ever have to look at.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};
use uuid::Uuid;

use super::connections::{Link, Phase};
use super::limits::{Quota, forwarded};

use crate::actors::auth::{Caller, KEY_PREFIX};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::http::error::Refusal;
use crate::telemetry::trace_of;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One request on its way: what the shell learned from its head, for extractors to ask, and what the answer will need.
pub(crate) struct About {
    pub(crate) link: Arc<Link>,
    pub(crate) caller: Option<Caller>,
    /// Who sent it, as trusted proxies say.
    pub(crate) address: IpAddr,
    pub(super) moment: Moment,
    pub(super) number: u128,
    /// What names the request, where it brought a name.
    id: Option<HeaderValue>,
    pub(super) trace: u128,
    /// Whether the trace is the client's: then it is told of our part.
    pub(super) traced: bool,
    pub(super) method: Method,
    pub(super) origin: Option<HeaderValue>,
    pub(super) gzip: bool,
    /// What a read says about the answer that it has already.
    pub(super) known: Option<HeaderValue>,
    pub(super) route: Option<usize>,
    pub(super) quota: Option<Quota>,
}

impl About {
    /// What the shell learned about a request.
    pub(crate) fn of(parts: &Parts) -> &Arc<About> {
        parts.extensions.get().expect("every handler runs inside the shell")
    }

    /// Whether details of operation may be told where this came in.
    pub(crate) fn details(&self) -> bool {
        self.link.operation || self.link.shell.app.config.http.ops_listen.is_none()
    }

    /// What names the request.
    pub(super) fn id(&self) -> HeaderValue {
        self.id.clone().unwrap_or_else(|| hex(self.number))
    }

    /// Reads the head once.
    pub(super) fn new(link: &Arc<Link>, parts: &Parts) -> About {
        let (app, number, method) = (&link.shell.app, number(), parts.method.clone());
        let trusted = &app.config.http.trusted_proxies;
        let (moment, mut address, mut trace, mut traced) = (app.clock.moment(), link.peer, number, false);
        let (mut id, mut origin, mut gzip, mut known) = (None, None, false, None);
        for (name, value) in &parts.headers {
            match name.as_str() {
                "origin" => origin = Some(value.clone()),
                "accept-encoding" => gzip = accepts_gzip(value),
                "if-none-match" if matches!(method, Method::GET | Method::HEAD) => known = Some(value.clone()),
                "traceparent" => (trace, traced) = (trace_of(value.as_bytes()).unwrap_or(trace), true),
                "x-request-id" if is_word(value.as_bytes()) => id = Some(value.clone()),
                "x-forwarded-for" => address = forwarded(link.peer, trusted, text(value)),
                _ => {}
            }
        }
        let (caller, route, quota, link) = (None, None, None, link.clone());
        About { link, caller, address, moment, number, id, trace, traced, method, origin, gzip, known, route, quota }
    }
}

/// The connection is idle when nothing of a request is left: a streamed answer keeps what is known of it until it has
/// gone, or was dropped.
impl Drop for About {
    fn drop(&mut self) {
        self.link.enter(Phase::Idle);
    }
}

/// A number unlike any other of any process, which tells nobody how many there were: it names a request, and its trace
/// where none was sent. Each hasher has a key of its own.
pub(super) fn number() -> u128 {
    let hasher = RandomState::new();
    u128::from(hasher.hash_one(0)) << 64 | u128::from(hasher.hash_one(1))
}

/// Thirty-two hex digits.
pub(super) fn hex(number: u128) -> HeaderValue {
    let text = Uuid::from_u128(number);
    HeaderValue::from_str(text.simple().encode_lower(&mut [0; 32])).expect("hex is header text")
}

/// Refuses what contradicts itself: host, path, framing, expectation.
pub(super) fn check(parts: &Parts, head: &[u8]) -> Result<(), Refusal> {
    let (headers, path, coded) =
        (&parts.headers, parts.uri.path(), parts.headers.contains_key(header::TRANSFER_ENCODING));
    let mut hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let plain = |it: &[u8]| it.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-'));
    let valid = |it: &[u8]| plain(it) || Authority::try_from(it).is_ok();
    let meant = |it: &[u8]| parts.uri.authority().is_none_or(|name| it.eq_ignore_ascii_case(name.as_str().as_bytes()));
    let met = |it: &HeaderValue| it.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let suspect = path.bytes().any(|it| matches!(it, b'%' | b'\\' | b'.' | b';'));
    let why = match (hosts.next(), hosts.next()) {
        (None, _) if parts.version == Version::HTTP_11 => "send one Host header",
        (_, Some(_)) => "send one Host header",
        (Some(host), _) if !valid(host) => "the Host header is not valid",
        (Some(host), _) if !meant(host) => "this server does not answer for that host",
        _ if suspect && !is_clean(path) => "the path is not valid",
        _ if coded && names_length(head) => "send a length or chunks, not both",
        _ if !headers.get_all(header::EXPECT).iter().all(met) => {
            let why = "the only expectation met here is 100-continue";
            return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", why));
        }
        _ => return Ok(()),
    };
    Err(Error::Malformed(why).into())
}

/// Whether a head names a length. Beside a coding the HTTP library drops it and says nothing.
fn names_length(head: &[u8]) -> bool {
    let mut lines = head.split(|it| *it == b'\n').take_while(|it| !matches!(it, [] | [b'\r']));
    lines.any(|it| it.get(..15).is_some_and(|it| it.eq_ignore_ascii_case(b"content-length:")))
}

/// An escape is two hex digits and hides no separator and no other escape; no part goes up or stays.
fn is_clean(path: &str) -> bool {
    let hides = |it: &str| matches!(it, "2f" | "2F" | "5c" | "5C" | "25");
    let escaped = |it: &str| it.get(..2).is_some_and(|it| it.bytes().all(|it| it.is_ascii_hexdigit()) && !hides(it));
    let plain = percent_encoding::percent_decode_str(path).decode_utf8().unwrap_or(Cow::Borrowed("\0"));
    let dots = |it: &str| matches!(it.split(';').next(), Some("." | ".."));
    path.split('%').skip(1).all(escaped)
        && !plain.contains(|it: char| it == '\\' || it.is_control())
        && !plain.split('/').any(dots)
}

/// The token that came along, if one did: a bearer's, or the key of a service in a header of its own. Two are one too
/// many, whatever they say.
pub(super) fn token(parts: &Parts) -> Result<Option<&[u8]>> {
    let lines = |name| parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let (mut bearers, mut keys) = (lines(&header::AUTHORIZATION), lines(&API_KEY));
    match (bearers.next(), keys.next(), bearers.next().or(keys.next())) {
        (None, None, _) => Ok(None),
        (Some(line), None, None) => {
            let bearer = line.split_at_checked(7).filter(|it| it.0.eq_ignore_ascii_case(b"bearer "));
            bearer.map(|it| Some(it.1)).ok_or(Error::Unauthenticated("send a bearer token"))
        }
        (None, Some(key), None) if key.starts_with(KEY_PREFIX) => Ok(Some(key)),
        (None, Some(_), None) => Err(Error::Unauthenticated("this is no key of a service")),
        _ => Err(Error::Malformed("send one token, as Authorization or as X-API-Key")),
    }
}

pub(crate) fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn accepts_gzip(value: &HeaderValue) -> bool {
    let accepts = |it: &str| {
        let (coding, parameters) = it.split_once(';').unwrap_or((it, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |it| it.trim().parse().unwrap_or(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    };
    text(value).split(',').any(accepts)
}

/// Whether it is fit for a name that a client gives: of a request, or of what it asks for.
pub(crate) fn is_word(it: &[u8]) -> bool {
    (8..=64).contains(&it.len()) && it.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_only_from_those_who_ask_for_it() {
        for (line, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=nonsense", false),
            ("gzipped", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&HeaderValue::from_static(line)), takes, "{line}");
        }
    }

    #[test]
    fn a_path_hides_nothing() {
        for path in ["/a/b.c", "/@ada", "/a%20b", "/caf%C3%A9", "/a;b", "/..."] {
            assert!(is_clean(path), "{path}");
        }
        for path in
            ["/%zz", "/%f", "/%ff", "/%00", "/..%2fetc", "/%252e", "/a/../b", "/./a", "/a\\b", "/..;/a", "/%2e%2e/a"]
        {
            assert!(!is_clean(path), "{path}");
        }
    }
}
