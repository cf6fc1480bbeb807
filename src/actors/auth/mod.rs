//! Signing in: who somebody is, and what they may do.
//!
//! Owns: verified tokens, what makes tokens void, guesses.  Writes: `users`, `sessions`, `refresh_tokens`, `tickets`,
//! `revocations`.  Publishes: `user.registered`.  Queue: the passwords that wait to be hashed.
//! There is no actor a user here: each change is one transaction under the lock of the user's row, on any node.

pub mod api_keys;
mod credentials;
mod devices;
pub mod doors;
mod guesses;
mod hand;
mod key_form;
pub mod passwords;
mod register;
pub mod rules;
mod second_factor;
mod sessions;
mod sign_in;
pub mod socket_tickets;
pub mod tickets;
pub mod tokens;
mod totp;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

pub use self::api_keys::ApiKeys;
pub use self::hand::Hand;
pub use self::key_form::{NewKey, PREFIX as KEY_PREFIX};
pub use self::register::{Registered, Registration};
pub use self::rules::{Caller, Person, Right, Role, Scope, Scopes, Service};
pub use self::second_factor::SetUp;
pub use self::sign_in::{Login, SignedIn, Who};

use self::devices::Devices;
use self::doors::{Cut, Doors};
use self::guesses::Guesses;
use self::passwords::Passwords;
use self::second_factor::SecondFactors;
use self::tokens::{Claims, Holder, Tokens};
use super::kernel::Root;
use super::mail::Mail;
use crate::clock::Clock;
use crate::config::{AuthConfig, Config, Secret};
use crate::error::{Error, Result};
use crate::ids::{self, UserId};
use crate::storage::db::Tx;
use crate::storage::{Storage, audit, signing_keys};
use crate::telemetry::Exposition;

/// From where and by what a request was sent.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address, seen past the proxies that are trusted.
    pub address: IpAddr,
    /// What the program calls itself: printable, and not long.
    pub device: String,
}

/// The way in. Cloning it gives the same.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    storage: Storage,
    clock: Clock,
    config: AuthConfig,
    passwords: Passwords,
    tokens: Tokens,
    doors: Doors,
    guesses: Guesses,
    devices: Devices,
    second_factors: SecondFactors,
    mail: Mail,
    secret: Secret,
    /// Makes each refresh token of the one before.
    successors: hmac::Key,
    /// Whether addresses are limited in what they may cause without a password.
    limited: bool,
    /// Where links in mail lead.
    site: String,
    /// Rung when an event was committed.
    committed: Arc<Notify>,
}

impl Auth {
    /// Makes the first signing key, reads what makes tokens void, and starts to look after both.
    pub async fn start(
        root: &Root,
        storage: &Storage,
        config: &Config,
        clock: &Clock,
        mail: &Mail,
        committed: Arc<Notify>,
    ) -> Result<Auth> {
        signing_keys::insert_first(&storage.db, ids::v7(clock), clock.now()).await?;
        let auth = Auth(Arc::new(Inner {
            storage: storage.clone(),
            clock: clock.clone(),
            config: config.auth.clone(),
            passwords: Passwords::start(root, &config.auth)?,
            tokens: Tokens::new(&config.secret),
            doors: Doors::default(),
            guesses: Guesses::new(&config.auth, clock),
            devices: Devices::new(&config.secret),
            second_factors: SecondFactors::new(&config.secret),
            mail: mail.clone(),
            secret: config.secret.clone(),
            successors: key(&config.secret, "refresh tokens"),
            limited: config.http.rate_limit.is_some(),
            site: config.mail.site.clone(),
            committed,
        }));
        auth.watch(root).await?;
        Ok(auth)
    }

    /// Tells whose access token this is, if it is good now. Asks nobody, and takes a microsecond at most.
    pub fn identify(&self, token: &[u8]) -> Result<Caller> {
        let Inner { tokens, doors, clock, .. } = &*self.0;
        let version = doors.version()?;
        if let Some(known) = tokens.known(token, clock.seconds(), version, |it| doors.let_in(it)) {
            return known.map(Caller::Person);
        }
        let claims = self.verify(token, clock.now())?;
        tokens.remember(token, &claims, version);
        Ok(Caller::Person(claims.holder().person))
    }

    /// Reads all that a good token says.
    pub fn verify(&self, token: &[u8], now: DateTime<Utc>) -> Result<Claims> {
        let claims = self.0.tokens.verify(token, now)?;
        self.0.doors.let_in(&claims.holder())?;
        Ok(claims)
    }

    /// Writes how busy the threads are that hash.
    pub fn collect(&self, out: &mut Exposition) {
        let pool = self.0.passwords.pool();
        let waiting = pool.waiting() as u64;
        out.single("folio_passwords_waiting", "gauge", "Passwords that wait to be hashed.", waiting);
        out.single("folio_passwords_done_total", "counter", "Passwords that were hashed.", pool.done());
    }

    /// Hears who is cut off, from now on: their sockets are to be closed.
    pub fn listen(&self) -> broadcast::Receiver<Cut> {
        self.0.doors.listen()
    }

    /// Whether somebody who was let in before would still be, for whoever holds on to them.
    pub fn still_lets_in(&self, holder: &Holder) -> Result<()> {
        self.0.doors.version()?;
        self.0.doors.let_in(holder)
    }

    /// Makes every access token of somebody void, in the transaction that changes what they are. After the commit
    /// [`Auth::close`] makes it true.
    pub async fn void_tokens(&self, tx: &mut Tx<'_>, user: UserId) -> Result<Cut> {
        doors::void_tokens(tx, user, &self.0.clock, self.0.config.access_lives).await
    }

    /// Ends every session of somebody and makes every access token void, in a transaction. After the commit
    /// [`Auth::close`] makes it true.
    pub async fn cut_off(&self, tx: &mut Tx<'_>, user: UserId, why: &'static str) -> Result<Cut> {
        doors::cut_off(tx, user, why, &self.0.clock, self.0.config.access_lives).await
    }

    /// Notes in a transaction what it does to an account, and from where.
    pub(crate) async fn note(&self, tx: &mut Tx<'_>, user: Option<UserId>, what: &str, client: &Client) -> Result<()> {
        let incident = client.hand(user).incident(&self.0.clock, user, what, serde_json::json!({}));
        audit::append(tx, &incident).await
    }

    fn id(&self) -> Uuid {
        ids::v7(&self.0.clock)
    }
}

/// A key of its own for each use, made of the one secret.
pub(crate) fn key(secret: &Secret, for_what: &str) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, for_what.as_bytes()).as_ref())
}

/// What is kept of a word that nobody else may know.
fn hashed(secret: &[u8]) -> [u8; 32] {
    *digest(&SHA256, secret).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// A word that nobody can guess.
fn chance<const BYTES: usize>() -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no random numbers"))?;
    Ok(bytes)
}

/// The point in time that follows by a duration of the settings, which are far from the end of time.
fn after(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX / 2)
}
