//! What an actor has done, and how long it took. Only the actor's own slot writes it, under the slot's lock.

use std::time::Duration;

use tokio::time::Instant;

/// Upper bounds of the buckets in nanoseconds, from 1 us to 10 s: 1, 2.5, 5 a decade, so that every
/// service objective is a bound.
pub const BOUNDS: [u64; 22] = {
    let mut bounds = [1_000; 22];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = if at % 3 == 1 { bounds[at - 1] * 5 / 2 } else { bounds[at - 1] * 2 };
        at += 1;
    }
    bounds
};

/// Durations in fixed buckets. Counts wrap: what matters is the difference between two readings.
#[derive(Clone, Copy, Default, Debug)]
pub struct Histogram([u32; BOUNDS.len() + 1]);

impl Histogram {
    fn record(&mut self, took: Duration) {
        let nanos = took.as_secs() * 1_000_000_000 + u64::from(took.subsec_nanos());
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.0[bucket] = self.0[bucket].wrapping_add(1);
    }

    fn add(&mut self, other: &Histogram) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.wrapping_add(more);
        }
    }

    /// Returns how many lie in each bucket of [`BOUNDS`], and last how many lie above them all.
    pub fn counts(&self) -> &[u32] {
        &self.0
    }
}

/// What an actor is doing now.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// The message, by its label.
    pub label: &'static str,
    /// The trace it belongs to; zero for none.
    pub trace: u128,
    /// When it was begun.
    pub since: Instant,
}

/// The counters of one actor; they outlive its restarts.
#[derive(Clone, Default, Debug)]
pub struct Meter {
    /// Messages that were handled to their end.
    pub handled: u64,
    /// Lives that ended by a failure.
    pub failed: u64,
    /// Messages that were not handled, because their callers had given up.
    pub expired: u64,
    /// Messages that were not handled, because the actor failed before their turn.
    pub lost: u64,
    /// The time that they waited, all together.
    pub waited: Duration,
    /// The time spent in handling.
    pub busy: Duration,
    /// How long messages waited.
    pub waiting: Histogram,
    /// How long they were handled.
    pub handling: Histogram,
    /// The message in hand.
    pub doing: Option<Doing>,
}

impl Meter {
    pub(super) fn begin(&mut self, doing: Doing, sent: Instant) {
        let waited = doing.since.saturating_duration_since(sent);
        self.waited += waited;
        self.waiting.record(waited);
        self.doing = Some(doing);
    }

    pub(super) fn end(&mut self, now: Instant) {
        if let Some(doing) = self.doing.take() {
            let took = now.saturating_duration_since(doing.since);
            self.handled += 1;
            self.busy += took;
            self.handling.record(took);
        }
    }

    /// Adds what another actor has done.
    pub(super) fn add(&mut self, other: &Meter) {
        self.handled += other.handled;
        self.failed += other.failed;
        self.expired += other.expired;
        self.lost += other.lost;
        self.waited += other.waited;
        self.busy += other.busy;
        self.waiting.add(&other.waiting);
        self.handling.add(&other.handling);
    }
}
