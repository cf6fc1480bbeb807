//! Reads of conversations: lists, history, who takes part.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::receipts::unread_of;
use super::{Db, SHARES, placeholder};
use crate::error::Result;
use crate::ids::{ConversationId, EntryId, UserId};
use crate::storage::db::placeholders;
use crate::storage::streams::Entered;

/// A conversation in somebody's list.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Listed {
    /// Which.
    pub id: ConversationId,
    /// `direct` or `group`.
    pub kind: String,
    /// What a group calls itself.
    pub title: Option<String>,
    /// What the one who asks is in it.
    pub role: String,
    /// The position of the stream: its life.
    pub epoch: i64,
    /// The position of the stream: its end.
    pub head: i64,
    /// What was said up to here is not shown to them.
    pub joined_seq: i64,
    /// How far it reached the one who asks.
    pub delivered_seq: i64,
    /// How far the one who asks has read.
    pub read_seq: i64,
    /// What was said since, by others; at most 1,000 are counted.
    pub unread: i64,
    /// `all`, `mentions` or `nothing`.
    pub notify: String,
    /// Until when it is silent.
    pub muted_until: Option<DateTime<Utc>>,
    /// What was begun to write.
    pub draft: Option<String>,
    /// How many take part.
    pub member_count: i64,
    /// Whether the one who asks lets others know what they have read.
    pub shares: bool,
    /// The last message, by its place.
    pub last_seq: Option<i64>,
    /// Its id.
    pub last_id: Option<EntryId>,
    /// `message`, or `message.gone` when it was taken back.
    pub last_kind: Option<String>,
    /// Whose it is.
    pub last_sender_id: Option<UserId>,
    /// What its sender calls it.
    pub last_client_id: Option<String>,
    /// What it says, as JSON.
    pub last_body: Option<String>,
    /// When it was said.
    pub last_at: Option<DateTime<Utc>>,
    /// When something was said last, or when the conversation began.
    pub active_at: DateTime<Utc>,
}

/// What is listed behind: the time of the last message, and the conversation.
pub type Place = (DateTime<Utc>, ConversationId);

/// Which of somebody's conversations are wanted.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// This one alone.
    pub only: Option<ConversationId>,
    /// Those whose title, or the name of somebody in them, has this in it, as names are compared.
    pub folded: Option<String>,
    /// From behind this place.
    pub after: Option<Place>,
    /// At most so many.
    pub rows_max: i64,
}

/// Lists somebody's conversations, those in which something was said last first.
pub async fn list(db: &Db, user: UserId, asked: Asked) -> Result<Vec<Listed>> {
    let (at, id) = asked.after.unwrap_or((far(), ConversationId(Uuid::max())));
    // What costs more is counted for those alone that are shown.
    let text = format!(
        "SELECT page.*, {unread} AS unread,
                (SELECT COUNT(*) FROM members
                  WHERE conversation_id = page.id AND left_at IS NULL) AS member_count
           FROM (
             SELECT mine.*, last.id AS last_id, last.kind AS last_kind, last.sender_id AS last_sender_id,
                    last.client_id AS last_client_id, last.body AS last_body, last.created_at AS last_at,
                    COALESCE(last.created_at, mine.began_at) AS active_at
               FROM (
                 SELECT conversations.id, conversations.kind, title, members.role, epoch, head, joined_seq,
                        delivered_seq, read_seq, notify, muted_until, draft, joined_at AS began_at, {SHARES},
                        (SELECT seq FROM entries
                          WHERE stream_id = conversation_id AND kind IN ('message', 'message.gone') AND seq > joined_seq
                          ORDER BY seq DESC LIMIT 1) AS last_seq
                   FROM members
                   JOIN conversations ON conversations.id = conversation_id
                   JOIN streams ON streams.id = conversation_id
                   LEFT JOIN preferences ON preferences.user_id = members.user_id
                  WHERE members.user_id = $1 AND left_at IS NULL AND ($2 IS NULL OR conversation_id = $2)
                    AND ($3 IS NULL OR REPLACE(title_folded, $3, '') <> title_folded
                         OR EXISTS (SELECT 1 FROM members AS others JOIN users ON users.id = others.user_id
                                     WHERE others.conversation_id = members.conversation_id AND others.left_at IS NULL
                                       AND others.user_id <> $1 AND REPLACE(name_folded, $3, '') <> name_folded))
               ) AS mine
               LEFT JOIN entries AS last ON last.stream_id = mine.id AND last.seq = mine.last_seq
              WHERE (COALESCE(last.created_at, mine.began_at), mine.id) < ($4, $5)
              ORDER BY active_at DESC, mine.id DESC LIMIT $6) AS page
          ORDER BY active_at DESC, id DESC",
        unread = unread_of("page.id", "page.read_seq", "page.head", "$1"),
    );
    let stmt = db.sql(AssertSqlSafe(text)).bind(user).bind(asked.only).bind(asked.folded);
    Ok(stmt.bind(at).bind(id).bind(asked.rows_max).all().await?)
}

/// Later than everything, and still a time that both engines can keep.
fn far() -> DateTime<Utc> {
    DateTime::from_timestamp(253_370_764_800, 0).expect("the year 9999 is a time")
}

/// One message, if it is there and not taken back.
pub async fn message(db: &Db, id: ConversationId, seq: i64) -> Result<Option<Entered>> {
    let text = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                 WHERE stream_id = $1 AND seq = $2 AND kind = 'message'";
    Ok(db.sql(text).bind(id.stream()).bind(seq).optional().await?)
}

/// What somebody sent under a client id, whatever has become of it.
pub async fn sent(db: &Db, id: ConversationId, sender: UserId, client_id: &str) -> Result<Option<Entered>> {
    let text = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                 WHERE client_id = $1 AND sender_id = $2 AND stream_id = $3";
    Ok(db.sql(text).bind(client_id.to_owned()).bind(sender).bind(id.stream()).optional().await?)
}

/// Messages, those that were taken back among them: the newest first before a place, the oldest first after one.
pub async fn history(
    db: &Db,
    id: ConversationId,
    joined_seq: i64,
    before: Option<i64>,
    after: Option<i64>,
    rows_max: i64,
) -> Result<Vec<Entered>> {
    const BACK: &str = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                         WHERE stream_id = $1 AND seq > $2 AND seq < $3 AND kind IN ('message', 'message.gone')
                         ORDER BY seq DESC LIMIT $4";
    const FORTH: &str = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                          WHERE stream_id = $1 AND seq > $2 AND seq < $3 AND kind IN ('message', 'message.gone')
                          ORDER BY seq LIMIT $4";
    let text = if after.is_some() { FORTH } else { BACK };
    let from = after.unwrap_or(joined_seq).max(joined_seq);
    let stmt = db.sql(text).bind(id.stream()).bind(from).bind(before.unwrap_or(i64::MAX)).bind(rows_max);
    Ok(stmt.all().await?)
}

/// A sign under a message.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Reacted {
    /// Under which one.
    pub seq: i64,
    /// The sign.
    pub emoji: String,
    /// Whose.
    pub user_id: UserId,
}

/// Reads the signs under some messages, the first ones first.
pub async fn reactions(db: &Db, id: ConversationId, seqs: &[i64]) -> Result<Vec<Reacted>> {
    let (Some(first), Some(last)) = (seqs.iter().min(), seqs.iter().max()) else { return Ok(Vec::new()) };
    let text = "SELECT seq, emoji, user_id FROM reactions
                 WHERE conversation_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, told_seq";
    Ok(db.sql(text).bind(id).bind(*first).bind(*last).all().await?)
}

/// What is pinned, the newest pin first.
pub async fn pinned(db: &Db, id: ConversationId, joined_seq: i64) -> Result<Vec<Entered>> {
    let text = "SELECT entries.seq, id, kind, sender_id, client_id, body, entries.created_at
                  FROM pins JOIN entries ON stream_id = conversation_id AND entries.seq = pins.seq
                 WHERE conversation_id = $1 AND pins.seq > $2
                 ORDER BY told_seq DESC";
    Ok(db.sql(text).bind(id).bind(joined_seq).all().await?)
}

/// Somebody who takes part, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Participant {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub username: String,
    /// What they call themselves.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// `owner` or `member`.
    pub role: String,
    /// The last entry that reached them.
    pub delivered_seq: i64,
    /// The last entry they have seen.
    pub read_seq: i64,
    /// Whether they let others know that.
    pub shares: bool,
}

/// Who takes part in some conversations, at most so many in each, in the order of their ids behind one of them. The other
/// one of a direct conversation is shown though they have left.
pub async fn participants(
    db: &Db,
    ids: &[ConversationId],
    after: Option<UserId>,
    members_max: i64,
) -> Result<Vec<Participant>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT conversation_id, user_id, username, display_name, avatar_url, role, delivered_seq, read_seq, shares
           FROM (SELECT conversation_id, members.user_id, users.name AS username,
                        COALESCE(display_name, users.name) AS display_name, avatar_url, members.role, delivered_seq,
                        read_seq, {SHARES},
                        ROW_NUMBER() OVER (PARTITION BY conversation_id ORDER BY members.user_id) AS place
                   FROM members
                   JOIN conversations ON conversations.id = conversation_id
                   JOIN users ON users.id = members.user_id
                   LEFT JOIN profiles ON profiles.user_id = members.user_id
                   LEFT JOIN preferences ON preferences.user_id = members.user_id
                  WHERE conversation_id IN ({places}) AND (left_at IS NULL OR conversations.kind = 'direct')
                    AND members.user_id > {after}) AS placed
          WHERE place <= {members_max}
          ORDER BY conversation_id, user_id",
        places = placeholders(db.engine(), ids.len(), 1),
        after = placeholder(db, ids.len() + 1),
        members_max = placeholder(db, ids.len() + 2),
    );
    let stmt = ids.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, id| stmt.bind(*id));
    Ok(stmt.bind(after.unwrap_or(UserId(Uuid::nil()))).bind(members_max).all().await?)
}

/// Somebody in a small conversation, and how far they have come there.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Neighbour {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// Who.
    pub user_id: UserId,
    /// The last entry that reached them.
    pub delivered_seq: i64,
    /// The last entry they have seen.
    pub read_seq: i64,
    /// Whether they let others know that.
    pub shares: bool,
}

/// Everybody in those of some conversations that have no more members than so many.
pub async fn neighbours(db: &Db, ids: &[ConversationId], members_max: usize) -> Result<Vec<Neighbour>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // A large one is not counted to its end.
    let text = format!(
        "SELECT conversation_id, members.user_id, delivered_seq, read_seq, {SHARES}
           FROM conversations
           JOIN members ON conversation_id = conversations.id
           LEFT JOIN preferences ON preferences.user_id = members.user_id
          WHERE conversations.id IN ({places}) AND left_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM members AS others
                             WHERE others.conversation_id = conversations.id AND others.left_at IS NULL
                             LIMIT 1 OFFSET {members_max})
          ORDER BY conversation_id, members.user_id",
        places = placeholders(db.engine(), ids.len(), 1),
    );
    let stmt = ids.iter().fold(db.sql(AssertSqlSafe(text)).once(), |stmt, id| stmt.bind(*id));
    Ok(stmt.all().await?)
}
