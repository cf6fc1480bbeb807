//! The ids of the keys that sign access tokens. The keys themselves are made of the secret and the id.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::db::{Db, Tx};
use crate::error::Result;

/// A key, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct SigningKey {
    /// Its name in tokens.
    pub id: Uuid,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the last token that it signed has ended, if it signs no more.
    pub ends_at: Option<DateTime<Utc>>,
}

/// Lists the keys that still verify something, the oldest first.
pub async fn list(db: &Db, now: DateTime<Utc>) -> Result<Vec<SigningKey>> {
    let text = "SELECT id, created_at, ends_at FROM signing_keys WHERE ends_at IS NULL OR ends_at > $1 ORDER BY id";
    Ok(db.sql(text).bind(now).all().await?)
}

/// Makes the first key, unless there is one that signs.
pub async fn insert_first(db: &Db, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    db.write(
        "INSERT INTO signing_keys (id, created_at)
         SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE ends_at IS NULL)",
    )
    .bind(id)
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// Makes a key, and says when those before it are done.
pub async fn rotate(tx: &mut Tx<'_>, id: Uuid, now: DateTime<Utc>, others_end: DateTime<Utc>) -> Result<()> {
    tx.sql("UPDATE signing_keys SET ends_at = $1 WHERE ends_at IS NULL").bind(others_end).execute().await?;
    let stmt = tx.sql("INSERT INTO signing_keys (id, created_at) VALUES ($1, $2)");
    stmt.bind(id).bind(now).execute().await?;
    Ok(())
}
