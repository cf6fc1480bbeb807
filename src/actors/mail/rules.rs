//! When a letter is tried again, and when it is given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// What becomes of a letter that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again then.
    Again(DateTime<Utc>),
    /// It was tried long enough.
    GivenUp,
}

/// Decides about a letter that was not taken now, after so many attempts.
pub fn fate(written: DateTime<Utc>, now: DateTime<Utc>, attempts: i64, tried_for: Duration) -> Fate {
    let doublings = u32::try_from(attempts.clamp(1, 20)).unwrap_or(1) - 1;
    let again = now + FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    if again > written + tried_for { Fate::GivenUp } else { Fate::Again(again) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn waits_grow_to_an_hour_and_end_after_a_day() {
        let written = Clock::system().now();
        let day = Duration::from_secs(24 * 3_600);
        let (mut now, mut waits) = (written, Vec::new());
        while let Fate::Again(then) = fate(written, now, waits.len() as i64 + 1, day) {
            waits.push((then - now).num_seconds());
            now = then;
        }
        assert_eq!(waits[..8], [30, 60, 120, 240, 480, 960, 1_920, 3_600]);
        assert!(waits.len() < 40 && waits.iter().sum::<i64>() > 22 * 3_600, "{waits:?}");
        assert_eq!(fate(written, written, i64::MAX, day), Fate::Again(written + LONGEST_WAIT));
        assert_eq!(fate(written, written, 1, Duration::ZERO), Fate::GivenUp);
    }
}
