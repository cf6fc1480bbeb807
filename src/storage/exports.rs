//! Everything that is kept about somebody, for themselves to read. Never a password, a token, a key.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::db::{Db, Record, Tx};
use crate::error::{Error, Result};
use crate::ids::UserId;

/// Everything about one person.
#[derive(Debug, Serialize, ToSchema)]
pub struct Export {
    exported_at: DateTime<Utc>,
    account: Account,
    profile: Option<Profile>,
    preferences: Option<Value>,
    /// Present and former names.
    names: Vec<Name>,
    /// Whom they do not want to hear from.
    blocks: Vec<Block>,
    sessions: Vec<Session>,
    second_factor: Option<SecondFactor>,
    /// What happened to the account.
    history: Vec<Happened>,
    /// Keys of services that they made.
    keys: Vec<Key>,
    mails: Vec<Mail>,
    /// Where they take part, or did.
    conversations: Vec<KeptConversation>,
    /// What they said there.
    messages: Vec<KeptMessage>,
    /// Signs that they set under messages.
    reactions: Vec<Reaction>,
    /// Lists of which there is more than an export holds.
    cut_short: Vec<&'static str>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Account {
    user_id: UserId,
    username: String,
    email: Option<String>,
    email_confirmed_at: Option<DateTime<Utc>>,
    role: String,
    state: String,
    created_at: DateTime<Utc>,
    /// When they were here last, as others may know it.
    last_seen_at: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Profile {
    version: i64,
    display_name: String,
    headline: String,
    bio: String,
    location: String,
    age: Option<i64>,
    #[sqlx(json)]
    links: Value,
    #[sqlx(json)]
    expertise: Value,
    #[sqlx(json)]
    contact: Value,
    theme_music_url: Option<String>,
    avatar_url: Option<String>,
    updated_at: DateTime<Utc>,
}

#[derive(FromRow)]
struct Preferences {
    #[sqlx(json)]
    body: Value,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Name {
    name: String,
    /// When it may be somebody else's; null for the present one.
    free_after: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Block {
    user_id: UserId,
    created_at: DateTime<Utc>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Session {
    session_id: Uuid,
    device: String,
    address: String,
    created_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    ended_why: Option<String>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct SecondFactor {
    on_since: Option<DateTime<Utc>>,
    recovery_codes_left: i64,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Happened {
    what: String,
    address: String,
    device: String,
    #[sqlx(json)]
    detail: Value,
    created_at: DateTime<Utc>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Key {
    key_id: Uuid,
    name: String,
    #[sqlx(json)]
    scopes: Value,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Mail {
    recipient: String,
    subject: String,
    created_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct KeptConversation {
    conversation_id: Uuid,
    kind: String,
    title: Option<String>,
    role: String,
    joined_at: DateTime<Utc>,
    left_at: Option<DateTime<Utc>>,
    delivered_seq: i64,
    read_seq: i64,
    notify: String,
    muted_until: Option<DateTime<Utc>>,
    draft: Option<String>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct KeptMessage {
    conversation_id: Uuid,
    seq: i64,
    message_id: Uuid,
    client_id: Option<String>,
    /// As it is kept, in JSON: text, attachments and what it answers.
    said: String,
    created_at: DateTime<Utc>,
}

#[derive(Debug, FromRow, Serialize, ToSchema)]
struct Reaction {
    conversation_id: Uuid,
    seq: i64,
    emoji: String,
    created_at: DateTime<Utc>,
}

/// When somebody was last given an export. Holds them still until the transaction ends, so that two at once are seen.
pub async fn last(tx: &mut Tx<'_>, user: UserId) -> Result<Option<DateTime<Utc>>> {
    tx.sql("UPDATE users SET updated_at = updated_at WHERE id = $1").bind(user).execute().await?;
    let text = "SELECT created_at FROM audit WHERE user_id = $1 AND what = 'data.exported' ORDER BY id DESC LIMIT 1";
    let last: Option<(DateTime<Utc>,)> = tx.sql(text).bind(user).optional().await?;
    Ok(last.map(|it| it.0))
}

/// Reads everything about somebody, at most so many rows of a kind.
pub async fn read(db: &Db, user: UserId, rows_max: u32, now: DateTime<Utc>) -> Result<Export> {
    let lists = Lists { db, user, rows_max };
    let mut cut_short = Vec::new();
    let account = "SELECT id AS user_id, name AS username, email, email_confirmed_at, role, state, created_at,
                          (SELECT seen_at FROM last_seen WHERE user_id = id) AS last_seen_at
                     FROM users WHERE id = $1";
    let profile =
        "SELECT version, display_name, headline, bio, location, age, links, expertise, contact, theme_music_url,
                          avatar_url, updated_at
                     FROM profiles WHERE user_id = $1";
    let second_factor = "SELECT confirmed_at AS on_since,
                                CAST((SELECT COUNT(*) FROM recovery_codes
                                       WHERE user_id = $1 AND used_at IS NULL) AS BIGINT) AS recovery_codes_left
                           FROM second_factors WHERE user_id = $1";
    let preferences: Option<Preferences> = lists.one("SELECT body FROM preferences WHERE user_id = $1").await?;
    Ok(Export {
        exported_at: now,
        account: lists.one(account).await?.ok_or(Error::NotFound("user"))?,
        profile: lists.one(profile).await?,
        preferences: preferences.map(|it| it.body),
        second_factor: lists.one(second_factor).await?,
        names: lists
            .all("names", "SELECT folded AS name, free_after FROM names WHERE user_id = $1 LIMIT $2", &mut cut_short)
            .await?,
        blocks: lists.all("blocks", BLOCKS, &mut cut_short).await?,
        sessions: lists.all("sessions", SESSIONS, &mut cut_short).await?,
        history: lists.all("history", HISTORY, &mut cut_short).await?,
        keys: lists.all("keys", KEYS, &mut cut_short).await?,
        mails: lists.all("mails", MAILS, &mut cut_short).await?,
        conversations: lists.all("conversations", CONVERSATIONS, &mut cut_short).await?,
        messages: lists.all("messages", MESSAGES, &mut cut_short).await?,
        reactions: lists.all("reactions", REACTIONS, &mut cut_short).await?,
        cut_short,
    })
}

const BLOCKS: &str = "SELECT blocked_id AS user_id, created_at FROM blocks WHERE user_id = $1 LIMIT $2";
const SESSIONS: &str = "SELECT id AS session_id, device, address, created_at, seen_at, ends_at, ended_at, ended_why
                          FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
const HISTORY: &str = "SELECT what, address, device, detail, created_at
                         FROM audit WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
const KEYS: &str = "SELECT id AS key_id, name, scopes, created_at, revoked_at
                      FROM api_keys WHERE made_by = $1 ORDER BY id DESC LIMIT $2";
const MAILS: &str = "SELECT recipient, subject, created_at, sent_at
                       FROM mails WHERE user_id = $1 ORDER BY id DESC LIMIT $2";

const CONVERSATIONS: &str =
    "SELECT conversation_id, kind, title, role, joined_at, left_at, delivered_seq, read_seq, notify, muted_until, draft
       FROM members JOIN conversations ON id = conversation_id WHERE user_id = $1 LIMIT $2";
const MESSAGES: &str = "SELECT conversation_id, seq, id AS message_id, client_id, body AS said, created_at
                          FROM members JOIN entries ON stream_id = conversation_id
                         WHERE user_id = $1 AND sender_id = $1 AND kind = 'message'
                         ORDER BY conversation_id DESC, seq DESC LIMIT $2";
const REACTIONS: &str = "SELECT reactions.conversation_id, seq, emoji, reactions.created_at
                           FROM members JOIN reactions
                             ON reactions.conversation_id = members.conversation_id
                            AND reactions.user_id = members.user_id
                          WHERE members.user_id = $1 LIMIT $2";

struct Lists<'d> {
    db: &'d Db,
    user: UserId,
    rows_max: u32,
}

impl Lists<'_> {
    async fn one<T: Record>(&self, text: &'static str) -> Result<Option<T>> {
        Ok(self.db.sql(text).bind(self.user).optional().await?)
    }

    /// One row more than there may be tells whether the list is cut short.
    async fn all<T: Record>(
        &self,
        name: &'static str,
        text: &'static str,
        cut: &mut Vec<&'static str>,
    ) -> Result<Vec<T>> {
        let mut rows = self.db.sql(text).bind(self.user).bind(i64::from(self.rows_max) + 1).all().await?;
        if rows.len() > self.rows_max as usize {
            rows.truncate(self.rows_max as usize);
            cut.push(name);
        }
        Ok(rows)
    }
}
