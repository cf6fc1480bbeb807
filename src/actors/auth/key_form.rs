//! What a key of a service looks like, and what may be asked of a new one.
//!
//! `folio_`, its id as 32 hex digits, `_`, and 256 random bits in base64: who finds one knows what it is, and which.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::rules::Scope;
use crate::error::{Error, Result};
use crate::ids::KeyId;

/// What every key begins with, and no other token.
pub const PREFIX: &[u8] = b"folio_";

const NAME_LETTERS_MAX: usize = 64;
const LIVES_MAX: TimeDelta = TimeDelta::days(3_660);
const ID_DIGITS: usize = 32;
/// What 32 bytes take in base64.
const SECRET_LETTERS: usize = 43;

/// A key that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people will call it.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// When it ends by itself.
    pub ends_at: Option<DateTime<Utc>>,
}

impl NewKey {
    /// Says what is wrong with it.
    pub fn check(&self, now: DateTime<Utc>) -> Result<()> {
        let letters = self.name.chars().count();
        if !(1..=NAME_LETTERS_MAX).contains(&letters) || self.name.trim() != self.name {
            return Err(Error::invalid("name", format!("must have 1 to {NAME_LETTERS_MAX} letters, no blanks around")));
        }
        if self.name.contains(char::is_control) {
            return Err(Error::invalid("name", "must not hold control characters"));
        }
        let repeated = |(at, it): (usize, &Scope)| self.scopes[..at].contains(it);
        if self.scopes.is_empty() || self.scopes.iter().enumerate().any(repeated) {
            return Err(Error::invalid("scopes", "must name one scope or more, each once"));
        }
        match self.ends_at {
            Some(end) if end <= now => Err(Error::invalid("ends_at", "must lie in the future")),
            Some(end) if end > now + LIVES_MAX => Err(Error::invalid("ends_at", "must lie within ten years")),
            _ => Ok(()),
        }
    }
}

/// Writes a key.
pub fn write(id: KeyId, secret: &[u8; 32]) -> String {
    format!("folio_{}_{}", id.0.simple(), BASE64_URL_SAFE_NO_PAD.encode(secret))
}

/// Reads a key: there is one way to write each.
pub fn read(token: &[u8]) -> Option<(KeyId, [u8; 32])> {
    let (id, rest) = token.strip_prefix(PREFIX)?.split_at_checked(ID_DIGITS)?;
    let secret = rest.strip_prefix(b"_").filter(|it| it.len() == SECRET_LETTERS)?;
    let lower = id.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    let id = Uuid::try_parse_ascii(id).ok().filter(|_| lower)?;
    let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?;
    Some((KeyId(id), secret.try_into().ok()?))
}

/// Compares without telling by its time how much is the same.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differs = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_key_is_read_as_it_was_written_and_in_no_other_way() {
        let (id, secret) = (KeyId::new(&Clock::system()), [7; 32]);
        let key = write(id, &secret);
        assert_eq!(read(key.as_bytes()), Some((id, secret)));
        let last = key.len() - 1;
        let shorter = &key[..last];
        for other in [
            "",
            "folio_",
            shorter,
            &format!("{key}A"),
            &format!("{key}="),
            &format!(" {key}"),
            &key.to_uppercase(),
            &key.replace("folio_", "folio-"),
            // The last letter holds four bits; those it leaves over must be zero.
            &format!("{shorter}{}", if key.ends_with('c') { 'd' } else { 'c' }),
            &format!("{}\u{e9}", &key[..last - 1]),
        ] {
            assert!(read(other.as_bytes()).is_none_or(|it| it != (id, secret)), "{other}");
        }
        assert!(same(&secret, &[7; 32]) && !same(&secret, &[8; 32]));
    }

    #[test]
    fn a_new_key_says_what_it_is_for_and_ends_in_time() {
        let now = Clock::system().now();
        let good = NewKey { name: "chat".into(), scopes: vec![Scope::UsersRead], ends_at: None };
        assert_eq!(good.check(now), Ok(()));
        let longest = NewKey { name: "\u{e9}".repeat(64), ends_at: Some(now + LIVES_MAX), ..good.clone() };
        assert_eq!(longest.check(now), Ok(()));
        let ends = |at| NewKey { ends_at: Some(at), ..good.clone() };
        let named = |name: &str| NewKey { name: name.into(), ..good.clone() };
        for bad in [
            named(""),
            named(" chat"),
            named("chat\n"),
            named("a\0b"),
            named(&"x".repeat(65)),
            NewKey { scopes: vec![], ..good.clone() },
            NewKey { scopes: vec![Scope::UsersRead; 2], ..good.clone() },
            ends(now),
            ends(now + LIVES_MAX + TimeDelta::seconds(1)),
        ] {
            assert_eq!(bad.check(now).map_err(|it| it.code()), Err("invalid"), "{bad:?}");
        }
    }
}
