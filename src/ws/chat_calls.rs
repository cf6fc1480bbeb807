//! What clients ask of conversations: the calls and forms of REST, under the names of the older chat service where it had
//! one. A form names its conversation as `conversation_id`.

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::calls::{Asked, Call, Done, typed};
use super::following::follow_own;
use super::frames::{Chunk, Protocol};
use crate::actors::conversations::{Change, Conversations};
use crate::error::{Error, Result};
use crate::http::chat::{self, Begin, Cursors, HearingForm, Newcomers, Office, Position, Rename};
use crate::http::chat_views::{Conversation, Message};
use crate::http::messages::{self, Draft, Edit, Messages, Part, Saying};
use crate::ids::{ConversationId, UserId};
use crate::storage::conversations::{Asked as Wanted, Hearing, Member};

/// Conversations in one answer.
const LISTED_MAX: i64 = 100;

/// Every request about conversations.
pub(super) const CALLS: &[(&str, Call)] = &[
    ("list_conversations", |asked, body| typed(asked, body, list)),
    ("begin_conversation", |asked, body| typed(asked, body, begin)),
    ("join_conversation", |asked, body| typed(asked, body, join)),
    ("rename_conversation", |asked, body| typed(asked, body, rename)),
    ("set_conversation", |asked, body| typed(asked, body, set)),
    ("add_members", |asked, body| typed(asked, body, add)),
    ("remove_member", |asked, body| typed(asked, body, remove)),
    ("set_role", |asked, body| typed(asked, body, appoint)),
    ("list_messages", |asked, body| typed(asked, body, list_messages)),
    ("new_message", |asked, body| typed(asked, body, say)),
    ("edit_message", |asked, body| typed(asked, body, edit)),
    ("delete_message", |asked, body| typed(asked, body, delete)),
    ("add_reaction", |asked, body| typed(asked, body, |asked, it| react(asked, it, true))),
    ("remove_reaction", |asked, body| typed(asked, body, |asked, it| react(asked, it, false))),
    ("list_pins", |asked, body| typed(asked, body, list_pins)),
    ("pin_message", |asked, body| typed(asked, body, |asked, it| pin(asked, it, true))),
    ("unpin_message", |asked, body| typed(asked, body, |asked, it| pin(asked, it, false))),
    ("receipt", |asked, body| typed(asked, body, receipt)),
    ("typing", |asked, body| typed(asked, body, type_on)),
    ("draft", |asked, body| typed(asked, body, keep_draft)),
];

/// A conversation, and what is asked of it.
struct In<T> {
    id: ConversationId,
    form: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let id = fields.remove("conversation_id").ok_or_else(|| D::Error::missing_field("conversation_id"))?;
        let id = serde_json::from_value(id).map_err(D::Error::custom)?;
        let form = serde_path_to_error::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(In { id, form })
    }
}

/// A conversation by its id alone, or in a form.
#[derive(Deserialize)]
#[serde(untagged)]
enum Which {
    Id(ConversationId),
    In(In<Nothing>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Which {
    const fn id(&self) -> ConversationId {
        match self {
            Which::Id(id) | Which::In(In { id, .. }) => *id,
        }
    }
}

impl Asked {
    fn talks(&self) -> &Conversations {
        &self.house.actors().conversations
    }

    async fn change(&self, id: ConversationId, change: Change) -> Result<Done> {
        self.talks().change(id, self.who.user, change).await.map(|()| Done {})
    }

    /// Stock clients hear what they take part in without asking; a native client follows for itself.
    async fn follow(&self, id: ConversationId) -> Result<()> {
        if self.session.protocol != Protocol::Native {
            let followed = follow_own(&self.house, &self.session, vec![(id.stream(), None)]);
            followed.await.map_err(|_| Error::unavailable("history"))?;
        }
        Ok(())
    }
}

/// Which conversations: from behind a place, those that a query finds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Listing {
    query: Option<String>,
    after: Option<(DateTime<Utc>, ConversationId)>,
    size: Option<i64>,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Conversation>,
    /// The place to go on from, as `after`.
    next: Option<(DateTime<Utc>, ConversationId)>,
}

async fn list(asked: Asked, form: Option<Listing>) -> Result<Page> {
    let form = form.unwrap_or_default();
    let size = form.size.unwrap_or(LISTED_MAX);
    if !(1..=LISTED_MAX).contains(&size) {
        return Err(Error::invalid("size", format!("must be from 1 to {LISTED_MAX}")));
    }
    let wanted = Wanted { after: form.after, rows_max: size + 1, ..Wanted::default() };
    let mut items = chat::some(asked.talks(), asked.who.user, form.query.as_deref(), wanted).await?;
    let more = items.len() as i64 > size;
    items.truncate(usize::try_from(size).unwrap_or_default());
    Ok(Page { next: items.last().filter(|_| more).map(Conversation::place), items })
}

async fn begin(asked: Asked, form: Begin) -> Result<Conversation> {
    let (begun, _) = chat::begun(asked.talks(), asked.who.user, form).await?;
    asked.follow(begun.id()).await?;
    Ok(begun)
}

/// Shows a conversation, and lets a stock client hear it from its end on, if it does not hear it already.
async fn join(asked: Asked, which: Which) -> Result<Conversation> {
    let shown = chat::one(asked.talks(), asked.who.user, which.id()).await?;
    asked.follow(which.id()).await?;
    Ok(shown)
}

async fn rename(asked: Asked, In { id, form }: In<Rename>) -> Result<Done> {
    asked.change(id, Change::Rename(form.title)).await
}

async fn set(asked: Asked, In { id, form }: In<HearingForm>) -> Result<Done> {
    let hearing = Hearing { notify: form.notify.name(), muted_until: form.muted_until };
    asked.talks().set_hearing(id, asked.who.user, hearing).await.map(|()| Done {})
}

async fn add(asked: Asked, In { id, form }: In<Newcomers>) -> Result<Done> {
    asked.change(id, Change::Add(form.user_ids)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Somebody {
    user_id: UserId,
}

async fn remove(asked: Asked, In { id, form }: In<Somebody>) -> Result<Done> {
    asked.change(id, Change::Remove(form.user_id)).await
}

#[derive(Deserialize)]
struct Appointed {
    user_id: UserId,
    #[serde(flatten)]
    office: Office,
}

async fn appoint(asked: Asked, In { id, form }: In<Appointed>) -> Result<Done> {
    asked.change(id, Change::Appoint { user: form.user_id, owner: form.office.role == Position::Owner }).await
}

async fn list_messages(asked: Asked, In { id, form }: In<Part>) -> Result<Messages> {
    messages::read(asked.talks(), asked.who.user, id, form).await
}

/// The answer is the stored message; a stock client is told besides that it was sent.
async fn say(asked: Asked, In { id, form }: In<Saying>) -> Result<Message> {
    let message = messages::spoken(asked.talks(), asked.who.user, id, form).await?;
    if asked.session.protocol == Protocol::SocketIo {
        let object = serde_json::to_string(&message).map_err(Error::internal)?;
        asked.session.send(&Chunk::told(Protocol::SocketIo, "message_sent", &object));
    }
    Ok(message)
}

/// A message by its place.
#[derive(Deserialize)]
struct At<T> {
    seq: i64,
    #[serde(flatten)]
    rest: T,
}

async fn edit(asked: Asked, In { id, form: At { seq, rest } }: In<At<Edit>>) -> Result<Message> {
    asked.change(id, Change::Edit { seq, text: rest.text }).await?;
    messages::one(asked.talks(), asked.who.user, id, seq).await
}

async fn delete(asked: Asked, In { id, form: At { seq, .. } }: In<At<Nothing>>) -> Result<Done> {
    asked.change(id, Change::Delete { seq }).await
}

#[derive(Deserialize)]
struct Sign {
    emoji: String,
}

async fn react(asked: Asked, In { id, form: At { seq, rest } }: In<At<Sign>>, on: bool) -> Result<Done> {
    asked.change(id, Change::React { seq, emoji: rest.emoji, on }).await
}

async fn list_pins(asked: Asked, which: Which) -> Result<Vec<Message>> {
    let pinned = asked.talks().pinned(which.id(), asked.who.user).await?;
    Ok(Message::all(which.id(), &pinned))
}

async fn pin(asked: Asked, In { id, form: At { seq, .. } }: In<At<Nothing>>, on: bool) -> Result<Done> {
    asked.change(id, Change::Pin { seq, on }).await
}

async fn receipt(asked: Asked, In { id, form }: In<Cursors>) -> Result<Cursors> {
    let receipt = asked.talks().receipt(id, asked.who.user, form.delivered_seq, form.read_seq);
    let Member { delivered_seq, read_seq, .. } = receipt.await?;
    Ok(Cursors { delivered_seq, read_seq })
}

async fn type_on(asked: Asked, which: Which) -> Result<Done> {
    asked.talks().typing(which.id(), asked.who.user).await.map(|()| Done {})
}

async fn keep_draft(asked: Asked, In { id, form }: In<Draft>) -> Result<Done> {
    asked.talks().keep_draft(id, asked.who.user, form.text).await.map(|()| Done {})
}
