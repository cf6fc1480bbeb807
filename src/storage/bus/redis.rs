//! A Redis server's publish and subscribe, over one connection that hears every hint of this Folio.
//!
//! The ears of the node keep it alive: whichever waits finds the connection lost or silent, gets the next one and
//! subscribes again. Nothing runs beside them. A hint on the wire is the node's id and the payload.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Hint;
use super::ears::{Ear, Ears};
use crate::config::Secret;
use crate::error::Result;
use crate::storage::Probe;
use crate::storage::link::Link;

/// A connection on which nothing was heard for so long is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long it may take to answer that.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A bus on a Redis server. Cloning it gives the same bus.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    shared: Arc<Shared>,
    prefix: String,
    /// Held by the ear that looks after the connection. Since when an answer is waited for is kept here: ears come and
    /// go meanwhile, and none of them may wait long enough.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

/// What the connection itself speaks to.
#[derive(Debug)]
struct Shared {
    ears: Arc<Ears>,
    /// `None` when the connection may be lost.
    heard_at: Mutex<Option<Instant>>,
    /// The life of the connection that hints come through; 0 is none.
    life: AtomicU64,
    wake: Notify,
}

impl Redis {
    /// Reads the address; the server is asked on first use.
    pub fn open(url: &Secret, prefix: &str) -> Result<Redis> {
        let (ears, heard_at, life) = (Arc::default(), Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { ears, heard_at, life, wake: Notify::new() });
        let (hears, strip) = (shared.clone(), prefix.to_owned());
        let pushes = move |push: PushInfo| {
            hears.hear(&strip, push);
            Ok::<(), Infallible>(())
        };
        let link = Link::open(url, "bus", Some(pushes))?;
        Ok(Redis(Arc::new(Inner { link, shared, prefix: prefix.to_owned(), asked_at: Default::default() })))
    }

    pub(super) async fn publish(&self, node: Uuid, topic: &str, payload: &Bytes) -> Result<()> {
        let frame = [node.as_bytes(), payload.as_ref()].concat();
        let mut question = redis::pipe();
        question.cmd("PUBLISH").arg(format!("{}{topic}", self.0.prefix)).arg(frame).ignore();
        self.0.link.ask(&question).await
    }

    pub(super) fn subscribe(&self, pattern: &str, waiting_max: usize) -> Ear {
        let ear = self.0.shared.ears.add(pattern, waiting_max, Some(self.clone()));
        // Otherwise it is told when they do.
        if self.connected() {
            ear.missed();
        }
        ear
    }

    /// Whether hints come through, as far as is known.
    pub(super) fn connected(&self) -> bool {
        let shared = &self.0.shared;
        let heard = shared.heard_at.lock().is_some_and(|heard_at| heard_at.elapsed() < SILENCE_MAX);
        heard && self.0.link.life() == Some(shared.life.load(Ordering::Acquire))
    }

    pub(super) async fn probe(&self) -> Result<Probe> {
        self.0.link.probe(&format!("{}probe", self.0.prefix)).await
    }

    /// Keeps the connection, as long as it is awaited.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            // Registered before the look, so that no loss falls between.
            let woken = self.0.shared.wake.notified();
            if !self.connected() && self.look().await.is_err() {
                self.0.link.wait().await;
                continue;
            }
            let _ = timeout(SILENCE_MAX, woken).await;
        }
    }

    async fn look(&self) -> Result<()> {
        let Inner { link, shared, prefix, .. } = &*self.0;
        let mut asked_at = self.0.asked_at.lock().await;
        if self.connected() {
            return Ok(());
        }
        let (mut connection, life) = link.connection().await?;
        if shared.life.load(Ordering::Acquire) == life {
            let since = asked_at.filter(|it| Some(*it) > *shared.heard_at.lock()).unwrap_or_else(Instant::now);
            *asked_at = Some(since);
            if since.elapsed() > ANSWER_MAX {
                return Err(link.lose(life, "no answer in time"));
            }
            link.ask_on::<()>(connection, life, redis::pipe().cmd("PING").ignore()).await?;
            *shared.heard_at.lock() = Some(Instant::now());
            return Ok(());
        }
        connection.psubscribe(format!("{prefix}*")).await.map_err(|why| link.lose(life, why))?;
        *asked_at = None;
        *shared.heard_at.lock() = Some(Instant::now());
        shared.life.store(life, Ordering::Release);
        shared.ears.missed();
        Ok(())
    }
}

impl Shared {
    /// Runs on the connection's own task: it must not wait.
    fn hear(&self, prefix: &str, push: PushInfo) {
        match (push.kind, push.data.as_slice()) {
            (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(frame)]) => {
                *self.heard_at.lock() = Some(Instant::now());
                let topic = std::str::from_utf8(channel).ok().and_then(|it| it.strip_prefix(prefix));
                if let (Some(topic), Some((node, payload))) = (topic, frame.split_first_chunk()) {
                    let (node, payload) = (Uuid::from_bytes(*node), Bytes::copy_from_slice(payload));
                    self.ears.tell(&Hint { topic: topic.into(), node, payload });
                }
            }
            (PushKind::Disconnection, _) => {
                *self.heard_at.lock() = None;
                self.wake.notify_waiters();
            }
            _ => {}
        }
    }
}
