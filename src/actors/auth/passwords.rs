//! Passwords: how they are hashed, and which are refused.
//!
//! A stored password names its scheme: `bcrypt-sha256$2b$..` for bcrypt over the base64 of a SHA-256, so that every byte
//! of a long one counts; `$argon2id$..`; and plain `$2a$ $2b$ $2y$` for people who came from elsewhere, which bcrypt
//! cuts at 72 bytes: longer ones are refused there. Hashing runs in a pool of its own.

use std::collections::HashSet;
use std::sync::LazyLock;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::digest::{SHA256, digest};

use crate::actors::kernel::Root;
use crate::actors::kernel::pool::Pool;
use crate::actors::users::names::fold;
use crate::config::{AuthConfig, PasswordScheme};
use crate::error::{Error, Result};

/// How long a password is, in bytes as they are sent.
const BYTES: std::ops::RangeInclusive<usize> = 8..=1_024;
const PREHASHED: &str = "bcrypt-sha256";
/// How new ones begin.
const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// What bcrypt looks at.
const BCRYPT_BYTES_MAX: usize = 72;
/// A context word shorter than this is found in too much.
const WORD_LETTERS_MIN: usize = 4;

/// The passwords that are tried first, folded.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("guessed_first.txt").split_whitespace().collect());

/// Hashes and compares passwords.
#[derive(Clone)]
pub struct Passwords {
    pool: Pool,
    scheme: PasswordScheme,
    /// What a password is compared with where there is no account: as much work as with one.
    decoy: String,
}

impl Passwords {
    /// Starts the threads.
    pub fn start(root: &Root, config: &AuthConfig) -> Result<Passwords> {
        let pool = Pool::start(root, "passwords", config.password_threads, config.password_waiting_max)?;
        Ok(Passwords { pool, scheme: config.passwords, decoy: decoy(config.passwords) })
    }

    /// Where they wait.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Hashes a new password.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let (scheme, password) = (self.scheme, password.to_owned());
        self.pool.run(move || hash(scheme, password.as_bytes())).await?
    }

    /// Compares a password with what is stored, or with nobody's: the answer is no, and takes as long.
    pub async fn matches(&self, stored: Option<&str>, password: &str) -> Result<bool> {
        let (known, password) = (stored.is_some(), password.to_owned());
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        Ok(self.pool.run(move || matches(&stored, password.as_bytes())).await? && known)
    }

    /// Whether a stored password is hashed as new ones are.
    pub fn is_current(&self, stored: &str) -> bool {
        match self.scheme {
            PasswordScheme::Bcrypt { cost } => stored.starts_with(&format!("{PREHASHED}$2b${cost:02}$")),
            PasswordScheme::Argon2id => stored.starts_with(ARGON2),
        }
    }
}

/// Says what is wrong with a new password of somebody who is known by these words.
pub fn judge(field: &str, password: &str, words: &[&str]) -> Result<()> {
    let refused = |why: &str| Err(Error::invalid(field, why));
    if !BYTES.contains(&password.len()) {
        return refused("must have 8 to 1024 bytes");
    }
    let folded = fold(password.trim());
    if COMMON.contains(folded.as_str()) {
        return refused("is one of those that are tried first");
    }
    let plain = |it: &str| it.chars().filter(|it| it.is_alphanumeric()).collect::<String>();
    let said = plain(&folded);
    let mut words = words.iter().copied().chain(["folio"]).map(|it| plain(&fold(it)));
    // The word itself, with a few signs around it.
    let is_word = |it: String| {
        it.chars().count() >= WORD_LETTERS_MIN && said.contains(&it) && said.len() < it.len() + WORD_LETTERS_MIN
    };
    if said.is_empty() || words.any(is_word) {
        return refused("is too easy to guess for whoever knows the account");
    }
    Ok(())
}

/// Whether this is a stored password that can be compared with: for those who come from elsewhere.
pub fn is_known_scheme(stored: &str) -> bool {
    let plain = stored.strip_prefix(PREHASHED).unwrap_or(stored);
    plain.parse::<bcrypt::HashParts>().is_ok()
        || (stored.starts_with("$argon2id$") && argon2::PasswordHash::new(stored).is_ok())
}

/// Hashes a password here and now, for those who have no pool.
pub fn hash(scheme: PasswordScheme, password: &[u8]) -> Result<String> {
    match scheme {
        PasswordScheme::Bcrypt { cost } => {
            let hashed = bcrypt::non_truncating_hash(prehashed(password), cost).map_err(Error::internal)?;
            Ok(format!("{PREHASHED}{hashed}"))
        }
        PasswordScheme::Argon2id => {
            let hashed = Argon2::default().hash_password(password);
            hashed.map(|it| it.to_string()).map_err(|error| Error::internal(error.to_string()))
        }
    }
}

/// A stored password that is nobody's: it was never hashed, and comparing with it is as much work as with any.
fn decoy(scheme: PasswordScheme) -> String {
    match scheme {
        PasswordScheme::Bcrypt { cost } => format!("{PREHASHED}$2b${cost:02}${}", ".".repeat(53)),
        PasswordScheme::Argon2id => format!("{ARGON2}{}${}", "A".repeat(22), "A".repeat(43)),
    }
}

/// What cannot be compared does not match.
fn matches(stored: &str, password: &[u8]) -> bool {
    if let Some(stored) = stored.strip_prefix(PREHASHED) {
        return bcrypt::non_truncating_verify(prehashed(password), stored).unwrap_or(false);
    }
    if stored.starts_with("$argon2id$") {
        return Argon2::default().verify_password(password, stored).is_ok();
    }
    password.len() <= BCRYPT_BYTES_MAX && bcrypt::verify(password, stored).unwrap_or(false)
}

/// 43 letters without a NUL, whatever the password.
fn prehashed(password: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(digest(&SHA256, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: PasswordScheme = PasswordScheme::Bcrypt { cost: 4 };

    #[test]
    fn every_byte_of_a_password_counts() {
        for scheme in [BCRYPT, PasswordScheme::Argon2id] {
            let (one, other) = ("x".repeat(79) + "1", "x".repeat(79) + "2");
            let stored = hash(scheme, one.as_bytes()).unwrap();
            assert!(matches(&stored, one.as_bytes()) && !matches(&stored, other.as_bytes()), "{scheme:?}");
            for (one, other) in
                [("nul\0 and a", "nul\0 and b"), (" blank at ends ", "blank at ends"), ("e\u{301}", "\u{e9}")]
            {
                let stored = hash(scheme, one.as_bytes()).unwrap();
                assert!(matches(&stored, one.as_bytes()) && !matches(&stored, other.as_bytes()), "{one:?}");
            }
        }
    }

    #[test]
    fn hashes_from_elsewhere_are_compared_as_they_were_made() {
        let stored = bcrypt::hash("correct horse", 4).unwrap();
        for version in ["$2a$", "$2b$", "$2y$"] {
            let stored = stored.replacen("$2b$", version, 1);
            assert!(is_known_scheme(&stored), "{stored}");
            assert!(matches(&stored, b"correct horse") && !matches(&stored, b"correct horsf"), "{version}");
        }
        let stored = bcrypt::hash("y".repeat(72), 4).unwrap();
        assert!(matches(&stored, "y".repeat(72).as_bytes()) && !matches(&stored, "y".repeat(73).as_bytes()));
        for stored in
            ["", "plain", "$2b$", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", "md5$abc"]
        {
            assert!(!is_known_scheme(stored) && !matches(stored, b"plain"), "{stored}");
        }
    }

    #[test]
    fn comparing_with_nobodys_password_is_as_much_work_as_with_anybodys() {
        for scheme in [BCRYPT, PasswordScheme::Argon2id] {
            let (decoy, stored) = (decoy(scheme), hash(scheme, b"somebody's password").unwrap());
            assert!(is_known_scheme(&decoy) && !matches(&decoy, b"somebody's password"));
            // Scheme, version and cost stand before the salt.
            let work = |it: &str| it[..it.len() - 54].rsplit_once('$').map(|it| it.0.to_owned());
            assert_eq!((decoy.len(), work(&decoy)), (stored.len(), work(&stored)), "{scheme:?}");
        }
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        let judged = |password: &str| judge("password", password, &["ada lovelace", "countess"]);
        for password in [
            "",
            "1234567",
            "password",
            "PassWord",
            "12345678",
            "folio1234"[..8].as_ref(),
            "Ada Lovelace1",
            "countess!",
            "        ",
            &"x".repeat(1_025),
        ] {
            assert_eq!(judged(password).map_err(|it| it.code()), Err("invalid"), "{password:?}");
        }
        for password in
            ["a long walk by the sea", "xkcd-936", "ada writes of engines", &"x".repeat(1_024), "пароль-мой-1"]
        {
            assert_eq!(judged(password), Ok(()), "{password:?}");
        }
        assert!(COMMON.len() > 2_500, "{}", COMMON.len());
        assert!(COMMON.iter().all(|it| it.chars().count() >= 8 && fold(it) == **it));
    }
}
