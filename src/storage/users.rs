//! The people that others may see: those whose account is active, in the order of their names.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// Somebody in a list.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Listed {
    /// Who.
    pub user_id: UserId,
    /// The name they sign in with, as they write it.
    pub username: String,
    /// The same as it is compared; with the id, the place in the list.
    pub username_folded: String,
    /// What they want to be called.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// When they came.
    pub created_at: DateTime<Utc>,
}

/// What a page of people is read with: names that begin with `$1` lie behind it and before `$3`.
pub const LIST: &str = "
    SELECT id AS user_id, name AS username, name_folded AS username_folded, display_name, avatar_url, created_at
      FROM users JOIN profiles ON user_id = id
     WHERE state = 'active' AND (name_folded, id) > ($1, $2) AND name_folded < $3
     ORDER BY name_folded, id LIMIT $4";

/// Lists people by name from behind a place: those whose folded name begins with a prefix.
pub async fn list(db: &Db, prefix: &str, after: Option<(String, UserId)>, rows_max: i64) -> Result<Vec<Listed>> {
    // In the order of bytes nothing that begins with the prefix lies behind it and the last of all letters.
    let end = format!("{prefix}\u{10FFFF}");
    let (name, id) = after.unwrap_or_else(|| (prefix.to_owned(), UserId(uuid::Uuid::nil())));
    Ok(db.sql(LIST).bind(name).bind(id).bind(end).bind(rows_max).all().await?)
}

/// Locks somebody's row for what is changed about them, so that changes and their events have one order. Tells whether
/// the account is active.
pub async fn touch(tx: &mut Tx<'_>, user: UserId, at: DateTime<Utc>) -> Result<bool> {
    let stmt = tx.sql("UPDATE users SET updated_at = $2 WHERE id = $1 AND state = 'active'");
    Ok(stmt.bind(user).bind(at).execute().await? == 1)
}

/// Writes another name into somebody's row.
pub async fn rename(tx: &mut Tx<'_>, user: UserId, shown: &str, folded: &str) -> Result<()> {
    let stmt = tx.sql("UPDATE users SET name = $2, name_folded = $3 WHERE id = $1");
    stmt.bind(user).bind(shown.to_owned()).bind(folded.to_owned()).execute().await?;
    Ok(())
}
