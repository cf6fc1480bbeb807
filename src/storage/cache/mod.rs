//! The cache port: copies of what is cheaper to keep than to read again.
//!
//! The contract, proved for every backend by one suite:
//! - Nothing depends on it. A cache that is away, slow or empty is a miss; misses of that kind are counted.
//! - A removal wins over a load that began before it: it leaves a mark for [`MARK_FOR`] which such a load cannot cover.
//! - A removal that does not reach the server is remembered (up to [`UNSENT_MAX`]) and sent before anything else once
//!   it is back; until then this node misses that key. If the process ends before, the copy lives for the rest of its
//!   time to live: that bounds how long anything may be stale, so nothing is kept without one.
//! - Of callers that miss one key at once, one loads and the others hear what it hears.
//!
//! To a backend the mark of a removal is an entry without bytes, so an empty value is not kept.

mod embedded;
mod redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;

use self::embedded::Embedded;
use self::redis::Remote;
use super::Probe;
use super::redis::Redis;
use crate::clock::Clock;
use crate::config::CacheConfig;
use crate::error::{Error, Result};

/// How long a removal keeps loads that began before it from bringing the old value back.
pub const MARK_FOR: Duration = Duration::from_secs(10);
/// Removals that are remembered while the server is away.
pub const UNSENT_MAX: usize = 1_000;
/// A larger value is not kept.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
const MARK: &[u8] = b"";

/// Copies of values, each for a time. Cloning it gives the same cache.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backend: Backend,
    /// Loads that several may wait for, by the removals before them and the key. Nothing stays in it.
    loads: moka::future::Cache<(u64, String), Bytes>,
    removals: AtomicU64,
    counts: Counts,
}

#[derive(Debug)]
enum Backend {
    Embedded(Embedded),
    Redis(Box<Remote>),
}

/// How a cache was used since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads that found a value.
    pub hits: AtomicU64,
    /// Reads that found none, those that failed among them.
    pub misses: AtomicU64,
    /// Reads and writes that the backend did not answer.
    pub failures: AtomicU64,
}

impl Cache {
    /// Opens the cache of the settings. A server that is away is no reason to fail.
    pub fn open(config: &CacheConfig, clock: &Clock) -> Result<Cache> {
        let backend = match config {
            CacheConfig::Embedded { bytes_max } => Backend::Embedded(Embedded::new(*bytes_max, clock)),
            CacheConfig::Redis { url, prefix } => {
                Backend::Redis(Box::new(Remote::new(Redis::open(url, prefix, "cache")?)))
            }
        };
        let loads = moka::future::Cache::builder().max_capacity(0).time_to_live(Duration::ZERO).build();
        let (removals, counts) = Default::default();
        Ok(Cache(Arc::new(Shared { backend, loads, removals, counts })))
    }

    /// Finds a value.
    pub async fn find(&self, key: &str) -> Option<Bytes> {
        let found = match &self.0.backend {
            Backend::Embedded(it) => it.find(key),
            Backend::Redis(it) => it.find(key).await,
        };
        let found = self.tried(found).ok().flatten().filter(|entry| entry != MARK);
        let counter = if found.is_some() { &self.0.counts.hits } else { &self.0.counts.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Removes a value. An error says that it may still be seen by other nodes for a while.
    pub async fn remove(&self, key: &str) -> Result<()> {
        // Whoever asks from now on does not join a load that began before.
        self.0.removals.fetch_add(1, Relaxed);
        self.tried(match &self.0.backend {
            Backend::Embedded(it) => it.remove(key),
            Backend::Redis(it) => it.remove(key).await,
        })
    }

    /// Finds a value, or loads and keeps it. What a load refuses is not kept: the next caller loads again.
    pub async fn get_or_load(
        &self,
        key: &str,
        ttl: Duration,
        load: impl AsyncFnOnce() -> Result<Bytes>,
    ) -> Result<Bytes> {
        if let Some(found) = self.find(key).await {
            return Ok(found);
        }
        let load = self.0.loads.try_get_with((self.0.removals.load(Relaxed), key.to_owned()), async {
            let loaded = load().await?;
            self.keep(key, &loaded, ttl).await;
            Ok(loaded)
        });
        // It is large, and a hit does without it.
        Box::pin(load).await.map_err(|error: Arc<Error>| (*error).clone())
    }

    /// How it was used since the start.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Asks the backend how it is.
    pub async fn probe(&self) -> Result<Probe> {
        match &self.0.backend {
            Backend::Embedded(_) => Ok(super::in_process()),
            Backend::Redis(it) => it.redis.probe().await,
        }
    }

    async fn keep(&self, key: &str, value: &Bytes, ttl: Duration) {
        if value == MARK || value.len() > VALUE_BYTES_MAX {
            return;
        }
        // That it is not kept is counted, and nothing more.
        let _ = self.tried(match &self.0.backend {
            Backend::Embedded(it) => it.keep(key, value, ttl),
            Backend::Redis(it) => it.keep(key, value, ttl).await,
        });
    }

    fn tried<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| _ = self.0.counts.failures.fetch_add(1, Relaxed))
    }
}
