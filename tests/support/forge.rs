//! Tokens that nobody should have: written by hand, signed with the server's own key or another.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::http::Server;
use super::people::Somebody;

/// Signs whatever it is given.
pub struct Forge {
    /// The name of the server's key.
    pub kid: String,
    key: hmac::Key,
}

impl Forge {
    /// Has the server's own key: what it refuses then, it refuses for what the token says.
    pub async fn of(server: &Server) -> Forge {
        let db = &server.app.storage.db;
        let rows: Vec<(uuid::Uuid,)> = db.sql("SELECT id FROM signing_keys ORDER BY id").all().await.unwrap();
        let id = rows[0].0;
        let sha = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let secret = sha(server.app.config.secret.expose().as_bytes(), b"access tokens");
        let key = sha(secret.as_ref(), id.as_bytes());
        Forge { kid: id.to_string(), key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    /// The header of good tokens.
    pub fn header(&self) -> String {
        format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{}"}}"#, self.kid)
    }

    /// A token of this header and these claims, signed as it should be.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        signed(&self.key, header, claims)
    }
}

/// The claims of a good token.
pub fn claims_of(somebody: &Somebody) -> Value {
    let part = somebody.access.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The same with some claims changed; null takes one away.
pub fn with(claims: &Value, changes: &Value) -> String {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value.is_null() {
            true => _ = claims.as_object_mut().unwrap().remove(name),
            false => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

/// A token signed with somebody's own key.
pub fn signed_with(secret: &[u8], header: &str, claims: &str) -> String {
    signed(&hmac::Key::new(hmac::HMAC_SHA256, secret), header, claims)
}

fn signed(key: &hmac::Key, header: &str, claims: &str) -> String {
    let signed = unsigned(header, claims);
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(key, signed.as_bytes())))
}

/// The part of a token that is signed.
pub fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims))
}

/// A header of these fields.
pub fn header(fields: &Value) -> String {
    let mut header = json!({ "alg": "HS256", "typ": "JWT" });
    fields.as_object().unwrap().iter().for_each(|(name, value)| header[name] = value.clone());
    header.to_string()
}
