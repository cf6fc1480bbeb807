//! How the parts are that Folio depends on, from what their probes said last.
//!
//! Nothing is asked here: somebody probes from time to time and reports, so that an answer about health costs nothing
//! and is never older than the last probe. A part goes down after three failures in a row and comes back with the
//! first success.

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
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stage: Stage,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    Draining,
}

#[derive(Debug)]
struct Dependency {
    required: bool,
    failures: u32,
    check: Check,
}

/// One part and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// Its name, as `database`.
    pub name: &'static str,
    /// What fills its place, as `postgresql`; empty until it answered once.
    pub backend: &'static str,
    /// `up`, `down`, or `unknown` until it was asked.
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
        let inner = Inner { stage: Stage::Starting, dependencies: Vec::new() };
        Health { clock: clock.clone(), inner: Mutex::new(inner) }
    }

    /// Adds a part that is probed from now on.
    pub fn add(&self, name: &'static str, required: bool) {
        let check = Check { name, backend: "", state: "unknown", required, latency_ms: 0, since: self.clock.now() };
        self.inner.lock().dependencies.push(Dependency { required, failures: 0, check });
    }

    /// Notes what a probe said, and how long it took.
    pub fn report(&self, name: &str, probe: &Result<Probe>, latency: Duration) {
        let mut inner = self.inner.lock();
        let Some(it) = inner.dependencies.iter_mut().find(|it| it.check.name == name) else { return };
        it.check.latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let problem = match probe {
            Ok(probe) => {
                it.check.backend = probe.backend;
                probe.missing().map(|right| format!("the right to {right} is missing"))
            }
            Err(error) => Some(error.to_string()),
        };
        it.failures = if problem.is_none() { 0 } else { it.failures.saturating_add(1) };
        let state = match (it.failures, it.check.state) {
            (0, _) => "up",
            // What never was up needs no patience.
            (FAILURES_MAX.., _) | (_, "unknown") => "down",
            (_, state) => state,
        };
        if state != it.check.state {
            (it.check.state, it.check.since) = (state, self.clock.now());
            let (name, required) = (it.check.name, it.required);
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
        self.inner.lock().stage = Stage::Serving;
    }

    /// Says that Folio stops: it takes no new work from now on.
    pub fn drain(&self) {
        self.inner.lock().stage = Stage::Draining;
    }

    /// Whether new work is taken.
    pub fn is_ready(&self) -> bool {
        let inner = self.inner.lock();
        inner.stage == Stage::Serving && inner.dependencies.iter().all(|it| !it.required || it.check.state == "up")
    }

    /// `unhealthy` without a required part, `degraded` without another, else `healthy`.
    pub fn status(&self) -> &'static str {
        let inner = self.inner.lock();
        let gone =
            |required: bool| inner.dependencies.iter().any(|it| it.required == required && it.check.state == "down");
        match (gone(true), gone(false)) {
            (true, _) => "unhealthy",
            (_, true) => "degraded",
            _ => "healthy",
        }
    }

    /// Every part and how it is.
    pub fn checks(&self) -> Vec<Check> {
        self.inner.lock().dependencies.iter().map(|it| it.check.clone()).collect()
    }
}
