//! Profiles kept in this process for some seconds, so that a read costs no way and no decoding.
//!
//! A removal wins over a load that began before it: it counts up a number that such a load has read, and puts in
//! nothing when it finds another one. Names only lead to a profile; that the profile still has the name is looked at on
//! every use, so nothing has to be removed here when somebody takes another.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Moment};
use crate::ids::UserId;
use crate::storage::profiles::Profile;

/// How long a hint that was lost on its way from another node can go unnoticed.
const LIVES: Duration = Duration::from_secs(5);
/// Memory of all profiles, about.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Each profile has the place that its user's id says, each name the place that its hash says; who comes later takes it.
const PLACES: usize = 1 << 14;
/// What a profile costs beside its texts.
const PROFILE_BYTES: usize = 512;
/// Numbers of removals; users share them.
const SHELVES: usize = 256;

/// The profiles that are kept.
pub(super) struct Near {
    profiles: Box<[Mutex<Option<Kept>>]>,
    bytes: AtomicUsize,
    /// Where places are cleared next when there is too much.
    hand: AtomicUsize,
    names: Box<[Mutex<Option<UserId>>]>,
    hasher: RandomState,
    removals: [AtomicU64; SHELVES],
    clock: Clock,
}

struct Kept {
    profile: Arc<Profile>,
    until: Moment,
}

/// What a load has to show to put in what it found.
pub(super) struct Stamp(u64);

impl Near {
    pub fn new(clock: &Clock) -> Near {
        let removals = [const { AtomicU64::new(0) }; SHELVES];
        let profiles = (0..PLACES).map(|_| Mutex::default()).collect();
        let names = (0..PLACES).map(|_| Mutex::default()).collect();
        let (bytes, hand, hasher) = Default::default();
        Near { profiles, bytes, hand, names, hasher, removals, clock: clock.clone() }
    }

    pub fn find(&self, user: UserId) -> Option<Arc<Profile>> {
        let place = self.profiles[place(user)].lock();
        let kept = place.as_ref().filter(|it| it.profile.user_id == user && it.until > self.clock.moment())?;
        Some(kept.profile.clone())
    }

    pub fn find_by_name(&self, folded: &str) -> Option<Arc<Profile>> {
        let user = *self.name(folded).lock();
        self.find(user?).filter(|it| it.username_folded == folded)
    }

    pub fn stamp(&self, user: UserId) -> Stamp {
        Stamp(self.shelf(user).load(SeqCst))
    }

    /// Keeps what was found by a load, unless it was removed since that began.
    pub fn put(&self, profile: &Arc<Profile>, stamp: &Stamp) {
        let user = profile.user_id;
        let until = self.clock.moment().after(LIVES);
        {
            let mut at = self.profiles[place(user)].lock();
            // A removal counts first and takes this lock then: what it is about is nowhere to be found behind it.
            if self.shelf(user).load(SeqCst) != stamp.0 {
                return;
            }
            self.exchange(&mut at, Some(Kept { profile: profile.clone(), until }));
        }
        *self.name(&profile.username_folded).lock() = Some(user);
        while self.bytes.load(SeqCst) > BYTES_MAX {
            self.clear(self.hand.fetch_add(1, SeqCst) % PLACES);
        }
    }

    pub fn remove(&self, user: UserId) {
        self.shelf(user).fetch_add(1, SeqCst);
        self.clear(place(user));
    }

    pub fn remove_all(&self) {
        self.removals.iter().for_each(|it| _ = it.fetch_add(1, SeqCst));
        (0..PLACES).for_each(|at| self.clear(at));
    }

    fn clear(&self, at: usize) {
        self.exchange(&mut self.profiles[at].lock(), None);
    }

    fn exchange(&self, at: &mut Option<Kept>, kept: Option<Kept>) {
        let bytes = |it: &Option<Kept>| it.as_ref().map_or(0, |it| weight(&it.profile));
        self.bytes.fetch_add(bytes(&kept), SeqCst);
        let before = std::mem::replace(at, kept);
        self.bytes.fetch_sub(bytes(&before), SeqCst);
    }

    fn name(&self, folded: &str) -> &Mutex<Option<UserId>> {
        &self.names[self.hasher.hash_one(folded) as usize % PLACES]
    }

    fn shelf(&self, user: UserId) -> &AtomicU64 {
        &self.removals[user.chance() as usize % SHELVES]
    }
}

fn place(user: UserId) -> usize {
    user.chance() as usize % PLACES
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
    fn what_is_kept_has_an_end() {
        let clock = Clock::manual();
        let near = Near::new(&clock);
        let about = About { bio: "x".repeat(1 << 20), ..About::default() };
        let large = || Arc::new(Profile { about: about.clone(), ..Profile::clone(&profile(&clock, "ada")) });
        let all: Vec<_> = (0..64).map(|_| large()).collect();
        all.iter().for_each(|it| near.put(it, &near.stamp(it.user_id)));
        let kept = all.iter().filter(|it| near.find(it.user_id).is_some()).count();
        assert!((1..=32).contains(&kept), "{kept}");
        near.remove_all();
        assert_eq!(near.bytes.load(SeqCst), 0);
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
