//! What changes a conversation, in the transaction of its caller, who holds the lock of the stream.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use crate::error::Result;
use crate::ids::{ConversationId, UserId};
use crate::storage::db::Tx;
use crate::storage::streams::Entered;

/// What somebody is in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Standing {
    /// `direct` or `group`.
    pub kind: String,
    /// What a group calls itself.
    pub title: Option<String>,
    /// `owner` or `member`.
    pub role: String,
    /// What was said up to here is not shown to them.
    pub joined_seq: i64,
}

/// What somebody is in a conversation now; nothing to those who take no part.
pub async fn standing(tx: &mut Tx<'_>, id: ConversationId, user: UserId) -> Result<Option<Standing>> {
    let text = "SELECT kind, title, role, joined_seq FROM members JOIN conversations ON id = conversation_id
                 WHERE conversation_id = $1 AND user_id = $2 AND left_at IS NULL";
    Ok(tx.sql(text).bind(id).bind(user).optional().await?)
}

/// How many take part.
pub async fn count(tx: &mut Tx<'_>, id: ConversationId) -> Result<i64> {
    let text = "SELECT COUNT(*) FROM members WHERE conversation_id = $1 AND left_at IS NULL";
    Ok(tx.sql(text).bind(id).one::<(i64,)>().await?.0)
}

/// A message that is there, and not taken back.
pub async fn message(tx: &mut Tx<'_>, id: ConversationId, seq: i64) -> Result<Option<Entered>> {
    let text = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                 WHERE stream_id = $1 AND seq = $2 AND kind = 'message'";
    Ok(tx.sql(text).bind(id.stream()).bind(seq).optional().await?)
}

/// Gives an entry another body, and perhaps another kind.
pub async fn rewrite(tx: &mut Tx<'_>, id: ConversationId, seq: i64, kind: &'static str, body: String) -> Result<()> {
    let text = "UPDATE entries SET kind = $1, body = $2 WHERE stream_id = $3 AND seq = $4";
    tx.sql(text).bind(kind).bind(body).bind(id.stream()).bind(seq).execute().await?;
    Ok(())
}

/// Takes away what hangs on a message: signs and pin.
pub async fn strip(tx: &mut Tx<'_>, id: ConversationId, seq: i64) -> Result<()> {
    for text in [
        "DELETE FROM reactions WHERE conversation_id = $1 AND seq = $2",
        "DELETE FROM pins WHERE conversation_id = $1 AND seq = $2",
    ] {
        tx.sql(text).bind(id).bind(seq).execute().await?;
    }
    Ok(())
}

/// A sign of somebody under a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign<'a> {
    /// Where.
    pub id: ConversationId,
    /// Under which message.
    pub seq: i64,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub emoji: &'a str,
    /// The entry that tells of it.
    pub told_seq: i64,
}

/// Sets a sign. Tells whether it was not there; `None` where somebody has as many under this message as they may.
pub async fn react(tx: &mut Tx<'_>, it: &Sign<'_>, at: DateTime<Utc>, signs_max: i64) -> Result<Option<bool>> {
    let text = "SELECT COUNT(*) FROM reactions
                 WHERE conversation_id = $1 AND seq = $2 AND user_id = $3 AND emoji <> $4";
    let stmt = tx.sql(text).bind(it.id).bind(it.seq).bind(it.user).bind(it.emoji.to_owned());
    if stmt.one::<(i64,)>().await?.0 >= signs_max {
        return Ok(None);
    }
    let text = "INSERT INTO reactions (conversation_id, seq, user_id, emoji, told_seq, created_at)
                VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let stmt = tx.sql(text).bind(it.id).bind(it.seq).bind(it.user).bind(it.emoji.to_owned());
    Ok(Some(stmt.bind(it.told_seq).bind(at).execute().await? > 0))
}

/// Takes a sign away. Tells whether it was there.
pub async fn unreact(tx: &mut Tx<'_>, it: &Sign<'_>) -> Result<bool> {
    let text = "DELETE FROM reactions WHERE conversation_id = $1 AND seq = $2 AND user_id = $3 AND emoji = $4";
    let stmt = tx.sql(text).bind(it.id).bind(it.seq).bind(it.user).bind(it.emoji.to_owned());
    Ok(stmt.execute().await? > 0)
}

/// Pins a message. Tells whether it was not; `None` where there are as many as there may be.
pub async fn pin(
    tx: &mut Tx<'_>,
    id: ConversationId,
    seq: i64,
    by: UserId,
    told: (i64, DateTime<Utc>),
    pins_max: i64,
) -> Result<Option<bool>> {
    let text = "SELECT COUNT(*) FROM pins WHERE conversation_id = $1 AND seq <> $2";
    if tx.sql(text).bind(id).bind(seq).one::<(i64,)>().await?.0 >= pins_max {
        return Ok(None);
    }
    let text = "INSERT INTO pins (conversation_id, seq, pinned_by, told_seq, created_at) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT DO NOTHING";
    let stmt = tx.sql(text).bind(id).bind(seq).bind(by).bind(told.0).bind(told.1);
    Ok(Some(stmt.execute().await? > 0))
}

/// Takes a pin out. Tells whether it was there.
pub async fn unpin(tx: &mut Tx<'_>, id: ConversationId, seq: i64) -> Result<bool> {
    let text = "DELETE FROM pins WHERE conversation_id = $1 AND seq = $2";
    Ok(tx.sql(text).bind(id).bind(seq).execute().await? > 0)
}

/// Gives a group another title. Tells whether it had another.
pub async fn rename(tx: &mut Tx<'_>, id: ConversationId, title: &str, folded: &str) -> Result<bool> {
    let text = "UPDATE conversations SET title = $1, title_folded = $2 WHERE id = $3 AND title IS DISTINCT FROM $1";
    Ok(tx.sql(text).bind(title.to_owned()).bind(folded.to_owned()).bind(id).execute().await? > 0)
}

/// Those of some people who take no part.
pub async fn strangers(tx: &mut Tx<'_>, id: ConversationId, users: &[UserId]) -> Result<Vec<UserId>> {
    let text = "SELECT user_id FROM members WHERE conversation_id = $1 AND left_at IS NULL";
    let members: Vec<(UserId,)> = tx.sql(text).bind(id).all().await?;
    Ok(users.iter().copied().filter(|user| !members.iter().any(|it| it.0 == *user)).collect())
}

/// Takes people in; who was here before comes back, and sees what is said from now on.
pub async fn add(
    tx: &mut Tx<'_>,
    id: ConversationId,
    users: &[(UserId, &'static str)],
    seq: i64,
    at: DateTime<Utc>,
) -> Result<()> {
    let head = "INSERT INTO members
                    (conversation_id, user_id, role, joined_seq, joined_at, delivered_seq, read_seq, notify)";
    let tail = "ON CONFLICT (conversation_id, user_id) DO UPDATE
                   SET left_at = NULL, role = excluded.role, joined_seq = excluded.joined_seq,
                       joined_at = excluded.joined_at, delivered_seq = excluded.joined_seq,
                       read_seq = excluded.joined_seq
                 WHERE members.left_at IS NOT NULL";
    tx.insert_rows(head, tail, 8, users, |stmt, (user, role)| {
        stmt.bind(id).bind(*user).bind(*role).bind(seq).bind(at).bind(seq).bind(seq).bind("all")
    })
    .await?;
    Ok(())
}

/// Gives a member another role. Tells whether they had another.
pub async fn set_role(tx: &mut Tx<'_>, id: ConversationId, user: UserId, role: &'static str) -> Result<bool> {
    let text = "UPDATE members SET role = $1
                 WHERE conversation_id = $2 AND user_id = $3 AND left_at IS NULL AND role <> $1";
    Ok(tx.sql(text).bind(role).bind(id).bind(user).execute().await? > 0)
}

/// Takes somebody out. Tells whether they took part.
pub async fn take_out(tx: &mut Tx<'_>, id: ConversationId, user: UserId, at: DateTime<Utc>) -> Result<bool> {
    let gone = "UPDATE members SET left_at = $1, draft = NULL, muted_until = NULL, notify = 'all'
                 WHERE conversation_id = $2 AND user_id = $3 AND left_at IS NULL";
    Ok(tx.sql(gone).bind(at).bind(id).bind(user).execute().await? > 0)
}

/// The one who is longest in a group that has no owner.
pub async fn heir(tx: &mut Tx<'_>, id: ConversationId) -> Result<Option<UserId>> {
    let text = "SELECT user_id FROM members
                 WHERE conversation_id = $1 AND left_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM members
                                    WHERE conversation_id = $1 AND left_at IS NULL AND role = 'owner')
                 ORDER BY joined_at, user_id LIMIT 1";
    Ok(tx.sql(text).bind(id).optional::<(UserId,)>().await?.map(|it| it.0))
}
