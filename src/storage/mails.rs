//! Mail that waits for its server, or for somebody who reads it on this machine.
//!
//! A letter is a row of the transaction that causes it: what was promised is sent, however the process ends. One node
//! at a time has a letter: it claims it for a while, and whoever dies with it leaves it to the next after that.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// A letter as it is written.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Letter {
    /// Sorts by time.
    pub id: Uuid,
    /// Whom it is about, if it is a user.
    pub user_id: Option<UserId>,
    /// The address it goes to.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// A letter that is here to be sent.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Claimed {
    /// The letter.
    #[sqlx(flatten)]
    pub letter: Letter,
    /// How often it was tried, this time included.
    pub attempts: i64,
}

/// A letter and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Kept {
    /// The letter.
    #[sqlx(flatten)]
    pub letter: Letter,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    pub ready_at: DateTime<Utc>,
    /// What the server said last against it.
    pub error: Option<String>,
    /// When it was sent; its text is gone since then.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub refused_at: Option<DateTime<Utc>>,
}

/// Puts a letter into the transaction that causes it.
pub async fn append(tx: &mut Tx<'_>, letter: &Letter) -> Result<()> {
    tx.sql(
        "INSERT INTO mails (id, user_id, recipient, subject, body, created_at, ready_at, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $6, 0)",
    )
    .bind(letter.id)
    .bind(letter.user_id)
    .bind(letter.recipient.clone())
    .bind(letter.subject.clone())
    .bind(letter.body.clone())
    .bind(letter.created_at)
    .execute()
    .await?;
    Ok(())
}

/// Takes the letter that has waited longest, until `until`; none when nothing is due, or another node was quicker.
pub async fn claim(db: &Db, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<Option<Claimed>> {
    // Said twice: PostgreSQL looks at the outer condition again when another node held the row.
    let text = "UPDATE mails SET ready_at = $2, attempts = attempts + 1
                 WHERE id = (SELECT id FROM mails
                              WHERE sent_at IS NULL AND refused_at IS NULL AND ready_at <= $1
                              ORDER BY ready_at LIMIT 1)
                   AND sent_at IS NULL AND refused_at IS NULL AND ready_at <= $1
                RETURNING id, user_id, recipient, subject, body, created_at, attempts";
    Ok(db.write(text).bind(now).bind(until).optional().await?)
}

/// Notes that a letter was sent. Its text goes: it may hold links that open doors.
pub async fn sent(db: &Db, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let text = "UPDATE mails SET sent_at = $2, body = '', error = NULL WHERE id = $1 AND sent_at IS NULL";
    db.write(text).bind(id).bind(now).execute().await?;
    Ok(())
}

/// Lets a letter wait, with the reason. Whoever has claimed it since keeps it.
pub async fn put_off(db: &Db, claimed: &Claimed, until: DateTime<Utc>, error: &str) -> Result<()> {
    let text = "UPDATE mails SET ready_at = $3, error = $4 WHERE id = $1 AND attempts = $2 AND sent_at IS NULL";
    let stmt = db.write(text).bind(claimed.letter.id).bind(claimed.attempts);
    stmt.bind(until).bind(error.to_owned()).execute().await?;
    Ok(())
}

/// Gives a letter up, with the reason. It stays to be seen.
pub async fn refused(db: &Db, claimed: &Claimed, now: DateTime<Utc>, error: &str) -> Result<()> {
    let text = "UPDATE mails SET refused_at = $3, error = $4 WHERE id = $1 AND attempts = $2 AND sent_at IS NULL";
    let stmt = db.write(text).bind(claimed.letter.id).bind(claimed.attempts);
    stmt.bind(now).bind(error.to_owned()).execute().await?;
    Ok(())
}

/// Lists letters without their texts, the newest first.
pub async fn list(db: &Db, letters_max: i64) -> Result<Vec<Kept>> {
    let text = "SELECT id, user_id, recipient, subject, '' AS body, created_at, attempts, ready_at, error, sent_at,
                       refused_at
                  FROM mails ORDER BY id DESC LIMIT $1";
    Ok(db.sql(text).bind(letters_max).all().await?)
}

/// Finds a letter.
pub async fn find(db: &Db, id: Uuid) -> Result<Option<Kept>> {
    let text =
        "SELECT id, user_id, recipient, subject, body, created_at, attempts, ready_at, error, sent_at, refused_at
                  FROM mails WHERE id = $1";
    Ok(db.sql(text).bind(id).optional().await?)
}
