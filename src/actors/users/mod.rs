//! Users: what people change of theirs, and who is here.
//!
//! What changes goes through one actor a user; what is only read goes past it.

mod actor;
pub mod names;

use std::sync::Arc;

use tokio::sync::Notify;

use self::actor::{UserActor, UserArgs, UserMsg};
use self::names::Name;
use super::auth::Hand;
use super::kernel::{Keyed, Limits, Root};
use super::presence::Presence;
use super::profiles::rules::Change;
use super::profiles::{Profiles, text};
use crate::clock::Clock;
use crate::config::PeopleConfig;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::blocks::{self, Blocked};
use crate::storage::db::Db;
use crate::storage::preferences::{self, Preferences, Set};
use crate::storage::profiles::Profile;
use crate::storage::users::{self, Listed};

const NO_SUCH_USER: Error = Error::NotFound("user");
/// The version that was seen is not the present one.
pub const VERSION_CONFLICT: Error =
    Error::Conflict { code: "version_conflict", detail: "it was changed since it was read: read it again" };

/// The way in to what people change of theirs.
#[derive(Clone)]
pub struct Users {
    actors: Keyed<UserActor>,
    db: Db,
    profiles: Profiles,
    presence: Presence,
}

impl Users {
    /// Starts the kind. It rings `committed` when there is something to publish.
    pub async fn start(
        root: &Root,
        db: &Db,
        profiles: &Profiles,
        presence: &Presence,
        config: &PeopleConfig,
        clock: &Clock,
        committed: Arc<Notify>,
    ) -> Result<Users> {
        let (db, profiles, clock) = (db.clone(), profiles.clone(), clock.clone());
        let former_name_lives = config.former_name_lives;
        let args = UserArgs { db: db.clone(), profiles: profiles.clone(), clock, former_name_lives, committed };
        let (actors, presence) = (root.keyed(args, Limits::default()).await?, presence.clone());
        Ok(Users { actors, db, profiles, presence })
    }

    /// Lists people by name, from behind a place; those whose name begins with a prefix.
    pub async fn list(&self, prefix: &str, after: Option<(String, UserId)>, rows_max: usize) -> Result<Vec<Listed>> {
        users::list(&self.db, &names::fold(prefix), after, rows_max as i64).await
    }

    /// Changes what somebody says about themselves, if it is still as it was seen.
    pub async fn change_profile(&self, user: UserId, seen: i64, change: Change) -> Result<Arc<Profile>> {
        self.actors.get(&user).ask(|reply| UserMsg::Change { seen, change, reply }).await
    }

    /// Gives somebody another name. The one they leave leads to them for a while.
    pub async fn rename(&self, user: UserId, name: Name, by: Hand) -> Result<Arc<Profile>> {
        if name.is_reserved() {
            return Err(Error::invalid("username", "is kept for Folio itself"));
        }
        self.actors.get(&user).ask(|reply| UserMsg::Rename { name, by, reply }).await
    }

    /// Blocks somebody; twice is once.
    pub async fn block(&self, user: UserId, other: UserId) -> Result<()> {
        if user == other {
            return Err(Error::invalid("user_id", "nobody can block themselves"));
        }
        self.profiles.get(other).await?;
        self.actors.get(&user).ask(|reply| UserMsg::Block { other, reply }).await?;
        self.presence.part(user, other).await;
        Ok(())
    }

    /// Lifts a block; one that is not there is no failure.
    pub async fn unblock(&self, user: UserId, other: UserId) -> Result<()> {
        self.actors.get(&user).ask(|reply| UserMsg::Unblock { other, reply }).await
    }

    /// Lists whom somebody blocks.
    pub async fn blocked(&self, user: UserId, after: Option<UserId>, rows_max: usize) -> Result<Vec<Blocked>> {
        blocks::list(&self.db, user, after, rows_max as i64).await
    }

    /// Reads what somebody has set for themselves.
    pub async fn preferences(&self, user: UserId) -> Result<Set> {
        preferences::find(&self.db, user).await?.ok_or(NO_SUCH_USER)
    }

    /// Sets what somebody wants, if it is still as it was seen.
    pub async fn prefer(&self, user: UserId, seen: i64, body: Preferences) -> Result<Set> {
        text::language(&body.language).map_err(|fault| Error::invalid("language", fault))?;
        let set = self.actors.get(&user).ask(|reply| UserMsg::Prefer { seen, body, reply }).await?;
        self.presence.reconsider(user).await;
        Ok(set)
    }

    /// Lets others see that somebody is here, or not.
    pub async fn show(&self, user: UserId, visible: bool) -> Result<()> {
        loop {
            let Set { version, mut body } = self.preferences(user).await?;
            if body.presence_visible == visible {
                return Ok(());
            }
            body.presence_visible = visible;
            match self.prefer(user, version, body).await {
                // Something else was set meanwhile: that stays.
                Err(Error::Conflict { .. }) => {}
                done => return done.map(drop),
            }
        }
    }
}
