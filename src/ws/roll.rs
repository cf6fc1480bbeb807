//! Who is connected: how many from one address, and the sessions of each user.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use dashmap::DashMap;

use super::session::Session;
use super::wire::Close;
use crate::actors::auth::tokens::Holder;
use crate::error::{Error, RETRY_AFTER, Result};
use crate::ids::UserId;

/// Everybody who is connected.
#[derive(Default)]
pub struct Roll {
    by_address: Arc<DashMap<IpAddr, usize>>,
    by_user: Arc<DashMap<UserId, Vec<Weak<Session>>>>,
}

impl Roll {
    /// Finds a place for one more from an address. It is free again when what is given back is called.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub fn arrive(&self, address: IpAddr, places_max: usize) -> Result<impl FnOnce(&Session) + Send + 'static> {
        let (by_address, address) = (self.by_address.clone(), household(address));
        let mut count = by_address.entry(address).or_insert(0);
        if *count >= places_max {
            return Err(Error::TooMany { retry_after: RETRY_AFTER });
        }
        *count += 1;
        drop(count);
        Ok(move |_: &Session| {
            by_address.remove_if_mut(&address, |_, count| {
                *count -= 1;
                *count == 0
            });
        })
    }

    /// Notes whose session this is. Above the limit the one that came first has to go.
    pub(super) fn sign_in(&self, session: &Arc<Session>, user: UserId, devices_max: usize) {
        let mut devices = self.by_user.entry(user).or_default();
        let this = Arc::downgrade(session);
        if devices.iter().any(|it| it.ptr_eq(&this)) {
            return;
        }
        devices.push(this.clone());
        let surplus = devices.len().saturating_sub(devices_max);
        let displaced: Vec<_> = devices.drain(..surplus).filter_map(|it| it.upgrade()).collect();
        drop(devices);
        displaced.iter().for_each(|it| it.close(&Close::new(Close::DISPLACED, "too_many_devices")));
        let by_user = self.by_user.clone();
        session.at_end(move |_| {
            by_user.remove_if_mut(&user, |_, devices| {
                devices.retain(|it| !it.ptr_eq(&this));
                devices.is_empty()
            });
        });
    }

    /// The sessions of a user; one that says goodbye is none any more.
    pub fn of(&self, user: UserId) -> Vec<Arc<Session>> {
        let devices = self.by_user.get(&user);
        let sessions = devices.iter().flat_map(|it| it.iter()).filter_map(Weak::upgrade);
        sessions.filter(|it| it.outbox(|outbox| outbox.is_open())).collect()
    }

    /// Closes every session whose holder is meant: those of one user, or of all.
    pub fn cut(&self, user: Option<UserId>, meant: impl Fn(&Holder) -> bool, close: &Close) {
        let all = match user {
            Some(user) => self.of(user),
            None => {
                self.by_user.iter().flat_map(|it| it.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()).collect()
            }
        };
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
