//! How the parts are that Folio depends on, from what their probes said last.
//!
//! Nothing is asked here: somebody probes from time to time and reports, so that an answer about health costs nothing
//! and is never older than the last probe. A part goes down after three failures in a row and comes back with the
//! first success.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::Probe;
use crate::clock::Clock;
use crate::error::Result;

const FAILURES_MAX: u32 = 3;

/// The state of everything that Folio depends on, and of Folio's own life.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    serving: AtomicBool,
    /// Each part by its name, and how often in a row it has failed.
    parts: Mutex<BTreeMap<&'static str, (Check, u32)>>,
}

/// One part and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// Its name, as `database`.
    pub name: &'static str,
    /// What fills its place, as `postgresql`; empty until it answered once.
    pub backend: &'static str,
    /// `up` or `down`.
    pub state: &'static str,
    /// Whether Folio can take no work without it.
    pub required: bool,
    /// How long its last probe took.
    pub latency_ms: u64,
    /// When it came into this state.
    #[schema(value_type = String)]
    pub since: DateTime<Utc>,
}

impl Health {
    /// Folio, starting, with nothing known about any part.
    pub fn new(clock: &Clock) -> Health {
        Health { clock: clock.clone(), serving: AtomicBool::new(false), parts: Mutex::default() }
    }

    /// Notes what a probe of a part said, and how long it took.
    pub fn report(&self, name: &'static str, required: bool, probe: &Result<Probe>, latency: Duration) {
        let mut parts = self.parts.lock();
        let (check, failures) = parts.entry(name).or_insert_with(|| {
            // What never was up needs no patience.
            (Check { name, backend: "", state: "", required, latency_ms: 0, since: self.clock.now() }, FAILURES_MAX)
        });
        check.latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let problem = match probe {
            Ok(probe) => {
                check.backend = probe.backend;
                probe.missing().map(|right| format!("the right to {right} is missing"))
            }
            Err(error) => Some(error.to_string()),
        };
        *failures = if problem.is_none() { 0 } else { failures.saturating_add(1) };
        let state = match *failures {
            0 => "up",
            FAILURES_MAX.. => "down",
            _ => check.state,
        };
        if state != check.state {
            (check.state, check.since) = (state, self.clock.now());
            match problem {
                Some(problem) => {
                    tracing::warn!(event = "dependency.down", name, required, problem, "a part is gone");
                }
                None => tracing::info!(event = "dependency.up", name, required, "a part is there"),
            }
        }
    }

    /// Says that the start is done.
    pub fn started(&self) {
        self.serving.store(true, Relaxed);
    }

    /// Says that Folio stops: it takes no new work from now on.
    pub fn drain(&self) {
        self.serving.store(false, Relaxed);
    }

    /// Whether new work is taken.
    pub fn is_ready(&self) -> bool {
        self.serving.load(Relaxed) && self.checks().iter().all(|it| !it.required || it.state == "up")
    }

    /// `unhealthy` without a required part, `degraded` without another, else `healthy`.
    pub fn status(&self) -> &'static str {
        match self.checks().iter().filter(|it| it.state == "down").map(|it| it.required).max() {
            Some(true) => "unhealthy",
            Some(false) => "degraded",
            None => "healthy",
        }
    }

    /// Every part and how it is.
    pub fn checks(&self) -> Vec<Check> {
        self.parts.lock().values().map(|it| it.0.clone()).collect()
    }
}
