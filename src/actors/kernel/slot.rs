//! One key's place in the server, whether its actor is alive or not.
//!
//! Owns: the queue, the phase, the counters, and while the actor sleeps its state. One lock orders them all:
//! a letter is pushed, taken, or refused under it, and so is every change of phase. Therefore there is no
//! moment at which a message can fall between an actor that leaves and the one that follows.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::ActorCell;
use tokio::time::Instant;

use super::budget::Past;
use super::guard::caught_now;
use super::keyed::{Home, Seat};
use super::mailbox::{Letter, unavailable};
use super::meter::{Doing, Meter};
use super::phase::Phase;
use super::role::Role;
use super::room::Room;
use super::snapshot::Kind;
use crate::clock::{Clock, Moment};
use crate::error::{Error, RETRY_AFTER, Result};

/// How long a caller waits before it asks a server again that is stopping.
pub(super) const STOPPING: Duration = Duration::from_secs(5);

pub(super) struct Slot<R: Role> {
    pub key: R::Key,
    pub room: Arc<Room>,
    home: Weak<Home<R>>,
    clock: Clock,
    pub inner: Mutex<Inner<R>>,
}

pub(super) struct Inner<R: Role> {
    pub phase: Phase,
    pub queue: VecDeque<Letter<R::Msg>>,
    pub meter: Meter,
    pub used: Moment,
    pub born: Moment,
    pub restarts: u32,
    pub past: Option<Box<Past>>,
    pub actor: Option<ActorCell>,
    /// Wakes the actor that waits for a letter.
    waker: Option<Waker>,
    pub life: u32,
    pub seat: Option<Seat>,
    pub kept: Option<Box<R>>,
    pub refusal: Option<Box<(Instant, Error)>>,
    /// It waits, and not for a commit: it may be put to sleep.
    idle: bool,
    pub trial: bool,
    pub closing: bool,
}

/// What the actor does next.
pub(super) enum Next<M> {
    Handle(Letter<M>),
    /// Its caller has given up.
    Skip(Letter<M>),
    Rest,
}

impl<R: Role> Slot<R> {
    pub fn new(key: R::Key, home: &Arc<Home<R>>, closing: bool) -> Self {
        let clock = home.clock().clone();
        let inner = Inner {
            phase: Phase::Asleep,
            queue: VecDeque::new(),
            meter: Meter::default(),
            used: clock.moment(),
            born: clock.moment(),
            restarts: 0,
            past: None,
            actor: None,
            waker: None,
            life: 0,
            seat: None,
            kept: None,
            refusal: None,
            idle: false,
            trial: false,
            closing,
        };
        Self { key, room: Arc::default(), home: Arc::downgrade(home), clock, inner: Mutex::new(inner) }
    }

    /// Puts a letter into the queue and sees to it that somebody will take it.
    pub fn push(self: &Arc<Self>, letter: Letter<R::Msg>) -> Result<()> {
        let now = self.clock.moment_at(letter.sent);
        let (shell, waker) = loop {
            let mut inner = self.inner.lock();
            let mut shell = None;
            if inner.admits(now, self.room.depth())? {
                let home = self.home()?;
                let Some(seat) = home.seat() else {
                    drop(inner); // Making room locks other slots.
                    home.make_room_awake()?;
                    continue;
                };
                inner.trial = inner.phase != Phase::Asleep;
                shell = Some(self.begin(&mut inner, &home, seat));
            }
            inner.used = now;
            inner.idle = false;
            inner.queue.push_back(letter);
            break (shell, inner.waker.take());
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(shell) = shell {
            shell.spawn();
        }
        Ok(())
    }

    /// Waits as an idle actor until there is a letter; false when it is to leave.
    pub fn poll_work(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Awake && inner.queue.is_empty() {
            if !inner.closing {
                inner.idle = true;
                inner.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            inner.leave();
        }
        inner.idle = false;
        Poll::Ready(inner.phase == Phase::Awake)
    }

    /// Takes the next letter; `done` is when the one before was done, `now` is read only where it is not known.
    /// Without a letter the actor rests, unless it waits for a commit.
    pub fn poll_next(
        &self,
        cx: &Context<'_>,
        done: &mut Option<Instant>,
        now: &mut Option<Instant>,
        waits: bool,
    ) -> Poll<Next<R::Msg>> {
        let mut inner = self.inner.lock();
        if let Some(done) = done.take() {
            inner.meter.end(done);
            if std::mem::take(&mut inner.trial) {
                inner.past.get_or_insert_default().failures.clear();
            }
        }
        let Some(letter) = inner.queue.pop_front() else {
            if waits {
                inner.waker = Some(cx.waker().clone());
                *now = None;
                return Poll::Pending;
            }
            return Poll::Ready(Next::Rest);
        };
        let now = *now.get_or_insert_with(Instant::now);
        if letter.until.is_some_and(|until| until < now) {
            inner.meter.expired += 1;
            return Poll::Ready(Next::Skip(letter));
        }
        let doing = Doing { label: R::label(&letter.msg), trace: letter.trace, since: now };
        inner.meter.begin(doing, letter.sent);
        Poll::Ready(Next::Handle(letter))
    }

    /// Returns why a letter that was sent then got no answer.
    pub fn why(&self, sent: Instant) -> Error {
        match &self.inner.lock().refusal {
            Some(refusal) if refusal.0 >= sent => refusal.1.clone(),
            _ => unavailable::<R>(RETRY_AFTER),
        }
    }

    pub fn home(&self) -> Result<Arc<Home<R>>> {
        self.home.upgrade().ok_or_else(|| unavailable::<R>(STOPPING))
    }

    /// Puts the actor to sleep if it has nothing to do; its state stays.
    pub fn sleep_if_idle(&self) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.phase == Phase::Awake && inner.idle && self.room.depth() == 0;
        if idle {
            inner.leave();
        }
        idle
    }

    /// Gives the slot up if nobody is in it; what it has done is counted on. After this its mailbox holders look in
    /// the directory again.
    pub fn retire(&self, given_up: &Mutex<Kind>) -> bool {
        let mut inner = self.inner.lock();
        let retired = inner.phase == Phase::Asleep && inner.queue.is_empty() && self.room.shut_if_empty();
        if retired {
            let kept = inner.kept.take();
            let _ = caught_now(0, || drop(kept)); // Gone before the key can be used again.
            given_up.lock().add(&inner.meter, self.room.shed(), inner.restarts);
        }
        retired
    }

    /// Accepts nothing more; what waits is still done.
    pub fn close(&self) {
        let mut _letters = VecDeque::new(); // They go after the lock.
        let mut inner = self.inner.lock();
        inner.closing = true;
        match inner.phase {
            Phase::Awake if inner.idle => inner.leave(),
            Phase::Awake | Phase::Starting | Phase::Leaving => {}
            _ => {
                inner.phase = Phase::Asleep;
                _letters = inner.refuse(unavailable::<R>(STOPPING));
            }
        }
    }

    /// Cuts the life short, also in the middle of a message; a failure like any other.
    pub fn kill(&self) {
        if let Some(actor) = &self.inner.lock().actor {
            actor.kill();
        }
    }

    /// Forgets the failures of the past, by an operator's word.
    pub fn reset(&self) {
        let mut inner = self.inner.lock();
        inner.past = None;
        if matches!(inner.phase, Phase::Fenced { .. }) {
            inner.phase = Phase::Asleep;
        }
    }
}

impl<R: Role> Inner<R> {
    /// Returns whether the letter has to begin a life, or why it may not wait here.
    fn admits(&self, now: Moment, depth: u32) -> Result<bool> {
        match self.phase {
            _ if self.closing => Err(unavailable::<R>(STOPPING)),
            Phase::Asleep => Ok(true),
            Phase::Fenced { until } if until > now => Err(unavailable::<R>(until.since(now))),
            Phase::Fenced { .. } => Ok(true),
            Phase::Resting { until } if until.since(now) > R::ANSWER_WITHIN => Err(unavailable::<R>(until.since(now))),
            _ if self.trial && depth > 1 => Err(unavailable::<R>(RETRY_AFTER)),
            _ => Ok(false),
        }
    }

    /// Begins the end of an idle actor, and wakes it for that.
    fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.seat = None;
        self.idle = false;
        self.queue.shrink_to_fit();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Empties the queue; the caller drops the letters after the lock.
    pub fn refuse(&mut self, error: Error) -> VecDeque<Letter<R::Msg>> {
        self.refusal = Some(Box::new((Instant::now(), error)));
        self.meter.lost += self.queue.len() as u64;
        std::mem::take(&mut self.queue)
    }
}
