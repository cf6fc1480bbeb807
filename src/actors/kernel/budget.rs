//! How often a thing may fail before it is fenced, and how long it rests in between.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::history::Incident;
use crate::clock::Moment;

/// How often a thing may fail before it is fenced.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Restarts that are given.
    pub restarts: usize,
    /// The time over which they are counted.
    pub within: Duration,
    /// The wait before the first restart.
    pub wait_min: Duration,
    /// The wait before the last.
    pub wait_max: Duration,
    /// How long it is fenced before it is tried again.
    pub half_open_after: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            restarts: 5,
            within: Duration::from_secs(30),
            wait_min: Duration::from_millis(50),
            wait_max: Duration::from_secs(5),
            half_open_after: Duration::from_secs(30),
        }
    }
}

impl Budget {
    /// The wait before the nth restart: from the least to the most in equal ratios, and a quarter more by chance.
    fn wait(&self, nth: usize) -> Duration {
        let steps = self.restarts.saturating_sub(1).max(1) as f64;
        let ratio = self.wait_max.as_secs_f64() / self.wait_min.as_secs_f64().max(1e-6);
        let wait = self.wait_min.as_secs_f64() * ratio.powf((nth as f64 - 1.0) / steps);
        let chance = RandomState::new().hash_one(nth) as f64 / u64::MAX as f64;
        Duration::from_secs_f64(wait * (1.0 + chance / 4.0)).min(self.wait_max)
    }
}

/// The failures of one thing that still count.
#[derive(Default)]
pub(super) struct Past {
    pub failures: VecDeque<Moment>,
    pub last: Option<Arc<Incident>>,
}

impl Past {
    /// Spends one restart; returns how long to wait for it, or nothing if the budget is gone.
    pub fn spend(&mut self, budget: &Budget, now: Moment) -> Option<Duration> {
        self.failures.retain(|at| now.since(*at) < budget.within);
        self.failures.push_back(now);
        (self.failures.len() <= budget.restarts).then(|| budget.wait(self.failures.len()))
    }

    pub fn left(&self, budget: &Budget, now: Moment) -> usize {
        let spent = self.failures.iter().filter(|at| now.since(**at) < budget.within).count();
        budget.restarts.saturating_sub(spent)
    }
}
