//! Words sent by mail that do one thing once. Only hashes are kept.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Ticket {
    /// The hash of its word.
    pub hash: Vec<u8>,
    /// Whose.
    pub user_id: UserId,
    /// What it does.
    pub purpose: String,
    /// The address that it was sent to.
    pub email: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
}

/// Writes a ticket.
pub async fn insert(tx: &mut Tx<'_>, it: &Ticket) -> Result<()> {
    tx.sql("INSERT INTO tickets (hash, user_id, purpose, email, created_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(it.hash.clone())
        .bind(it.user_id)
        .bind(it.purpose.clone())
        .bind(it.email.clone())
        .bind(it.created_at)
        .bind(it.ends_at)
        .execute()
        .await?;
    Ok(())
}

/// Finds a ticket that can still be used, without using it.
pub async fn find(db: &Db, hash: [u8; 32], purpose: &'static str, now: DateTime<Utc>) -> Result<Option<Ticket>> {
    let text = "SELECT hash, user_id, purpose, email, created_at, ends_at FROM tickets
                 WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND ends_at > $3";
    Ok(db.sql(text).bind(hash.to_vec()).bind(purpose).bind(now).optional().await?)
}

/// Uses a ticket; the second one who tries finds none.
pub async fn take(
    tx: &mut Tx<'_>,
    hash: [u8; 32],
    purpose: &'static str,
    now: DateTime<Utc>,
) -> Result<Option<Ticket>> {
    let text = "UPDATE tickets SET used_at = $3 WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND ends_at > $3
                RETURNING hash, user_id, purpose, email, created_at, ends_at";
    Ok(tx.sql(text).bind(hash.to_vec()).bind(purpose).bind(now).optional().await?)
}

/// Makes every ticket of somebody for one purpose useless.
pub async fn void(tx: &mut Tx<'_>, user: UserId, purpose: &'static str, now: DateTime<Utc>) -> Result<()> {
    let text = "UPDATE tickets SET used_at = $3 WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL";
    tx.sql(text).bind(user).bind(purpose).bind(now).execute().await?;
    Ok(())
}

/// Notes that a ticket was used that has no row of its own before. Tells whether it is the first time.
pub async fn insert_used(
    db: &Db,
    hash: [u8; 32],
    user: UserId,
    purpose: &'static str,
    now: DateTime<Utc>,
    ends_at: DateTime<Utc>,
) -> Result<bool> {
    let text =
        "INSERT INTO tickets (hash, user_id, purpose, created_at, ends_at, used_at) VALUES ($1, $2, $3, $4, $5, $4)
                ON CONFLICT DO NOTHING";
    let stmt = db.write(text).bind(hash.to_vec()).bind(user).bind(purpose).bind(now).bind(ends_at);
    Ok(stmt.execute().await? == 1)
}
