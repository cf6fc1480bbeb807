//! Access tokens: JWT with HS256, in the one form that Folio makes, verified in about a microsecond.
//!
//! A header is never read: it has to be, byte for byte, the header of a key that is in use. So there is no algorithm to
//! choose, nothing to fetch and nothing to confuse. What was verified is remembered until it ends.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, RwLock};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::rules::{Person, Role};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::storage::signing_keys::SigningKey;

/// How far the clocks of two nodes may differ: a token may be that young, and not a second too old.
const LEEWAY_SECONDS: i64 = 5;
/// How old a key is before it signs: until then every node has heard of it.
const KEY_SIGNS_AFTER: TimeDelta = TimeDelta::seconds(10);
/// Tokens that are remembered: each has the place that its signature says.
const PLACES: usize = 1 << 16;
const TOKEN_BYTES_MAX: usize = 2_048;
const ISSUER: &str = "folio";
const KIND: &str = "access";
const REFUSED: Error = Error::Unauthenticated("the token is not valid");

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    iss: String,
    aud: String,
    typ: String,
    /// Who.
    pub sub: UserId,
    /// Where they signed in.
    pub sid: SessionId,
    /// When it was made, in seconds.
    pub iat: i64,
    /// When it ends, in seconds.
    pub exp: i64,
    /// What they are.
    pub role: Role,
    /// The number of grants that it was made under.
    pub grants: i64,
    /// What they are called.
    pub username: String,
}

impl Claims {
    /// What a token of this Folio says.
    pub fn new(person: Person, username: &str, grants: i64, made_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            typ: KIND.to_owned(),
            sub: person.user,
            sid: person.session,
            iat: made_at.timestamp(),
            exp: ends_at.timestamp(),
            role: person.role,
            grants,
            username: username.to_owned(),
        }
    }

    /// Whom it is about.
    pub const fn holder(&self) -> Holder {
        Holder { person: Person { user: self.sub, session: self.sid, role: self.role }, grants: self.grants }
    }
}

/// Whom a token is about, and the number of grants that it was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub person: Person,
    /// The number of grants.
    pub grants: i64,
}

/// Makes tokens and knows them.
pub struct Tokens {
    secret: hmac::Key,
    keys: RwLock<Vec<Key>>,
    known: Box<[Mutex<Option<Box<Known>>>]>,
}

struct Key {
    row: SigningKey,
    header: String,
    key: hmac::Key,
}

/// A token that was verified.
struct Known {
    token: Box<[u8]>,
    holder: Holder,
    ends: i64,
    /// The state of the doors under which it was let in.
    doors: u64,
}

impl Tokens {
    /// Has no keys yet: [`Tokens::set_keys`] gives them.
    pub fn new(secret: &Secret) -> Tokens {
        let secret = super::key(secret, "access tokens");
        Tokens { secret, keys: RwLock::default(), known: (0..PLACES).map(|_| Mutex::default()).collect() }
    }

    /// Uses these keys from now on, the oldest first.
    pub fn set_keys(&self, rows: Vec<SigningKey>) {
        if self.keys.read().iter().map(|it| it.row).eq(rows.iter().copied()) {
            return;
        }
        let key = |row: SigningKey| {
            let header = format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{}"}}"#, row.id);
            let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.secret, row.id.as_bytes()).as_ref());
            Key { row, header: BASE64_URL_SAFE_NO_PAD.encode(header), key }
        };
        *self.keys.write() = rows.into_iter().map(key).collect();
    }

    /// Makes a token. The newest key signs that every node knows by now.
    pub fn sign(&self, claims: &Claims, now: DateTime<Utc>) -> Result<String> {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).map_err(Error::internal)?);
        let keys = self.keys.read();
        let signs = |it: &&Key| it.row.ends_at.is_none_or(|ends| ends > now);
        let grown = keys.iter().rev().filter(signs).find(|it| it.row.created_at + KEY_SIGNS_AFTER <= now);
        let key = grown.or_else(|| keys.iter().find(signs)).ok_or(Error::unavailable("signing"))?;
        let signed = format!("{}.{claims}", key.header);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key.key, signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// Reads a token that is good now, as far as the token itself can tell.
    pub fn verify(&self, token: &[u8], now: DateTime<Utc>) -> Result<Claims> {
        let claims = self.claims(token, now).ok_or(REFUSED)?;
        let now = now.timestamp();
        let ours = claims.iss == ISSUER && claims.aud == ISSUER && claims.typ == KIND;
        match claims {
            it if !ours || it.iat > now + LEEWAY_SECONDS => Err(REFUSED),
            it if it.exp <= now => Err(Error::Unauthenticated("the token has ended")),
            it => Ok(it),
        }
    }

    fn claims(&self, token: &[u8], now: DateTime<Utc>) -> Option<Claims> {
        let token = std::str::from_utf8(token).ok().filter(|it| it.len() <= TOKEN_BYTES_MAX)?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        {
            let keys = self.keys.read();
            let key = keys.iter().find(|it| it.header == header && it.row.ends_at.is_none_or(|ends| ends > now))?;
            hmac::verify(&key.key, signed.as_bytes(), &signature).ok()?;
        }
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    /// Finds a token that was verified before and has not ended. If the doors have changed since, `let_in` is asked
    /// again.
    pub fn known(
        &self,
        token: &[u8],
        now: i64,
        doors: u64,
        let_in: impl FnOnce(&Holder) -> Result<()>,
    ) -> Option<Result<Person>> {
        let mut place = self.known[place(token)?].lock();
        let known = place.as_mut().filter(|it| *it.token == *token && it.ends > now)?;
        if known.doors != doors {
            if let Err(refusal) = let_in(&known.holder) {
                *place = None;
                return Some(Err(refusal));
            }
            known.doors = doors;
        }
        Some(Ok(known.holder.person))
    }

    /// Remembers a token that was verified and let in.
    pub fn remember(&self, token: &[u8], claims: &Claims, doors: u64) {
        if let Some(place) = place(token) {
            let known = Known { token: token.into(), holder: claims.holder(), ends: claims.exp, doors };
            *self.known[place].lock() = Some(Box::new(known));
        }
    }
}

/// The place of a token. The end of a good one is a MAC: nobody can choose whom to meet there.
fn place(token: &[u8]) -> Option<usize> {
    let end = u64::from_le_bytes(*token.last_chunk()?);
    Some((end.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize % PLACES)
}

#[cfg(test)]
mod tests;
