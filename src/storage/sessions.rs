//! Sign-ins, until they end, and the refresh tokens of each: a chain in which every token makes the next.
//!
//! Tokens are kept as hashes. A token that was used stays until it would have ended, so that a second use is seen.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::db::{Db, Sql, Tx};
use crate::error::Result;
use crate::ids::{SessionId, UserId};

/// A sign-in on one device.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// What the program calls itself.
    pub device: String,
    /// From where it was last heard of.
    pub address: String,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed.
    pub seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub ends_at: DateTime<Utc>,
}

/// A refresh token and what it belongs to.
#[derive(Clone, Debug, FromRow)]
pub struct Refresh {
    /// Its sign-in.
    pub session_id: SessionId,
    /// Its user.
    pub user_id: UserId,
    /// When the token ends.
    pub ends_at: DateTime<Utc>,
    /// When it was used, if it was.
    pub used_at: Option<DateTime<Utc>>,
    /// When the sign-in ends at the latest.
    pub session_ends_at: DateTime<Utc>,
    /// When the sign-in ended, if it has.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Begins a sign-in.
pub async fn insert(tx: &mut Tx<'_>, it: &Session) -> Result<()> {
    tx.sql(
        "INSERT INTO sessions (id, user_id, device, address, created_at, seen_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(it.id)
    .bind(it.user_id)
    .bind(it.device.clone())
    .bind(it.address.clone())
    .bind(it.created_at)
    .bind(it.seen_at)
    .bind(it.ends_at)
    .execute()
    .await?;
    Ok(())
}

/// Lists the sign-ins of somebody that have not ended, the oldest first.
pub async fn list(db: &Db, user: UserId, now: DateTime<Utc>) -> Result<Vec<Session>> {
    let text = "SELECT id, user_id, device, address, created_at, seen_at, ends_at FROM sessions
                 WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $2 ORDER BY id";
    Ok(db.sql(text).bind(user).bind(now).all().await?)
}

/// Ends one sign-in of somebody. False where they have no such one.
pub async fn end(tx: &mut Tx<'_>, user: UserId, id: SessionId, why: &'static str, now: DateTime<Utc>) -> Result<bool> {
    let ended = tx
        .sql(
            "UPDATE sessions SET ended_at = $3, ended_why = $4
              WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND ends_at > $3",
        )
        .bind(id)
        .bind(user)
        .bind(now)
        .bind(why)
        .execute()
        .await?;
    Ok(ended == 1)
}

/// Ends every sign-in of somebody but one, or but none. Tells which.
pub async fn end_all(
    tx: &mut Tx<'_>,
    user: UserId,
    except: Option<SessionId>,
    why: &'static str,
    now: DateTime<Utc>,
) -> Result<Vec<SessionId>> {
    let ended: Vec<(SessionId,)> = tx
        .sql(
            "UPDATE sessions SET ended_at = $3, ended_why = $4
              WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $3 AND ($2 IS NULL OR id <> $2) RETURNING id",
        )
        .bind(user)
        .bind(except)
        .bind(now)
        .bind(why)
        .all()
        .await?;
    Ok(ended.into_iter().map(|it| it.0).collect())
}

/// Ends the sign-ins of somebody that were least lately heard of, so that no more than so many are left. Tells which.
pub async fn end_surplus(tx: &mut Tx<'_>, user: UserId, kept: i64, now: DateTime<Utc>) -> Result<Vec<SessionId>> {
    let ended: Vec<(SessionId,)> = tx
        .sql(
            "UPDATE sessions SET ended_at = $3, ended_why = 'surplus'
              WHERE ended_at IS NULL AND user_id = $1 AND id IN
                    (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $3
                      ORDER BY seen_at DESC, id DESC LIMIT 1000 OFFSET $2) RETURNING id",
        )
        .bind(user)
        .bind(kept)
        .bind(now)
        .all()
        .await?;
    Ok(ended.into_iter().map(|it| it.0).collect())
}

/// Notes that a sign-in was heard of.
pub async fn set_seen(tx: &mut Tx<'_>, id: SessionId, address: &str, now: DateTime<Utc>) -> Result<()> {
    let stmt = tx.sql("UPDATE sessions SET seen_at = $2, address = $3 WHERE id = $1").bind(id);
    stmt.bind(now).bind(address.to_owned()).execute().await?;
    Ok(())
}

/// Adds a refresh token; adding it twice changes nothing.
pub async fn insert_refresh(
    tx: &mut Tx<'_>,
    hash: [u8; 32],
    session: SessionId,
    now: DateTime<Utc>,
    ends_at: DateTime<Utc>,
) -> Result<()> {
    tx.sql(
        "INSERT INTO refresh_tokens (hash, session_id, created_at, ends_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(hash.to_vec())
    .bind(session)
    .bind(now)
    .bind(ends_at)
    .execute()
    .await?;
    Ok(())
}

macro_rules! refresh {
    ($lock:literal) => {
        concat!(
            "SELECT session_id, user_id, refresh_tokens.ends_at, used_at, sessions.ends_at AS session_ends_at, ended_at
               FROM refresh_tokens JOIN sessions ON sessions.id = session_id WHERE hash = $1",
            $lock
        )
    };
}

/// Finds a refresh token, and keeps everybody else from using it and its sign-in until the transaction ends.
pub async fn lock_refresh(tx: &mut Tx<'_>, hash: [u8; 32]) -> Result<Option<Refresh>> {
    // SQLite holds the whole file already.
    let text = Sql::Split { sqlite: refresh!(""), postgres: refresh!(" FOR UPDATE") };
    Ok(tx.sql(text).bind(hash.to_vec()).optional().await?)
}

/// Notes that a refresh token was used.
pub async fn set_used(tx: &mut Tx<'_>, hash: [u8; 32], now: DateTime<Utc>) -> Result<()> {
    tx.sql("UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1").bind(hash.to_vec()).bind(now).execute().await?;
    Ok(())
}
