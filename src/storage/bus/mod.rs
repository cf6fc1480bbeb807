//! The bus port: hints from node to node.
//!
//! The contract, proved for every backend by one suite:
//! - A hint may be lost, never invented; the truth is in the database. Whoever may have missed one is told so
//!   ([`Heard::Missed`]) and reads there: after a loss of the connection, and when it was too slow for its queue.
//! - Hints of one node arrive in the order they were published, while the connection lasts.
//! - A node hears its own hints too, and can tell by the node's id.
//! - Publishing is bounded in time and refused at once while the server is known to be away.

mod ears;
mod embedded;
mod redis;

pub use self::ears::Ear;
pub use self::embedded::Embedded;
pub use self::redis::Redis;

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::Probe;
use crate::clock::Clock;
use crate::config::BusConfig;
use crate::error::{Error, Result};
use crate::ids;

/// A larger hint is refused: say less, the reader looks into the database.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// What an ear hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A hint.
    Hint(Hint),
    /// Hints may be missing here: look into the database.
    Missed,
}

/// What one node tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What it is about.
    pub topic: Arc<str>,
    /// The node it comes from.
    pub node: Uuid,
    /// What it says.
    pub payload: Bytes,
}

/// The way from node to node. Cloning it gives the same bus.
#[derive(Clone, Debug)]
pub struct Bus {
    node: Uuid,
    backend: Backend,
}

#[derive(Clone, Debug)]
enum Backend {
    Embedded(Embedded),
    Redis(Redis),
}

impl Bus {
    /// Opens the bus of the settings as one node. A server that is away is no reason to fail.
    pub fn open(config: &BusConfig, clock: &Clock) -> Result<Bus> {
        let backend = match config {
            BusConfig::Embedded => Backend::Embedded(Embedded::default()),
            BusConfig::Redis { url, prefix } => Backend::Redis(Redis::open(url, prefix)?),
        };
        Ok(Bus { node: ids::v7(clock), backend })
    }

    /// The id that this node's hints carry.
    pub const fn node(&self) -> Uuid {
        self.node
    }

    /// Tells every ear of the topic, on every node.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge("a hint of this size"));
        }
        match &self.backend {
            Backend::Embedded(it) => {
                it.publish(&Hint { topic: topic.into(), node: self.node, payload });
                Ok(())
            }
            Backend::Redis(it) => it.publish(self.node, topic, &payload).await,
        }
    }

    /// Listens to one topic, to all below one (`streams.*`), or to all (`*`). The first thing heard, as soon as hints
    /// come through, is [`Heard::Missed`]: what was before is in the database. At most `waiting_max` hints wait.
    ///
    /// Ears on a server keep the connection alive while they wait: there is one as long as any `next` is awaited.
    pub fn subscribe(&self, pattern: &str, waiting_max: usize) -> Ear {
        match &self.backend {
            Backend::Embedded(it) => it.subscribe(pattern, waiting_max),
            Backend::Redis(it) => it.subscribe(pattern, waiting_max),
        }
    }

    /// Whether hints come through, as far as is known: if not, look into the database more often.
    pub fn connected(&self) -> bool {
        match &self.backend {
            Backend::Embedded(_) => true,
            Backend::Redis(it) => it.connected(),
        }
    }

    /// Asks the backend how it is.
    pub async fn probe(&self) -> Result<Probe> {
        match &self.backend {
            Backend::Embedded(_) => Ok(super::in_process()),
            Backend::Redis(it) => it.probe().await,
        }
    }
}
