//! How many messages may be on their way to one actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::Release};

/// Set in `taken` once the slot is given up: no place can be had any more.
const SHUT: u32 = 1 << 31;

/// How many messages are on their way, waiting, being handled, committed, or answered later.
#[derive(Default)]
pub(super) struct Room {
    taken: AtomicU32,
    shed: AtomicU32,
}

pub(super) enum Refusal {
    Full,
    Shut,
}

/// One message's right to be in the mailbox.
pub(super) struct Place(Arc<Room>);

impl Room {
    pub fn enter(self: &Arc<Self>, places: u32) -> Result<Place, Refusal> {
        match self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < places).then_some(taken + 1)) {
            Ok(_) => Ok(Place(self.clone())),
            Err(taken) if taken & SHUT != 0 => Err(Refusal::Shut),
            Err(_) => {
                self.shed.fetch_add(1, Relaxed);
                Err(Refusal::Full)
            }
        }
    }

    /// Closes for good, if nobody is inside.
    pub fn shut_if_empty(&self) -> bool {
        self.taken.compare_exchange(0, SHUT, Relaxed, Relaxed).is_ok()
    }

    pub fn depth(&self) -> u32 {
        self.taken.load(Relaxed) & !SHUT
    }

    pub fn shed(&self) -> u32 {
        self.shed.load(Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Release);
    }
}
