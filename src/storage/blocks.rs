//! Who does not want to hear from whom.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::db::{Db, Engine, Tx, placeholders};
use crate::error::Result;
use crate::ids::UserId;

/// Somebody who is blocked.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Blocked {
    /// Who.
    pub user_id: UserId,
    /// Their name, whether they are still active or not.
    pub username: String,
    /// What they want to be called.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Since when.
    pub blocked_at: DateTime<Utc>,
}

/// Blocks somebody; twice is once. Tells whether it is so now: not when there are as many as one may have.
pub async fn insert(tx: &mut Tx<'_>, user: UserId, other: UserId, at: DateTime<Utc>, blocks_max: i64) -> Result<bool> {
    let text = "SELECT COUNT(*) FROM blocks WHERE user_id = $1 AND blocked_id <> $2";
    let (others,): (i64,) = tx.sql(text).bind(user).bind(other).one().await?;
    if others >= blocks_max {
        return Ok(false);
    }
    let text = "INSERT INTO blocks (user_id, blocked_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.sql(text).bind(user).bind(other).bind(at).execute().await?;
    Ok(true)
}

/// Lifts a block; one that is not there is no failure.
pub async fn delete(tx: &mut Tx<'_>, user: UserId, other: UserId) -> Result<()> {
    tx.sql("DELETE FROM blocks WHERE user_id = $1 AND blocked_id = $2").bind(user).bind(other).execute().await?;
    Ok(())
}

/// Whom somebody blocks, in the order in which those came, from behind one of them.
pub async fn list(db: &Db, user: UserId, after: Option<UserId>, rows_max: i64) -> Result<Vec<Blocked>> {
    let text = "SELECT id AS user_id, name AS username, display_name, avatar_url, blocks.created_at AS blocked_at
                  FROM blocks JOIN users ON id = blocked_id JOIN profiles ON profiles.user_id = blocked_id
                 WHERE blocks.user_id = $1 AND blocked_id > $2 ORDER BY blocked_id LIMIT $3";
    Ok(db.sql(text).bind(user).bind(after.unwrap_or(UserId(Uuid::nil()))).bind(rows_max).all().await?)
}

/// Whether one of two people blocks the other.
pub async fn between(db: &Db, one: UserId, other: UserId) -> Result<bool> {
    let text = "SELECT 1 FROM blocks WHERE (user_id = $1 AND blocked_id = $2) OR (user_id = $2 AND blocked_id = $1)";
    let found: Option<(i32,)> = db.sql(text).bind(one).bind(other).optional().await?;
    Ok(found.is_some())
}

/// Those among some people who block somebody, or whom somebody blocks.
pub async fn among(db: &Db, user: UserId, others: &[UserId]) -> Result<Vec<UserId>> {
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let engine = db.engine();
    let mine = if engine == Engine::Sqlite { "?".to_owned() } else { format!("${}", others.len() + 1) };
    let text = format!(
        "WITH asked (id) AS (VALUES {}), mine (id) AS (VALUES ({mine}))
         SELECT asked.id FROM asked CROSS JOIN mine
          WHERE EXISTS (SELECT 1 FROM blocks WHERE user_id = mine.id AND blocked_id = asked.id)
             OR EXISTS (SELECT 1 FROM blocks WHERE user_id = asked.id AND blocked_id = mine.id)",
        placeholders(engine, others.len(), 1)
    );
    let stmt = others.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, it| stmt.bind(*it)).bind(user);
    let found: Vec<(UserId,)> = stmt.all().await?;
    Ok(found.into_iter().map(|it| it.0).collect())
}
