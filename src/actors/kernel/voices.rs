//! Who is told of what was committed: listeners here at once, those on other nodes by the bus.
//!
//! Owns: what waits to be told to other nodes, one line a stream.  Writes: nothing.
//! Publishes: entries and passing values, in hints.  Queue: bounded in streams and bytes; over it a hint says no more
//! than how far a stream goes, or that something is missing.
//! On restart: whoever may have missed a hint looks into the database.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::root::Root;
use super::streams::Audience;
use crate::clock::Clock;
use crate::ids::StreamId;
use crate::storage::bus::{Bus, Heard};
use crate::storage::streams::{Entered, StreamStore, Told};

const TOPIC: &str = "voices";
/// How soon it is said again that something is missing, where nothing else is said.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Streams and values that may wait for their hint.
const WAITING_MAX: usize = 4_096;
/// What hints carry at a time; what is more is read by whoever hears them.
const CARRIED_BYTES_MAX: usize = 256 * 1024;

/// The way to everybody who listens. Cloning it gives the same.
#[derive(Clone)]
pub struct Voices(Arc<Inner>);

struct Inner {
    audience: Arc<dyn Audience>,
    bus: Bus,
    store: StreamStore,
    waiting: Mutex<Waiting>,
    ring: Notify,
}

/// What is to be told to other nodes.
#[derive(Default)]
struct Waiting {
    grown: HashMap<StreamId, Grown>,
    values: HashMap<(StreamId, String), Value>,
    bytes: usize,
    missed: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Hint {
    grown: Vec<Grown>,
    values: Vec<Value>,
    /// More has happened than could be kept.
    missed: bool,
}

#[derive(Serialize, Deserialize)]
struct Grown {
    stream: StreamId,
    epoch: i64,
    head: i64,
    /// The last entries, unless they are too much for a hint.
    entries: Vec<Entered>,
}

#[derive(Serialize, Deserialize)]
struct Value {
    to: Vec<StreamId>,
    kind: String,
    value: String,
}

impl Voices {
    /// Starts to tell other nodes, and to hear from them.
    pub fn start(root: &Root, bus: &Bus, store: StreamStore, audience: Arc<dyn Audience>) -> Voices {
        let (bus, waiting) = (bus.clone(), Mutex::default());
        let voices = Voices(Arc::new(Inner { audience, bus, store, waiting, ring: Notify::new() }));
        if voices.0.bus.is_shared() {
            let (telling, hearing, clock) = (voices.0.clone(), voices.0.clone(), root.clock().clone());
            root.keep("voices", move |_| telling.clone().tell(clock.clone()));
            root.keep("voices", move |_| hearing.clone().hear());
        }
        voices
    }

    /// Tells of entries that are committed.
    pub fn entries(&self, told: &[Told]) {
        for part in told.chunk_by(|one, next| one.stream == next.stream && one.epoch == next.epoch) {
            let entries: Vec<Arc<Entered>> = part.iter().map(|it| it.entry.clone()).collect();
            self.0.audience.entries(part[0].stream, part[0].epoch, &entries);
        }
        if self.0.bus.is_shared() {
            let mut waiting = self.0.waiting.lock();
            told.iter().for_each(|it| waiting.grow(it));
            self.0.ring.notify_one();
        }
    }

    /// Tells entries here that are stored, and were perhaps not told by whoever wrote them.
    pub fn again(&self, stream: StreamId, epoch: i64, entries: &[Arc<Entered>]) {
        self.0.audience.entries(stream, epoch, entries);
    }

    /// Tells some a value that is kept nowhere; the next one of its kind replaces it.
    pub fn volatile(&self, to: Vec<StreamId>, kind: &str, value: String) {
        to.iter().for_each(|it| self.0.audience.volatile(*it, kind, &value));
        if let (Some(first), true) = (to.first().copied(), self.0.bus.is_shared()) {
            let mut waiting = self.0.waiting.lock();
            // One that does not fit is the next one's to tell.
            if waiting.values.len() < WAITING_MAX {
                waiting.values.insert((first, kind.to_owned()), Value { to, kind: kind.to_owned(), value });
                self.0.ring.notify_one();
            }
        }
    }
}

impl Waiting {
    fn grow(&mut self, told: &Told) {
        let size = told.entry.body.len() + 256;
        if self.grown.len() >= WAITING_MAX && !self.grown.contains_key(&told.stream) {
            self.missed = true;
            return;
        }
        let fresh = || Grown { stream: told.stream, epoch: told.epoch, head: 0, entries: Vec::new() };
        let grown = self.grown.entry(told.stream).or_insert_with(fresh);
        (grown.epoch, grown.head) = (told.epoch, grown.head.max(told.entry.seq));
        if self.bytes + size <= CARRIED_BYTES_MAX {
            self.bytes += size;
            grown.entries.push(Entered::clone(&told.entry));
        }
    }

    fn hint(&mut self) -> Hint {
        let Waiting { grown, values, missed, .. } = take(self);
        Hint { grown: grown.into_values().collect(), values: values.into_values().collect(), missed }
    }
}

impl Inner {
    async fn tell(self: Arc<Self>, clock: Clock) {
        let mut again = clock.every(AGAIN_AFTER);
        loop {
            let owed = self.waiting.lock().missed;
            tokio::select! {
                () = self.ring.notified() => {}
                () = again.tick(), if owed => {}
            }
            let hint = self.waiting.lock().hint();
            let Ok(text) = serde_json::to_vec(&hint) else { continue };
            if let Err(error) = self.bus.publish(TOPIC, Bytes::from(text)).await {
                tracing::debug!(%error, "other nodes were not told");
                // Their own link may be good all the while: they look into the database when this comes through.
                self.waiting.lock().missed = true;
            }
        }
    }

    async fn hear(self: Arc<Self>) {
        let mut ear = self.bus.subscribe(TOPIC);
        loop {
            let hint = match ear.next().await {
                Heard::Hint(hint) if hint.node == self.bus.node() => continue,
                // What another version says is not known here: the database knows.
                Heard::Hint(hint) => {
                    serde_json::from_slice(&hint.payload).unwrap_or(Hint { missed: true, ..<_>::default() })
                }
                Heard::Missed => Hint { missed: true, ..<_>::default() },
            };
            for grown in hint.grown {
                self.grown(grown).await;
            }
            for Value { to, kind, value } in hint.values {
                to.into_iter().for_each(|it| self.audience.volatile(it, &kind, &value));
            }
            if hint.missed {
                self.audience.missed();
            }
        }
    }

    async fn grown(&self, Grown { stream, epoch, head, mut entries }: Grown) {
        if entries.last().is_none_or(|it| it.seq < head) && self.audience.listens_to(stream) {
            // The last one is enough: listeners see what is between, and read it.
            match self.store.page(stream, head - 1, head).await {
                Ok(last) => entries.extend(last),
                Err(error) => tracing::debug!(%error, %stream, "an entry of another node is not read yet"),
            }
        }
        let entries: Vec<Arc<Entered>> = entries.into_iter().map(Arc::new).collect();
        if !entries.is_empty() {
            self.audience.entries(stream, epoch, &entries);
        }
    }
}
