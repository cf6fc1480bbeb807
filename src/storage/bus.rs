//! The bus port: hints from node to node, in this process or over a Redis server's publish and subscribe.
//!
//! The contract, proved for every backend by one suite:
//! - A hint may be lost, never invented; the truth is in the database. Whoever may have missed one is told so
//!   ([`Heard::Missed`]) and reads there: after a loss of the connection, and when it was too slow.
//! - Hints of one node arrive in the order they were published, while the connection lasts.
//! - A node hears its own hints too, and can tell by the node's id.
//! - Publishing is bounded in time and refused at once while the server is known to be away.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{Msg, RedisError};
use tokio::sync::{broadcast, watch};
use tokio::time::{error::Elapsed, sleep, timeout};
use uuid::Uuid;

use super::Probe;
use super::redis::{CONNECT_WITHIN, PAUSE, Redis};
use crate::clock::Clock;
use crate::config::BusConfig;
use crate::error::Result;
use crate::ids;

/// Hints that wait for the slowest ear; it misses what is more.
pub const WAITING_MAX: usize = 1_024;
/// A connection on which nothing was heard for so long is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(2);

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
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node: Uuid,
    redis: Option<Redis>,
    ears: broadcast::Sender<Heard>,
    connected: watch::Sender<bool>,
}

impl Bus {
    /// Opens the bus of the settings as one node. A server that is away is no reason to fail.
    pub fn open(config: &BusConfig, clock: &Clock) -> Result<Bus> {
        let redis = match config {
            BusConfig::Embedded => None,
            BusConfig::Redis { url, prefix } => Some(Redis::open(url, prefix, "bus")?),
        };
        let (ears, connected) = (broadcast::Sender::new(WAITING_MAX), watch::Sender::new(redis.is_none()));
        Ok(Bus(Arc::new(Shared { node: ids::v7(clock), redis, ears, connected })))
    }

    /// The id that this node's hints carry.
    pub fn node(&self) -> Uuid {
        self.0.node
    }

    /// Whether there can be other nodes on it.
    pub fn is_shared(&self) -> bool {
        self.0.redis.is_some()
    }

    /// Tells every ear of the topic, on every node.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        let Some(redis) = &self.0.redis else {
            self.0.tell(topic, self.0.node, payload);
            return Ok(());
        };
        let frame = [self.0.node.as_bytes(), payload.as_ref()].concat();
        let mut question = redis::pipe();
        redis.ask(question.cmd("PUBLISH").arg(redis.name(topic)).arg(frame).ignore()).await
    }

    /// Listens to one topic, to all below one (`streams.*`), or to all (`*`). The first thing heard, as soon as hints
    /// come through, is [`Heard::Missed`]: what was before is in the database.
    pub fn subscribe(&self, pattern: &str) -> Ear {
        // Held until the ear is there: it is told either here or when hints come through.
        let connected = self.0.connected.borrow();
        Ear { hints: self.0.ears.subscribe(), pattern: pattern.to_owned(), missed: *connected }
    }

    /// Brings the hints of a server to the ears of this node, for ever. Somebody has to await it.
    pub async fn listen(&self) -> Infallible {
        let Some(redis) = &self.0.redis else { return pending().await };
        loop {
            let Err(why) = self.0.hear(redis).await;
            if self.0.connected.send_replace(false) {
                tracing::warn!(%why, "hints do not come through");
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks the backend how it is, once hints come through: that is heard, not asked.
    pub async fn probe(&self) -> Result<Probe> {
        let Some(redis) = &self.0.redis else { return Ok(super::in_process()) };
        // It is never closed: the sender is here.
        let _ = self.0.connected.subscribe().wait_for(|connected| *connected).await;
        redis.probe().await
    }
}

impl Shared {
    async fn hear(&self, redis: &Redis) -> Result<Infallible, RedisError> {
        let silent = |_: Elapsed| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let subscribed = async {
            let mut connection = redis.client.get_async_pubsub().await?;
            connection.psubscribe(redis.name("*")).await?;
            Ok::<_, RedisError>(connection.split())
        };
        let (mut asks, mut hints) = timeout(CONNECT_WITHIN, subscribed).await.map_err(silent)??;
        self.connected.send_modify(|connected| {
            *connected = true;
            let _ = self.ears.send(Heard::Missed);
        });
        loop {
            match timeout(SILENCE_MAX, hints.next()).await {
                Ok(Some(message)) => self.heard(redis, &message),
                Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
                Err(_) => timeout(CONNECT_WITHIN, asks.ping::<()>()).await.map_err(silent)??,
            }
        }
    }

    /// A hint on the wire is the node's id and the payload.
    fn heard(&self, redis: &Redis, message: &Msg) {
        let topic = message.get_channel_name().strip_prefix(&redis.name(""));
        if let (Some(topic), Some((node, payload))) = (topic, message.get_payload_bytes().split_first_chunk()) {
            self.tell(topic, Uuid::from_bytes(*node), Bytes::copy_from_slice(payload));
        }
    }

    fn tell(&self, topic: &str, node: Uuid, payload: Bytes) {
        // Where nobody listens nobody misses it.
        let _ = self.ears.send(Heard::Hint(Hint { topic: topic.into(), node, payload }));
    }
}

/// One listener. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Ear {
    hints: broadcast::Receiver<Heard>,
    pattern: String,
    missed: bool,
}

impl Ear {
    /// Waits for the next hint, or for the news that some may be missing. Giving up waiting loses nothing.
    pub async fn next(&mut self) -> Heard {
        if std::mem::take(&mut self.missed) {
            return Heard::Missed;
        }
        loop {
            match self.hints.recv().await {
                Ok(Heard::Hint(hint)) if !self.listens_to(&hint.topic) => {}
                Ok(heard) => return heard,
                Err(broadcast::error::RecvError::Lagged(_)) => return Heard::Missed,
                // The bus is gone, and with it whoever could say something.
                Err(broadcast::error::RecvError::Closed) => return pending().await,
            }
        }
    }

    fn listens_to(&self, topic: &str) -> bool {
        self.pattern.strip_suffix('*').map_or(self.pattern == topic, |beginning| topic.starts_with(beginning))
    }
}
