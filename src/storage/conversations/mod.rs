//! Conversations and who takes part. What is said lies in the stream of the same id.

pub mod changes;
mod own;
mod reading;
mod receipts;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};

pub use self::own::{Hearing, set_draft, set_hearing};
pub use self::reading::{
    Asked, Listed, Neighbour, Participant, Place, Reacted, history, list, message, neighbours, participants, pinned,
    reactions, sent,
};
pub use self::receipts::{Receipt, raise, unread};
use super::db::{Db, Engine, Tx, placeholders};
use super::streams::StreamStore;
use crate::error::Result;
use crate::ids::{ConversationId, UserId};

/// A conversation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Conversation {
    /// The id, and that of its stream.
    pub id: ConversationId,
    /// `direct` or `group`.
    pub kind: String,
    /// What a group calls itself.
    pub title: Option<String>,
    /// The same as it is looked for.
    pub title_folded: Option<String>,
    /// Who began it.
    pub created_by: UserId,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Somebody who takes part, and how far they have come.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// `owner` or `member`.
    pub role: String,
    /// What was said up to here is not shown to them.
    pub joined_seq: i64,
    /// The last entry that reached one of their devices.
    pub delivered_seq: i64,
    /// The last entry they have seen.
    pub read_seq: i64,
    /// Whether they let others know what they have read, and so may know it of others.
    pub shares: bool,
}

/// A row that says nothing of it shares; `->>` gives words on one engine and numbers on the other.
const SHARES: &str = "COALESCE(CAST(body->>'read_receipts' AS TEXT) NOT IN ('false', '0'), TRUE) AS shares";

/// What two people's direct conversation is claimed by, whoever begins it.
pub fn pair(one: UserId, other: UserId) -> String {
    format!("{}:{}", one.min(other), one.max(other))
}

/// Begins a conversation. Of two who claim the same at once one begins it: `false` to the other.
pub async fn insert(
    tx: &mut Tx<'_>,
    it: &Conversation,
    claim: Option<(String, Option<String>)>,
    members: &[(UserId, &'static str)],
) -> Result<bool> {
    let (claim, hash) = claim.unzip();
    let stmt = tx.sql(
        "INSERT INTO conversations (id, kind, claim, claim_hash, title, title_folded, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (claim) DO NOTHING",
    );
    let stmt = stmt.bind(it.id).bind(it.kind.clone()).bind(claim).bind(hash.flatten()).bind(it.title.clone());
    let stmt = stmt.bind(it.title_folded.clone()).bind(it.created_by).bind(it.created_at);
    if stmt.execute().await? == 0 {
        return Ok(false);
    }
    StreamStore::create(tx, it.id.stream(), "conversation").await?;
    changes::add(tx, it.id, members, 0, it.created_at).await?;
    Ok(true)
}

/// Finds what was begun under a claim, and the hash of what was asked for.
pub async fn find_claimed(db: &Db, claim: &str) -> Result<Option<(ConversationId, Option<String>)>> {
    let found = db.sql("SELECT id, claim_hash FROM conversations WHERE claim = $1").bind(claim.to_owned());
    Ok(found.optional().await?)
}

/// Reads a conversation.
pub async fn find(db: &Db, id: ConversationId) -> Result<Option<Conversation>> {
    let text = "SELECT id, kind, title, title_folded, created_by, created_at FROM conversations WHERE id = $1";
    Ok(db.sql(text).bind(id).optional().await?)
}

/// Who takes part now.
pub async fn members(db: &Db, id: ConversationId) -> Result<Vec<Member>> {
    let text = format!(
        "SELECT members.user_id, role, joined_seq, delivered_seq, read_seq, {SHARES}
           FROM members LEFT JOIN preferences ON preferences.user_id = members.user_id
          WHERE conversation_id = $1 AND left_at IS NULL ORDER BY members.user_id"
    );
    Ok(db.sql(AssertSqlSafe(text)).bind(id).all().await?)
}

/// From where on somebody may see what is said, if they take part.
pub async fn seen_from(db: &Db, id: ConversationId, user: UserId) -> Result<Option<i64>> {
    let text = "SELECT joined_seq FROM members WHERE conversation_id = $1 AND user_id = $2 AND left_at IS NULL";
    Ok(db.sql(text).bind(id).bind(user).optional::<(i64,)>().await?.map(|it| it.0))
}

/// The conversations that somebody takes part in, the liveliest first, and from where on they may see each.
pub async fn of_user(db: &Db, user: UserId, rows_max: i64) -> Result<Vec<(ConversationId, i64)>> {
    let text = "SELECT conversation_id, joined_seq FROM members JOIN streams ON id = conversation_id
                 WHERE user_id = $1 AND left_at IS NULL ORDER BY head_at DESC, conversation_id DESC LIMIT $2";
    Ok(db.sql(text).bind(user).bind(rows_max).all().await?)
}

/// How many of these people are here, and how many blocks there are between them and somebody.
pub async fn reachable(db: &Db, by: UserId, users: &[UserId]) -> Result<(i64, i64)> {
    if users.is_empty() {
        return Ok((0, 0));
    }
    let text = format!(
        "WITH asked AS (SELECT id FROM users WHERE id IN ({}) AND state = 'active')
         SELECT (SELECT COUNT(*) FROM asked),
                (SELECT COUNT(*) FROM blocks JOIN asked ON blocked_id = id WHERE user_id = {})
              + (SELECT COUNT(*) FROM blocks JOIN asked ON user_id = id WHERE blocked_id = {})",
        placeholders(db.engine(), users.len(), 1),
        placeholder(db, users.len() + 1),
        placeholder(db, users.len() + 2),
    );
    let stmt = users.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, user| stmt.bind(*user));
    Ok(stmt.bind(by).bind(by).one().await?)
}

/// One more place for a value behind those of a list.
fn placeholder(db: &Db, number: usize) -> String {
    match db.engine() {
        Engine::Sqlite => "?".to_owned(),
        Engine::Postgres => format!("${number}"),
    }
}
