//! One actor a key: started on first use, put to sleep when idle, given up when forgotten.
//!
//! A sleeping actor is its slot and its state, a few hundred bytes; ractor's kilobytes go with its task.
//! Waking it is one spawn and reads nothing. A key that is given up leaves nothing; its next use reads again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use dashmap::{DashMap, Entry};
use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::Budget;
use super::history::History;
use super::mailbox::{Mailbox, unavailable};
use super::phase::Phase;
use super::role::Role;
use super::slot::Slot;
use super::snapshot::Kind;
use super::supervisor::SupervisorMsg;
use crate::clock::Clock;
use crate::error::{RETRY_AFTER, Result};

/// How long nobody looks for room again where there was none.
const FRUITLESS: Duration = Duration::from_millis(50);

/// How many may live, and for how long without being used.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Actors that have a task.
    pub awake_max: usize,
    /// Actors that are remembered, the awake ones among them.
    pub known_max: usize,
    /// How long an actor is idle before it is put to sleep.
    pub sleep_after: Duration,
    /// How long an actor is not used before it is given up.
    pub forget_after: Duration,
    /// How often it may fail.
    pub budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            awake_max: 20_000,
            known_max: 200_000,
            sleep_after: Duration::from_secs(30),
            forget_after: Duration::from_secs(600),
            budget: Budget::default(),
        }
    }
}

impl Limits {
    pub(super) fn keeps_state(&self) -> bool {
        self.forget_after > self.sleep_after
    }
}

/// The directory of all actors of a kind.
pub struct Keyed<R: Role>(pub(super) Arc<Home<R>>);

impl<R: Role> Clone for Keyed<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Role> Keyed<R> {
    /// Returns the way into the actor of a key. Never waits: the first message starts the actor.
    pub fn get(&self, key: &R::Key) -> Mailbox<R> {
        Mailbox(self.0.slot(key).unwrap_or_else(|_| self.0.nowhere(key)))
    }

    /// Returns the way into the actor of a key if it is remembered: for what concerns nobody else.
    pub fn find(&self, key: &R::Key) -> Option<Mailbox<R>> {
        self.0.slots.get(key).map(|slot| Mailbox(slot.clone()))
    }

    /// Ends the current life of a key, also in the middle of a message.
    pub fn kill(&self, key: &R::Key) {
        self.0.with(key, Slot::kill);
    }

    /// Lifts the fence around a key and gives it a whole budget again.
    pub fn reset(&self, key: &R::Key) {
        self.0.with(key, Slot::reset);
    }

    /// Puts to sleep whoever has nothing to do.
    pub fn sleep_idle(&self) {
        for slot in self.0.all() {
            slot.sleep_if_idle();
        }
    }

    /// Returns how many have a task, those included that are ending.
    pub fn lives(&self) -> usize {
        self.0.lives.load(SeqCst)
    }
}

pub(super) struct Home<R: Role> {
    pub args: R::Args,
    pub limits: Limits,
    pub history: Arc<History>,
    pub slots: DashMap<R::Key, Arc<Slot<R>>>,
    pub known: AtomicUsize,
    pub awake: Arc<AtomicUsize>,
    pub lives: AtomicUsize,
    pub quiet: Notify,
    pub closing: AtomicBool,
    pub supervisor: RwLock<Option<ActorRef<SupervisorMsg>>>,
    /// One looks for room at a time; not again before then, if there was none.
    looking: Mutex<Option<Instant>>,
    pub given_up: Mutex<Kind>,
}

/// The right to have a task.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seat {
    /// Takes a seat without regard to the limit, for a key that had one a moment ago.
    pub fn over<R: Role>(home: &Home<R>) -> Self {
        home.awake.fetch_add(1, Relaxed);
        Self(home.awake.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<R: Role> Home<R> {
    pub fn new(args: R::Args, limits: Limits, history: Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            args,
            limits,
            history,
            slots: DashMap::with_shard_amount(64),
            known: AtomicUsize::new(0),
            awake: Arc::default(),
            lives: AtomicUsize::new(0),
            quiet: Notify::new(),
            closing: AtomicBool::new(false),
            supervisor: RwLock::new(None),
            looking: Mutex::new(None),
            given_up: Mutex::default(),
        })
    }

    pub fn clock(&self) -> &Clock {
        &self.history.clock
    }

    /// Finds or makes the slot of a key, or refuses when there are too many and none can be given up.
    pub fn slot(self: &Arc<Self>, key: &R::Key) -> Result<Arc<Slot<R>>> {
        if let Some(slot) = self.slots.get(key) {
            return Ok(slot.clone());
        }
        self.make_room_known()?;
        match self.slots.entry(key.clone()) {
            Entry::Occupied(slot) => Ok(slot.get().clone()),
            Entry::Vacant(vacant) => {
                self.known.fetch_add(1, Relaxed);
                let slot = Arc::new(Slot::new(key.clone(), self, self.closing.load(SeqCst)));
                Ok(vacant.insert(slot).clone())
            }
        }
    }

    /// A slot outside the directory, shut: whoever sends there looks in the directory again.
    fn nowhere(self: &Arc<Self>, key: &R::Key) -> Arc<Slot<R>> {
        let slot = Slot::new(key.clone(), self, true);
        slot.room.shut_if_empty();
        Arc::new(slot)
    }

    fn with(&self, key: &R::Key, action: impl FnOnce(&Slot<R>)) {
        if let Some(slot) = self.slots.get(key).map(|slot| slot.clone()) {
            action(&slot);
        }
    }

    /// All slots, copied, so that no shard stays locked while they are looked at.
    pub fn all(&self) -> Vec<Arc<Slot<R>>> {
        self.slots.iter().map(|slot| slot.clone()).collect()
    }

    pub fn seat(&self) -> Option<Seat> {
        let max = self.limits.awake_max;
        let seated = self.awake.fetch_update(Relaxed, Relaxed, |awake| (awake < max).then_some(awake + 1));
        seated.ok().map(|_| Seat(self.awake.clone()))
    }

    pub fn supervisor(&self) -> ActorRef<SupervisorMsg> {
        self.supervisor.read().clone().expect("a home is given out only after its supervisor has started")
    }

    pub fn life_begins(&self) {
        self.lives.fetch_add(1, SeqCst);
    }

    pub fn life_ends(&self) {
        if self.lives.fetch_sub(1, SeqCst) == 1 {
            self.quiet.notify_waiters();
        }
    }

    /// Makes room for one more task by putting the least recently used idle ones to sleep.
    pub fn make_room_awake(&self) -> Result<()> {
        self.make_room(&self.awake, self.limits.awake_max, Phase::Awake, Slot::sleep_if_idle)
    }

    /// Makes room for one more key by giving up the least recently used sleepers.
    fn make_room_known(&self) -> Result<()> {
        if self.known.load(Relaxed) < self.limits.known_max {
            return Ok(());
        }
        self.make_room(&self.known, self.limits.known_max, Phase::Asleep, |slot| self.give_up(&slot.key))
    }

    /// A sixteenth at a time, so that looking at everybody is rare.
    fn make_room(&self, taken: &AtomicUsize, max: usize, wanted: Phase, end: impl Fn(&Slot<R>) -> bool) -> Result<()> {
        let mut looking = self.looking.lock();
        if taken.load(Relaxed) < max {
            return Ok(());
        }
        let fruitless = looking.is_some_and(|until| Instant::now() < until);
        if !fruitless && self.oldest(max.div_ceil(16), wanted).iter().filter(|slot| end(slot)).count() > 0 {
            *looking = None;
            return Ok(());
        }
        if !fruitless {
            *looking = Some(Instant::now() + FRUITLESS);
        }
        Err(unavailable::<R>(RETRY_AFTER))
    }

    /// Returns the least recently used slots without a message in the given phase.
    fn oldest(&self, count: usize, wanted: Phase) -> Vec<Arc<Slot<R>>> {
        let mut found = Vec::new();
        for slot in &self.slots {
            let inner = slot.inner.lock();
            if inner.phase == wanted && slot.room.depth() == 0 {
                found.push((inner.used, slot.clone()));
            }
        }
        if found.len() > count {
            found.select_nth_unstable_by_key(count, |(used, _)| *used);
            found.truncate(count);
        }
        found.into_iter().map(|(_, slot)| slot).collect()
    }

    pub fn give_up(&self, key: &R::Key) -> bool {
        let gone = self.slots.remove_if(key, |_, slot| slot.retire(&self.given_up)).is_some();
        if gone {
            self.known.fetch_sub(1, Relaxed);
        }
        gone
    }
}
