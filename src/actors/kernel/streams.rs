//! What an actor knows of its stream, and whom it tells.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::ids::StreamId;
use crate::storage::streams::{Appended, Entered, Head};

/// Whoever listens, on every transport. The one place where the kernel speaks upwards: it is handed in at the start.
pub trait Audience: Send + Sync {
    /// Hears entries of a stream that are committed. Told in order they are heard at once; a repeat is ignored, and
    /// what was left out is read from the store. A body that is an object in JSON is told as it is, any other as text.
    fn entries(&self, stream: StreamId, epoch: i64, entries: &[Arc<Entered>]);

    /// Hears a value that is kept nowhere, such as who is typing, in JSON; whoever follows or watches the topic is
    /// told. The next one of its topic and kind replaces it; a kind may go on behind a colon, which is not said, to tell
    /// values apart.
    fn volatile(&self, topic: StreamId, kind: &str, value: &str);

    /// Hears that entries of other nodes may have gone by: whoever is listened to is looked up in the store.
    fn missed(&self);

    /// Whether anybody listens to a stream here, so that it is worth reading.
    fn listens_to(&self, stream: StreamId) -> bool;
}

/// The place up to which everything was delivered, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The life of the stream.
    pub epoch: i64,
    /// The last `seq`.
    pub seq: i64,
}

/// What to do about an entry that was heard of, from the writer or from another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next one: deliver it.
    Next,
    /// Delivered before: a repeat, or an echo.
    Old,
    /// Something before it is missing: replay, and the entry comes with it.
    Gap {
        /// Where to replay from.
        after: i64,
    },
    /// History was replaced: everybody loads afresh.
    Reset,
}

impl From<Head> for Tail {
    fn from(head: Head) -> Tail {
        Tail { epoch: head.epoch, seq: head.head }
    }
}

impl Tail {
    /// Moves on when the entry is the next one, and only then.
    pub fn hear(&mut self, entry: &Appended) -> Heard {
        match (entry.epoch.cmp(&self.epoch), entry.seq - self.seq) {
            (Ordering::Greater, _) => Heard::Reset,
            (Ordering::Less, _) | (_, ..=0) => Heard::Old,
            (_, 1) => {
                self.seq += 1;
                Heard::Next
            }
            _ => Heard::Gap { after: self.seq },
        }
    }
}
