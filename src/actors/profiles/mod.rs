//! Profiles: what people say about themselves, read from where it is nearest.
//!
//! Nearest is this process, for some seconds; then the cache that all nodes share; then the database. Whoever changes
//! a profile, or whether its account is active, takes it out of the cache before the commit and out of every node
//! behind it: a process that dies in between leaves nothing old.

mod near;
pub mod rules;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use self::near::Near;
use super::auth::Auth;
use super::auth::doors::Cut;
use super::kernel::Root;
use super::users::names::Name;
use crate::clock::Clock;
use crate::config::PeopleConfig;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::bus::{Bus, Heard};
use crate::storage::cache::Cache;
use crate::storage::db::Db;
use crate::storage::profiles::{self, Profile};
use crate::storage::{Storage, names};

const TOPIC: &str = "profiles";
const NO_SUCH_USER: Error = Error::NotFound("user");

/// Reads profiles. Cloning it gives the same.
#[derive(Clone)]
pub struct Profiles(Arc<Inner>);

struct Inner {
    db: Db,
    cache: Cache,
    bus: Bus,
    near: Near,
    cached_for: Duration,
    clock: Clock,
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Of this profile.
    Present(Arc<Profile>),
    /// It was of this profile, which has another name now.
    Former(Arc<Profile>),
}

impl Profiles {
    /// Opens the way to profiles, and listens to what other nodes change and to who is cut off.
    pub fn start(root: &Root, storage: &Storage, config: &PeopleConfig, clock: &Clock, auth: &Auth) -> Profiles {
        let (db, cache, bus) = (storage.db.clone(), storage.cache.clone(), storage.bus.clone());
        let (near, cached_for) = (Near::new(clock), config.profile_cached_for);
        let profiles = Profiles(Arc::new(Inner { db, cache, bus, near, cached_for, clock: clock.clone() }));
        let (listening, auth) = (profiles.clone(), auth.clone());
        root.keep("profiles", move |_| listening.clone().listen(auth.listen()));
        profiles
    }

    /// Finds a profile that is in this process. Never waits.
    pub fn near(&self, user: UserId) -> Option<Arc<Profile>> {
        self.0.near.find(user)
    }

    /// Finds a profile that is in this process, by its name as names are compared. Never waits.
    pub fn near_by_name(&self, folded: &str) -> Option<Arc<Profile>> {
        self.0.near.find_by_name(folded)
    }

    /// Reads somebody's profile, while their account is active.
    pub async fn get(&self, user: UserId) -> Result<Arc<Profile>> {
        if let Some(profile) = self.near(user) {
            return Ok(profile);
        }
        let Inner { cache, near, cached_for, .. } = &*self.0;
        let (stamp, key) = (near.stamp(user), key(user));
        let bytes = cache.get_or_load(&key, *cached_for, || self.load(user)).await?;
        let profile = match serde_json::from_slice(&bytes) {
            Ok(profile) => Arc::new(profile),
            // Left by another version of Folio.
            Err(_) => {
                let _ = cache.remove(&key).await;
                Arc::new(profiles::find(&self.0.db, user).await?.ok_or(NO_SUCH_USER)?)
            }
        };
        near.put(&profile, &stamp);
        Ok(profile)
    }

    /// Finds whose a name is. What cannot be a name is nobody's.
    pub async fn get_by_name(&self, name: &str) -> Result<Named> {
        let folded = Name::read(name).map_err(|_| NO_SUCH_USER)?.folded;
        if let Some(profile) = self.near_by_name(&folded) {
            return Ok(Named::Present(profile));
        }
        let holder = names::find(&self.0.db, &folded, self.0.clock.now()).await?.ok_or(NO_SUCH_USER)?;
        let profile = self.get(holder.user_id).await?;
        Ok(if profile.username_folded == folded { Named::Present(profile) } else { Named::Former(profile) })
    }

    /// Takes a profile out of the shared cache, before the commit that changes it.
    pub async fn withdraw(&self, user: UserId) {
        // A cache that is away remembers, and counts the failure.
        let _ = self.0.cache.remove(&key(user)).await;
    }

    /// Takes a profile out of the cache and out of every node, behind the commit that changed it or its account.
    pub async fn forget(&self, user: UserId) {
        self.0.near.remove(user);
        self.withdraw(user).await;
        // A hint that is lost is made up for by the short life of what is near.
        let _ = self.0.bus.publish(&format!("{TOPIC}.{user}"), Bytes::new()).await;
    }

    async fn load(&self, user: UserId) -> Result<Bytes> {
        let profile = profiles::find(&self.0.db, user).await?.ok_or(NO_SUCH_USER)?;
        serde_json::to_vec(&profile).map(Bytes::from).map_err(Error::internal)
    }

    /// Forgets what others changed. Whoever is cut off may be gone: that is forgotten on every node, since it may have
    /// been done by a command and not by a node.
    async fn listen(self, mut cuts: Receiver<Cut>) {
        let Inner { near, bus, .. } = &*self.0;
        let mut ear = bus.subscribe(&format!("{TOPIC}.*"));
        loop {
            tokio::select! {
                heard = ear.next() => match named(&heard) {
                    Some(user) => near.remove(user),
                    None => near.remove_all(),
                },
                cut = cuts.recv() => match cut {
                    Ok(Cut::Person { user, .. }) => {
                        near.remove(user);
                        self.withdraw(user).await;
                    }
                    Ok(Cut::Session(_)) => {}
                    Err(RecvError::Lagged(_)) => near.remove_all(),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

/// Whose profile a hint is about; nobody's where some may be missing.
fn named(heard: &Heard) -> Option<UserId> {
    let Heard::Hint(hint) = heard else { return None };
    hint.topic.rsplit('.').next()?.parse().ok()
}

/// Where the shared cache has a profile.
fn key(user: UserId) -> String {
    format!("profile:{user}")
}
