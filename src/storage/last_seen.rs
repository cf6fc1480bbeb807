//! When people were here last, as others may know it.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::db::{Db, placeholders};
use crate::error::Result;
use crate::ids::UserId;

/// Notes that people were here at a time.
pub async fn put(db: &Db, users: &[UserId], at: DateTime<Utc>) -> Result<()> {
    let mut tx = db.begin().await?;
    let tail = "ON CONFLICT (user_id) DO UPDATE SET seen_at = excluded.seen_at";
    tx.insert_rows("INSERT INTO last_seen (user_id, seen_at)", tail, 2, users, |stmt, it| stmt.bind(*it).bind(at))
        .await?;
    Ok(tx.commit().await?)
}

/// Tells when each of some people was here last; those who never were are left out.
pub async fn list(db: &Db, users: &[UserId]) -> Result<Vec<(UserId, DateTime<Utc>)>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let asked = placeholders(db.engine(), users.len(), 1);
    let text = format!("SELECT user_id, seen_at FROM last_seen WHERE user_id IN (VALUES {asked})");
    let stmt = users.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, it| stmt.bind(*it));
    Ok(stmt.all().await?)
}
