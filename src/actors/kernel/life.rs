//! One life of one key: from the first letter to the end of its task.
//!
//! A life is a ractor actor under the supervisor of its kind. Every end passes through `Slot::ended`, which
//! runs when ractor drops the shell, however that came about.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use tokio::time::Instant;

use super::guard::{caught, caught_now};
use super::history::Cause;
use super::keyed::{Home, Seat};
use super::mailbox::Letter;
use super::meter::Doing;
use super::phase::Phase;
use super::role::{Role, Settled, Turn};
use super::slot::{Inner, Next, Slot};

/// So many messages are handled before other tasks have their turn.
const TURNS_MAX: u32 = 64;

/// The ractor actor around a role: one life of one key.
///
/// The role is not ractor's state, because ractor sends the state of a killed actor to the supervisor and
/// drops it there, perhaps when the next life has begun. Here it is gone before anybody hears of the end.
pub(super) struct Shell<R: Role> {
    slot: Arc<Slot<R>>,
    home: Arc<Home<R>>,
    life: u32,
}

impl<R: Role> Actor for Shell<R> {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// The whole life. Here ractor can be told to kill, as in its loop, whose own mailbox is not needed and would
    /// make each idle actor larger.
    async fn post_start(&self, myself: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if let Err(cause) = self.live(&myself).await {
            self.slot.fail(self.life, cause);
        }
        myself.stop(None);
        Ok(())
    }

    /// The end of a child is no reason to end.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

enum Step<R: Role> {
    Settle(Settled<R>),
    Next(Next<R::Msg>),
}

/// What is boxed here would otherwise take its room in every idle actor.
impl<R: Role> Shell<R> {
    async fn live(&self, myself: &ActorRef<()>) -> Result<(), Cause> {
        let Some(mut role) = Box::pin(self.wake(myself)).await? else { return Ok(()) };
        let mut turn = Turn::new(self.home.clone());
        while poll_fn(|cx| self.slot.poll_work(cx)).await {
            let drained = Box::pin(self.drain(&mut role, &mut turn)).await;
            if drained.is_err() {
                // What it knows and what it owes is gone before anybody hears of the end.
                let _ = caught_now(0, || drop((role, turn)));
                return drained;
            }
        }
        let rested = Box::pin(caught(0, role.rest())).await;
        if let Err(panic) = rested {
            let _ = caught_now(0, || drop(role));
            return Err(Cause::Panic(panic));
        }
        self.slot.inner.lock().kept = self.home.limits.keeps_state().then_some(role);
        Ok(())
    }

    /// Takes up the state that was kept, or reads it.
    async fn wake(&self, myself: &ActorRef<()>) -> Result<Option<Box<R>>, Cause> {
        let (kept, trace) = {
            let mut inner = self.slot.inner.lock();
            inner.actor = Some(myself.get_cell());
            (inner.kept.take(), inner.queue.front().map_or(0, |letter| letter.trace))
        };
        let role = match kept {
            Some(role) => role,
            None => match caught(trace, R::start(&self.slot.key, &self.home.args)).await {
                Ok(Ok(role)) => Box::new(role),
                Ok(Err(error)) => {
                    self.slot.refuse_start(self.life, error);
                    return Ok(None);
                }
                Err(panic) => return Err(Cause::Panic(panic)),
            },
        };
        let mut inner = self.slot.inner.lock();
        inner.phase = Phase::Awake;
        inner.born = self.home.clock().moment();
        Ok(Some(role))
    }

    /// Settles and handles until nothing is left to do; the end of one message is the beginning of the next.
    async fn drain(&self, role: &mut R, turn: &mut Turn<R>) -> Result<(), Cause> {
        let (mut done, mut now) = (None, None);
        for count in 1_u32.. {
            match poll_fn(|cx| self.poll_step(turn, &mut done, &mut now, cx)).await {
                Step::Settle(settled) => {
                    self.settle(role, settled)?;
                    now = None;
                }
                Step::Next(Next::Handle(Letter { trace, place, msg, .. })) => {
                    let before = turn.commits();
                    match caught(trace, role.handle(msg, turn)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(Cause::Error(error.to_string())),
                        Err(panic) => return Err(Cause::Panic(panic)),
                    }
                    if turn.commits() > before {
                        turn.hold(place);
                    }
                    now = Some(Instant::now());
                    done = now;
                }
                Step::Next(Next::Skip(letter)) => drop(letter),
                Step::Next(Next::Rest) => break,
            }
            if count.is_multiple_of(TURNS_MAX) {
                tokio::task::yield_now().await;
                now = None;
            }
        }
        Ok(())
    }

    /// What is committed comes first: it was accepted before anything that still waits.
    fn poll_step(
        &self,
        turn: &mut Turn<R>,
        done: &mut Option<Instant>,
        now: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Step<R>> {
        match turn.poll_settled(cx) {
            Poll::Ready(settled) => Poll::Ready(Step::Settle(settled)),
            Poll::Pending => self.slot.poll_next(cx, done, now, turn.commits() > 0).map(Step::Next),
        }
    }

    fn settle(&self, role: &mut R, settled: Settled<R>) -> Result<(), Cause> {
        let Settled { commit, owed, trace, place } = settled;
        caught_now(trace, || role.settled(commit, owed)).map_err(|panic| {
            let doing = Doing { label: "settled", trace, since: Instant::now() };
            self.slot.inner.lock().meter.doing = Some(doing);
            Cause::Panic(panic)
        })?;
        drop(place);
        Ok(())
    }

    /// Gives the life its task. Not under the slot's lock: a runtime that shuts down drops the shell here and now.
    pub fn spawn(self) {
        let supervisor = self.home.supervisor().get_cell();
        let _ = ActorRuntime::spawn_linked_instant(None, self, (), supervisor);
    }
}

impl<R: Role> Drop for Shell<R> {
    fn drop(&mut self) {
        self.slot.ended(self.life, &self.home);
        self.home.life_ends();
    }
}

impl<R: Role> Slot<R> {
    /// Begins a life. Because the lock is held, a key never has two.
    pub fn begin(self: &Arc<Self>, inner: &mut Inner<R>, home: &Arc<Home<R>>, seat: Seat) -> Shell<R> {
        home.life_begins();
        inner.phase = Phase::Starting;
        inner.life += 1;
        inner.seat = Some(seat);
        Shell { slot: self.clone(), home: home.clone(), life: inner.life }
    }
}
