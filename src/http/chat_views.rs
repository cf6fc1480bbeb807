//! Conversations and messages as they are shown.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::actors::conversations::rules::{GONE, MESSAGE};
use crate::actors::conversations::{History, Said};
use crate::ids::{ConversationId, EntryId, UserId};
use crate::storage::conversations::{Listed, Participant};
use crate::storage::streams::Entered;

/// A conversation as the one who asks sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Conversation {
    /// The id, and that of its stream.
    id: ConversationId,
    /// `direct` or `group`.
    kind: String,
    /// What a group calls itself.
    title: Option<String>,
    /// What the caller is in it: `owner` or `member`.
    role: String,
    /// The life of its stream.
    epoch: i64,
    /// The end of its stream: what comes behind it is not in here.
    head: i64,
    /// What was said up to here is not shown to the caller.
    joined_seq: i64,
    /// How far it reached the caller.
    delivered_seq: i64,
    /// How far the caller has read.
    read_seq: i64,
    /// Messages of others since then, up to `head`; at most 1,000 are counted.
    unread: i64,
    /// What the caller wants to be told of: `all`, `mentions` or `nothing`.
    notify: String,
    /// Until when it is silent for the caller.
    muted_until: Option<DateTime<Utc>>,
    /// What the caller began to write.
    draft: Option<String>,
    /// What was said last.
    last_message: Option<Message>,
    /// How many take part.
    member_count: i64,
    /// Some who take part; all of them are at `/members`.
    participants: Vec<Attendee>,
    /// When something was said last, or when the caller came.
    active_at: DateTime<Utc>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Attendee {
    /// Who.
    user_id: UserId,
    /// Their name.
    username: String,
    /// What they call themselves.
    display_name: String,
    /// Their picture.
    avatar_url: Option<String>,
    /// `owner` or `member`.
    role: String,
    /// The last entry that reached one of their devices.
    delivered_seq: i64,
    /// The last entry they have seen; null unless both they and the caller let others know.
    read_seq: Option<i64>,
}

impl Conversation {
    pub(super) fn of(it: Listed, viewer: UserId, participants: &[Participant]) -> Conversation {
        let last_message = Message::last_of(&it);
        let own = participants.iter().filter(|one| one.conversation_id == it.id);
        Conversation {
            participants: own.map(|one| Attendee::of(one, viewer, it.shares)).collect(),
            id: it.id,
            kind: it.kind,
            title: it.title,
            role: it.role,
            epoch: it.epoch,
            head: it.head,
            joined_seq: it.joined_seq,
            delivered_seq: it.delivered_seq,
            read_seq: it.read_seq,
            unread: it.unread,
            notify: it.notify,
            muted_until: it.muted_until,
            draft: it.draft,
            last_message,
            member_count: it.member_count,
            active_at: it.active_at,
        }
    }

    /// Which it is.
    pub(crate) const fn id(&self) -> ConversationId {
        self.id
    }

    /// Its place in the list.
    pub(crate) const fn place(&self) -> (DateTime<Utc>, ConversationId) {
        (self.active_at, self.id)
    }
}

impl Attendee {
    /// As a viewer sees them, who lets others know what they have read, or does not.
    pub(super) fn of(it: &Participant, viewer: UserId, viewer_shares: bool) -> Attendee {
        let seen = it.user_id == viewer || (it.shares && viewer_shares);
        Attendee {
            user_id: it.user_id,
            username: it.username.clone(),
            display_name: it.display_name.clone(),
            avatar_url: it.avatar_url.clone(),
            role: it.role.clone(),
            delivered_seq: it.delivered_seq,
            read_seq: Some(it.read_seq).filter(|_| seen),
        }
    }
}

/// Something that was said.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// Its id.
    id: EntryId,
    /// Where.
    conversation_id: ConversationId,
    /// Its place in the conversation: what other calls name it by.
    seq: i64,
    /// Who said it.
    sender_id: Option<UserId>,
    /// What the sender's client calls it.
    client_id: Option<String>,
    /// What was said; empty when it was taken back.
    text: String,
    /// The place of the message that it answers.
    reply_to: Option<i64>,
    /// Media by their ids.
    attachments: Vec<Uuid>,
    /// Each sign under it, with those who set it.
    reactions: BTreeMap<String, Vec<UserId>>,
    /// Whether its sender or an owner took it back.
    deleted: bool,
    /// When it was changed last.
    edited_at: Option<DateTime<Utc>>,
    /// When it was said.
    created_at: DateTime<Utc>,
}

impl Message {
    pub(crate) fn of(conversation: ConversationId, it: &Entered) -> Message {
        let said = Said::of(&it.body);
        Message {
            id: it.id,
            conversation_id: conversation,
            seq: it.seq,
            sender_id: it.sender_id,
            client_id: it.client_id.clone(),
            text: said.text,
            reply_to: said.reply_to,
            attachments: said.attachments,
            reactions: BTreeMap::new(),
            deleted: it.kind == GONE,
            edited_at: said.edited_at,
            created_at: it.created_at,
        }
    }

    /// What was said last in a conversation of a list.
    fn last_of(it: &Listed) -> Option<Message> {
        let entry = Entered {
            seq: it.last_seq?,
            id: it.last_id?,
            kind: it.last_kind.clone().unwrap_or_else(|| MESSAGE.to_owned()),
            sender_id: it.last_sender_id,
            client_id: it.last_client_id.clone(),
            body: it.last_body.clone()?,
            created_at: it.last_at?,
        };
        Some(Message::of(it.id, &entry))
    }

    /// A part of the history, with the signs under it.
    pub(crate) fn all(conversation: ConversationId, history: &History) -> Vec<Message> {
        let mut signs: BTreeMap<i64, BTreeMap<String, Vec<UserId>>> = BTreeMap::new();
        for it in &history.reactions {
            signs.entry(it.seq).or_default().entry(it.emoji.clone()).or_default().push(it.user_id);
        }
        let with_signs = |it: &Entered| {
            let reactions = signs.remove(&it.seq).unwrap_or_default();
            Message { reactions, ..Message::of(conversation, it) }
        };
        history.messages.iter().map(with_signs).collect()
    }

    /// Its place.
    pub(super) const fn seq(&self) -> i64 {
        self.seq
    }
}
