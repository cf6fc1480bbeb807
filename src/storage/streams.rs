//! Streams at rest.

use chrono::{DateTime, Utc};

use crate::ids::{EntryId, StreamId, UserId};

/// Something to be written at the end of a stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// Its id.
    pub id: EntryId,
    /// When it was accepted.
    pub at: DateTime<Utc>,
    /// What it is.
    pub entry: Entry,
}

/// What is appended.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Somebody said something.
    Message {
        /// Who.
        sender: UserId,
        /// The sender's own name for it.
        client_id: String,
        /// What.
        body: String,
    },
    /// Something happened.
    Event {
        /// What kind of thing.
        kind: &'static str,
        /// The rest, as JSON.
        payload: String,
    },
}

/// Where an append lies now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream's epoch.
    pub epoch: i64,
    /// Its place in the stream.
    pub seq: i64,
    /// Its id.
    pub id: EntryId,
    /// When it was accepted.
    pub at: DateTime<Utc>,
    /// Whether it was there before.
    pub repeated: bool,
}
