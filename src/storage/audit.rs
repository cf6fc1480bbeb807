//! What happened to whom, by whose hand: kept for the person and for operators.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// Something that happened to an account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Incident {
    /// Sorts by time.
    pub id: Uuid,
    /// Whose account, if there is one.
    pub user_id: Option<UserId>,
    /// Who did it: the user, an operator, or nobody known.
    pub actor_id: Option<Uuid>,
    /// What, as `login.failed` or `role.changed`.
    pub what: String,
    /// From where; empty for the command line.
    pub address: String,
    /// On which device, in its own words.
    pub device: String,
    /// What else there is to say. Never a password, a token, a key.
    #[sqlx(json)]
    pub detail: Value,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Notes an incident in the transaction that makes it true, and says so in the log: there without address, device and
/// detail, which stand here under the same id.
pub async fn append(tx: &mut Tx<'_>, it: &Incident) -> Result<()> {
    tx.sql(
        "INSERT INTO audit (id, user_id, actor_id, what, address, device, detail, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(it.id)
    .bind(it.user_id)
    .bind(it.actor_id)
    .bind(it.what.clone())
    .bind(it.address.clone())
    .bind(it.device.clone())
    .bind(Json(it.detail.clone()))
    .bind(it.created_at)
    .execute()
    .await?;
    let (user, actor) = (it.user_id.map(|id| id.to_string()), it.actor_id.map(|id| id.to_string()));
    tracing::info!(event = "security", what = it.what, user, actor, audit = %it.id, "noted");
    Ok(())
}

/// Lists what happened, the newest first: to one user, or to anybody.
pub async fn list(db: &Db, user: Option<UserId>, before: Option<Uuid>, rows_max: usize) -> Result<Vec<Incident>> {
    // A branch of its own each: one text with `IS NULL OR` would read the whole table for one user.
    const COLUMNS: &str = "SELECT id, user_id, actor_id, what, address, device, detail, created_at FROM audit";
    let before = before.unwrap_or(Uuid::max());
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let rows = match user {
        Some(user) => db
            .sql(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")))
            .bind(user)
            .bind(before)
            .bind(rows_max),
        None => db
            .sql(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id < $1 ORDER BY id DESC LIMIT $2")))
            .bind(before)
            .bind(rows_max),
    };
    Ok(rows.all().await?)
}

/// Counts how often something happened to somebody since a time, as a transaction sees it.
pub async fn count_since(tx: &mut Tx<'_>, user: UserId, what: &'static str, since: DateTime<Utc>) -> Result<i64> {
    // Ids begin with the milliseconds of their time, or of a later one where the clock went back: the index has them in
    // their order.
    let first = Uuid::from_u128(u128::from(u64::try_from(since.timestamp_millis()).unwrap_or_default()) << 80);
    let text = "SELECT COUNT(*) FROM audit WHERE user_id = $1 AND id > $2 AND what = $3 AND created_at > $4";
    let (count,): (i64,) = tx.sql(text).bind(user).bind(first).bind(what).bind(since).one().await?;
    Ok(count)
}
