//! One actor per person who changes something of theirs.
//!
//! Owns: the profile as its owner last left it.  Writes: `users`, `names`, `profiles`, `preferences` and `blocks` rows,
//! before it answers.  Publishes: `profile.updated`.  Mailbox: 64, then `Unavailable`.
//! On restart: reads the profile again. Another node may have one for the same user: versions in the rows decide.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Notify;

use super::names::Name;
use super::{NO_SUCH_USER, VERSION_CONFLICT};
use crate::actors::auth::Hand;
use crate::actors::kernel::{Outcome, Reply, Role, Turn};
use crate::actors::profiles::Profiles;
use crate::actors::profiles::rules::{self, Change};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::{UserId, v7};
use crate::storage::db::{Db, Tx};
use crate::storage::preferences::{self, Preferences, Set};
use crate::storage::profiles::{self, Profile};
use crate::storage::{accounts, audit, blocks, names, outbox, users};

/// Changes of name in [`RENAMES_WITHIN`].
const RENAMES_MAX: i64 = 3;
const RENAMES_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// People whom one may block.
const BLOCKS_MAX: i64 = 10_000;
const RENAMED: &str = "username.changed";

/// What a user's actor can be told.
pub enum UserMsg {
    /// Say something else about oneself.
    Change { seen: i64, change: Change, reply: Reply<Arc<Profile>> },
    /// Take another name.
    Rename { name: Name, by: Hand, reply: Reply<Arc<Profile>> },
    /// Hear no more of somebody.
    Block { other: UserId, reply: Reply<()> },
    /// Hear of them again.
    Unblock { other: UserId, reply: Reply<()> },
    /// Set what one wants.
    Prefer { seen: i64, body: Preferences, reply: Reply<Set> },
}

/// What it starts from.
#[derive(Clone)]
pub struct UserArgs {
    pub db: Db,
    pub profiles: Profiles,
    pub clock: Clock,
    pub former_name_lives: Duration,
    /// Rung when there is something to publish.
    pub committed: Arc<Notify>,
}

/// What it remembers.
pub struct UserActor {
    args: UserArgs,
    profile: Arc<Profile>,
}

impl Role for UserActor {
    type Key = UserId;
    type Msg = UserMsg;
    type Args = UserArgs;
    type Owed = ();
    const NAME: &'static str = "users";

    async fn start(user: &UserId, args: &UserArgs) -> Result<Self> {
        Ok(UserActor { args: args.clone(), profile: args.profiles.get(*user).await? })
    }

    async fn handle(&mut self, msg: UserMsg, _: &mut Turn<Self>) -> Outcome {
        match msg {
            UserMsg::Change { seen, change, reply } => reply.send(self.change(seen, &change).await),
            UserMsg::Rename { name, by, reply } => reply.send(self.rename(&name, &by).await),
            UserMsg::Block { other, reply } => reply.send(self.block(other).await),
            UserMsg::Unblock { other, reply } => reply.send(self.unblock(other).await),
            UserMsg::Prefer { seen, body, reply } => reply.send(self.prefer(seen, body).await),
        }
        Ok(())
    }

    fn label(msg: &UserMsg) -> &'static str {
        match msg {
            UserMsg::Change { .. } => "change",
            UserMsg::Rename { .. } => "rename",
            UserMsg::Block { .. } => "block",
            UserMsg::Unblock { .. } => "unblock",
            UserMsg::Prefer { .. } => "prefer",
        }
    }
}

impl UserActor {
    /// Rule, then commit, then memory. What is so already is no conflict: whoever did not hear the answer asks again.
    async fn change(&mut self, seen: i64, change: &Change) -> Result<Arc<Profile>> {
        for fresh in [false, true] {
            if fresh {
                let stored = profiles::find(&self.args.db, self.profile.user_id).await?;
                self.profile = Arc::new(stored.ok_or(NO_SUCH_USER)?);
            }
            let about = rules::change(&self.profile.about, change.clone())?;
            if self.profile.version == seen {
                let (mut tx, user, at) = self.begin().await?;
                if profiles::update(&mut tx, user, seen, &about, at).await? {
                    return self.settle(tx, at).await;
                }
            } else if fresh && (1..self.profile.version).contains(&seen) && about == self.profile.about {
                return Ok(self.profile.clone());
            }
        }
        Err(VERSION_CONFLICT)
    }

    async fn rename(&mut self, name: &Name, by: &Hand) -> Result<Arc<Profile>> {
        let (mut tx, user, at) = self.begin().await?;
        let present = profiles::find_within(&mut tx, user).await?.ok_or(NO_SUCH_USER)?;
        if present.username == name.shown {
            return Ok(Arc::new(present));
        }
        if audit::count_since(&mut tx, user, RENAMED, at - RENAMES_WITHIN).await? >= RENAMES_MAX {
            return Err(Error::TooMany { retry_after: RENAMES_WITHIN });
        }
        if present.username_folded != name.folded {
            names::leave(&mut tx, user, at + self.args.former_name_lives).await?;
            if !accounts::take_name(&mut tx, user, &name.folded, &name.skeleton, at).await? {
                let detail = "somebody has this name, or one like it";
                return Err(Error::Conflict { code: "username_taken", detail });
            }
        }
        users::rename(&mut tx, user, &name.shown, &name.folded).await?;
        let detail = json!({ "from": present.username, "to": name.shown });
        let incident = by.incident(&self.args.clock, Some(user), RENAMED, detail);
        audit::append(&mut tx, &incident).await?;
        self.settle(tx, at).await
    }

    async fn block(&mut self, other: UserId) -> Result<()> {
        let (mut tx, user, at) = self.begin().await?;
        if !blocks::insert(&mut tx, user, other, at, BLOCKS_MAX).await? {
            return Err(Error::Conflict { code: "too_many_blocks", detail: "nobody can block more people" });
        }
        Ok(tx.commit().await?)
    }

    async fn unblock(&mut self, other: UserId) -> Result<()> {
        let (mut tx, user, _) = self.begin().await?;
        blocks::delete(&mut tx, user, other).await?;
        Ok(tx.commit().await?)
    }

    async fn prefer(&mut self, seen: i64, body: Preferences) -> Result<Set> {
        let (mut tx, user, at) = self.begin().await?;
        if preferences::update(&mut tx, user, seen, &body, at).await? {
            tx.commit().await?;
            return Ok(Set { version: seen + 1, body });
        }
        drop(tx);
        let stored = preferences::find(&self.args.db, user).await?.ok_or(NO_SUCH_USER)?;
        if stored.body == body { Ok(stored) } else { Err(VERSION_CONFLICT) }
    }

    /// Opens the transaction of a change: it holds the row of the user, whose account must be active.
    async fn begin(&self) -> Result<(Tx<'static>, UserId, DateTime<Utc>)> {
        let (user, at) = (self.profile.user_id, self.args.clock.now());
        let mut tx = self.args.db.begin().await?;
        if users::touch(&mut tx, user, at).await? { Ok((tx, user, at)) } else { Err(NO_SUCH_USER) }
    }

    /// Commits what changed the profile, with the event that tells of it; then memory, caches and nodes.
    async fn settle(&mut self, mut tx: Tx<'static>, at: DateTime<Utc>) -> Result<Arc<Profile>> {
        let user = self.profile.user_id;
        let profile = profiles::find_within(&mut tx, user).await?.ok_or(NO_SUCH_USER)?;
        outbox::append(&mut tx, v7(&self.args.clock), "profile.updated", user.0, told(&profile), at).await?;
        self.args.profiles.withdraw(user).await;
        let committed = tx.commit().await;
        // Also when nobody knows whether it was.
        self.args.profiles.forget(user).await;
        committed?;
        self.args.committed.notify_one();
        self.profile = Arc::new(profile);
        Ok(self.profile.clone())
    }
}

/// What others are told of a profile that changed.
fn told(profile: &Profile) -> String {
    let about = &profile.about;
    json!({
        "user_id": profile.user_id, "username": profile.username, "version": profile.version,
        "name": about.display_name, "bio": about.bio, "expertise": about.expertise,
    })
    .to_string()
}
