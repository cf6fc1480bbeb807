//! Profiles as others see them: three forms of each, encoded once for as long as the profile stays the same.

use std::sync::Arc;

use axum::Extension;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::shell::Encoded;
use crate::actors::auth::Caller;
use crate::actors::profiles::rules::shown;
use crate::ids::UserId;
use crate::storage::profiles::{Contact, Link, Profile, Visibility};

/// Profiles whose forms are kept: each has the place that its user's id says.
const PLACES: usize = 1 << 11;

/// Somebody's own profile: everything.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnProfile {
    #[serde(flatten)]
    shared: Shared,
    /// Each way to be reached, and who is told.
    contact: Vec<Contact>,
    /// What a change has to name.
    version: i64,
}

/// A profile as others see it.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicProfile {
    #[serde(flatten)]
    shared: Shared,
    /// The ways to be reached that whoever asks is told.
    contact: Vec<Reach>,
}

/// What everybody sees.
#[derive(Serialize, ToSchema)]
struct Shared {
    user_id: UserId,
    username: String,
    display_name: String,
    headline: String,
    bio: String,
    location: String,
    age: Option<i64>,
    links: Vec<Link>,
    expertise: Vec<String>,
    theme_music_url: Option<String>,
    avatar_url: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A way to reach somebody.
#[derive(Serialize, ToSchema)]
struct Reach {
    kind: String,
    value: String,
}

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Owner,
    SignedIn,
    Everyone,
}

impl View {
    /// How much of a public profile a caller sees. A service is nobody who has signed in.
    pub(super) fn of(caller: Option<&Caller>) -> View {
        if matches!(caller, Some(Caller::Person(_))) { View::SignedIn } else { View::Everyone }
    }
}

/// The forms of profiles that were asked for of late.
pub struct ProfileViews(Box<[Mutex<Option<Views>>]>);

/// The forms of one profile, as it was when they were made.
struct Views {
    profile: Arc<Profile>,
    encoded: [Option<Arc<Encoded>>; 3],
}

impl Default for ProfileViews {
    fn default() -> ProfileViews {
        ProfileViews((0..PLACES).map(|_| Mutex::default()).collect())
    }
}

impl ProfileViews {
    /// A form of a profile. Forms of an earlier state give way.
    pub(super) fn encoded(&self, profile: &Arc<Profile>, view: View) -> Arc<Encoded> {
        let mut place = self.0[profile.user_id.chance() as usize % PLACES].lock();
        let views = match &mut *place {
            Some(views) if Arc::ptr_eq(&views.profile, profile) => views,
            other => other.insert(Views { profile: profile.clone(), encoded: Default::default() }),
        };
        views.encoded[view as usize].get_or_insert_with(|| encode(profile, view).into()).clone()
    }

    /// The same as the answer of a handler.
    pub(super) fn answer(&self, profile: &Arc<Profile>, view: View) -> Extension<Arc<Encoded>> {
        Extension(self.encoded(profile, view))
    }
}

fn encode(profile: &Profile, view: View) -> Encoded {
    let about = profile.about.clone();
    let shared = Shared {
        user_id: profile.user_id,
        username: profile.username.clone(),
        display_name: about.display_name,
        headline: about.headline,
        bio: about.bio,
        location: about.location,
        age: about.age,
        links: about.links,
        expertise: about.expertise,
        theme_music_url: about.theme_music_url,
        avatar_url: about.avatar_url,
        created_at: profile.created_at,
        updated_at: profile.updated_at,
    };
    let reach = |it: &Contact| Reach { kind: it.kind.clone(), value: it.value.clone() };
    // Asked about each time: what somebody takes back is gone.
    let (sees, cache_control) = match view {
        View::Owner => {
            let own = OwnProfile { shared, contact: about.contact, version: profile.version };
            return Encoded::json(&own, "private, no-cache");
        }
        View::SignedIn => (Visibility::SignedIn, "private, no-cache"),
        View::Everyone => (Visibility::Everyone, "no-cache"),
    };
    let contact = shown(&about.contact, sees).map(reach).collect();
    Encoded::json(&PublicProfile { shared, contact }, cache_control)
}
