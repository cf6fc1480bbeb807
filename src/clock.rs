//! The only reader of time: wall time, moments, and the timers of the domain.
//!
//! Each running Folio has one [`Clock`], handed to whatever asks for the time: ids, expiry, limits, sleep of idle
//! actors, budgets of supervisors. A manual clock moves only when a test moves it, and takes everything along.
//! Deadlines of I/O are not the domain's business: they stay on the runtime's own clock.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SubsecRound, Utc};
use parking_lot::Mutex;
use tokio::sync::watch;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A point in time that never goes back, in nanoseconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The time that lies between an earlier moment and this one; zero if it is not earlier.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Like `since`, for counters: no division.
    pub const fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment that follows this one by `wait`.
    pub const fn after(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(wait)))
    }
}

/// In 64 bits, which last for 584 years.
const fn nanos(wait: Duration) -> u64 {
    wait.as_secs() * 1_000_000_000 + wait.subsec_nanos() as u64
}

/// Tells the time. Cloning it gives the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Manual>>);

#[derive(Debug)]
struct Manual {
    wall: Mutex<DateTime<Utc>>,
    moment: watch::Sender<Moment>,
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Clock {
        Clock(None)
    }

    /// A clock that stands still until it is moved; it begins at the system's time.
    pub fn manual() -> Clock {
        let wall = Mutex::new(Clock::system().now());
        Clock(Some(Arc::new(Manual { wall, moment: watch::Sender::new(Clock::system().moment()) })))
    }

    /// Now, in microseconds: what both database engines can keep.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            None => Utc::now().trunc_subsecs(6),
            Some(manual) => *manual.wall.lock(),
        }
    }

    /// Whole seconds since 1970: what tokens count in, for less than a date costs.
    pub fn seconds(&self) -> i64 {
        match &self.0 {
            None => SystemTime::UNIX_EPOCH.elapsed().map_or(0, |it| it.as_secs().cast_signed()),
            Some(manual) => manual.wall.lock().timestamp(),
        }
    }

    /// The present moment.
    pub fn moment(&self) -> Moment {
        match &self.0 {
            None => since_start(Instant::now()),
            Some(manual) => *manual.moment.borrow(),
        }
    }

    /// The present moment, for a caller that has just read the runtime's clock anyway.
    pub fn moment_at(&self, now: tokio::time::Instant) -> Moment {
        match &self.0 {
            None => since_start(now.into_std()),
            Some(manual) => *manual.moment.borrow(),
        }
    }

    /// Waits until a moment has come.
    pub async fn sleep_until(&self, until: Moment) {
        match &self.0 {
            None => tokio::time::sleep(until.since(self.moment())).await,
            Some(manual) => {
                // The sender lives in this very clock, so waiting cannot fail.
                let _ = manual.moment.subscribe().wait_for(|now| *now >= until).await;
            }
        }
    }

    /// Waits for a while.
    pub async fn sleep(&self, wait: Duration) {
        self.sleep_until(self.moment().after(wait)).await;
    }

    /// A beat: the first after one period, late ones are not made up for.
    pub fn every(&self, period: Duration) -> Beat {
        Beat { clock: self.clone(), period, next: self.moment().after(period) }
    }

    /// Moves a manual clock on; everything that waited for it wakes.
    ///
    /// # Panics
    /// On the system's clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        let manual = self.0.as_ref().expect("only a manual clock is moved");
        *manual.wall.lock() += by;
        manual.moment.send_modify(|moment| *moment = moment.after(by));
    }

    /// Steps the wall time of a manual clock, as an operator or NTP does; moments do not notice.
    ///
    /// # Panics
    /// On the system's clock, which nobody moves.
    pub fn step_wall(&self, by: chrono::TimeDelta) {
        *self.0.as_ref().expect("only a manual clock is moved").wall.lock() += by;
    }
}

fn since_start(now: Instant) -> Moment {
    Moment(nanos(now.saturating_duration_since(*START)))
}

/// A timer that comes back.
#[derive(Debug)]
pub struct Beat {
    clock: Clock,
    period: Duration,
    next: Moment,
}

impl Beat {
    /// Waits for the next beat.
    pub async fn tick(&mut self) {
        self.clock.sleep_until(self.next).await;
        self.next = self.clock.moment().after(self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleepers_when_it_is_moved() {
        let clock = Clock::manual();
        let before = (clock.now(), clock.moment());
        let mut beat = clock.every(Duration::from_secs(60));
        let (ticks, ()) = tokio::join!(async { beat.tick().await }, async {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(61));
        });
        assert_eq!(ticks, ());
        assert_eq!(clock.now() - before.0, chrono::TimeDelta::seconds(61));
        assert_eq!(clock.moment().since(before.1), Duration::from_secs(61));
    }

    #[test]
    fn a_step_of_the_wall_moves_no_moment() {
        let clock = Clock::manual();
        let before = (clock.now(), clock.moment());
        clock.step_wall(chrono::TimeDelta::hours(-1));
        assert_eq!((clock.now(), clock.moment()), (before.0 - chrono::TimeDelta::hours(1), before.1));
    }
}
