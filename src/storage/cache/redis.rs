//! A Redis server. A value is one byte and the value; the mark of a removal is empty.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::aio::AsyncPushSender;

use super::{MARK_FOR, UNSENT_MAX};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::storage::Probe;
use crate::storage::link::Link;

const SENT_AT_ONCE: usize = 500;

/// A cache on a Redis server.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    prefix: String,
    unsent: Mutex<Unsent>,
    any_unsent: AtomicBool,
    sending: tokio::sync::Mutex<()>,
}

/// Removals on their way, each with a number of its own: one that came while an earlier one of its key was being sent
/// is sent again.
#[derive(Debug, Default)]
struct Unsent {
    keys: HashMap<String, u64>,
    given: u64,
}

impl Redis {
    /// Reads the address; the server is asked on first use.
    pub fn open(url: &Secret, prefix: &str) -> Result<Redis> {
        let link = Link::open(url, "cache", None::<NoPushes>)?;
        Ok(Redis {
            link,
            prefix: prefix.to_owned(),
            unsent: Mutex::default(),
            any_unsent: AtomicBool::new(false),
            sending: Default::default(),
        })
    }

    pub(super) async fn find(&self, key: &str) -> Result<Option<Bytes>> {
        self.send_removals().await?;
        let mut question = redis::pipe();
        question.cmd("GET").arg(self.name(key));
        let (found,): (Option<Vec<u8>>,) = self.link.ask(&question).await?;
        Ok(found.filter(|bytes| !bytes.is_empty()).map(|bytes| Bytes::from(bytes).slice(1..)))
    }

    pub(super) async fn put(&self, key: &str, value: &Bytes, ttl: Duration, loaded: bool) -> Result<()> {
        self.send_removals().await?;
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        let mut question = redis::pipe();
        question.cmd("SET").arg(self.name(key)).arg(bytes).arg("PX").arg(millis(ttl));
        if loaded {
            question.arg("NX");
        }
        self.link.ask(question.ignore()).await
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        // Remembered before it is tried: the caller may give up while it is under way.
        {
            let mut unsent = self.unsent.lock();
            if unsent.keys.len() >= UNSENT_MAX && !unsent.keys.contains_key(key) {
                tracing::warn!("too many removals wait for the cache; one copy lives for the rest of its time");
                return Err(Error::unavailable("cache"));
            }
            unsent.given += 1;
            let number = unsent.given;
            unsent.keys.insert(key.to_owned(), number);
            self.any_unsent.store(true, Ordering::Release);
        }
        self.send_removals().await
    }

    pub(super) async fn probe(&self) -> Result<Probe> {
        self.link.probe(&self.name("probe")).await
    }

    /// Sends what was removed. As long as that fails nothing else is asked: every read is a miss.
    async fn send_removals(&self) -> Result<()> {
        if !self.any_unsent.load(Ordering::Acquire) {
            return Ok(());
        }
        let _sending = self.sending.lock().await;
        while self.any_unsent.load(Ordering::Acquire) {
            let batch: Vec<(String, u64)> = {
                let unsent = self.unsent.lock();
                unsent.keys.iter().take(SENT_AT_ONCE).map(|(key, number)| (key.clone(), *number)).collect()
            };
            let mut question = redis::pipe();
            for (key, _) in &batch {
                question.cmd("SET").arg(self.name(key)).arg("").arg("PX").arg(millis(MARK_FOR)).ignore();
            }
            self.link.ask::<()>(&question).await?;
            let mut unsent = self.unsent.lock();
            for (key, number) in &batch {
                if unsent.keys.get(key) == Some(number) {
                    unsent.keys.remove(key);
                }
            }
            self.any_unsent.store(!unsent.keys.is_empty(), Ordering::Release);
        }
        Ok(())
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}

/// Nothing is pushed to a cache.
struct NoPushes;

impl AsyncPushSender for NoPushes {
    fn send(&self, _: redis::PushInfo) -> std::result::Result<(), redis::aio::SendError> {
        Ok(())
    }
}
