//! How guessing is slowed: wrong passwords are counted for an account from an address, and for an address in all.
//!
//! A device that has signed in before has a budget of its own, so whoever guesses elsewhere does not keep the owner out.
//! Names that nobody has count like all others. Each guess under way holds a place in the budget, so that many at once
//! are no more than many in a row. In memory, on each node: it slows, it is no proof.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::{Clock, Moment};
use crate::config::AuthConfig;
use crate::error::{Error, Result};
use crate::ids::UserId;

/// What can be counted. Each of them costs somebody the hash of a password.
const COUNTED_MAX: usize = 200_000;

/// What a budget is for.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Counted<'a> {
    /// What somebody called themselves, from one address.
    Account(&'a str, IpAddr),
    /// An address.
    Address(IpAddr),
    /// A device that has signed in before.
    Device(Uuid),
    /// The password of somebody who has signed in, asked for again.
    Confirmed(UserId),
    /// Accounts made from one address.
    Registered(IpAddr),
    /// Mail caused from one address.
    Caused(IpAddr),
    /// Mail to one address.
    Mailed(&'a str),
}

/// So many within a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub most: u32,
    pub within: Duration,
}

/// Every budget that somebody has spent of.
pub(super) struct Guesses {
    clock: Clock,
    per_account: Budget,
    per_address: Budget,
    hasher: RandomState,
    spent: Mutex<HashMap<u64, Spent>>,
}

#[derive(Clone, Copy, Default)]
struct Spent {
    /// When all of it is there again.
    until: Moment,
    under_way: u32,
    /// Whether it was noted that the budget is spent.
    noted: bool,
}

/// Guesses that are under way. They count as wrong unless they are forgiven.
pub(super) struct Guess<'a> {
    guesses: &'a Guesses,
    keys: Vec<(u64, Budget)>,
    forgiven: bool,
}

/// Why a guess is not taken.
pub(super) struct Slowed {
    pub error: Error,
    /// Whether this is the first one that this budget refuses.
    pub first: bool,
}

impl Guesses {
    pub(super) fn new(config: &AuthConfig, clock: &Clock) -> Guesses {
        let budget = |most: u32| Budget { most: most.max(1), within: config.guesses_within };
        Guesses {
            clock: clock.clone(),
            per_account: budget(config.guesses_per_account),
            per_address: budget(config.guesses_per_address),
            hasher: RandomState::new(),
            spent: Mutex::default(),
        }
    }

    /// Begins a guess at the password of an account.
    pub(super) fn begin(&self, who: &str, address: IpAddr, device: Option<Uuid>) -> Result<Guess<'_>, Slowed> {
        let address = household(address);
        match device {
            Some(device) => self.take(&[(Counted::Device(device), self.per_account)]),
            None => self.take(&[
                (Counted::Account(who, address), self.per_account),
                (Counted::Address(address), self.per_address),
            ]),
        }
    }

    /// Begins a guess of somebody who has signed in at their own password.
    pub(super) fn begin_own(&self, user: UserId) -> Result<Guess<'_>> {
        self.take(&[(Counted::Confirmed(user), self.per_account)]).map_err(|it| it.error)
    }

    /// Spends one of what an address may do within a time.
    pub(super) fn spend_address(&self, counted: fn(IpAddr) -> Counted<'static>, address: IpAddr) -> Result<()> {
        self.spend(counted(household(address)), self.per_address)
    }

    /// Spends one of a budget for good.
    pub(super) fn spend(&self, counted: Counted<'_>, budget: Budget) -> Result<()> {
        self.take(&[(counted, budget)]).map(drop).map_err(|it| it.error)
    }

    fn take(&self, counted: &[(Counted<'_>, Budget)]) -> Result<Guess<'_>, Slowed> {
        let now = self.clock.moment();
        let keys: Vec<_> = counted.iter().map(|it| (self.hasher.hash_one(it.0), it.1)).collect();
        let mut spent = self.spent.lock();
        for (key, budget) in &keys {
            if let Some(it) = spent.get_mut(key) {
                it.room(*budget, now)?;
            }
        }
        if spent.len() + keys.len() > COUNTED_MAX {
            spent.retain(|_, it| it.under_way > 0 || it.until > now);
            if spent.len() + keys.len() > COUNTED_MAX {
                return Err(Slowed { error: Error::unavailable("signing in"), first: false });
            }
        }
        keys.iter().for_each(|it| spent.entry(it.0).or_default().under_way += 1);
        drop(spent);
        Ok(Guess { guesses: self, keys, forgiven: false })
    }
}

impl Budget {
    fn period(self) -> Duration {
        self.within / self.most
    }
}

impl Spent {
    /// Whether one more fits; if not, whether it is for what was spent or for what is under way.
    fn room(&mut self, budget: Budget, now: Moment) -> Result<(), Slowed> {
        let (until, end) = (self.until.max(now), now.after(budget.within));
        let with = |guesses: u32| until.after(budget.period() * guesses);
        if with(1) > end {
            let first = !std::mem::replace(&mut self.noted, true);
            return Err(Slowed { error: Error::TooMany { retry_after: with(1).since(end) }, first });
        }
        self.noted = false;
        match with(self.under_way + 1) > end {
            true => Err(Slowed { error: Error::unavailable("signing in"), first: false }),
            false => Ok(()),
        }
    }
}

impl Guess<'_> {
    /// It was right, or nobody learned anything from it.
    pub(super) fn forgive(mut self) {
        self.forgiven = true;
    }
}

impl Drop for Guess<'_> {
    /// Whoever gives up waiting has guessed as well.
    fn drop(&mut self) {
        let now = self.guesses.clock.moment();
        let mut spent = self.guesses.spent.lock();
        for (key, budget) in &self.keys {
            let Some(it) = spent.get_mut(key) else { continue };
            it.under_way = it.under_way.saturating_sub(1);
            if !self.forgiven {
                it.until = it.until.max(now).after(budget.period());
            } else if it.under_way == 0 && it.until <= now {
                spent.remove(key);
            }
        }
    }
}

/// The address of one household: all of IPv4, the network half of IPv6.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6((u128::from(it) >> 64 << 64).into()),
        it => it,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    fn guesses() -> (Guesses, Clock) {
        let (clock, within) = (Clock::manual(), Duration::from_secs(300));
        let (spent, hasher) = (Mutex::default(), RandomState::new());
        let budget = |most| Budget { most, within };
        let it = Guesses { clock: clock.clone(), per_account: budget(10), per_address: budget(25), hasher, spent };
        (it, clock)
    }

    fn wrong(guesses: &Guesses, who: &str, address: IpAddr) -> Result<()> {
        guesses.begin(who, address, None).map(drop).map_err(|it| it.error)
    }

    fn waits(outcome: Result<()>) -> Option<Duration> {
        outcome.err().and_then(|it| it.retry_after())
    }

    #[test]
    fn the_eleventh_wrong_guess_waits_and_nobody_else_does() {
        let (guesses, clock) = guesses();
        (0..10).for_each(|_| wrong(&guesses, "ada", HOME).unwrap());
        assert_eq!(waits(wrong(&guesses, "ada", HOME)), Some(Duration::from_secs(30)));
        assert!(wrong(&guesses, "bob", HOME).is_ok() && wrong(&guesses, "ada", AWAY).is_ok());
        assert!(guesses.begin("ada", HOME, Some(Uuid::from_u128(7))).is_ok(), "a known device");
        clock.advance(Duration::from_secs(30));
        assert!(wrong(&guesses, "ada", HOME).is_ok() && wrong(&guesses, "ada", HOME).is_err());
        clock.advance(Duration::from_secs(300));
        (0..10).for_each(|_| wrong(&guesses, "ada", HOME).unwrap());
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits() {
        let (guesses, _) = guesses();
        (0..25).for_each(|it| wrong(&guesses, &it.to_string(), HOME).unwrap());
        assert!(wrong(&guesses, "another", HOME).is_err() && wrong(&guesses, "another", AWAY).is_ok());
    }

    #[test]
    fn right_guesses_spend_nothing_and_many_at_once_are_as_many_in_a_row() {
        let (guesses, _) = guesses();
        (0..100).for_each(|_| guesses.begin("ada", HOME, None).ok().unwrap().forgive());
        let under_way: Vec<_> = (0..10).map(|_| guesses.begin("ada", HOME, None).ok().unwrap()).collect();
        let Err(refused) = guesses.begin("ada", HOME, None) else { panic!("an eleventh at once") };
        assert_eq!((refused.error.code(), refused.first), ("unavailable", false));
        under_way.into_iter().for_each(Guess::forgive);
        assert!(guesses.spent.lock().is_empty());
    }

    #[test]
    fn the_first_refusal_of_a_row_is_noted_once() {
        let (guesses, _) = guesses();
        (0..10).for_each(|_| wrong(&guesses, "ada", HOME).unwrap());
        let first = |it: Result<Guess<'_>, Slowed>| it.err().is_some_and(|it| it.first);
        let noted = [(); 3].map(|()| first(guesses.begin("ada", HOME, None)));
        assert_eq!(noted, [true, false, false]);
    }

    #[test]
    fn one_network_of_ipv6_is_one_household() {
        let household = |text: &str| household(text.parse().unwrap());
        assert_eq!(household("2001:db8::1"), household("2001:db8::ffff:1"));
        assert_ne!(household("2001:db8::1"), household("2001:db8:0:1::1"));
        assert_eq!(household("::ffff:192.0.2.1"), HOME);
    }
}
