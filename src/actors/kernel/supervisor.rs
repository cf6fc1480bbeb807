//! Who is told when an actor fails, and what follows: root, one supervisor a kind, keyed actors.
//!
//! Owns: the decisions about failures, the timers of restarts.  Writes: nothing.
//! Publishes: the history.  Mailbox: supervision only, never offered to clients.
//! On restart: takes over every slot its forerunner had not decided; actors killed with it come back on use.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::flock::Flock;
use super::history::{Incident, What};
use super::task::Groups;

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A failure on its way to the supervisor. The end of a life brings it, however it came about; ractor's own word
/// would be lost with the supervisor that it is for.
pub(super) struct Failure {
    pub incident: Arc<Incident>,
    pub ward: Arc<dyn Ward>,
}

/// What follows from a failure.
pub(super) enum Verdict {
    Restart(Duration),
    Fence,
    Nothing,
}

/// One key, as its supervisor sees it.
pub(super) trait Ward: Send + Sync {
    /// Decides about the failure in hand, once.
    fn judge(&self) -> Verdict;
    fn restart(self: Arc<Self>);
}

pub(super) enum SupervisorMsg {
    Sweep,
    Failed(Failure),
    Restart(Arc<dyn Ward>),
}

#[derive(Clone)]
pub(super) struct SupervisorState {
    pub flock: Arc<dyn Flock>,
    pub groups: Arc<Groups>,
}

pub(super) struct SupervisorActor;

impl Actor for SupervisorActor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = SupervisorState;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        state: SupervisorState,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        state.flock.adopt(myself.clone());
        let mut beat = state.groups.history.clock.every(SWEEP_EVERY);
        state.groups.task("sweeps", async move {
            loop {
                beat.tick().await;
                if myself.cast(SupervisorMsg::Sweep).is_err() {
                    return;
                }
            }
        });
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        msg: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            SupervisorMsg::Sweep => state.flock.sweep(),
            SupervisorMsg::Failed(failure) => state.judge(&myself, failure),
            SupervisorMsg::Restart(ward) => ward.restart(),
        }
        Ok(())
    }

    /// A life that ends says so itself.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<SupervisorMsg>,
        _: SupervisionEvent,
        _: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl SupervisorState {
    /// Restarts the key after a while or leaves it fenced, and notes what it did.
    fn judge(&self, myself: &ActorRef<SupervisorMsg>, failure: Failure) {
        let Failure { incident, ward } = failure;
        let verdict = ward.judge();
        if let Verdict::Restart(_) | Verdict::Fence = verdict {
            self.groups.history.add(What::Failed(incident.clone()));
        }
        match verdict {
            Verdict::Restart(wait) if wait.is_zero() => ward.restart(),
            Verdict::Restart(wait) => {
                let myself = myself.clone();
                self.groups.later(wait, move || drop(myself.cast(SupervisorMsg::Restart(ward))));
            }
            Verdict::Fence => self.groups.history.add(What::Fenced(incident)),
            Verdict::Nothing => {}
        }
    }
}
