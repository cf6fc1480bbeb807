//! The top of the tree: starts and stops its parts in order, restarts the supervisors, shows everything.
//!
//! Owns: the list of parts.  Writes: nothing.  Publishes: the snapshot and the history.
//! Mailbox: supervision only.  On restart: it is not restarted; when it ends, the process should.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus, RpcReplyPort, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::budget::{Budget, Past};
use super::flock::Flock;
use super::guard::{Panic, watch_panics};
use super::history::{Event, History, What};
use super::keyed::{Home, Keyed, Limits};
use super::role::Role;
use super::slot::STOPPING;
use super::snapshot::{Kind, Snapshot, Tasks};
use super::supervisor::{SupervisorActor, SupervisorState};
use super::task::{Groups, Part, Stop};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// A supervisor comes back at once three times a minute; then its kind is out of order for a minute.
const SUPERVISORS: Budget = Budget {
    restarts: 3,
    within: Duration::from_secs(60),
    wait_min: Duration::ZERO,
    wait_max: Duration::ZERO,
    half_open_after: Duration::from_secs(60),
};

/// The handle of the whole tree.
#[derive(Clone)]
pub struct Root {
    actor: ActorRef<RootMsg>,
    groups: Arc<Groups>,
}

impl Root {
    /// Starts an empty tree, whose budgets, sleep and history go by the clock.
    pub async fn start(clock: Clock) -> Result<Root> {
        watch_panics();
        let groups = Arc::new(Groups { history: Arc::new(History::new(clock)), parts: Default::default() });
        let state = RootState { charges: Vec::new(), groups: groups.clone() };
        let (actor, _) = Actor::spawn(None, RootActor, state).await.map_err(|_| unavailable())?;
        Ok(Root { actor, groups })
    }

    /// Starts a kind of actors under a supervisor of its own.
    pub async fn keyed<R: Role>(&self, args: R::Args, limits: Limits) -> Result<Keyed<R>> {
        let home = Home::<R>::new(args, limits, self.groups.history.clone());
        let flock: Arc<dyn Flock> = home.clone();
        self.groups.parts.write().push(Part::Kind(flock.clone()));
        ractor::call!(self.actor, RootMsg::Supervise, flock).map_err(|_| unavailable())??;
        Ok(Keyed(home))
    }

    /// Runs a task outside the actors, one of thousands perhaps. A panic in it is an event and nothing more.
    /// When the tree stops it is cut off.
    pub fn task(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.groups.task(name, work)
    }

    /// Runs a task that is begun again when it panics: 5 times in 30 s, then once every 30 s. When the tree stops it
    /// has time to end for as long as it holds its [`Stop`].
    pub fn keep<W>(&self, name: &'static str, work: impl FnMut(Stop) -> W + Send + 'static) -> JoinHandle<()>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        self.groups.keep(name, work)
    }

    /// Returns the clock that the tree goes by.
    pub fn clock(&self) -> &Clock {
        &self.groups.history.clock
    }

    /// Notes a panic in work that runs on no task of its own, and makes the answer to whoever waits for it.
    pub(super) fn panicked(&self, name: &'static str, panic: Panic) -> Error {
        let why = format!("{name} panicked: {}", panic.message);
        self.groups.panicked(name, panic);
        Error::internal(why)
    }

    /// Returns whether every supervisor and every kept task is within its budget.
    pub fn healthy(&self) -> bool {
        self.groups.history.unwell.load(Relaxed) == 0 && self.actor.get_status() < ActorStatus::Stopping
    }

    /// Returns every actor, kind and task as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let mut rows = Vec::new();
        self.kinds_started().iter().for_each(|flock| flock.rows(&mut rows));
        Snapshot { healthy: self.healthy(), rows, kinds: self.kinds(), tasks: self.tasks() }
    }

    /// Returns every kind as a whole, without a line for each actor.
    pub fn kinds(&self) -> Vec<Kind> {
        self.kinds_started().iter().map(|flock| flock.kind()).collect()
    }

    /// Returns the tasks by name.
    pub fn tasks(&self) -> Vec<Tasks> {
        let parts = self.groups.parts.read();
        let groups = parts.iter().filter_map(|part| if let Part::Group(group) = part { Some(group) } else { None });
        groups.map(|group| group.tasks()).collect()
    }

    /// Returns what happened, the newest last.
    pub fn history(&self) -> Vec<Event> {
        self.groups.history.all()
    }

    fn kinds_started(&self) -> Vec<Arc<dyn Flock>> {
        let parts = self.groups.parts.read();
        parts.iter().filter_map(|part| if let Part::Kind(flock) = part { Some(flock.clone()) } else { None }).collect()
    }

    /// Stops kinds and tasks, the last started first. Each drains, for at most that long; what is not done then is
    /// cut off. Returns whether everything was done.
    pub async fn stop(&self, within: Duration) -> bool {
        let mut drained = true;
        let parts = self.groups.parts.read().clone();
        for part in parts.iter().rev() {
            match part {
                Part::Group(group) => drained &= group.stop(within).await,
                Part::Kind(flock) => {
                    flock.close();
                    if timeout(within, flock.quiet()).await.is_err() {
                        drained = false;
                        flock.kill();
                    }
                }
            }
        }
        let _ = self.actor.stop_and_wait(None, Some(within)).await;
        drained
    }
}

fn unavailable() -> Error {
    Error::Unavailable { what: "supervision", retry_after: STOPPING }
}

enum RootMsg {
    Supervise(Arc<dyn Flock>, RpcReplyPort<Result<()>>),
    Revive(Arc<dyn Flock>),
}

/// One kind and its supervisor's past.
struct Charge {
    flock: Arc<dyn Flock>,
    supervisor: ActorCell,
    past: Past,
}

struct RootState {
    charges: Vec<Charge>,
    groups: Arc<Groups>,
}

struct RootActor;

impl Actor for RootActor {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = RootState;

    async fn pre_start(&self, _: ActorRef<RootMsg>, state: RootState) -> Result<RootState, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        msg: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            RootMsg::Supervise(flock, reply) => drop(reply.send(state.supervise(&myself, flock).await)),
            RootMsg::Revive(flock) => {
                state.groups.history.unwell.fetch_sub(1, Relaxed);
                state.revive(&myself, flock).await;
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => state.lost(&myself, &who, error.to_string()).await,
            SupervisionEvent::ActorTerminated(who, _, why) => {
                state.lost(&myself, &who, why.unwrap_or_else(|| "stopped".into())).await;
            }
            _ => {}
        }
        Ok(())
    }
}

impl RootState {
    async fn supervise(&mut self, myself: &ActorRef<RootMsg>, flock: Arc<dyn Flock>) -> Result<()> {
        let supervisor = self.spawn(myself, flock.clone()).await?;
        self.charges.push(Charge { flock, supervisor, past: Past::default() });
        Ok(())
    }

    async fn spawn(&self, myself: &ActorRef<RootMsg>, flock: Arc<dyn Flock>) -> Result<ActorCell> {
        let state = SupervisorState { flock, groups: self.groups.clone() };
        let spawned = Actor::spawn_linked(None, SupervisorActor, state, myself.get_cell()).await;
        spawned.map(|(actor, _)| actor.get_cell()).map_err(|_| unavailable())
    }

    /// A supervisor has ended, and ractor has ended its children with it.
    async fn lost(&mut self, myself: &ActorRef<RootMsg>, who: &ActorCell, text: String) {
        let Some(charge) = self.charges.iter_mut().find(|charge| charge.supervisor == *who) else { return };
        let (history, flock) = (&self.groups.history, charge.flock.clone());
        history.add(What::SupervisorLost { kind: flock.name(), text });
        if charge.past.spend(&SUPERVISORS, history.clock.moment()).is_none() {
            history.add(What::Escalated { kind: flock.name() });
            self.revive_later(myself, flock);
        } else {
            self.revive(myself, flock).await;
        }
    }

    async fn revive(&mut self, myself: &ActorRef<RootMsg>, flock: Arc<dyn Flock>) {
        let spawned = self.spawn(myself, flock.clone()).await;
        let charge = self.charges.iter_mut().find(|charge| charge.flock.name() == flock.name());
        match (spawned, charge) {
            (Ok(supervisor), Some(charge)) => charge.supervisor = supervisor,
            _ => self.revive_later(myself, flock),
        }
    }

    /// Until then the kind is out of order.
    fn revive_later(&self, myself: &ActorRef<RootMsg>, flock: Arc<dyn Flock>) {
        self.groups.history.unwell.fetch_add(1, Relaxed);
        let myself = myself.clone();
        self.groups.later(SUPERVISORS.half_open_after, move || drop(myself.cast(RootMsg::Revive(flock))));
    }
}
