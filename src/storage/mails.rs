//! Mail that waits for its server, or for somebody who reads it on this machine.
//!
//! A letter is a row of the transaction that causes it: what was promised is sent, however the process ends.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::db::Tx;
use crate::error::Result;
use crate::ids::UserId;

/// A letter as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
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
