//! One connection to a server, made when it is first needed and again when it is lost.
//!
//! Every step is bounded in time. A connection that fails or keeps silent is thrown away, since nobody knows what would
//! still come through it. While the server is away one caller a pause tries; the others are refused at once.

use std::fmt::Display;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(800);

/// A connection of some kind, shared by everybody who asks.
#[derive(Debug)]
pub struct Link<C> {
    what: &'static str,
    connect_within: Duration,
    answer_within: Duration,
    state: Mutex<State<C>>,
    dial: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<C> {
    connection: Option<C>,
    /// Tells one connection from the next.
    life: u64,
    failures: u32,
    closed_until: Option<Instant>,
}

impl<C: Clone> Link<C> {
    /// Nothing is connected yet. `what` names the part in refusals and logs.
    pub fn new(what: &'static str, connect_within: Duration, answer_within: Duration) -> Link<C> {
        let state = State { connection: None, life: 0, failures: 0, closed_until: None };
        Link { what, connect_within, answer_within, state: Mutex::new(state), dial: Default::default() }
    }

    /// What a caller hears when the server is away.
    pub const fn refusal(&self) -> Error {
        Error::unavailable(self.what)
    }

    /// The connection there is and that is good still, or the next one.
    pub async fn connection<E: Display>(
        &self,
        good: impl Fn(&C) -> bool,
        dial: impl Future<Output = Result<C, E>>,
    ) -> Result<C> {
        let held = || self.state.lock().connection.clone().filter(&good);
        if let Some(held) = held() {
            return Ok(held);
        }
        let known_away = self.state.lock().failures > 0;
        let dialing = self.dial.try_lock().ok();
        let _dialing = match dialing {
            None if known_away => return Err(self.refusal()),
            None => self.dial.lock().await,
            Some(dialing) => dialing,
        };
        // Whoever waited takes what was found out meanwhile.
        if let Some(held) = held() {
            return Ok(held);
        }
        if self.state.lock().closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(self.refusal());
        }
        match timeout(self.connect_within, dial).await {
            Ok(Ok(connection)) => {
                let mut state = self.state.lock();
                state.life += 1;
                Ok(state.connection.insert(connection).clone())
            }
            Ok(Err(why)) => Err(self.failed(self.life(), why)),
            Err(_) => Err(self.failed(self.life(), "no connection in time")),
        }
    }

    /// Waits for one step of the server, which may neither fail nor keep silent. After a mere `refusal` the server is
    /// still there: it may not, or cannot.
    pub async fn step<T, E: Display>(
        &self,
        step: impl Future<Output = Result<T, E>>,
        refusal: impl FnOnce(&E) -> bool,
    ) -> Result<T> {
        let life = self.life();
        match timeout(self.answer_within, step).await {
            Ok(Ok(done)) => {
                let mut state = self.state.lock();
                if state.failures > 0 {
                    tracing::info!(what = self.what, "is back");
                    (state.failures, state.closed_until) = (0, None);
                }
                Ok(done)
            }
            Ok(Err(why)) if refusal(&why) => {
                tracing::warn!(what = self.what, %why, "the server refused");
                Err(self.refusal())
            }
            Ok(Err(why)) => Err(self.failed(life, why)),
            Err(_) => Err(self.failed(life, "no answer in time")),
        }
    }

    /// Waits until a try makes sense again.
    pub async fn wait(&self) {
        let until = self.state.lock().closed_until;
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    fn life(&self) -> u64 {
        self.state.lock().life
    }

    /// Throws a connection away, unless there is another one already.
    fn failed(&self, life: u64, why: impl Display) -> Error {
        let mut state = self.state.lock();
        if state.life == life {
            if state.failures == 0 {
                tracing::warn!(what = self.what, %why, "is away");
            }
            // Of those who ask at once and fail together, one is counted.
            state.life += 1;
            state.connection = None;
            state.failures = state.failures.saturating_add(1);
            state.closed_until = Some(Instant::now() + pause(state.failures));
        }
        self.refusal()
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
    use std::cell::Cell;

    use super::*;

    const AWAY: Error = Error::unavailable("cache");

    #[tokio::test]
    async fn after_a_failure_one_caller_tries_and_the_others_are_refused_until_it_worked() {
        let link = Link::new("cache", Duration::from_secs(9), Duration::from_millis(5));
        let dials = Cell::new(0);
        let dial = async |outcome: Result<u32, &'static str>| {
            link.connection(|_| true, async {
                dials.set(dials.get() + 1);
                tokio::task::yield_now().await;
                outcome
            })
            .await
        };
        assert_eq!(dial(Err("gone")).await, Err(AWAY));
        assert_eq!((dial(Ok(1)).await, dials.get()), (Err(AWAY), 1), "nobody tries during the pause");
        link.wait().await;
        assert_eq!(tokio::join!(dial(Ok(1)), dial(Ok(2))), (Ok(1), Err(AWAY)));
        assert_eq!((dial(Ok(3)).await, dials.get()), (Ok(1), 2), "the connection is kept");
        let silent = std::future::pending::<Result<(), &str>>();
        assert_eq!(link.step(silent, |_| false).await, Err(AWAY));
        link.wait().await;
        assert_eq!(dial(Ok(4)).await, Ok(4), "what kept silent was thrown away");
        assert_eq!(link.step(async { Err::<(), _>("not you") }, |_| true).await, Err(AWAY));
        assert_eq!(link.step(async { Ok::<_, &str>(5) }, |_| false).await, Ok(5));
        assert_eq!(dial(Ok(6)).await, Ok(4), "one that was only refused is kept");
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert!(pause(1) <= PAUSE_MIN);
        for failures in 1..100 {
            assert!(pause(failures) >= PAUSE_MIN / 2 && pause(failures) <= PAUSE_MAX);
        }
    }
}
