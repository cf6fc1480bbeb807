//! A Redis server. A value is one byte and the value; the mark of a removal is empty.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{MARK_FOR, UNSENT_MAX};
use crate::error::{Error, Result};
use crate::storage::redis::Redis;

const SENT_AT_ONCE: usize = 500;

/// A cache on a Redis server.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) redis: Redis,
    /// Removals on their way, the oldest first.
    unsent: Mutex<VecDeque<String>>,
    sending: tokio::sync::Mutex<()>,
}

impl Remote {
    pub(super) fn new(redis: Redis) -> Remote {
        Remote { redis, unsent: Mutex::default(), sending: Default::default() }
    }

    pub(super) async fn find(&self, key: &str) -> Result<Option<Bytes>> {
        self.send_removals().await?;
        let mut question = redis::pipe();
        question.cmd("GET").arg(self.redis.name(key));
        let (found,): (Option<Vec<u8>>,) = self.redis.ask(&question).await?;
        Ok(found.filter(|bytes| !bytes.is_empty()).map(|bytes| Bytes::from(bytes).slice(1..)))
    }

    pub(super) async fn put(&self, key: &str, value: &Bytes, ttl: Duration, loaded: bool) -> Result<()> {
        self.send_removals().await?;
        let mut question = redis::pipe();
        let bytes = [b"=", value.as_ref()].concat();
        question.cmd("SET").arg(self.redis.name(key)).arg(bytes).arg("PX").arg(millis(ttl));
        if loaded {
            question.arg("NX");
        }
        self.redis.ask(question.ignore()).await
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        // Remembered before it is tried: the caller may give up while it is under way.
        {
            let mut unsent = self.unsent.lock();
            if unsent.len() >= UNSENT_MAX {
                tracing::warn!("too many removals wait for the cache; one copy lives for the rest of its time");
                return Err(Error::unavailable("cache"));
            }
            unsent.push_back(self.redis.name(key));
        }
        self.send_removals().await
    }

    /// Sends what was removed. As long as that fails nothing else is asked: every read is a miss.
    async fn send_removals(&self) -> Result<()> {
        if self.unsent.lock().is_empty() {
            return Ok(());
        }
        let _sending = self.sending.lock().await;
        loop {
            let batch: Vec<String> = self.unsent.lock().iter().take(SENT_AT_ONCE).cloned().collect();
            if batch.is_empty() {
                return Ok(());
            }
            let mut question = redis::pipe();
            for name in &batch {
                question.cmd("SET").arg(name).arg("").arg("PX").arg(millis(MARK_FOR)).ignore();
            }
            self.redis.ask::<()>(&question).await?;
            self.unsent.lock().drain(..batch.len());
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}
