//! The form of `Idempotency-Key`: what makes a repeated request the same request.
//!
//! The shell checks the form and hashes what was sent. The capability claims key and hash in the transaction of the
//! work itself, so that work and claim are there together or not at all.

use axum::extract::{FromRequest, Request};
use hyper::header::HeaderMap;
use ring::digest::{Context, SHA256};
use serde::de::DeserializeOwned;

use super::error::Refusal;
use super::extract::{read_body, read_json};
use super::shell::text;
use crate::error::{Error, Result};

/// The name of the header.
pub const HEADER: &str = "idempotency-key";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// What a capability claims, together with the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The word that the client chose.
    pub key: String,
    /// The hash of method, path and body: the same key with another hash is a mismatch.
    pub hash: [u8; 32],
}

/// A JSON body that may be sent again under the same key.
#[derive(Clone, Debug)]
pub struct Repeatable<T> {
    /// The body.
    pub body: T,
    /// The key, if one came.
    pub key: Option<IdempotencyKey>,
}

impl<T> Repeatable<T> {
    /// The body and its key, where nothing is done without one.
    pub fn with_key(self) -> Result<(T, IdempotencyKey)> {
        let key = self.key.ok_or(Error::Malformed("this request needs an Idempotency-Key header"))?;
        Ok((self.body, key))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Repeatable<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let key = key(request.headers())?;
        let mut hash = Context::new(&SHA256);
        for part in [request.method().as_str(), " ", request.uri().path(), "\n"] {
            hash.update(part.as_bytes());
        }
        let bytes = read_body(request).await?;
        hash.update(&bytes);
        let hash = *hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Ok(Repeatable { body: read_json(&bytes)?, key: key.map(|key| IdempotencyKey { key, hash }) })
    }
}

/// The key as it was sent; none is fine, two are not, and neither is one of another form.
fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    let lines: Vec<&str> = headers.get_all(HEADER).iter().map(text).collect();
    match lines[..] {
        [] => Ok(None),
        [line] if KEY_BYTES.contains(&line.len()) && line.bytes().all(word) => Ok(Some(line.to_owned())),
        [_] => Err(Error::invalid(HEADER, "must be 8 to 64 letters, digits, hyphens or underscores")),
        _ => Err(Error::Malformed("send one Idempotency-Key header")),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn heard(lines: &[&str]) -> Result<Option<String>> {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|it| _ = headers.append(HEADER, HeaderValue::from_bytes(it.as_bytes()).unwrap()));
        key(&headers)
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
