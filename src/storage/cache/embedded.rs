//! Bounded memory of this process; what was not used for longest goes first.

use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;

use super::{MARK, MARK_FOR};
use crate::clock::{Clock, Moment};
use crate::error::Result;

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Entries in memory, each until its time is over.
#[derive(Debug)]
pub(super) struct Embedded {
    entries: moka::sync::Cache<String, (Bytes, Moment)>,
    clock: Clock,
}

impl Embedded {
    /// Holds so many bytes at most.
    pub fn new(bytes_max: u64, clock: &Clock) -> Embedded {
        // Least recently used takes every entry in: a frequency filter could refuse the mark of a removal.
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|key: &String, entry: &(Bytes, Moment)| (key.len() + entry.0.len() + ENTRY_BYTES) as u32)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Embedded { entries, clock: clock.clone() }
    }

    pub fn find(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.entries.get(key).filter(|it| it.1 > self.clock.moment()).map(|it| it.0))
    }

    pub fn keep(&self, key: &str, value: &Bytes, ttl: Duration) -> Result<()> {
        let now = self.clock.moment();
        let entry = || (value.clone(), now.after(ttl));
        self.entries.entry_by_ref(key).or_insert_with_if(entry, |there| there.1 <= now);
        Ok(())
    }

    pub fn remove(&self, key: &str) -> Result<()> {
        self.entries.insert(key.to_owned(), (MARK.into(), self.clock.moment().after(MARK_FOR)));
        Ok(())
    }
}
