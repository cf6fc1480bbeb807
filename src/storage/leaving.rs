//! People who leave for good: what of them goes, and what others keep under "deleted user".
//!
//! [`begin`] takes away in one transaction what makes somebody a person. The rest goes in small pieces, and the row says
//! until the end that it is not all gone: whoever comes next after a crash goes on.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::types::Json;

use super::db::{Db, Tx};
use crate::error::Result;
use crate::ids::UserId;

/// What somebody is called who is gone. No name may have a blank at its end, so nobody is called so.
pub const NAME: &str = "deleted user";
/// Rows of a kind that go at a time.
const PIECE: i64 = 200;
/// Sign-ins that go at a time; each has a row for each refresh.
const SESSIONS_PIECE: i64 = 20;

/// Those whose time has come, and those who are not all gone. Whoever is banned stays until that ends.
pub async fn due(db: &Db, now: DateTime<Utc>, users_max: i64) -> Result<Vec<UserId>> {
    let text = "SELECT id FROM users
                 WHERE delete_after IS NOT NULL AND delete_after <= $1 AND state IN ('deleting', 'deleted')
                 ORDER BY delete_after LIMIT $2";
    let due: Vec<(UserId,)> = db.sql(text).bind(now).bind(users_max).all().await?;
    Ok(due.into_iter().map(|it| it.0).collect())
}

/// Makes somebody nobody in particular. Gives the name that they had; none where they came back, or where another
/// node was quicker. The name is free for others after `name_free_after`.
pub async fn begin(
    tx: &mut Tx<'_>,
    user: UserId,
    now: DateTime<Utc>,
    name_free_after: DateTime<Utc>,
) -> Result<Option<String>> {
    let text = "UPDATE users SET state = 'deleted', updated_at = $2
                 WHERE id = $1 AND state = 'deleting' AND delete_after <= $2 RETURNING name";
    let Some((name,)) = tx.sql(text).bind(user).bind(now).optional::<(String,)>().await? else { return Ok(None) };
    tx.sql(
        "UPDATE users SET name = $2, name_folded = $3, email = NULL, email_folded = NULL, email_confirmed_at = NULL,
                          password = '', role = 'user', grants = grants + 1
          WHERE id = $1",
    )
    .bind(user)
    .bind(NAME.to_owned())
    .bind(format!("{NAME} {user}"))
    .execute()
    .await?;
    let former = "UPDATE names SET free_after = $2 WHERE user_id = $1 AND free_after IS NULL";
    tx.sql(former).bind(user).bind(name_free_after).execute().await?;
    for text in [
        "DELETE FROM profiles WHERE user_id = $1",
        "DELETE FROM preferences WHERE user_id = $1",
        "DELETE FROM last_seen WHERE user_id = $1",
        "DELETE FROM second_factors WHERE user_id = $1",
        "DELETE FROM recovery_codes WHERE user_id = $1",
    ] {
        tx.sql(text).bind(user).execute().await?;
    }
    Ok(Some(name))
}

/// Takes away a piece of what is left of somebody who is gone. False when nothing is left.
pub async fn go_on(db: &Db, user: UserId) -> Result<bool> {
    let mut tx = db.begin().await?;
    let held = "UPDATE users SET updated_at = updated_at WHERE id = $1 AND state = 'deleted'";
    if tx.sql(held).bind(user).execute().await? == 0 {
        return Ok(false);
    }
    let mut gone = sessions(&mut tx, user).await?;
    for text in [
        // What was told to them alone.
        "DELETE FROM entries WHERE stream_id = $1
            AND seq IN (SELECT seq FROM entries WHERE stream_id = $1 LIMIT $2)",
        "DELETE FROM tickets WHERE hash IN (SELECT hash FROM tickets WHERE user_id = $1 LIMIT $2)",
        "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE user_id = $1 LIMIT $2)",
        "DELETE FROM blocks WHERE user_id = $1
            AND blocked_id IN (SELECT blocked_id FROM blocks WHERE user_id = $1 LIMIT $2)",
        "DELETE FROM blocks WHERE blocked_id = $1
            AND user_id IN (SELECT user_id FROM blocks WHERE blocked_id = $1 LIMIT $2)",
    ] {
        gone += tx.sql(text).bind(user).bind(PIECE).execute().await?;
    }
    gone += audit(&mut tx, user).await?;
    if gone == 0 {
        tx.sql("DELETE FROM streams WHERE id = $1").bind(user).execute().await?;
        let text = "UPDATE users SET delete_after = NULL WHERE id = $1 AND state = 'deleted'";
        tx.sql(text).bind(user).execute().await?;
    }
    tx.commit().await?;
    Ok(gone > 0)
}

async fn sessions(tx: &mut Tx<'_>, user: UserId) -> Result<u64> {
    // Two halves, because each has an index of its own.
    let some = "SELECT id FROM (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL
                                UNION ALL
                                SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NOT NULL) AS own
                 ORDER BY id LIMIT $2";
    let tokens = format!("DELETE FROM refresh_tokens WHERE session_id IN ({some})");
    tx.sql(sqlx::AssertSqlSafe(tokens)).bind(user).bind(SESSIONS_PIECE).execute().await?;
    let sessions = format!("DELETE FROM sessions WHERE id IN ({some})");
    Ok(tx.sql(sqlx::AssertSqlSafe(sessions)).bind(user).bind(SESSIONS_PIECE).execute().await?)
}

/// What happened stays, and to whom is forgotten.
async fn audit(tx: &mut Tx<'_>, user: UserId) -> Result<u64> {
    let to_them = "UPDATE audit SET user_id = NULL, actor_id = CASE WHEN actor_id = $1 THEN NULL ELSE actor_id END,
                                    address = '', device = '', detail = $3
                    WHERE id IN (SELECT id FROM audit WHERE user_id = $1 LIMIT $2)";
    let changed = tx.sql(to_them).bind(user).bind(PIECE).bind(Json(json!({}))).execute().await?;
    let by_them = "UPDATE audit SET actor_id = NULL, address = '', device = ''
                    WHERE id IN (SELECT id FROM audit
                                  WHERE actor_id = $1 AND (user_id IS NULL OR user_id <> actor_id) LIMIT $2)";
    Ok(changed + tx.sql(by_them).bind(user).bind(PIECE).execute().await?)
}
