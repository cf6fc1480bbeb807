//! What went wrong in the tree, the newest last, and whether all is well now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::guard::Panic;
use super::meter::Doing;
use crate::clock::Clock;

const EVENTS_MAX: usize = 10_000;

/// Why a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It panicked.
    Panic(Panic),
    /// It could no longer trust its state, and said so.
    Error(String),
    /// Somebody cut it short.
    Killed,
}

/// The end of a life by a failure.
#[derive(Debug)]
pub struct Incident {
    /// The kind of actor.
    pub kind: &'static str,
    /// Which of them.
    pub key: String,
    /// The message in hand.
    pub doing: Option<Doing>,
    /// Why.
    pub cause: Cause,
}

/// One line of the history.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// An actor failed.
    Failed(Arc<Incident>),
    /// An actor failed once too often; it refuses for a while.
    Fenced(Arc<Incident>),
    /// The supervisor of a kind ended; it is started again.
    SupervisorLost {
        /// The kind.
        kind: &'static str,
        /// Why.
        text: String,
    },
    /// The supervisor of a kind ended once too often; the kind is out of order for a while.
    Escalated {
        /// The kind.
        kind: &'static str,
    },
    /// A task outside the actors panicked.
    TaskPanicked {
        /// The task's name.
        task: &'static str,
        /// Its panic.
        panic: Panic,
    },
    /// A task panicked once too often; it is tried again after a while.
    TaskFenced {
        /// The task's name.
        task: &'static str,
    },
}

/// The clock is here, because everything in the tree that has a time is also told here.
#[derive(Default)]
pub(super) struct History {
    pub clock: Clock,
    /// Supervisors and kept tasks that are out of order.
    pub unwell: AtomicUsize,
    ring: Mutex<VecDeque<Event>>,
}

impl History {
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub fn all(&self) -> Vec<Event> {
        self.ring.lock().iter().cloned().collect()
    }

    pub fn add(&self, what: What) {
        let mut ring = self.ring.lock();
        if ring.len() == EVENTS_MAX {
            ring.pop_front();
        }
        ring.push_back(Event { at: self.clock.now(), what });
    }
}
