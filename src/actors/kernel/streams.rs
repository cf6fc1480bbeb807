//! Whom an actor tells of its stream.

use std::sync::Arc;

use crate::ids::StreamId;
use crate::storage::streams::Entered;

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
