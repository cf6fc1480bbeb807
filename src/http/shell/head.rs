//! What is read from the head of a request, and what no route should ever have to look at.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};

use super::hex;
use super::limits::{Quota, forwarded};
use super::link::{Link, Phase};
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
    pub(crate) body_read: AtomicBool,
    pub(super) moment: Moment,
    number: u128,
    /// What names the request, where it brought a name.
    id: Option<HeaderValue>,
    /// The trace that it is part of, where it named one.
    part_of: Option<u128>,
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

    pub(super) fn trace(&self) -> u128 {
        self.part_of.unwrap_or(self.number)
    }

    /// What goes back to whoever named a trace; it names our part of it.
    pub(super) fn traceparent(&self) -> Option<HeaderValue> {
        let ours = format!("00-{:032x}-{:016x}-01", self.part_of?, self.number as u64);
        HeaderValue::try_from(ours).ok()
    }

    /// Reads the head once.
    pub(super) fn new(link: &Arc<Link>, parts: &Parts) -> About {
        let (shell, method) = (&link.shell, parts.method.clone());
        let reads = matches!(method, Method::GET | Method::HEAD);
        let (moment, number, address) = (shell.app.clock.moment(), shell.number(), link.peer);
        let (caller, body_read, id, part_of, origin, gzip, known, route, quota) = Default::default();
        let link = link.clone();
        let mut about = About {
            link,
            caller,
            address,
            body_read,
            moment,
            number,
            id,
            part_of,
            method,
            origin,
            gzip,
            known,
            route,
            quota,
        };
        for (name, value) in &parts.headers {
            match name.as_str() {
                "origin" => about.origin = Some(value.clone()),
                "accept-encoding" => about.gzip = accepts_gzip(value),
                "if-none-match" if reads => about.known = Some(value.clone()),
                "traceparent" => about.part_of = trace_of(value.as_bytes()).or(Some(number)),
                "x-request-id" if is_request_id(value.as_bytes()) => about.id = Some(value.clone()),
                "x-forwarded-for" => {
                    about.address = forwarded(address, &shell.app.config.http.trusted_proxies, text(value));
                }
                _ => {}
            }
        }
        about
    }
}

/// The connection is idle when nothing of a request is left: a streamed answer keeps what is known of it until it has
/// gone, or was dropped.
impl Drop for About {
    fn drop(&mut self) {
        self.link.enter(Phase::Idle);
    }
}

/// Refuses what contradicts itself: host, expectation, path.
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, another, path) = (hosts.next().map(HeaderValue::as_bytes), hosts.next(), parts.uri.path());
    let plain = |it: &[u8]| it.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-'));
    let valid = |it: &[u8]| plain(it) || Authority::try_from(it).is_ok();
    let meant = |it: &[u8]| parts.uri.authority().is_none_or(|name| it.eq_ignore_ascii_case(name.as_str().as_bytes()));
    let met = |it: &HeaderValue| it.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let suspect = path.bytes().any(|it| matches!(it, b'%' | b'\\' | b'.' | b';'));
    let refusal = match host {
        _ if another.is_some() => Error::Malformed("send one Host header").into(),
        None if parts.version == Version::HTTP_11 => Error::Malformed("send one Host header").into(),
        Some(host) if !valid(host) => Error::Malformed("the Host header is not valid").into(),
        Some(host) if !meant(host) => {
            let why = "this server does not answer for that host";
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", why)
        }
        _ if !parts.headers.get_all(header::EXPECT).iter().all(met) => {
            let why = "the only expectation met here is 100-continue";
            Refusal::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", why)
        }
        _ if suspect && !is_clean(path) => Error::Malformed("the path is not valid").into(),
        _ => return Ok(()),
    };
    Err(refusal)
}

/// Whether a head names a length. Beside a coding the HTTP library drops it and says nothing.
pub(super) fn names_length(head: &[u8]) -> bool {
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

pub(super) fn accepts_gzip(value: &HeaderValue) -> bool {
    let accepts = |it: &str| {
        let (coding, parameters) = it.split_once(';').unwrap_or((it, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |it| it.trim().parse().unwrap_or(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    };
    text(value).split(',').any(accepts)
}

pub(super) fn is_request_id(id: &[u8]) -> bool {
    (8..=64).contains(&id.len()) && id.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
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
