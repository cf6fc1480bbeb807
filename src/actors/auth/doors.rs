//! What makes tokens void before their time: sessions that ended, and users whose grants were counted up.
//!
//! The row in `revocations` is the truth; it is committed with what it follows from. Then this node closes its doors,
//! the bus tells the others, and every node looks into the table twice a second, whatever the bus did. While the table
//! cannot be read for longer than a few seconds, nobody is let in: nobody knows who should be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::after;
use super::tokens::Holder;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::{self, SessionId, UserId};
use crate::storage::db::Tx;
use crate::storage::revocations::{self, Revocation};
use crate::storage::{accounts, sessions};

/// Cuts that a listener may be behind before it is told to look for itself.
const LISTENER_BEHIND_MAX: usize = 1_024;
/// Clocks of nodes differ: what is void stays so for a while longer.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Who is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// One session.
    Session(SessionId),
    /// Every token of a user that was made under fewer grants.
    Person {
        /// Who.
        user: UserId,
        /// How many.
        grants: i64,
    },
}

/// Who is not let in any more, though their token has not ended.
pub struct Doors {
    closed: RwLock<Closed>,
    version: AtomicU64,
    blind: AtomicBool,
    told: broadcast::Sender<Cut>,
}

/// Each until its last token has ended by itself.
#[derive(Default)]
struct Closed {
    sessions: HashMap<SessionId, DateTime<Utc>>,
    people: HashMap<UserId, (i64, DateTime<Utc>)>,
}

impl Default for Doors {
    fn default() -> Doors {
        let told = broadcast::Sender::new(LISTENER_BEHIND_MAX);
        Doors { closed: RwLock::default(), version: AtomicU64::new(0), blind: AtomicBool::new(false), told }
    }
}

impl Doors {
    /// A number that changes with every door that closes. Refused while nobody knows which are closed.
    pub fn version(&self) -> Result<u64> {
        if self.blind.load(Ordering::Relaxed) {
            return Err(Error::unavailable("signing in"));
        }
        Ok(self.version.load(Ordering::Acquire))
    }

    /// Lets a holder in, unless the token was voided.
    pub fn let_in(&self, holder: &Holder) -> Result<()> {
        let closed = self.closed.read();
        if closed.sessions.contains_key(&holder.person.session) {
            return Err(Error::Unauthenticated("the session has ended"));
        }
        match closed.people.get(&holder.person.user) {
            Some((grants, _)) if holder.grants < *grants => Err(Error::Unauthenticated("the token was made void")),
            _ => Ok(()),
        }
    }

    /// Hears who is cut off, from now on. Whoever falls behind asks [`Doors::let_in`] for each token that it holds.
    pub fn listen(&self) -> broadcast::Receiver<Cut> {
        self.told.subscribe()
    }

    /// Closes doors until a point in time; closing one twice changes nothing.
    pub fn close(&self, cuts: impl IntoIterator<Item = (Cut, DateTime<Utc>)>) {
        let mut fresh = Vec::new();
        let mut closed = self.closed.write();
        for (cut, ends) in cuts {
            let changed = match cut {
                Cut::Session(session) => closed.sessions.insert(session, ends).is_none(),
                Cut::Person { user, grants } => {
                    let known = closed.people.entry(user).or_insert((i64::MIN, ends));
                    let changed = known.0 < grants;
                    *known = (known.0.max(grants), known.1.max(ends));
                    changed
                }
            };
            fresh.extend(changed.then_some(cut));
        }
        if !fresh.is_empty() {
            self.version.fetch_add(1, Ordering::Release);
        }
        drop(closed);
        // Nobody may be listening.
        fresh.into_iter().for_each(|cut| _ = self.told.send(cut));
    }

    /// Forgets whose tokens have all ended by themselves.
    pub(super) fn forget(&self, now: DateTime<Utc>) {
        let mut closed = self.closed.write();
        closed.sessions.retain(|_, ends| *ends > now);
        closed.people.retain(|_, (_, ends)| *ends > now);
    }

    /// Says whether it is known which doors are closed.
    pub(super) fn set_blind(&self, blind: bool) {
        if self.blind.swap(blind, Ordering::Relaxed) != blind {
            tracing::warn!(event = "auth.blind", blind, "revocations can be read: {}", !blind);
        }
    }
}

impl Revocation {
    /// Who it cuts off.
    pub(super) fn cut(&self) -> Option<Cut> {
        match (self.session_id, self.user_id, self.grants) {
            (Some(session), ..) => Some(Cut::Session(session)),
            (None, Some(user), Some(grants)) => Some(Cut::Person { user, grants }),
            _ => None,
        }
    }
}

/// When the last token that is made void now would have ended by itself.
pub(super) fn ends(now: DateTime<Utc>, access_lives: Duration) -> DateTime<Utc> {
    after(now, access_lives) + SKEW
}

/// Writes in a transaction that somebody is cut off. After the commit the doors are closed.
pub async fn write(tx: &mut Tx<'_>, cut: Cut, clock: &Clock, access_lives: Duration) -> Result<()> {
    let now = clock.now();
    let (session_id, user_id, grants) = match cut {
        Cut::Session(session) => (Some(session), None, None),
        Cut::Person { user, grants } => (None, Some(user), Some(grants)),
    };
    let (id, ends_at) = (ids::v7(clock), ends(now, access_lives));
    revocations::insert(tx, &Revocation { id, session_id, user_id, grants, made_at: now, ends_at }).await
}

/// Makes every access token of somebody void: after a change of what they are. Refresh tokens stay good.
pub async fn void_tokens(tx: &mut Tx<'_>, user: UserId, clock: &Clock, access_lives: Duration) -> Result<Cut> {
    let cut = Cut::Person { user, grants: accounts::void_tokens(tx, user).await? };
    write(tx, cut, clock, access_lives).await?;
    Ok(cut)
}

/// Ends every session of somebody and makes every access token void.
pub async fn cut_off(
    tx: &mut Tx<'_>,
    user: UserId,
    why: &'static str,
    clock: &Clock,
    access_lives: Duration,
) -> Result<Cut> {
    sessions::end_all(tx, user, None, why, clock.now()).await?;
    void_tokens(tx, user, clock, access_lives).await
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::actors::auth::{Person, Role};

    fn holder(user: u128, session: u128, grants: i64) -> Holder {
        let (user, session) = (UserId(Uuid::from_u128(user)), SessionId(Uuid::from_u128(session)));
        Holder { person: Person { user, session, role: Role::User }, grants }
    }

    #[test]
    fn a_door_closes_once_for_those_behind_it_and_opens_when_their_tokens_have_ended() {
        let (doors, now) = (Doors::default(), Clock::manual().now());
        let (mut heard, ends) = (doors.listen(), now + TimeDelta::seconds(60));
        let (ada, bob) = (holder(1, 10, 1), holder(2, 20, 1));
        let cut = Cut::Session(ada.person.session);
        let before = doors.version().unwrap();
        doors.close([(cut, ends), (cut, ends)]);
        assert_ne!(doors.version().unwrap(), before);
        assert_eq!((doors.let_in(&ada).is_err(), doors.let_in(&bob)), (true, Ok(())));
        assert_eq!((heard.try_recv(), heard.try_recv().is_err()), (Ok(cut), true));

        let again = doors.version().unwrap();
        doors.close([(cut, ends)]);
        assert_eq!(doors.version().unwrap(), again, "what is closed is closed");

        doors.forget(ends);
        assert_eq!(doors.let_in(&ada), Ok(()));
    }

    #[test]
    fn only_tokens_under_fewer_grants_are_void() {
        let (doors, now) = (Doors::default(), Clock::manual().now());
        let user = UserId(Uuid::from_u128(1));
        doors.close([(Cut::Person { user, grants: 3 }, now), (Cut::Person { user, grants: 2 }, now)]);
        let lets_in = [2, 3, 4].map(|grants| doors.let_in(&holder(1, 10, grants)).is_ok());
        assert_eq!(lets_in, [false, true, true]);
    }

    #[test]
    fn who_does_not_know_which_doors_are_closed_lets_nobody_in() {
        let doors = Doors::default();
        doors.set_blind(true);
        assert_eq!(doors.version().map_err(|it| it.code()), Err("unavailable"));
        doors.set_blind(false);
        assert!(doors.version().is_ok());
    }
}
