//! The second factor of those who have one: codes of an authenticator, and recovery codes for when it is lost.

use chrono::{DateTime, Utc};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::{Auth, Client, Person, chance, key, totp};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::accounts::{self, Account};
use crate::storage::db::Tx;
use crate::storage::second_factors;

const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
/// Fifty bits, of which nobody has more than a few guesses.
const RECOVERY_LETTERS: usize = 10;
const NEEDED: Error = Error::SecondFactor { given: false };
const WRONG: Error = Error::SecondFactor { given: true };

/// Seals secrets and hashes recovery codes, so that the tables alone let nobody in.
pub(super) struct SecondFactors {
    seal: LessSafeKey,
    codes: hmac::Key,
}

/// What an authenticator has to be told.
pub struct SetUp {
    /// The secret, to be typed.
    pub secret: String,
    /// The same as an address, to be shown as a picture.
    pub address: String,
}

impl SecondFactors {
    pub(super) fn new(secret: &Secret) -> SecondFactors {
        let seal = hmac::sign(&key(secret, "second factors"), b"seal");
        let seal = UnboundKey::new(&AES_256_GCM, seal.as_ref());
        SecondFactors {
            seal: LessSafeKey::new(seal.expect("a MAC by SHA-256 has as many bytes as a key of AES-256")),
            codes: key(secret, "recovery codes"),
        }
    }

    /// Lets somebody pass who has no second factor, or whose code is good. A code is good once: it is used up in this
    /// transaction.
    pub(super) async fn check(
        &self,
        tx: &mut Tx<'_>,
        user: UserId,
        code: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let Some(factor) = second_factors::find(tx, user).await?.filter(|it| it.confirmed_at.is_some()) else {
            return Ok(());
        };
        let code = code.map(str::trim).filter(|it| !it.is_empty()).ok_or(NEEDED)?;
        let good = if totp::is_code(code) {
            match totp::step_of(&self.open(user, &factor.secret)?, code, factor.last_step, now) {
                Some(step) => second_factors::use_step(tx, user, step).await?,
                None => false,
            }
        } else {
            second_factors::use_recovery(tx, user, self.hashed(user, code), now).await?
        };
        if good { Ok(()) } else { Err(WRONG) }
    }

    fn seal(&self, user: UserId, secret: &[u8]) -> Result<Vec<u8>> {
        let nonce = chance::<NONCE_LEN>()?;
        let (mut sealed, whose) = (secret.to_vec(), Aad::from(*user.0.as_bytes()));
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(nonce_used, whose, &mut sealed).map_err(|_| broken())?;
        Ok([&nonce, sealed.as_slice()].concat())
    }

    fn open(&self, user: UserId, sealed: &[u8]) -> Result<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk().ok_or_else(broken)?;
        let (mut sealed, whose) = (sealed.to_vec(), Aad::from(*user.0.as_bytes()));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        Ok(self.seal.open_in_place(nonce, whose, &mut sealed).map_err(|_| broken())?.to_vec())
    }

    /// What is kept of a recovery code: however it was typed.
    fn hashed(&self, user: UserId, code: &str) -> [u8; 32] {
        let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let typed = [user.0.as_bytes().as_slice(), plain.to_ascii_uppercase().as_bytes()].concat();
        *hmac::sign(&self.codes, &typed).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

impl Auth {
    /// Begins to set up a second factor; nothing is asked for until a code has shown that it works.
    pub async fn begin_second_factor(&self, person: Person, password: &str) -> Result<SetUp> {
        let account = self.confirm(person, Some(password)).await?;
        let secret = chance::<SECRET_BYTES>()?;
        let sealed = self.0.second_factors.seal(person.user, &secret)?;
        let mut tx = self.0.storage.db.begin().await?;
        if !second_factors::begin(&mut tx, person.user, sealed).await? {
            let detail = "there is a second factor: remove it first";
            return Err(Error::Conflict { code: "second_factor_on", detail });
        }
        tx.commit().await?;
        let secret = totp::base32(&secret);
        Ok(SetUp { address: totp::address(&account.name, &secret), secret })
    }

    /// Turns the second factor on, for whoever can show a code. Gives the recovery codes, this once.
    pub async fn confirm_second_factor(&self, person: Person, code: &str, client: &Client) -> Result<Vec<String>> {
        let (factors, now, user) = (&self.0.second_factors, self.0.clock.now(), person.user);
        let mut tx = self.0.storage.db.begin().await?;
        let account = accounts::lock(&mut tx, user).await?.ok_or(Error::NotFound("account"))?;
        let factor = second_factors::find(&mut tx, user).await?.ok_or(Error::NotFound("second factor"))?;
        let step = totp::step_of(&factors.open(user, &factor.secret)?, code.trim(), factor.last_step, now);
        let step = step.ok_or_else(|| Error::invalid("code", "is not the code that the authenticator shows now"))?;
        let codes = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<Vec<_>>>()?;
        let hashes: Vec<_> = codes.iter().map(|it| factors.hashed(user, it)).collect();
        if !second_factors::confirm(&mut tx, user, step, &hashes, now).await? {
            return Err(Error::Conflict { code: "second_factor_on", detail: "the second factor is on already" });
        }
        self.note(&mut tx, Some(user), "second_factor.on", client).await?;
        self.tell_owner(&mut tx, &account, "was turned on").await?;
        self.commit_and_post(tx).await?;
        Ok(codes)
    }

    /// Removes the second factor, for whoever has password and code.
    pub async fn remove_second_factor(
        &self,
        person: Person,
        password: &str,
        code: Option<&str>,
        client: &Client,
    ) -> Result<()> {
        let user = person.user;
        self.confirm(person, Some(password)).await?;
        let mut tx = self.0.storage.db.begin().await?;
        let account = accounts::lock(&mut tx, user).await?.ok_or(Error::NotFound("account"))?;
        self.confirm_code(&mut tx, user, code).await?;
        if !second_factors::remove(&mut tx, user).await? {
            return Err(Error::NotFound("second factor"));
        }
        self.note(&mut tx, Some(user), "second_factor.off", client).await?;
        self.tell_owner(&mut tx, &account, "was removed").await?;
        self.commit_and_post(tx).await
    }

    /// Tells whether somebody has a second factor, and how many recovery codes are left.
    pub async fn second_factor(&self, person: Person) -> Result<(bool, i64)> {
        second_factors::state(&self.0.storage.db, person.user).await
    }

    /// Asks whoever is signed in for a code, where there is a second factor. A wrong one counts as a guess.
    pub async fn confirm_code(&self, tx: &mut Tx<'_>, user: UserId, code: Option<&str>) -> Result<()> {
        let guess = self.0.guesses.begin_own(user)?;
        let checked = self.check_code(tx, user, code).await;
        if checked != Err(WRONG) {
            guess.forgive();
        }
        checked
    }

    /// The same, where the guess is counted already.
    pub(super) async fn check_code(&self, tx: &mut Tx<'_>, user: UserId, code: Option<&str>) -> Result<()> {
        self.0.second_factors.check(tx, user, code, self.0.clock.now()).await
    }

    async fn tell_owner(&self, tx: &mut Tx<'_>, account: &Account, what: &str) -> Result<()> {
        let Some(email) = &account.email else { return Ok(()) };
        let body = format!(
            "Hello {},\n\nthe second factor of your account {what}. If it was not you, set a new password at once and \
             look at your sessions.\n",
            account.name
        );
        self.letter(tx, account.id, email, &format!("The second factor of your account {what}"), body).await
    }
}

fn recovery_code() -> Result<String> {
    let code = &totp::base32(&chance::<7>()?)[..RECOVERY_LETTERS];
    let (first, second) = code.split_at(RECOVERY_LETTERS / 2);
    Ok(format!("{first}-{second}"))
}

fn broken() -> Error {
    Error::internal("a second factor cannot be sealed or opened: was the secret changed?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_sealed_secret_opens_for_its_user_under_its_key_and_nothing_else() {
        let factors = |secret: &str| SecondFactors::new(&Secret::new(secret.repeat(8)));
        let (mine, clock) = (factors("abcd"), Clock::system());
        let (ada, bob) = (UserId::new(&clock), UserId::new(&clock));
        let sealed = mine.seal(ada, b"hush").unwrap();
        assert_eq!(mine.open(ada, &sealed).unwrap(), b"hush");
        assert_ne!(sealed, mine.seal(ada, b"hush").unwrap());
        assert!(!sealed.windows(4).any(|it| it == b"hush"));
        assert!(mine.open(bob, &sealed).is_err() && factors("abce").open(ada, &sealed).is_err());
        for end in 0..sealed.len() {
            assert!(mine.open(ada, &sealed[..end]).is_err());
        }
    }

    #[test]
    fn a_recovery_code_is_the_same_however_it_is_typed() {
        let (factors, clock) = (SecondFactors::new(&Secret::new("abcd".repeat(8))), Clock::system());
        let (ada, bob) = (UserId::new(&clock), UserId::new(&clock));
        let code = recovery_code().unwrap();
        assert_eq!((code.len(), code.as_bytes()[5]), (11, b'-'));
        for typed in [code.to_lowercase(), code.replace('-', ""), code.replace('-', " ")] {
            assert_eq!(factors.hashed(ada, &typed), factors.hashed(ada, &code));
        }
        assert_ne!(factors.hashed(bob, &code), factors.hashed(ada, &code));
    }
}
