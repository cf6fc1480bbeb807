//! Profiles kept in this process for some seconds, so that a read costs no way and no decoding.
//!
//! A removal wins over a load that began before it: it counts up a number that such a load has read, and puts in
//! nothing when it finds another one. Names only lead to a profile; that the profile still has the name is looked at on
//! every use, so nothing has to be removed here when somebody takes another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::clock::{Clock, Moment};
use crate::ids::UserId;
use crate::storage::profiles::Profile;

/// How long a hint that was lost on its way from another node can go unnoticed.
const LIVES: Duration = Duration::from_secs(5);
/// Memory of all profiles, about.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Names that are remembered.
const NAMES_MAX: u64 = 50_000;
/// What a profile costs beside its texts.
const PROFILE_BYTES: usize = 512;
/// Numbers of removals; users share them.
const SHELVES: usize = 256;

/// The profiles that are kept.
pub(super) struct Near {
    profiles: Cache<UserId, Kept>,
    names: Cache<String, UserId>,
    removals: [AtomicU64; SHELVES],
    clock: Clock,
}

#[derive(Clone)]
struct Kept {
    profile: Arc<Profile>,
    until: Moment,
}

/// What a load has to show to put in what it found.
pub(super) struct Stamp(u64);

impl Near {
    pub fn new(clock: &Clock) -> Near {
        let profiles = Cache::builder()
            .max_capacity(BYTES_MAX)
            .weigher(|_, kept: &Kept| u32::try_from(weight(&kept.profile)).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru());
        let removals = [const { AtomicU64::new(0) }; SHELVES];
        Near { profiles: profiles.build(), names: Cache::new(NAMES_MAX), removals, clock: clock.clone() }
    }

    pub fn find(&self, user: UserId) -> Option<Arc<Profile>> {
        let kept = self.profiles.get(&user)?;
        (kept.until > self.clock.moment()).then_some(kept.profile)
    }

    pub fn find_by_name(&self, folded: &str) -> Option<Arc<Profile>> {
        self.find(self.names.get(folded)?).filter(|it| it.username_folded == folded)
    }

    pub fn stamp(&self, user: UserId) -> Stamp {
        Stamp(self.shelf(user).load(SeqCst))
    }

    /// Keeps what was found by a load, unless it was removed since that began.
    pub fn put(&self, profile: &Arc<Profile>, stamp: &Stamp) {
        let user = profile.user_id;
        let until = self.clock.moment().after(LIVES);
        self.profiles.insert(user, Kept { profile: profile.clone(), until });
        self.names.insert(profile.username_folded.clone(), user);
        if self.shelf(user).load(SeqCst) != stamp.0 {
            self.profiles.invalidate(&user);
        }
    }

    pub fn remove(&self, user: UserId) {
        self.shelf(user).fetch_add(1, SeqCst);
        self.profiles.invalidate(&user);
    }

    pub fn remove_all(&self) {
        self.removals.iter().for_each(|it| _ = it.fetch_add(1, SeqCst));
        self.profiles.invalidate_all();
    }

    fn shelf(&self, user: UserId) -> &AtomicU64 {
        // The last byte of an id is chance.
        &self.removals[usize::from(user.0.as_bytes()[15])]
    }
}

/// About how many bytes a profile takes.
fn weight(profile: &Profile) -> usize {
    let about = &profile.about;
    let texts = [&about.display_name, &about.headline, &about.bio, &about.location, &profile.username];
    let links = about.links.iter().map(|it| it.label.len() + it.url.len());
    let contact = about.contact.iter().map(|it| it.kind.len() + it.value.len());
    let lists = links.chain(contact).chain(about.expertise.iter().map(String::len)).map(|it| it + 64);
    PROFILE_BYTES + texts.iter().map(|it| it.len()).sum::<usize>() + lists.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::profiles::About;

    fn profile(clock: &Clock, name: &str) -> Arc<Profile> {
        let (username, now) = (name.to_owned(), clock.now());
        Arc::new(Profile {
            user_id: UserId::new(clock),
            username_folded: username.clone(),
            username,
            created_at: now,
            version: 1,
            updated_at: now,
            about: About::default(),
        })
    }

    #[test]
    fn what_was_removed_while_it_was_read_is_not_kept() {
        let clock = Clock::manual();
        let (near, ada) = (Near::new(&clock), profile(&clock, "ada"));
        let stamp = near.stamp(ada.user_id);
        near.remove(ada.user_id);
        near.put(&ada, &stamp);
        assert_eq!(near.find(ada.user_id), None);
        let stamp = near.stamp(ada.user_id);
        near.put(&ada, &stamp);
        assert_eq!(near.find(ada.user_id), Some(ada.clone()));
        near.remove_all();
        near.put(&ada, &stamp);
        assert_eq!(near.find(ada.user_id), None);
    }

    #[test]
    fn a_profile_is_kept_for_seconds() {
        let clock = Clock::manual();
        let (near, ada) = (Near::new(&clock), profile(&clock, "ada"));
        near.put(&ada, &near.stamp(ada.user_id));
        assert_eq!(near.find_by_name("ada"), Some(ada.clone()));
        clock.advance(LIVES);
        assert_eq!((near.find(ada.user_id), near.find_by_name("ada")), (None, None));
    }

    #[test]
    fn a_name_leads_to_whoever_has_it_now() {
        let clock = Clock::manual();
        let (near, ada) = (Near::new(&clock), profile(&clock, "ada"));
        near.put(&ada, &near.stamp(ada.user_id));
        let renamed = Profile { username_folded: "countess".to_owned(), ..Profile::clone(&ada) };
        near.put(&Arc::new(renamed), &near.stamp(ada.user_id));
        assert_eq!(near.find_by_name("ada"), None);
        assert_eq!(near.find_by_name("countess").map(|it| it.user_id), Some(ada.user_id));
    }
}
