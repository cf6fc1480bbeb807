//! Who is connected: everybody, how many from one address, and the sessions of each user.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;

use super::session::Session;
use super::wire::Close;
use crate::actors::auth::tokens::Holder;
use crate::error::{Error, RETRY_AFTER, Result};
use crate::ids::UserId;

/// Everybody who is connected.
#[derive(Default)]
pub struct Roll {
    all: Mutex<Vec<Weak<Session>>>,
    by_address: DashMap<IpAddr, usize>,
    by_user: DashMap<UserId, Vec<Weak<Session>>>,
}

impl Roll {
    /// Finds a place for one more from an address, until its end.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(super) fn arrive(&self, session: &Arc<Session>, address: IpAddr, places_max: usize) -> Result<()> {
        let mut count = self.by_address.entry(household(address)).or_insert(0);
        if *count >= places_max {
            return Err(Error::TooMany { retry_after: RETRY_AFTER });
        }
        *count += 1;
        drop(count);
        self.all.lock().push(Arc::downgrade(session));
        session.at_end(move |session| {
            session.sockets.roll.by_address.remove_if_mut(&household(address), |_, count| {
                *count -= 1;
                *count == 0
            });
        });
        Ok(())
    }

    /// Notes whose session this is. Above the limit the one that came first has to go.
    pub(super) fn sign_in(&self, session: &Arc<Session>, user: UserId, devices_max: usize) {
        let mut devices = self.by_user.entry(user).or_default();
        if devices.iter().any(|it| std::ptr::eq(it.as_ptr(), &**session)) {
            return;
        }
        devices.push(Arc::downgrade(session));
        let surplus = devices.len().saturating_sub(devices_max);
        let displaced: Vec<_> = devices.drain(..surplus).filter_map(|it| it.upgrade()).collect();
        drop(devices);
        displaced.iter().for_each(|it| it.close(&Close::new(Close::DISPLACED, "too_many_devices")));
        session.at_end(move |session| {
            session.sockets.roll.by_user.remove_if_mut(&user, |_, devices| {
                devices.retain(|it| !std::ptr::eq(it.as_ptr(), session));
                devices.is_empty()
            });
        });
    }

    /// Everybody, whether they say goodbye or not.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        let mut all = self.all.lock();
        all.retain(|it| it.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// The sessions of a user; one that says goodbye is none any more.
    pub fn of(&self, user: UserId) -> Vec<Arc<Session>> {
        let devices = self.by_user.get(&user);
        let sessions = devices.iter().flat_map(|it| it.iter()).filter_map(Weak::upgrade);
        sessions.filter(|it| it.outbox(|outbox| outbox.is_open())).collect()
    }

    /// Closes every session whose holder is meant: those of one user, or of all.
    pub fn cut(&self, user: Option<UserId>, meant: impl Fn(&Holder) -> bool, close: &Close) {
        let all = user.map_or_else(|| self.all(), |user| self.of(user));
        all.iter().filter(|it| it.holder().is_some_and(|it| meant(&it))).for_each(|it| it.close(close));
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.by_address.iter().map(|it| *it).sum()
    }
}

/// One household of IPv6 has a network, not an address.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6((u128::from(it) & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}
