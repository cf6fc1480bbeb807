//! Conversations: direct and group, the same over every transport.
//!
//! What changes goes through one actor a conversation; what is only read, and what people keep for themselves of it,
//! goes past it.

mod begin;
mod changes;
mod notes;
pub mod rules;
mod talk;

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

pub use self::notes::Progress;
use self::rules::NO_SUCH_CONVERSATION;
pub use self::rules::{Change, Said};
use self::talk::{Talk, TalkArgs, TalkMsg};
use super::kernel::streams::Audience;
use super::kernel::voices::Voices;
use super::kernel::writer::Writer;
use super::kernel::{Keyed, Limits, Root};
use super::users::names;
use crate::clock::Clock;
use crate::config::ChatConfig;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, StreamId, UserId};
use crate::storage::Storage;
use crate::storage::conversations::{self as store, Asked, Hearing, Listed, Member, Participant, Reacted};
use crate::storage::db::Tx;
use crate::storage::streams::{Entered, StreamStore};

/// The way into every conversation. Cloning it gives the same.
#[derive(Clone)]
pub struct Conversations {
    talks: Keyed<Talk>,
    args: TalkArgs,
}

/// A part of what was said.
#[derive(Clone, Debug)]
pub struct History {
    /// Messages, in the order that was asked for.
    pub messages: Vec<Entered>,
    /// Signs under them.
    pub reactions: Vec<Reacted>,
}

impl Conversations {
    /// Starts the kind. What was committed is told to an audience; what there is to publish is rung for.
    pub async fn start(
        root: &Root,
        storage: &Storage,
        writer: &Writer,
        config: ChatConfig,
        clock: &Clock,
        (audience, committed): (Arc<dyn Audience>, Arc<Notify>),
    ) -> Result<Conversations> {
        let store = StreamStore { db: storage.db.clone() };
        let voices = Voices::start(root, &storage.bus, store.clone(), audience);
        let (db, writer, clock) = (storage.db.clone(), writer.clone(), clock.clone());
        let args = TalkArgs { db, store, writer, voices, clock, config, committed };
        Ok(Conversations { talks: root.keyed(args.clone(), Limits::default()).await?, args })
    }

    /// Says something. The same client id is the same message, however often it comes.
    pub async fn say(
        &self,
        id: ConversationId,
        by: UserId,
        said: Said,
        client_id: Option<String>,
    ) -> Result<Arc<Entered>> {
        let (said, client_id) = (rules::said(said, &self.args.config)?, rules::client_id(client_id)?);
        if let Some(seq) = said.reply_to {
            self.message(id, by, seq).await.map_err(|error| match error {
                Error::NotFound("message") => Error::invalid("reply_to", "there is no such message"),
                other => other,
            })?;
        }
        let (draft, named) = (said.clone(), client_id.clone());
        let spoken = self.talks.get(&id).ask(|reply| TalkMsg::Say { by, said: draft, client_id: named, reply }).await;
        match (spoken, client_id) {
            // It was changed since: what was sent first is the same nevertheless.
            (Err(Error::Invalid { code: "idempotency_mismatch", fields }), Some(client_id)) => {
                let stored = store::sent(&self.args.db, id, by, &client_id).await?;
                let first = stored.as_ref().and_then(|it| Said::of(&it.body).sent_hash);
                let same = first.is_some_and(|it| it == rules::hash(&said.body()));
                let again = stored.filter(|_| same).map(Arc::new);
                again.ok_or(Error::Invalid { code: "idempotency_mismatch", fields })
            }
            (spoken, _) => spoken,
        }
    }

    /// Changes a conversation; what is so already changes nothing.
    pub async fn change(&self, id: ConversationId, by: UserId, mut change: Change) -> Result<()> {
        if let Change::Add(users) = &mut change {
            users.sort_unstable();
            users.dedup();
            self.reach(by, users).await?;
        }
        self.talks.get(&id).ask(|reply| TalkMsg::Change { by, change, reply }).await
    }

    /// Notes how far somebody has come, and tells how far they are.
    pub async fn receipt(&self, id: ConversationId, by: UserId, delivered: i64, read: i64) -> Result<Member> {
        self.talks.get(&id).ask(|reply| TalkMsg::Receipt { by, delivered, read, reply }).await
    }

    /// Notes that somebody is typing. Nobody waits for it, and it may be lost.
    pub async fn typing(&self, id: ConversationId, by: UserId) -> Result<()> {
        self.seen_from(id, by).await?;
        self.talks.get(&id).tell(TalkMsg::Typing { by })
    }

    /// From where on somebody may see what is said; to others there is no such conversation.
    async fn seen_from(&self, id: ConversationId, user: UserId) -> Result<i64> {
        store::seen_from(&self.args.db, id, user).await?.ok_or(NO_SUCH_CONVERSATION)
    }

    /// From which place on somebody may follow a stream: their own whole, that of a conversation from where they joined.
    /// Positions before it are not theirs. What they may not see is not found.
    pub async fn may_see(&self, user: UserId, stream: StreamId) -> Result<i64> {
        if stream == user.stream() {
            return self.own_stream(user).await.map(|_| 0);
        }
        self.seen_from(ConversationId(stream.0), user).await.map_err(|error| match error {
            Error::NotFound(_) => Error::NotFound("stream"),
            other => other,
        })
    }

    /// Every stream that concerns somebody, their own first, then their conversations, the liveliest first; each with
    /// the place before which they may not see it.
    pub async fn streams(&self, user: UserId, streams_max: usize) -> Result<Vec<(StreamId, i64)>> {
        let own = self.own_stream(user).await?;
        let rest = store::of_user(&self.args.db, user, streams_max.saturating_sub(1) as i64).await?;
        Ok([(own, 0)].into_iter().chain(rest.into_iter().map(|(id, from)| (id.stream(), from))).collect())
    }

    /// The stream of what concerns somebody alone; begun on first use.
    async fn own_stream(&self, user: UserId) -> Result<StreamId> {
        let streams = &self.args.store;
        match streams.head(user.stream()).await {
            Err(Error::NotFound(_)) => streams.ensure(&[user.stream()], "user").await?,
            found => drop(found?),
        }
        Ok(user.stream())
    }

    /// Reads one message, unless it was taken back.
    pub async fn message(&self, id: ConversationId, user: UserId, seq: i64) -> Result<History> {
        let from = self.seen_from(id, user).await?;
        let found = store::message(&self.args.db, id, seq).await?;
        let found = found.filter(|it| it.seq > from).ok_or(Error::NotFound("message"))?;
        self.with_signs(id, vec![found]).await
    }

    /// Reads what was said: the newest first, or from a place onwards.
    pub async fn history(
        &self,
        id: ConversationId,
        user: UserId,
        before: Option<i64>,
        after: Option<i64>,
        rows_max: i64,
    ) -> Result<History> {
        let from = self.seen_from(id, user).await?;
        let messages = store::history(&self.args.db, id, from, before, after, rows_max).await?;
        self.with_signs(id, messages).await
    }

    /// Reads what is pinned, the newest pin first.
    pub async fn pinned(&self, id: ConversationId, user: UserId) -> Result<History> {
        let from = self.seen_from(id, user).await?;
        self.with_signs(id, store::pinned(&self.args.db, id, from).await?).await
    }

    async fn with_signs(&self, id: ConversationId, messages: Vec<Entered>) -> Result<History> {
        let seqs: Vec<i64> = messages.iter().map(|it| it.seq).collect();
        Ok(History { reactions: store::reactions(&self.args.db, id, &seqs).await?, messages })
    }

    /// Lists somebody's conversations, those in which something was said last first.
    pub async fn list(&self, user: UserId, query: Option<&str>, asked: Asked) -> Result<Vec<Listed>> {
        let folded = query.map(names::fold).filter(|it| !it.is_empty());
        store::list(&self.args.db, user, Asked { folded, ..asked }).await
    }

    /// Reads one of somebody's conversations.
    pub async fn get(&self, user: UserId, id: ConversationId) -> Result<Listed> {
        let asked = Asked { only: Some(id), rows_max: 1, ..Asked::default() };
        store::list(&self.args.db, user, asked).await?.into_iter().next().ok_or(NO_SUCH_CONVERSATION)
    }

    /// Tells who takes part in some conversations that somebody may see.
    pub async fn participants(
        &self,
        ids: &[ConversationId],
        after: Option<UserId>,
        members_max: i64,
    ) -> Result<Vec<Participant>> {
        store::participants(&self.args.db, ids, after, members_max).await
    }

    /// Sets how somebody wants to hear of a conversation.
    pub async fn set_hearing(&self, id: ConversationId, user: UserId, to: Hearing) -> Result<()> {
        let to = Hearing { muted_until: rules::muted_until(to.muted_until)?, ..to };
        let about = json!({ "conversation_id": id, "notify": to.notify, "muted_until": to.muted_until });
        let mut tx = self.begin_own(user).await?;
        let kept = store::set_hearing(&mut tx, id, user, &to).await?;
        self.tell_own(tx, user, kept, "conversation.settings", about).await
    }

    /// Keeps what somebody has begun to write, for their other devices.
    pub async fn keep_draft(&self, id: ConversationId, user: UserId, text: String) -> Result<()> {
        let draft = rules::draft(text, &self.args.config)?;
        let about = json!({ "conversation_id": id, "draft": draft });
        let mut tx = self.begin_own(user).await?;
        let kept = store::set_draft(&mut tx, id, user, draft.as_deref()).await?;
        self.tell_own(tx, user, kept, "conversation.draft", about).await
    }

    /// Begins to change what somebody keeps for themselves.
    async fn begin_own(&self, user: UserId) -> Result<Tx<'static>> {
        let mut tx = self.args.db.begin().await?;
        crate::storage::streams::lock(&mut tx, [user.stream()]).await?;
        Ok(tx)
    }

    /// Commits it with the entry of their own stream that tells their devices.
    async fn tell_own(
        &self,
        tx: Tx<'static>,
        user: UserId,
        kept: bool,
        kind: &'static str,
        about: serde_json::Value,
    ) -> Result<()> {
        if !kept {
            return Err(NO_SUCH_CONVERSATION);
        }
        let at = self.args.clock.now();
        let told = changes::tell(&self.args, tx, user, vec![(user.stream(), kind, about)], at).await?;
        self.args.voices.entries(&told);
        Ok(())
    }

    /// Takes somebody out of every conversation, because their account ends. What they said stays for the others.
    pub async fn depart(&self, user: UserId) -> Result<()> {
        loop {
            let some = store::of_user(&self.args.db, user, 100).await?;
            if some.is_empty() {
                return Ok(());
            }
            for (id, _) in some {
                match self.change(id, user, Change::Depart).await {
                    Err(Error::NotFound(_)) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
