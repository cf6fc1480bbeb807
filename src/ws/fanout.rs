//! From a topic to its members: one fan-out runs at a time, and what is published meanwhile leaves together in the next.
//!
//! What did not fit, or was never heard of, is read from the store: `known` says how far it has to go.

use std::sync::Arc;
use std::time::Duration;

use scopeguard::{ScopeGuard, guard};

use super::following::away;
use super::frames::{Batch, Chunk};
use super::session::Session;
use super::topic::{BATCH_ENTRIES_MAX, State, Topic, one_write};
use super::topics::Topics;
use super::wire::Close;
use crate::ids::StreamId;
use crate::storage::streams::Entered;

const READS_MAX: u32 = 5;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Members that are written to before others have a turn.
const MEMBERS_AT_ONCE: usize = 256;

/// Told of an entry of a stream, and of those who have heard it.
type Act = dyn Fn(StreamId, &Entered, Vec<Arc<Session>>) + Send + Sync;

/// What some entries mean for those who have heard them, before they hear what comes behind.
pub(super) struct Heed {
    pub kinds: &'static [&'static str],
    pub act: Box<Act>,
}

/// What a fan-out does next.
enum Step {
    /// Frames for everybody who has joined up to a number, and the entry that is to be heeded behind them.
    Write(Batch, u64, Option<Arc<Entered>>),
    /// Reads behind a place, up to another.
    Read(i64, i64),
}

impl Topic {
    /// Writes until nothing is pending.
    pub(super) async fn fan_out(self: Arc<Self>, topics: Topics) {
        // One that panics sends its members away: it would be silent for ever.
        let panics = guard((), |()| self.give_up(&topics, &Close::new(Close::INTERNAL, "internal")));
        let mut reads = 0;
        while let Some(step) = self.take(topics.heed.get()) {
            match step {
                Step::Write(batch, last, heeded) => {
                    self.write(&batch, last).await;
                    if let (Some(entry), Some(heed)) = (heeded, topics.heed.get()) {
                        let members = self.state.lock().members.values().cloned().collect();
                        (heed.act)(self.id, &entry, members);
                    }
                }
                Step::Read(after, up_to) => match topics.history.page(self.id, after, up_to).await {
                    Ok(page) if page.first().is_some_and(|it| it.seq == after + 1) => {
                        reads = 0;
                        self.publish(&topics, self.head().epoch, &page);
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
        ScopeGuard::into_inner(panics);
    }

    fn take(&self, heed: Option<&Heed>) -> Option<Step> {
        let mut state = self.state.lock();
        let (id, epoch, after, last) = (self.id, state.epoch, state.head, state.joined);
        if !state.told.is_empty() {
            let told = std::mem::take(&mut state.told);
            let encode = move |protocol| {
                told.iter().map(|(kind, value)| Chunk::volatile(id, kind, value, protocol)).collect::<Vec<_>>()
            };
            return Some(Step::Write(Batch::new(encode), last, None));
        }
        if state.pending.is_empty() {
            state.fanning_out = state.is_open && state.known > after;
            return state.fanning_out.then_some(Step::Read(after, state.known));
        }
        let fits = one_write(state.pending.iter());
        let heeded = |it: &Arc<Entered>| heed.is_some_and(|heed| heed.kinds.contains(&&*it.kind));
        let ends = state.pending.iter().take(fits).position(heeded);
        let entries: Vec<_> = state.pending.drain(..ends.map_or(fits, |at| at + 1)).collect();
        state.pending_bytes -= entries.iter().map(|it| it.body.len()).sum::<usize>();
        state.head = entries.last().map_or(after, |it| it.seq);
        state.recent.extend(entries.iter().cloned());
        let surplus = state.recent.len().saturating_sub(BATCH_ENTRIES_MAX);
        state.recent.drain(..surplus);
        let heeded = ends.and_then(|at| entries.get(at).cloned());
        let encode = move |protocol| vec![Chunk::of(id, epoch, entries.iter().map(AsRef::as_ref), protocol)];
        Some(Step::Write(Batch::new(encode), last, heeded))
    }

    /// Writes to everybody who has joined up to a number and is still there.
    async fn write(&self, batch: &Batch, last: u64) {
        let mut next = 0;
        loop {
            let some: Vec<_> = {
                let State { members, .. } = &*self.state.lock();
                members.range(next..last + 1).take(MEMBERS_AT_ONCE).map(|(at, it)| (*at, it.clone())).collect()
            };
            for (at, session) in &some {
                next = at + 1;
                batch.chunks(session.protocol).iter().for_each(|chunk| session.send(chunk));
            }
            tokio::task::yield_now().await;
            if some.len() < MEMBERS_AT_ONCE {
                return;
            }
        }
    }

    /// Sends every member away to come back, since nothing can be said in order any more.
    pub(super) fn give_up(self: &Arc<Self>, topics: &Topics, close: &Close) {
        topics.forget(self);
        let members = std::mem::take(&mut self.state.lock().members);
        for session in members.values() {
            session.note_left(self.id);
            session.close(close);
        }
    }
}
