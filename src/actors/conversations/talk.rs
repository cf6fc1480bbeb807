//! A conversation that somebody uses now.
//!
//! Owns: who takes part and how far each has come, not older than a second; who is typing.  Writes: entries and
//! receipts through the writer, changes in transactions of their own, each before it answers.
//! Publishes: the entries of its stream; typing and receipts as values that are kept nowhere.
//! Mailbox: 512, then `Unavailable`.
//! On restart: reads members and head again, and tells the last entry, which its former life may not have told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::changes;
use super::rules::{CLOSED, Change, MESSAGE, NO_SUCH_CONVERSATION, Said};
use crate::actors::kernel::voices::Voices;
use crate::actors::kernel::writer::Writer;
use crate::actors::kernel::{Outcome, Reply, Role, Turn};
use crate::clock::{Clock, Moment};
use crate::config::ChatConfig;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, EntryId, UserId};
use crate::storage::blocks;
use crate::storage::conversations::{self, Member, Receipt};
use crate::storage::db::Db;
use crate::storage::streams::{Append, Entered, StreamStore, Told};
use crate::storage::writes::{Write, Written};

/// How long what is remembered of members is good: another node, a block or a preference may have changed it.
const MEMBERS_FRESH: Duration = Duration::from_secs(1);

/// What a conversation can be told.
pub enum TalkMsg {
    /// Somebody says something.
    Say { by: UserId, said: Said, client_id: Option<String>, reply: Reply<Arc<Entered>> },
    /// Somebody changes something.
    Change { by: UserId, change: Change, reply: Reply<()> },
    /// Something reached somebody, or was seen.
    Receipt { by: UserId, delivered: i64, read: i64, reply: Reply<Member> },
    /// Somebody is typing.
    Typing { by: UserId },
}

/// What every conversation starts from.
#[derive(Clone)]
pub struct TalkArgs {
    /// Where it is kept.
    pub db: Db,
    /// The same, for streams.
    pub store: StreamStore,
    /// Where hot writes go.
    pub writer: Writer,
    /// Who is told.
    pub voices: Voices,
    /// Tells the time.
    pub clock: Clock,
    /// What bounds it.
    pub config: ChatConfig,
    /// Rung when there is something to publish.
    pub committed: Arc<Notify>,
}

/// What is owed when a write is settled.
pub enum Owed {
    /// The message as it was stored.
    Said { append: Append, reply: Reply<Arc<Entered>> },
    /// The cursors.
    Receipt { receipt: Receipt, told: Option<Append>, reply: Reply<Member> },
}

/// A conversation as it is remembered.
pub struct Talk {
    pub(super) id: ConversationId,
    direct: bool,
    pub(super) members: BTreeMap<UserId, Member>,
    /// Of the two one has blocked the other, or is gone.
    closed: bool,
    /// When that was read; never, when something changed since.
    read_at: Option<Moment>,
    /// As far as the stream is known to go.
    pub(super) head: i64,
    pub(super) voices: Voices,
    pub(super) clock: Clock,
    /// Who is typing, and since when they were last heard of.
    pub(super) typing: BTreeMap<UserId, Moment>,
}

impl Role for Talk {
    type Key = ConversationId;
    type Msg = TalkMsg;
    type Args = TalkArgs;
    type Owed = Owed;
    const NAME: &'static str = "conversations";
    const MESSAGES_MAX: u32 = 512;
    /// What was committed and not told is told by the next life, asked or not.
    const EAGER: bool = true;

    async fn start(id: &ConversationId, args: &TalkArgs) -> Result<Talk> {
        let row = conversations::find(&args.db, *id).await?.ok_or(NO_SUCH_CONVERSATION)?;
        let mut talk = Talk {
            id: *id,
            direct: row.kind == "direct",
            members: BTreeMap::new(),
            closed: false,
            read_at: None,
            head: 0,
            voices: args.voices.clone(),
            clock: args.clock.clone(),
            typing: BTreeMap::new(),
        };
        talk.look(args).await?;
        let epoch = talk.look_up_head(args).await?;
        let last = args.store.page(id.stream(), talk.head - 1, talk.head).await?;
        if let Some(last) = last.into_iter().next() {
            args.voices.again(id.stream(), epoch, &[Arc::new(last)]);
        }
        Ok(talk)
    }

    async fn handle(&mut self, msg: TalkMsg, turn: &mut Turn<Self>) -> Outcome {
        let stale = self.read_at.is_none_or(|it| self.clock.moment().since(it) >= MEMBERS_FRESH);
        // In boxes of their own, as all that is asked seldom: whatever is said would carry the room for them along.
        let looked = if stale { Box::pin(self.look(turn.args())).await } else { Ok(()) };
        match (msg, looked) {
            (TalkMsg::Say { reply, .. }, Err(error)) => reply.send(Err(error)),
            (TalkMsg::Receipt { reply, .. }, Err(error)) => reply.send(Err(error)),
            (TalkMsg::Say { by, said, client_id, reply }, _) => self.say(by, &said, client_id, reply, turn),
            (TalkMsg::Receipt { by, delivered, read, reply }, _) => {
                match Box::pin(self.receipt(by, delivered, read, turn.args())).await {
                    Ok(Some((receipt, told))) => {
                        let write = Write::Receipt(receipt, told.clone());
                        turn.commit(write, Owed::Receipt { receipt, told, reply });
                    }
                    // So it is already.
                    Ok(None) => reply.send(self.member(by).cloned()),
                    Err(refusal) => reply.send(Err(refusal)),
                }
            }
            (TalkMsg::Change { by, change, reply }, _) => {
                reply.send(Box::pin(self.change(by, &change, turn.args())).await);
            }
            (TalkMsg::Typing { by }, Ok(())) => self.type_on(by),
            (TalkMsg::Typing { .. }, Err(_)) => {}
        }
        Ok(())
    }

    fn writer(args: &TalkArgs) -> Option<&Writer> {
        Some(&args.writer)
    }

    fn settled(&mut self, outcome: Result<Written>, owed: Owed) {
        match (outcome, owed) {
            (Ok(Written::Entry(appended)), Owed::Said { append, reply }) => {
                let told = Told::of(append, &appended);
                self.head = self.head.max(appended.seq);
                self.voices.entries(std::slice::from_ref(&told));
                reply.send(Ok(told.entry));
            }
            (Ok(Written::Receipt(appended)), Owed::Receipt { receipt, told, reply }) => {
                if let (Some(append), Some(appended)) = (told, appended) {
                    self.voices.entries(&[Told::of(append, &appended)]);
                }
                reply.send(self.raise(&receipt));
            }
            (Ok(_), Owed::Said { reply, .. }) => reply.send(Err(Error::internal("a message became another thing"))),
            (Ok(_), Owed::Receipt { reply, .. }) => reply.send(Err(Error::internal("a receipt became another thing"))),
            (Err(error), Owed::Said { reply, .. }) => reply.send(Err(error)),
            (Err(error), Owed::Receipt { reply, .. }) => reply.send(Err(error)),
        }
    }

    fn label(msg: &TalkMsg) -> &'static str {
        match msg {
            TalkMsg::Say { .. } => "say",
            TalkMsg::Change { .. } => "change",
            TalkMsg::Receipt { .. } => "receipt",
            TalkMsg::Typing { .. } => "typing",
        }
    }
}

impl Talk {
    /// Reads where the stream ends, which another node may have moved. Gives its epoch.
    pub(super) async fn look_up_head(&mut self, args: &TalkArgs) -> Result<i64> {
        let head = args.store.head(self.id.stream()).await?;
        self.head = self.head.max(head.head);
        Ok(head.epoch)
    }

    /// Reads who takes part.
    async fn look(&mut self, args: &TalkArgs) -> Result<()> {
        let now = self.clock.moment();
        let members = conversations::members(&args.db, self.id).await?;
        self.closed = match &members[..] {
            [one, other] if self.direct => blocks::between(&args.db, one.user_id, other.user_id).await?,
            _ => self.direct,
        };
        self.members = members.into_iter().map(|it| (it.user_id, it)).collect();
        self.read_at = Some(now);
        Ok(())
    }

    /// The one who asks, if they take part.
    pub(super) fn member(&self, user: UserId) -> Result<&Member> {
        self.members.get(&user).ok_or(NO_SUCH_CONVERSATION)
    }

    pub(super) fn may_say(&self, by: UserId) -> Result<()> {
        self.member(by)?;
        if self.closed { Err(CLOSED) } else { Ok(()) }
    }

    fn say(
        &mut self,
        by: UserId,
        said: &Said,
        client_id: Option<String>,
        reply: Reply<Arc<Entered>>,
        turn: &mut Turn<Self>,
    ) {
        if let Err(refusal) = self.may_say(by) {
            return reply.send(Err(refusal));
        }
        self.typing.remove(&by);
        let (id, stream) = (EntryId::new(&self.clock), self.id.stream());
        let append = Append { stream, id, kind: MESSAGE, sender: Some(by), client_id, body: said.body() };
        turn.commit(Write::Entry(append.clone()), Owed::Said { append, reply });
    }

    /// Commit, then memory, then the audience.
    async fn change(&mut self, by: UserId, change: &Change, args: &TalkArgs) -> Result<()> {
        if self.closed && matches!(change, Change::Edit { .. } | Change::React { .. } | Change::Pin { .. }) {
            return Err(CLOSED);
        }
        let told = changes::change(args, self.id, by, change).await;
        if matches!(change, Change::Add(_) | Change::Remove(_) | Change::Depart | Change::Appoint { .. }) {
            // Also when nobody knows whether it was.
            self.read_at = None;
        }
        let told = told?;
        let own = told.iter().filter(|it| it.stream == self.id.stream()).map(|it| it.entry.seq);
        self.head = own.fold(self.head, i64::max);
        self.voices.entries(&told);
        Ok(())
    }
}
