//! Where a key stands, from its first letter to the day on which it is given up.
//!
//! ```text
//! Asleep     a letter comes                     Starting
//! Asleep     it is not used for long            given up
//! Starting   the state is read                  Awake
//! Starting   the state cannot be read           Asleep
//! Awake      it is idle                         Leaving
//! Leaving    its task is over, no letter came   Asleep
//! Leaving    its task is over, a letter came    Starting
//! any life   panic, error, kill                 Failing
//! Failing    there is budget left               Resting
//! Failing    the budget is spent                Fenced
//! Resting    time is up, a letter waits         Starting
//! Resting    time is up, nobody waits           Asleep
//! Fenced     time is up, a letter comes         Starting, and one try only
//! ```

use crate::clock::Moment;

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no task; the first letter wakes it.
    Asleep,
    /// It reads its state.
    Starting,
    /// It handles what comes.
    Awake,
    /// Its task is ending because it was idle; letters wait for the next life.
    Leaving,
    /// It failed, and the supervisor has not decided yet.
    Failing,
    /// It failed and will be started again.
    Resting {
        /// When that will be.
        until: Moment,
    },
    /// Its budget is spent: it refuses until then, and then tries once.
    Fenced {
        /// When it tries.
        until: Moment,
    },
}
