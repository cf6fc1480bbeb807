//! Keys of services: their hashes, what they are for, when they were used.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use super::db::{Db, Sql, Tx};
use crate::error::{Error, Result};
use crate::ids::{KeyId, UserId};

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ApiKey {
    /// Which.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of its secret part.
    pub hash: Vec<u8>,
    /// The words of its scopes.
    #[sqlx(json)]
    pub scopes: Vec<String>,
    /// Who made it; nobody on the command line.
    pub made_by: Option<UserId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was made or revoked.
    pub changed_at: DateTime<Utc>,
    /// When it ends by itself.
    pub ends_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was used last, to the minute.
    pub used_at: Option<DateTime<Utc>>,
}

/// Uses that one statement notes.
const USES_MAX: usize = 500;

/// Adds a key, unless so many are good already.
pub async fn insert(tx: &mut Tx<'_>, key: &ApiKey, keys_max: usize) -> Result<()> {
    // Two that add at once are counted one after the other.
    tx.sql(Sql::Split { sqlite: "SELECT 1", postgres: "LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE" })
        .execute()
        .await?;
    let (good,): (i64,) = tx
        .sql("SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $1)")
        .bind(key.created_at)
        .one()
        .await?;
    if good >= rows(keys_max) {
        return Err(Error::Conflict { code: "too_many_keys", detail: "there are too many keys: revoke one first" });
    }
    tx.sql(
        "INSERT INTO api_keys (id, name, hash, scopes, made_by, created_at, changed_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
    )
    .bind(key.id)
    .bind(key.name.clone())
    .bind(key.hash.clone())
    .bind(Json(key.scopes.clone()))
    .bind(key.made_by)
    .bind(key.created_at)
    .bind(key.ends_at)
    .execute()
    .await?;
    Ok(())
}

/// Ends a key. Tells whether this did it; a key that is not there is `NotFound`.
pub async fn revoke(tx: &mut Tx<'_>, id: KeyId, at: DateTime<Utc>) -> Result<bool> {
    let ended = tx
        .sql("UPDATE api_keys SET revoked_at = $2, changed_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(at)
        .execute()
        .await?;
    if ended == 0 {
        let found: Option<(KeyId,)> = tx.sql("SELECT id FROM api_keys WHERE id = $1").bind(id).optional().await?;
        found.ok_or(Error::NotFound("key"))?;
    }
    Ok(ended > 0)
}

/// Lists keys, the newest first.
pub async fn list(db: &Db, before: Option<KeyId>, rows_max: usize) -> Result<Vec<ApiKey>> {
    let text = "SELECT id, name, hash, scopes, made_by, created_at, changed_at, ends_at, revoked_at, used_at
                  FROM api_keys WHERE id < $1 ORDER BY id DESC LIMIT $2";
    Ok(db.sql(text).bind(before.map_or(uuid::Uuid::max(), |it| it.0)).bind(rows(rows_max)).all().await?)
}

/// Reads the keys that are good at a time.
pub async fn good(db: &Db, at: DateTime<Utc>) -> Result<Vec<ApiKey>> {
    let text = "SELECT id, name, hash, scopes, made_by, created_at, changed_at, ends_at, revoked_at, used_at
                  FROM api_keys WHERE revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $1)";
    Ok(db.sql(text).bind(at).all().await?)
}

/// Reads the keys that were made or revoked since a time.
pub async fn changed(db: &Db, since: DateTime<Utc>) -> Result<Vec<ApiKey>> {
    let text = "SELECT id, name, hash, scopes, made_by, created_at, changed_at, ends_at, revoked_at, used_at
                  FROM api_keys WHERE changed_at >= $1";
    Ok(db.sql(text).bind(since).all().await?)
}

/// Notes when keys were used; a later use that another node has noted stays.
pub async fn note_uses(db: &Db, mut uses: Vec<(KeyId, DateTime<Utc>)>) -> Result<()> {
    // In one order on every node, or two of them wait for each other.
    uses.sort_unstable();
    for uses in uses.chunks(USES_MAX) {
        let mut tx = db.begin().await?;
        for (id, at) in uses {
            tx.sql("UPDATE api_keys SET used_at = $2 WHERE id = $1 AND (used_at IS NULL OR used_at < $2)")
                .bind(*id)
                .bind(*at)
                .execute()
                .await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
