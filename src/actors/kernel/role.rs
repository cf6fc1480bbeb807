//! What a kind of actor does, and how it commits without waiting.
//!
//! A capability implements [`Role`]; the only actor around it is the shell of `life.rs`, so no kind can forget to be
//! bounded, measured or supervised.

use std::collections::VecDeque;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::guard::trace;
use super::keyed::Home;
use super::mailbox::unavailable;
use super::room::Place;
use super::writer::{Pending, Writer};
use crate::error::{RETRY_AFTER, Result};
use crate::storage::writes::{Write, Written};

/// A failure after which the state of an actor can no longer be trusted.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What handling a message comes to: an error ends this life of the actor.
pub type Outcome = std::result::Result<(), Fault>;

/// What a kind of actor does.
pub trait Role: Send + Sized + 'static {
    /// What tells one actor of the kind from another.
    type Key: Clone + Eq + Hash + Display + Send + Sync + 'static;
    /// What it can be told.
    type Msg: Send + 'static;
    /// What every actor of the kind starts from: stores, the writer, other mailboxes.
    type Args: Send + Sync + 'static;
    /// What is owed when a commit is settled, most often the reply; `()` where nothing is committed.
    type Owed: Send + 'static;

    /// The kind, in metrics, history and refusals.
    const NAME: &'static str;
    /// Messages that may be on their way to one actor; one more is refused.
    const MESSAGES_MAX: u32 = 64;
    /// How long a caller waits for an answer.
    const ANSWER_WITHIN: Duration = Duration::from_secs(2);
    /// Whether it is started again after a failure although nobody asks for it.
    const EAGER: bool = false;

    /// Reads the state. An error is the answer to those who wait, and no failure.
    fn start(key: &Self::Key, args: &Self::Args) -> impl Future<Output = Result<Self>> + Send;

    /// Does what the message says; fails only when the state can no longer be trusted.
    fn handle(&mut self, msg: Self::Msg, turn: &mut Turn<Self>) -> impl Future<Output = Outcome> + Send;

    /// Returns where the kind commits its hot writes, if it has any.
    fn writer(_: &Self::Args) -> Option<&Writer> {
        None
    }

    /// Hears what became of a commit, in the order in which they were handed over: memory, audience, answer.
    fn settled(&mut self, outcome: Result<Written>, owed: Self::Owed) {
        drop((outcome, owed));
    }

    /// Prepares for leaving the task, before sleep and at shutdown.
    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Names a message for the dashboard and the metrics.
    fn label(msg: &Self::Msg) -> &'static str;
}

/// One life of an actor, as its role sees it from within.
///
/// Its commits are settled one after another, between two messages. While one is on its way the actor neither sleeps
/// nor stops; when the life ends by a failure they are dropped, and their callers hear `Unavailable`: nobody knows,
/// asking again with the same key tells.
pub struct Turn<R: Role> {
    home: Arc<Home<R>>,
    promises: VecDeque<Promise<R>>,
}

/// A commit and what is owed for it. A write that was refused waits for its turn like any other.
pub(super) struct Promise<R: Role, C = Pending> {
    pub commit: Result<C>,
    pub owed: R::Owed,
    pub trace: u128,
    /// Free again when it has been told.
    pub place: Option<Place>,
}

/// One that is done, one way or the other.
pub(super) type Settled<R> = Promise<R, Written>;

impl<R: Role> Turn<R> {
    pub(super) fn new(home: Arc<Home<R>>) -> Self {
        Self { home, promises: VecDeque::new() }
    }

    /// Returns what every actor of the kind starts from.
    pub fn args(&self) -> &R::Args {
        &self.home.args
    }

    /// Hands a write to the writer and returns at once; `settled` hears what became of it.
    pub fn commit(&mut self, write: Write, owed: R::Owed) {
        let commit = match R::writer(&self.home.args) {
            Some(writer) => writer.write(write),
            None => Err(unavailable::<R>(RETRY_AFTER)),
        };
        self.promises.push_back(Promise { commit, owed, trace: trace(), place: None });
    }

    pub(super) fn commits(&self) -> usize {
        self.promises.len()
    }

    /// Keeps the place of a message without an answer for as long as its last commit is on its way.
    pub(super) fn hold(&mut self, place: Option<Place>) {
        if let Some(promise) = self.promises.back_mut() {
            promise.place = place;
        }
    }

    /// Returns the oldest commit once it is done; without any, nothing is ever ready.
    pub(super) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Settled<R>> {
        let Some(front) = self.promises.front_mut() else { return Poll::Pending };
        let commit = match &mut front.commit {
            Ok(pending) => match Pin::new(pending).poll(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            },
            Err(refusal) => Err(refusal.clone()),
        };
        let Promise { owed, trace, place, .. } = self.promises.pop_front().expect("it has a front");
        Poll::Ready(Promise { commit, owed, trace, place })
    }
}
