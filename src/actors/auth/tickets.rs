//! Words sent by mail that do one thing once: they prove that mail reaches somebody.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use super::guesses::{Budget, Counted};
use super::{Auth, after, chance, hashed};
use crate::actors::users::names::Email;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::db::Tx;
use crate::storage::mails::{self, Letter};
use crate::storage::tickets::{self, Ticket};

/// Mail to one address that somebody else may cause.
const MAILED: Budget = Budget { most: 3, within: Duration::from_secs(15 * 60) };

/// What a ticket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Proves that an address is somebody's.
    Email,
    /// Sets a new password.
    Password,
}

impl Purpose {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Purpose::Email => "email",
            Purpose::Password => "password",
        }
    }

    /// How long it is good.
    pub const fn lives(self) -> Duration {
        match self {
            Purpose::Email => Duration::from_secs(24 * 3_600),
            Purpose::Password => Duration::from_secs(30 * 60),
        }
    }
}

/// What a ticket is kept as: its word, if it has the form of one.
pub(super) fn read(word: &str) -> Result<[u8; 32]> {
    let bytes: Option<[u8; 16]> = BASE64_URL_SAFE_NO_PAD.decode(word).ok().and_then(|it| it.try_into().ok());
    bytes.map(|it| hashed(&it)).ok_or_else(bad_ticket)
}

pub(super) fn bad_ticket() -> Error {
    let why = "not a link that is good, or one that was used or has ended: ask for a new one";
    Error::Invalid { code: "bad_ticket", fields: [("token".to_owned(), why.to_owned())].into() }
}

/// Makes a ticket in a transaction, and gives its word: it is told once.
pub async fn give(
    tx: &mut Tx<'_>,
    user: UserId,
    purpose: Purpose,
    email: Option<String>,
    now: DateTime<Utc>,
) -> Result<String> {
    let word = chance::<16>()?;
    let ticket = Ticket {
        hash: hashed(&word).to_vec(),
        user_id: user,
        purpose: purpose.name().to_owned(),
        email,
        created_at: now,
        ends_at: after(now, purpose.lives()),
    };
    tickets::insert(tx, &ticket).await?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(word))
}

impl Auth {
    /// Asks somebody by mail whether an address is theirs.
    pub(super) async fn ask_to_confirm(&self, tx: &mut Tx<'_>, user: UserId, name: &str, email: &str) -> Result<()> {
        let word = give(tx, user, Purpose::Email, Some(email.to_owned()), self.0.clock.now()).await?;
        let body = format!(
            "Hello {name},\n\nthis address was given to Folio as yours. If that is right, open this link within a day:\n\n\
             {}/app/confirm#token={word}\n\nIf you did not do this, do nothing: the address stays unconfirmed.\n",
            self.0.site
        );
        self.letter(tx, user, email, "Confirm your address", body).await
    }

    /// Writes a letter in the transaction that causes it.
    pub(crate) async fn letter(
        &self,
        tx: &mut Tx<'_>,
        user: UserId,
        recipient: &str,
        subject: &str,
        body: String,
    ) -> Result<()> {
        let letter = Letter {
            id: self.id(),
            user_id: Some(user),
            recipient: recipient.to_owned(),
            subject: subject.to_owned(),
            body,
            created_at: self.0.clock.now(),
        };
        mails::append(tx, &letter).await
    }

    /// Commits what holds a letter, and says so to whoever sends it.
    pub(crate) async fn commit_and_post(&self, tx: Tx<'_>) -> Result<()> {
        tx.commit().await?;
        self.0.mail.written();
        Ok(())
    }

    /// Whether an address may be sent one more of the letters that others can cause.
    pub(super) fn may_mail(&self, email: &Email) -> Result<()> {
        self.0.guesses.spend(Counted::Mailed(&email.folded), MAILED)
    }
}
