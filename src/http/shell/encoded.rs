//! Answers kept as the bytes that go out, and how small an answer can be made.

use std::io::Write as _;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use ring::digest;
use serde::Serialize;

use super::answer::{Sent, respond};
use super::head::{About, text};

const JSON: &str = "application/json";
/// Below it a compressed answer saves no packet.
const GZIP_BYTES_MIN: usize = 1024;
/// Answers made anew for each request are compressed in the request's time: above these bounds it pays, below it is
/// bounded to about a millisecond.
pub(super) const GZIP_DYNAMIC_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=128 * 1024;

/// An answer kept as the bytes that go out: encoded once, compressed once, named by its hash.
#[derive(Debug)]
pub struct Encoded {
    plain: Bytes,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    content_type: HeaderValue,
    cache_control: HeaderValue,
}

impl Encoded {
    /// Encodes a value as JSON.
    pub fn json(value: &impl Serialize, cache_control: &'static str) -> Encoded {
        Encoded::new(serde_json::to_vec(value).unwrap_or_default(), JSON, cache_control)
    }

    /// Keeps bytes of any kind.
    pub fn new(plain: impl Into<Bytes>, content_type: &'static str, cache_control: &'static str) -> Encoded {
        let plain = plain.into();
        let hash = digest::digest(&digest::SHA256, &plain);
        let hash = u128::from_be_bytes(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"));
        let gzip = (plain.len() >= GZIP_BYTES_MIN).then(|| gzip(&plain, 6));
        Encoded {
            gzip: gzip.filter(|it| it.len() * 10 < plain.len() * 9),
            // Weak, so that it names the plain and the compressed form alike.
            etag: HeaderValue::from_str(&format!("W/\"{hash:032x}\"")).expect("hex is header text"),
            content_type: HeaderValue::from_static(content_type),
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
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        let small = self.gzip.as_ref().filter(|_| about.gzip);
        if small.is_some() {
            headers.insert(header::CONTENT_ENCODING, const { HeaderValue::from_static("gzip") });
        }
        respond(StatusCode::OK, headers, small.unwrap_or(&self.plain).clone())
    }
}

/// Compresses; a low level where a request waits for it.
pub(super) fn gzip(bytes: &[u8], level: u32) -> Bytes {
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::new(level));
    // Writing into a Vec cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}
