//! What makes access tokens void before their time. Every node reads it, and looks again twice a second.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::{SessionId, UserId};

/// A session whose tokens are void, or a user whose tokens are void below a number of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Revocation {
    /// Sorts by time.
    pub id: Uuid,
    /// The session.
    pub session_id: Option<SessionId>,
    /// The user.
    pub user_id: Option<UserId>,
    /// The number.
    pub grants: Option<i64>,
    /// When.
    pub made_at: DateTime<Utc>,
    /// When the last token that it is about has ended by itself.
    pub ends_at: DateTime<Utc>,
}

/// Writes one in the transaction that makes it true.
pub async fn insert(tx: &mut Tx<'_>, it: &Revocation) -> Result<()> {
    tx.sql(
        "INSERT INTO revocations (id, session_id, user_id, grants, made_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(it.id)
    .bind(it.session_id)
    .bind(it.user_id)
    .bind(it.grants)
    .bind(it.made_at)
    .bind(it.ends_at)
    .execute()
    .await?;
    Ok(())
}

/// Lists those made after a point in time that still mean something.
pub async fn list(db: &Db, made_after: DateTime<Utc>, now: DateTime<Utc>) -> Result<Vec<Revocation>> {
    let text = "SELECT id, session_id, user_id, grants, made_at, ends_at FROM revocations
                 WHERE made_at > $1 AND ends_at > $2";
    Ok(db.sql(text).bind(made_after).bind(now).all().await?)
}
