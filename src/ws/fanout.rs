//! From a topic to its members: one fan-out runs at a time, and what is published meanwhile leaves together in the next.
//!
//! What did not fit, or was never heard of, is read from the store: `known` says how far it has to go.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::close;
use super::following::away;
use super::frames::{Batch, Chunk, Protocol, lost};
use super::members::Page;
use super::topic::{BATCH_ENTRIES_MAX, Topic, one_write};
use super::topics::{Position, Topics};
use super::wire::Close;
use crate::ids::{StreamId, UserId};
use crate::storage::streams::Entered;

const READS_MAX: u32 = 5;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What an entry means for those who listen.
enum Turn {
    /// Somebody takes no part any more: what comes behind it is not theirs.
    Left(UserId),
    /// There is one more stream to hear.
    Joined(StreamId, Position),
}

impl Turn {
    fn of(entry: &Entered) -> Option<Turn> {
        #[derive(Deserialize)]
        struct Left {
            user_id: UserId,
        }
        #[derive(Deserialize)]
        struct Joined {
            conversation_id: StreamId,
            epoch: i64,
            joined_seq: i64,
        }
        match &*entry.kind {
            "member.removed" => serde_json::from_str(&entry.body).ok().map(|it: Left| Turn::Left(it.user_id)),
            "conversation.joined" => {
                let Joined { conversation_id, epoch, joined_seq: seq } = serde_json::from_str(&entry.body).ok()?;
                Some(Turn::Joined(conversation_id, Position { epoch, seq }))
            }
            _ => None,
        }
    }
}

/// What a fan-out does next.
enum Step {
    Write(Batch, Vec<Page>, Vec<Turn>),
    Read { after: i64, up_to: i64 },
    GiveUp(Close),
    Rest,
}

impl Topic {
    /// Writes until nothing is pending.
    pub(super) async fn fan_out(self: Arc<Self>, topics: Topics) {
        let guard = FanOut { topic: &self, topics: &topics };
        let mut reads = 0;
        loop {
            match self.take() {
                Step::Rest => break,
                Step::GiveUp(close) => return self.give_up(&topics, &close),
                Step::Write(batch, pages, turns) => {
                    write(&batch, pages).await;
                    turns.iter().for_each(|it| self.turn(&topics, it));
                }
                Step::Read { after, up_to } => match topics.history.page(self.id, after, up_to).await {
                    Ok(page) if page.first().is_some_and(|it| it.seq == after + 1) => {
                        reads = 0;
                        self.put_first(page);
                    }
                    // What was announced is committed: a store that does not have it lags, or is out of order.
                    _ if reads < READS_MAX => {
                        reads += 1;
                        tokio::time::sleep(READ_AGAIN_AFTER * reads).await;
                    }
                    _ => return self.give_up(&topics, &away()),
                },
            }
        }
        std::mem::forget(guard);
    }

    fn take(&self) -> Step {
        let mut state = self.state.lock();
        if state.replaced {
            return Step::GiveUp(Close::new(close::REPLACED, "history_replaced"));
        }
        if !state.told.is_empty() {
            let (id, told) = (self.id, std::mem::take(&mut state.told));
            let encode = move |protocol| {
                told.iter().map(|(kind, value)| Chunk::volatile(id, kind, value, protocol)).collect::<Vec<_>>()
            };
            return Step::Write(Batch::new(encode), state.members.pages(), Vec::new());
        }
        let after = state.head;
        match state.pending.front().map(|it| it.seq) {
            Some(first) if first == after + 1 => {}
            Some(first) => return Step::Read { after, up_to: first - 1 },
            None if state.is_open && state.known > after => return Step::Read { after, up_to: state.known },
            None => {
                state.fanning_out = false;
                return Step::Rest;
            }
        }
        let fits = one_write(state.pending.iter());
        let left = state.pending.iter().take(fits).position(|it| it.kind == "member.removed");
        let count = left.map_or(fits, |at| at + 1);
        let entries: Vec<_> = state.pending.drain(..count).collect();
        state.pending_bytes -= entries.iter().map(|it| it.body.len()).sum::<usize>();
        state.head = entries.last().map_or(after, |it| it.seq);
        state.recent.extend(entries.iter().cloned());
        let surplus = state.recent.len().saturating_sub(BATCH_ENTRIES_MAX);
        state.recent.drain(..surplus);
        self.moved.notify_waiters();
        let turns = entries.iter().filter_map(|it| Turn::of(it)).collect();
        let (id, epoch, pages) = (self.id, state.epoch, state.members.pages());
        let encode = move |protocol| vec![Chunk::of(id, epoch, entries.iter().map(AsRef::as_ref), protocol)];
        Step::Write(Batch::new(encode), pages, turns)
    }

    /// Does what an entry means, once it was told.
    fn turn(self: &Arc<Self>, topics: &Topics, turn: &Turn) {
        let pages = self.state.lock().members.pages();
        for session in pages.iter().flat_map(|it| it.iter()) {
            match *turn {
                Turn::Left(user) if session.who().is_some_and(|it| it.user == user) => {
                    topics.leave(session, self.id);
                    session.send(&lost(self.id, "not_found", session.protocol));
                }
                // A native client follows what it wants to.
                Turn::Joined(stream, place) if session.protocol != Protocol::Native => {
                    topics.joined.get().into_iter().for_each(|it| it(session, (stream, Some(place))));
                }
                _ => {}
            }
        }
    }

    /// Puts what was read before what is pending.
    fn put_first(&self, page: Vec<Arc<Entered>>) {
        let mut state = self.state.lock();
        let next = state.pending.front().map_or(i64::MAX, |it| it.seq);
        for entry in page.into_iter().rev().filter(|it| it.seq < next) {
            state.pending_bytes += entry.body.len();
            state.pending.push_front(entry);
        }
    }

    /// Sends every member away to come back, since nothing can be said in order any more.
    fn give_up(self: &Arc<Self>, topics: &Topics, close: &Close) {
        let mut state = self.state.lock();
        (state.fanning_out, state.retired) = (false, true);
        let members = std::mem::take(&mut state.members);
        drop(state);
        for session in members.pages().iter().flat_map(|it| it.iter()) {
            session.note_left(self);
            session.close(close);
        }
        topics.forget(self);
    }
}

/// A fan-out that panics sends its members away: it would be silent for ever.
struct FanOut<'a> {
    topic: &'a Arc<Topic>,
    topics: &'a Topics,
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        self.topic.give_up(self.topics, &Close::new(close::INTERNAL, "internal"));
    }
}

async fn write(batch: &Batch, pages: Vec<Page>) {
    for page in pages {
        for session in page.iter() {
            batch.chunks(session.protocol).iter().for_each(|chunk| session.send(chunk));
        }
        tokio::task::yield_now().await;
    }
}
