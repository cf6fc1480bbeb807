//! How far people have come: two cursors that only rise, written many at a time.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use crate::ids::{ConversationId, UserId};
use crate::storage::db::{Db, Engine, Result, Tx, placeholders};

/// Places behind the cursor that are looked at for what is unread; messages that are counted.
const LOOKED_AT_MAX: i64 = 10_000;
/// More than these are not counted.
pub const UNREAD_MAX: i64 = 1_000;

/// What somebody's devices have got, and what they have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// The last entry that reached a device of theirs.
    pub delivered: i64,
    /// The last entry they have seen.
    pub read: i64,
}

/// Moves cursors up, all in one statement; one that is behind changes nothing.
pub async fn raise(tx: &mut Tx<'_>, receipts: &[Receipt]) -> Result<()> {
    // One line a member, in one order: two nodes that move the same cursors do not wait for each other in a circle.
    let mut highest: BTreeMap<(ConversationId, UserId), (i64, i64)> = BTreeMap::new();
    for it in receipts {
        let (delivered, read) = highest.entry((it.conversation, it.user)).or_default();
        *delivered = it.delivered.max(it.read).max(*delivered);
        *read = it.read.max(*read);
    }
    if highest.is_empty() {
        return Ok(());
    }
    match tx {
        Tx::Postgres(tx) => {
            let conversations = Vec::from_iter(highest.keys().map(|it| it.0));
            let users = Vec::from_iter(highest.keys().map(|it| it.1));
            // Locked in order first: the order of an UPDATE is the planner's own.
            sqlx::query(
                "SELECT 1 FROM members
                   JOIN UNNEST($1::uuid[], $2::uuid[]) AS told (place, who)
                     ON conversation_id = place AND user_id = who
                  ORDER BY conversation_id, user_id FOR NO KEY UPDATE OF members",
            )
            .bind(conversations.clone())
            .bind(users.clone())
            .execute(&mut **tx)
            .await?;
            sqlx::query(
                "UPDATE members
                    SET delivered_seq = GREATEST(delivered_seq, delivered), read_seq = GREATEST(read_seq, read)
                   FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
                          AS told (place, who, delivered, read)
                  WHERE conversation_id = place AND user_id = who",
            )
            .bind(conversations)
            .bind(users)
            .bind(Vec::from_iter(highest.values().map(|it| it.0)))
            .bind(Vec::from_iter(highest.values().map(|it| it.1)))
            .execute(&mut **tx)
            .await?;
        }
        Tx::Sqlite(_) => {
            let text = format!(
                "UPDATE members SET delivered_seq = MAX(delivered_seq, column3), read_seq = MAX(read_seq, column4)
                   FROM (VALUES {}) WHERE conversation_id = column1 AND user_id = column2",
                placeholders(Engine::Sqlite, highest.len(), 4)
            );
            let stmt = tx.sql(AssertSqlSafe(text)).once();
            let bound = highest.iter().fold(stmt, |stmt, ((place, who), (delivered, read))| {
                stmt.bind(*place).bind(*who).bind(*delivered).bind(*read)
            });
            bound.execute().await?;
        }
    }
    Ok(())
}

/// What is unread behind a cursor, up to a place, as part of a statement: messages of others, up to a thousand.
pub(super) fn unread_of(stream: &str, read: &str, up_to: &str, user: &str) -> String {
    format!(
        "(SELECT COUNT(*) FROM (
             SELECT 1 FROM entries
              WHERE stream_id = {stream} AND seq > {read} AND seq <= {read} + {LOOKED_AT_MAX} AND seq <= {up_to}
                AND kind = 'message' AND (sender_id IS NULL OR sender_id <> {user})
              LIMIT {UNREAD_MAX}) AS counted)"
    )
}

/// Counts what somebody has not read behind a place, and tells up to where: both as of one moment.
pub async fn unread(db: &Db, id: ConversationId, user: UserId, read: i64) -> crate::error::Result<(i64, i64)> {
    let text = format!("SELECT {} AS unread, head FROM streams WHERE id = $1", unread_of("$1", "$2", "head", "$3"));
    Ok(db.sql(AssertSqlSafe(text)).bind(id.stream()).bind(read).bind(user).one().await?)
}
