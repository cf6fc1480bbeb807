//! The tree as an operator sees it: every actor, every kind, every task. Nobody is stopped for it, none is asked.

use std::sync::Arc;
use std::time::Duration;

use super::history::Incident;
use super::meter::Meter;
use super::phase::Phase;

/// Everything at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether every supervisor and every kept task is within its budget.
    pub healthy: bool,
    /// One line an actor.
    pub rows: Vec<Row>,
    /// One line a kind.
    pub kinds: Vec<Kind>,
    /// One line a name.
    pub tasks: Vec<Tasks>,
}

/// One actor.
#[derive(Debug)]
pub struct Row {
    /// Its kind.
    pub kind: &'static str,
    /// Which of them.
    pub key: String,
    /// Where it stands.
    pub phase: Phase,
    /// Messages on their way, waiting, being handled, committed, or answered later.
    pub depth: u32,
    /// The most that it takes.
    pub depth_max: u32,
    /// How long its oldest message has waited.
    pub oldest_wait: Option<Duration>,
    /// Messages that were refused because it was full.
    pub shed: u32,
    /// What it has done.
    pub meter: Meter,
    /// How long it has not been used.
    pub idle: Duration,
    /// How long this life has lasted.
    pub age: Duration,
    /// How often it was started again after a failure.
    pub restarts: u32,
    /// Restarts that are left now.
    pub budget_left: usize,
    /// Its last failure.
    pub last_failure: Option<Arc<Incident>>,
}

/// All actors of a kind, the ones included that were given up since, so that no counter goes back.
#[derive(Clone, Default, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Actors that are remembered.
    pub known: usize,
    /// Actors that have a task.
    pub awake: usize,
    /// Actors that refuse because their budget is spent.
    pub fenced: usize,
    /// Messages in all mailboxes.
    pub depth: u64,
    /// Messages in the fullest.
    pub depth_max: u32,
    /// Messages that were refused because a mailbox was full.
    pub shed: u64,
    /// How often an actor was started again after a failure.
    pub restarts: u64,
    /// What they have done.
    pub meter: Meter,
}

impl Kind {
    pub(super) fn add(&mut self, meter: &Meter, shed: u32, restarts: u32) {
        self.meter.add(meter);
        self.shed += u64::from(shed);
        self.restarts += u64::from(restarts);
    }
}

/// All tasks of a name.
#[derive(Debug)]
pub struct Tasks {
    /// The name.
    pub name: &'static str,
    /// How many run.
    pub running: usize,
    /// How many have ever been started.
    pub begun: u64,
    /// How many panics there were.
    pub panics: u64,
    /// How often one was started again after a panic.
    pub restarts: u64,
    /// Since when the name is in use.
    pub age: Duration,
}
