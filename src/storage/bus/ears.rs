//! Who listens to what on this node: bounded queues that say so when something did not fit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::redis::Redis;
use super::{Heard, Hint};

/// The ears of this node, by what they listen to.
#[derive(Debug, Default)]
pub(super) struct Ears(Mutex<HashMap<String, Vec<Inlet>>>);

/// Where an ear is spoken into.
#[derive(Debug)]
struct Inlet {
    queue: mpsc::Sender<Hint>,
    missed: Arc<Missed>,
}

#[derive(Debug, Default)]
struct Missed {
    some: AtomicBool,
    wake: Notify,
}

impl Missed {
    fn tell(&self) {
        self.some.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// One listener. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Ear {
    ears: Arc<Ears>,
    pattern: String,
    queue: mpsc::Receiver<Hint>,
    missed: Arc<Missed>,
    keeper: Option<Redis>,
}

impl Ear {
    /// Waits for the next hint, or for the news that some may be missing. Giving up waiting loses nothing.
    pub async fn next(&mut self) -> Heard {
        let Some(keeper) = self.keeper.clone() else { return self.hear().await };
        tokio::select! {
            biased;
            heard = self.hear() => heard,
            never = keeper.keep() => match never {},
        }
    }

    async fn hear(&mut self) -> Heard {
        loop {
            if self.missed.some.swap(false, Ordering::AcqRel) {
                return Heard::Missed;
            }
            tokio::select! {
                biased;
                () = self.missed.wake.notified() => {}
                Some(hint) = self.queue.recv() => return Heard::Hint(hint),
            }
        }
    }

    pub(super) fn missed(&self) {
        self.missed.tell();
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.queue.close();
        self.ears.to_each(&self.pattern, |inlet| !inlet.queue.is_closed());
    }
}

impl Ears {
    /// Adds an ear.
    pub(super) fn add(self: &Arc<Ears>, pattern: &str, waiting_max: usize, keeper: Option<Redis>) -> Ear {
        let (sender, queue) = mpsc::channel(waiting_max.max(1));
        let missed = Arc::new(Missed::default());
        self.0.lock().entry(pattern.to_owned()).or_default().push(Inlet { queue: sender, missed: missed.clone() });
        Ear { ears: self.clone(), pattern: pattern.to_owned(), queue, missed, keeper }
    }

    /// Gives a hint to everybody who listens to its topic, or to all below one of its beginnings.
    pub(super) fn tell(&self, hint: &Hint) {
        let speak = |inlet: &Inlet| {
            if inlet.queue.try_send(hint.clone()).is_err() {
                inlet.missed.tell();
            }
            true
        };
        self.to_each(&hint.topic, speak);
        self.to_each("*", speak);
        for (dot, _) in hint.topic.match_indices('.') {
            self.to_each(&format!("{}.*", &hint.topic[..dot]), speak);
        }
    }

    /// Tells everybody that something may be missing.
    pub(super) fn missed(&self) {
        self.0.lock().values().flatten().for_each(|inlet| inlet.missed.tell());
    }

    /// Does something for each ear of one pattern, and keeps those for which it says so.
    fn to_each(&self, pattern: &str, keep: impl Fn(&Inlet) -> bool) {
        let mut ears = self.0.lock();
        if let Some(inlets) = ears.get_mut(pattern) {
            inlets.retain(keep);
            if inlets.is_empty() {
                ears.remove(pattern);
            }
        }
    }
}
