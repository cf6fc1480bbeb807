//! The way into an actor: bounded, measured, and older than any one life of the actor.
//!
//! ractor's own mailbox has no bound, no depth, and dies with its actor. Here the letters lie in the *slot* of the
//! key (`slot.rs`), and the actor waits there for them. A place in the mailbox is a value that travels in the
//! [`Reply`], or beside a message without one: it is free again when the message is done, even if its caller gave up
//! long ago.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::guard::trace;
use super::role::Role;
use super::room::{Place, Refusal};
use super::slot::Slot;
use crate::error::{Error, RETRY_AFTER, Result};

/// The sending end of an actor. It stays good while the actor sleeps, fails and comes back.
pub struct Mailbox<R: Role>(pub(super) Arc<Slot<R>>);

impl<R: Role> Clone for Mailbox<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Role> Mailbox<R> {
    /// Sends a message and waits for its answer; refuses at once when the mailbox is full.
    pub async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> R::Msg) -> Result<T> {
        let (moved, place) = self.enter()?;
        let slot = moved.as_ref().unwrap_or(&self.0);
        let (port, answer) = oneshot::channel();
        let sent = Instant::now(); // Read once, for the letter and for the deadline.
        let until = sent + R::ANSWER_WITHIN;
        let msg = message(Reply { port, place });
        slot.push(Letter { trace: trace(), sent, until: Some(until), place: None, msg })?;
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(slot.why(sent)),
            Err(_) => Err(unavailable::<R>(RETRY_AFTER)),
        }
    }

    /// Sends a message that has no answer; refuses at once when the mailbox is full.
    pub fn tell(&self, msg: R::Msg) -> Result<()> {
        let (moved, place) = self.enter()?;
        let slot = moved.as_ref().unwrap_or(&self.0);
        slot.push(Letter { trace: trace(), sent: Instant::now(), until: None, place: Some(place), msg })
    }

    /// Takes a place here, or where the key lives now if this slot was given up meanwhile.
    fn enter(&self) -> Result<(Option<Arc<Slot<R>>>, Place)> {
        let mut moved: Option<Arc<Slot<R>>> = None;
        loop {
            let slot = moved.as_ref().unwrap_or(&self.0);
            match slot.room.enter(R::MESSAGES_MAX) {
                Ok(place) => return Ok((moved, place)),
                Err(Refusal::Full) => return Err(unavailable::<R>(RETRY_AFTER)),
                Err(Refusal::Shut) => moved = Some(slot.home()?.slot(&slot.key)?),
            }
        }
    }
}

pub(super) fn unavailable<R: Role>(retry_after: Duration) -> Error {
    Error::Unavailable { what: R::NAME, retry_after }
}

/// Where an actor puts its answer. Dropped without one, the caller hears `Unavailable` at once.
pub struct Reply<T> {
    port: oneshot::Sender<Result<T>>,
    place: Place,
}

impl<T> Reply<T> {
    /// Answers. A caller that has gone away is no failure.
    pub fn send(self, answer: Result<T>) {
        drop(self.place); // First, so that a caller which asks again at once finds room.
        let _ = self.port.send(answer);
    }
}

/// A message as it waits.
pub(super) struct Letter<M> {
    pub trace: u128,
    pub sent: Instant,
    /// When its caller gives up; none where nobody waits for an answer.
    pub until: Option<Instant>,
    /// Of a message without an answer; the others have it in their [`Reply`].
    pub place: Option<Place>,
    pub msg: M,
}
