//! What sessions pass on: the one way from a socket into the capabilities.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::following::Following;
use super::recall::Offset;
use super::session::Session;
use super::wire::{Close, Incoming};
use crate::actors::auth::Person;
use crate::error::{Error, RETRY_AFTER, Result};
use crate::ids::StreamId;

/// What a client shows to say who it is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// An access token.
    Token(String),
    /// A ticket, which is good once and for seconds.
    Ticket(String),
}

/// What clients may ask, whatever their transport. The capabilities answer; the transports only carry.
pub trait Requests: Send + Sync + 'static {
    /// Signs a session in by what its client shows, for the first time or again. Whoever was cut off is refused.
    fn sign_in(&self, session: &Arc<Session>, proof: Proof) -> BoxFuture<'static, Result<Person>>;

    /// From which place on somebody may follow a stream; what may not be seen is not found.
    fn may_follow(&self, who: Person, stream: StreamId) -> BoxFuture<'static, Result<i64>>;

    /// The same of every stream that concerns somebody; of many at least of those in which most happens.
    fn floors(&self, who: Person) -> BoxFuture<'static, Result<HashMap<StreamId, i64>>>;

    /// Names what a stock client hears without asking, each from where: after an offset it goes on, without one it
    /// begins at the end.
    fn streams(&self, who: Person, since: Option<Offset>) -> BoxFuture<'static, Result<Vec<Following>>>;

    /// Hears that a session follows streams, and tells it what lies in none: how far others came meanwhile, and to
    /// those who ask for nothing, who is here.
    fn settled(&self, session: &Arc<Session>, streams: Vec<Following>) -> BoxFuture<'static, Result<()>>;

    /// Does what a request asks for and returns its answer as JSON. An unknown name is [`unknown`].
    fn call(&self, from: &Arc<Session>, name: &str, body: &RawValue) -> BoxFuture<'static, Result<String>>;
}

/// What understands a client: a protocol. Quick: it routes, and queues an answer or begins work.
pub trait Talk: Send + Sync + 'static {
    /// Hears one text or binary message.
    ///
    /// # Errors
    /// The close frame that the client has earned.
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close>;
}

impl Proof {
    /// One of both.
    ///
    /// # Errors
    /// When it is none, or both.
    pub fn either(token: Option<String>, ticket: Option<String>) -> Result<Proof> {
        match (token, ticket) {
            (Some(token), None) => Ok(Proof::Token(token)),
            (None, Some(ticket)) => Ok(Proof::Ticket(ticket)),
            _ => Err(Error::invalid("token", "either a token or a ticket")),
        }
    }
}

/// The answer to who says more than may be said at once.
pub(super) const TOO_OFTEN: Error = Error::TooMany { retry_after: RETRY_AFTER };

/// The answer to a request that nobody knows.
pub const fn unknown() -> Error {
    Error::Conflict { code: "unknown_request", detail: "there is no such request" }
}
