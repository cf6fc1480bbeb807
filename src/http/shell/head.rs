//! What is read from the head of a request, and what no route should ever have to look at.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};
use tokio::time::Instant;

use crate::actors::auth::Caller;
use crate::clock::Moment;
use crate::error::Error;
use crate::http::error::Refusal;

/// One request on its way: what was learned from its head, and what the answer will need.
pub(super) struct Call {
    pub(super) started: Instant,
    pub(super) moment: Moment,
    pub(super) id: HeaderValue,
    pub(super) trace: u128,
    /// What goes back to whoever sent a trace; it names our part of it.
    pub(super) traceparent: Option<HeaderValue>,
    pub(super) method: Method,
    pub(super) address: IpAddr,
    /// Whether it came in where operation is served.
    pub(super) operation: bool,
    pub(super) origin: Option<HeaderValue>,
    pub(super) gzip: bool,
    pub(super) route: Option<usize>,
    pub(super) caller: Option<Caller>,
    pub(super) left: Option<u32>,
    pub(super) code: Option<&'static str>,
}

/// Refuses what contradicts itself: host, expectation, path.
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    let malformed = |why| Err(Error::Malformed(why).into());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && parts.version == Version::HTTP_11) {
        return malformed("send one Host header");
    }
    if host.is_some_and(|it| !it.is_empty() && Authority::try_from(it.as_bytes()).is_err()) {
        return malformed("the Host header is not valid");
    }
    let differs =
        |it: &Authority| host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(it.as_str().as_bytes()));
    if parts.uri.authority().is_some_and(differs) {
        let why = "this server does not answer for that host";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", why));
    }
    if parts.headers.get_all(header::EXPECT).iter().any(|it| !it.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let why = "the only expectation met here is 100-continue";
        return Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", why));
    }
    let path = parts.uri.path();
    if path.bytes().any(|it| matches!(it, b'%' | b'\\' | b'.' | b';')) && !is_clean(path) {
        return malformed("the path is not valid");
    }
    Ok(())
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

pub(super) fn text(value: &HeaderValue) -> &str {
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
