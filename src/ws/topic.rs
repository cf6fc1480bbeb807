//! A stream as its listeners hear it: what is published, and the join of replay and live.
//!
//! Two invariants, both under the topic's lock, which is never held while a socket is written:
//! - `head`, the last entry handed to a fan-out, moves in the same step in which the fan-out notes who is a member;
//! - a session becomes a member only when everything up to `head` is in its outbox.
//!
//! So fan-outs (`fanout.rs`) bring a member every entry after its join, in order, and none before it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::frames::Chunk;
use super::session::Session;
use super::topics::{Position, Topics};
use super::wire::Close;
use crate::error::Result;
use crate::ids::StreamId;
use crate::storage::streams::Entered;

const PENDING_ENTRIES_MAX: usize = 4_096;
const PENDING_BYTES_MAX: usize = 8 << 20;
const TOLD_MAX: usize = 64;
/// One write's worth. Well below an outbox, or one batch would evict a client that only hiccups.
pub(super) const BATCH_ENTRIES_MAX: usize = 128;
const BATCH_BYTES_MAX: usize = 128 << 10;

/// What came of an attempt to join.
pub(super) enum Join {
    Done,
    /// The position cannot be served.
    Reset(&'static str),
    /// The client has heard more than this topic.
    Ahead(Position),
    /// The store has to be read first, never past that place: what lies behind it will come live.
    Missed(Position, i64),
}

/// A stream and its listeners.
pub struct Topic {
    /// Which one.
    pub id: StreamId,
    pub(super) state: Mutex<State>,
    opened: OnceCell<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// By the number under which each joined: whoever joins later stands behind the others.
    pub(super) members: BTreeMap<u64, Arc<Session>>,
    pub(super) joined: u64,
    pub(super) epoch: i64,
    pub(super) head: i64,
    /// How far the stream is known to go.
    pub(super) known: i64,
    /// The last entries up to `head`: a client that was away for a moment costs no read of the store.
    pub(super) recent: VecDeque<Arc<Entered>>,
    /// Published, not yet handed to a fan-out; consecutive.
    pub(super) pending: VecDeque<Arc<Entered>>,
    pub(super) pending_bytes: usize,
    /// Values that are kept nowhere, the last of each kind.
    pub(super) told: Vec<(String, String)>,
    pub(super) is_open: bool,
    pub(super) fanning_out: bool,
}

impl Topic {
    pub(super) fn new(id: StreamId) -> Arc<Topic> {
        Arc::new(Topic { id, state: Mutex::default(), opened: OnceCell::new() })
    }

    /// Opens the topic where its stream stands; once.
    pub(super) async fn open(self: &Arc<Self>, topics: &Topics) -> Result<()> {
        let open = async || {
            let head = topics.history.head(self.id).await?;
            let mut state = self.state.lock();
            (state.epoch, state.head, state.is_open) = (head.epoch, head.head, true);
            self.start(topics, &mut state);
            Ok(())
        };
        self.opened.get_or_try_init(open).await.copied()
    }

    /// Takes committed entries, in any order and more than once. Never waits.
    pub(super) fn publish(self: &Arc<Self>, topics: &Topics, epoch: i64, entries: &[Arc<Entered>]) {
        let mut state = self.state.lock();
        if state.is_open && epoch != state.epoch {
            let replaced = epoch > state.epoch;
            drop(state);
            if replaced {
                self.give_up(topics, &Close::new(Close::REPLACED, "history_replaced"));
            }
            return;
        }
        for entry in entries {
            state.known = state.known.max(entry.seq);
            let next = state.pending.back().map_or(state.head, |it| it.seq) + 1;
            let fits = state.pending.len() < PENDING_ENTRIES_MAX && state.pending_bytes < PENDING_BYTES_MAX;
            if state.is_open && entry.seq == next && fits {
                state.pending_bytes += entry.body.len();
                state.pending.push_back(entry.clone());
            }
        }
        self.start(topics, &mut state);
    }

    /// Hears that the stream goes as far as that.
    pub(super) fn hint(self: &Arc<Self>, topics: &Topics, known: i64) {
        let mut state = self.state.lock();
        state.known = state.known.max(known);
        self.start(topics, &mut state);
    }

    /// Tells members a value; the next one of its kind replaces it.
    pub(super) fn tell(self: &Arc<Self>, topics: &Topics, kind: &str, value: &str) {
        let mut state = self.state.lock();
        match state.told.iter().position(|it| it.0 == kind) {
            Some(at) => value.clone_into(&mut state.told[at].1),
            None if state.told.len() < TOLD_MAX => state.told.push((kind.to_owned(), value.to_owned())),
            None => return,
        }
        self.start(topics, &mut state);
    }

    /// Starts a fan-out if there is something to do. A task of its own: a publisher that is killed leaves no hole.
    fn start(self: &Arc<Self>, topics: &Topics, state: &mut State) {
        let behind = state.is_open && state.known > state.head;
        if (behind || !state.told.is_empty()) && !std::mem::replace(&mut state.fanning_out, true) {
            topics.root.task("topics", self.clone().fan_out(topics.clone()));
        }
    }

    /// Makes a session a member if the recent entries close its distance to `head`; the caller flushes it.
    pub(super) fn join(self: &Arc<Self>, session: &Arc<Session>, have: Option<Position>) -> Result<Join> {
        let mut state = self.state.lock();
        let (epoch, head, number) = (state.epoch, state.head, state.joined + 1);
        let from = have.unwrap_or(Position { epoch, seq: head });
        let missed = match usize::try_from(head - from.seq) {
            _ if session.follows(self.id) => return Ok(Join::Done),
            _ if from.epoch != epoch => return Ok(Join::Reset("epoch")),
            Err(_) => return Ok(Join::Ahead(from)),
            Ok(missed) if missed > one_write(state.recent.iter().rev()) => return Ok(Join::Missed(from, head)),
            Ok(missed) => missed,
        };
        if session.note_joined(self, number)? {
            if missed > 0 {
                let entries = state.recent.range(state.recent.len() - missed..).map(AsRef::as_ref);
                session.queue(Chunk::of(self.id, epoch, entries, session.protocol));
            }
            session.queue(Chunk::place(self.id, Position { epoch, seq: head }, None, session.protocol));
            state.joined = number;
            state.members.insert(number, session.clone());
        }
        Ok(Join::Done)
    }

    /// Keeps what was read up to `head`, if nothing is kept: the next ones to come need not read it.
    pub(super) fn remember(&self, page: &[Arc<Entered>]) {
        let mut state = self.state.lock();
        if state.recent.is_empty() && page.last().is_some_and(|it| it.seq == state.head) {
            state.recent.extend(page[page.len().saturating_sub(BATCH_ENTRIES_MAX)..].iter().cloned());
        }
    }

    /// The life of the stream, and the last entry handed to members.
    pub(super) fn head(&self) -> Position {
        let state = self.state.lock();
        Position { epoch: state.epoch, seq: state.head }
    }
}

/// How many of these entries leave in one write: one at least.
pub(super) fn one_write<'a>(entries: impl Iterator<Item = &'a Arc<Entered>>) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Arc<Entered>| {
        bytes += entry.body.len();
        bytes <= BATCH_BYTES_MAX || bytes == entry.body.len()
    };
    entries.take(BATCH_ENTRIES_MAX).take_while(fits).count()
}
