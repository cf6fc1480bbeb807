//! A Redis server, and the removals that are on their way to it.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{MARK, MARK_FOR, UNSENT_MAX};
use crate::error::{Error, Result};
use crate::storage::redis::Redis;

/// Entries on a Redis server.
#[derive(Debug)]
pub(super) struct Remote {
    pub redis: Redis,
    /// The oldest first.
    unsent: Mutex<Vec<String>>,
    sending: tokio::sync::Mutex<()>,
}

impl Remote {
    pub fn new(redis: Redis) -> Remote {
        Remote { redis, unsent: Mutex::default(), sending: Default::default() }
    }

    pub async fn find(&self, key: &str) -> Result<Option<Bytes>> {
        self.send_removals().await?;
        let mut question = redis::pipe();
        question.cmd("GET").arg(self.redis.name(key));
        let (found,): (Option<Vec<u8>>,) = self.redis.ask(&question).await?;
        Ok(found.map(Bytes::from))
    }

    pub async fn keep(&self, key: &str, value: &[u8], ttl: Duration) -> Result<()> {
        self.send_removals().await?;
        let mut question = redis::pipe();
        question.cmd("SET").arg(self.redis.name(key)).arg(value).arg("PX").arg(ttl.as_millis() as u64).arg("NX");
        self.redis.ask(question.ignore()).await
    }

    pub async fn remove(&self, key: &str) -> Result<()> {
        // Remembered before it is tried: the caller may give up while it is under way.
        {
            let mut unsent = self.unsent.lock();
            if unsent.len() >= UNSENT_MAX {
                tracing::warn!("too many removals wait for the cache; one copy lives for the rest of its time");
                return Err(Error::unavailable("cache"));
            }
            unsent.push(self.redis.name(key));
        }
        self.send_removals().await
    }

    /// Sends what was removed. As long as that fails nothing else is asked: every read is a miss.
    async fn send_removals(&self) -> Result<()> {
        if self.unsent.lock().is_empty() {
            return Ok(());
        }
        let _sending = self.sending.lock().await;
        let names = self.unsent.lock().clone();
        let mut question = redis::pipe();
        for name in &names {
            question.cmd("SET").arg(name).arg(MARK).arg("PX").arg(MARK_FOR.as_millis() as u64).ignore();
        }
        self.redis.ask::<()>(&question).await?;
        self.unsent.lock().drain(..names.len());
        Ok(())
    }
}
