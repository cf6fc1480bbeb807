//! Bounded memory of this process; what was not used for longest goes first.

use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;

use super::MARK_FOR;
use crate::clock::{Clock, Moment};

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// A cache in memory.
#[derive(Debug)]
pub(super) struct Embedded {
    entries: moka::sync::Cache<String, Entry>,
    clock: Clock,
}

/// Without a value it is the mark of a removal.
#[derive(Clone, Debug)]
struct Entry {
    value: Option<Bytes>,
    until: Moment,
}

impl Embedded {
    /// An empty cache that holds so many bytes at most.
    pub(super) fn new(bytes_max: u64, clock: &Clock) -> Embedded {
        let weigh = |key: &String, entry: &Entry| {
            let bytes = key.len() + entry.value.as_ref().map_or(0, Bytes::len) + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        // Least recently used takes every entry in: a frequency filter could refuse the mark of a removal.
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Embedded { entries, clock: clock.clone() }
    }

    pub(super) fn find(&self, key: &str) -> Option<Bytes> {
        self.entries.get(key).filter(|it| it.until > self.clock.moment())?.value
    }

    pub(super) fn put(&self, key: &str, value: &Bytes, ttl: Duration, loaded: bool) {
        let now = self.clock.moment();
        // The bytes may be a small part of a large buffer: what is kept is counted.
        let entry = Entry { value: Some(Bytes::copy_from_slice(value)), until: now.after(ttl) };
        if loaded {
            self.entries.entry_by_ref(key).or_insert_with_if(|| entry, |there| there.until <= now);
        } else {
            self.entries.insert(key.to_owned(), entry);
        }
    }

    pub(super) fn remove(&self, key: &str) {
        let until = self.clock.moment().after(MARK_FOR);
        self.entries.insert(key.to_owned(), Entry { value: None, until });
    }
}
