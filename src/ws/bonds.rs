//! What ties a session to others: the topics that it follows, what it has asked for, and what has to be undone at its end.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use super::frames::Chunk;
use super::session::Session;
use super::topic::Topic;
use super::wire::Close;
use crate::error::{Error, Result};
use crate::ids::StreamId;

const TOO_MANY: Error = Error::Conflict { code: "too_many_streams", detail: "no more streams for one session" };

/// Work that a message has begun; it ends in frames for its session, or in its end.
pub(super) type Work = BoxFuture<'static, Result<Option<Chunk>, Close>>;

/// Something to be undone.
type AtEnd = Box<dyn FnOnce(&Session) + Send>;

/// What has to be undone at the end.
#[derive(Default)]
pub(super) struct Bonds {
    /// Topics, and which of its members the session is.
    pub joined: Vec<(Arc<Topic>, u64)>,
    pub at_end: Vec<AtEnd>,
}

impl Session {
    /// Does something when the session ends; at once, if it has ended.
    pub fn at_end(&self, act: impl FnOnce(&Session) + Send + 'static) {
        match self.bonds.lock().as_mut() {
            Some(bonds) => bonds.at_end.push(Box::new(act)),
            None => act(self),
        }
    }

    /// Notes a topic joined; false when the session is over, and must not be added.
    pub(super) fn note_joined(&self, topic: &Arc<Topic>, member: u64) -> Result<bool> {
        let mut bonds = self.bonds.lock();
        let Some(Bonds { joined, .. }) = &mut *bonds else { return Ok(false) };
        if joined.len() >= self.sockets.config.topics_max {
            return Err(TOO_MANY);
        }
        joined.push((topic.clone(), member));
        Ok(true)
    }

    /// Whether it follows a stream.
    pub(super) fn follows(&self, id: StreamId) -> bool {
        self.bonds.lock().iter().any(|bonds| bonds.joined.iter().any(|it| it.0.id == id))
    }

    pub(super) fn note_left(&self, id: StreamId) -> Option<(Arc<Topic>, u64)> {
        let mut bonds = self.bonds.lock();
        let joined = &mut bonds.as_mut()?.joined;
        let at = joined.iter().position(|it| it.0.id == id)?;
        Some(joined.swap_remove(at))
    }

    /// Begins work for its client, unless so much is under way that one more has to wait for it.
    ///
    /// # Errors
    /// When too much is under way, or the session is over.
    pub fn begin(&self, work: impl Future<Output = Result<Option<Chunk>, Close>> + Send + 'static) -> Result<()> {
        let mut all = self.work.lock();
        let under_way = all.as_ref().map_or(0, |it| it.len());
        if under_way >= self.sockets.config.requests_waiting_max || self.bonds.lock().is_none() {
            return Err(Error::unavailable("a place for one more request"));
        }
        all.get_or_insert_default().push(work.boxed());
        Ok(())
    }

    /// Moves work on, and tells whether something came of it that is to be flushed. Whatever carries the session does
    /// this when it is woken.
    pub(super) fn poll_work(self: &Arc<Self>, cx: &mut Context<'_>) -> bool {
        let mut work = self.work.lock();
        let Some(all) = &mut *work else { return false };
        let mut answered = false;
        while let Poll::Ready(Some(done)) = all.poll_next_unpin(cx) {
            answered = true;
            // Queued, so that what the work itself sends stays in its order, and all of it is one write.
            match done {
                Ok(chunk) => chunk.into_iter().for_each(|it| self.queue(it)),
                Err(close) => {
                    self.flush();
                    self.close(&close);
                }
            }
        }
        if all.is_empty() {
            *work = None;
        }
        answered
    }

    /// Hands out what waits, for an answer that carries it away; nothing when it is over, or a socket carries it now.
    pub(super) fn poll_take(self: &Arc<Self>, bytes_max: usize, cx: &mut Context<'_>) -> Poll<Option<Vec<Bytes>>> {
        if self.io().is_some() {
            return Poll::Ready(None);
        }
        if self.poll_work(cx) {
            self.flush();
        }
        let mut outbox = self.outbox.lock();
        outbox.attend(cx.waker());
        let taken = outbox.take(bytes_max);
        let over = outbox.said_all() || outbox.was_cut();
        drop(outbox);
        if over {
            self.end();
        }
        match taken.is_empty() {
            true if !over => Poll::Pending,
            empty => Poll::Ready((!empty).then_some(taken)),
        }
    }
}
