//! Keeps callers away from a server that does not answer, but for one try now and then.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Result};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(800);

/// Counts failures in a row. While there are any, one caller a pause may try; the others are refused at once.
#[derive(Debug)]
pub struct Breaker {
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Lets everybody through until the first failure. `what` names the part in refusals and logs.
    pub fn new(what: &'static str) -> Breaker {
        Breaker { what, state: Mutex::default() }
    }

    /// Lets a caller through, or refuses it because the server was away a moment ago.
    pub fn pass(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(until) = state.closed_until {
            let now = Instant::now();
            if now < until {
                return Err(self.refusal());
            }
            // This caller tries; the others wait for what it finds.
            state.closed_until = Some(now + PAUSE_MAX);
        }
        Ok(())
    }

    /// How many tries failed in a row.
    pub fn failures(&self) -> u32 {
        self.state.lock().failures
    }

    /// What a caller hears who is not let through.
    pub const fn refusal(&self) -> Error {
        Error::unavailable(self.what)
    }

    /// The server answered.
    pub fn worked(&self) {
        let mut state = self.state.lock();
        if state.failures > 0 {
            tracing::info!(what = self.what, "is back");
            *state = State::default();
        }
    }

    /// The server did not answer; gives what the caller hears.
    pub fn failed(&self, why: impl Display) -> Error {
        let mut state = self.state.lock();
        if state.failures == 0 {
            tracing::warn!(what = self.what, %why, "is away");
        }
        state.failures = state.failures.saturating_add(1);
        state.closed_until = Some(Instant::now() + pause(state.failures));
        self.refusal()
    }

    /// Waits until a try makes sense again.
    pub async fn wait(&self) {
        let until = self.state.lock().closed_until;
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Twice as long each time, and never the same on two nodes.
fn pause(failures: u32) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(PAUSE_MAX);
    let share = RandomState::new().hash_one(failures) % 1_000;
    longest / 2 + longest.mul_f64(share as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_caller_tries_and_the_others_are_refused_until_it_worked() {
        let breaker = Breaker::new("cache");
        assert_eq!(breaker.pass(), Ok(()));
        assert_eq!(breaker.failed("gone"), Error::unavailable("cache"));
        assert_eq!(breaker.pass(), Err(Error::unavailable("cache")));
        breaker.state.lock().closed_until = Some(Instant::now());
        assert_eq!(breaker.pass(), Ok(()));
        assert_eq!(breaker.pass(), Err(Error::unavailable("cache")));
        breaker.worked();
        assert_eq!(breaker.pass(), Ok(()));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert!(pause(1) <= PAUSE_MIN);
        for failures in 1..100 {
            assert!(pause(failures) >= PAUSE_MIN / 2 && pause(failures) <= PAUSE_MAX);
        }
    }
}
