//! What those do who keep the peace and give out roles: roles, bans, ends of other people's sessions.
//!
//! Owns: nothing.  Writes: `users`, `sessions`, `revocations`, `audit`.
//! Publishes: `user.role_changed`, `user.banned`, `user.unbanned`.  Queue: none.
//! Each change is one transaction under the locks of those it is about; then the doors close on every node.

pub mod rules;

use std::time::Duration;

use serde_json::json;

use super::auth::doors::{Cut, cut_off, void_tokens};
use super::auth::{Auth, Hand, Person, Role};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::{self, UserId};
use crate::storage::accounts::{self, Account, State};
use crate::storage::db::{Db, Tx};
use crate::storage::{account_list, audit, outbox};

/// The way in. Cloning it gives the same.
#[derive(Clone)]
pub struct Moderation {
    db: Db,
    auth: Auth,
    clock: Clock,
    access_lives: Duration,
}

impl Moderation {
    /// Makes the way in.
    pub fn new(db: &Db, auth: &Auth, clock: &Clock, access_lives: Duration) -> Moderation {
        Moderation { db: db.clone(), auth: auth.clone(), clock: clock.clone(), access_lives }
    }

    /// Gives somebody a role. Tokens that say another are void at once; the next refresh brings the new one.
    pub async fn grant(&self, by: Person, hand: &Hand, to: UserId, role: Role) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let admins = account_list::lock_admins(&mut tx).await?;
        rules::may_grant(&admins, by.user, to)?;
        let cut = change_role(&mut tx, &self.clock, hand, (to, role), &admins, self.access_lives).await?;
        self.finish(tx, cut).await
    }

    /// Keeps somebody out. Doing so twice changes nothing.
    pub async fn ban(&self, by: Person, hand: &Hand, who: UserId, reason: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let account = self.lock_lower(&mut tx, by, who).await?;
        if account.state == State::Banned {
            return Ok(());
        }
        accounts::set_state(&mut tx, who, State::Banned, account.delete_after, self.clock.now()).await?;
        let cut = cut_off(&mut tx, who, "banned", &self.clock, self.access_lives).await?;
        let said = hand.incident(&self.clock, Some(who), "account.banned", json!({ "reason": reason }));
        audit::append(&mut tx, &said).await?;
        tell(&mut tx, &self.clock, "user.banned", &account, json!({})).await?;
        self.finish(tx, Some(cut)).await
    }

    /// Lets somebody come in again. Doing so twice changes nothing.
    pub async fn unban(&self, by: Person, hand: &Hand, who: UserId) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let account = self.lock_lower(&mut tx, by, who).await?;
        if account.state != State::Banned {
            return Ok(());
        }
        // Whoever was leaving when they were kept out is leaving still.
        let state = if account.delete_after.is_some() { State::Deleting } else { State::Active };
        accounts::set_state(&mut tx, who, state, account.delete_after, self.clock.now()).await?;
        audit::append(&mut tx, &hand.incident(&self.clock, Some(who), "account.unbanned", json!({}))).await?;
        tell(&mut tx, &self.clock, "user.unbanned", &account, json!({})).await?;
        self.finish(tx, None).await
    }

    /// Ends every session of somebody.
    pub async fn end_sessions(&self, by: Person, hand: &Hand, who: UserId) -> Result<()> {
        let mut tx = self.db.begin().await?;
        self.lock_lower(&mut tx, by, who).await?;
        let cut = cut_off(&mut tx, who, "moderated", &self.clock, self.access_lives).await?;
        audit::append(&mut tx, &hand.incident(&self.clock, Some(who), "sessions.ended", json!({}))).await?;
        self.finish(tx, Some(cut)).await
    }

    /// Locks somebody who stands lower than the one who asks, as both are now.
    async fn lock_lower(&self, tx: &mut Tx<'_>, by: Person, who: UserId) -> Result<Account> {
        let account = accounts::lock(tx, who).await?.ok_or(Error::NotFound("user"))?;
        rules::may_act_on(by.role, role_of(&account)?)?;
        Ok(account)
    }

    async fn finish(&self, tx: Tx<'_>, cut: Option<Cut>) -> Result<()> {
        tx.commit().await?;
        self.auth.close(cut.as_slice()).await;
        Ok(())
    }
}

/// Gives somebody a role in a transaction that has locked the admins; tells whose tokens are void after it.
pub async fn change_role(
    tx: &mut Tx<'_>,
    clock: &Clock,
    hand: &Hand,
    (to, role): (UserId, Role),
    admins: &[UserId],
    access_lives: Duration,
) -> Result<Option<Cut>> {
    if role != Role::Admin {
        rules::keeps_an_admin(admins, to)?;
    }
    let account = accounts::lock(tx, to).await?.ok_or(Error::NotFound("user"))?;
    let before = role_of(&account)?;
    if before == role {
        return Ok(None);
    }
    accounts::set_role(tx, to, role.name(), clock.now()).await?;
    let cut = void_tokens(tx, to, clock, access_lives).await?;
    let change = json!({ "from": before, "to": role });
    audit::append(tx, &hand.incident(clock, Some(to), "role.changed", change.clone())).await?;
    tell(tx, clock, "user.role_changed", &account, change).await?;
    Ok(Some(cut))
}

/// Publishes what became of an account.
async fn tell(
    tx: &mut Tx<'_>,
    clock: &Clock,
    topic: &'static str,
    account: &Account,
    mut payload: serde_json::Value,
) -> Result<()> {
    payload["user_id"] = json!(account.id);
    payload["username"] = json!(account.name);
    outbox::append(tx, ids::v7(clock), topic, account.id.0, payload.to_string(), clock.now()).await
}

fn role_of(account: &Account) -> Result<Role> {
    Role::named(&account.role).ok_or_else(|| Error::internal(format!("a role called {}", account.role)))
}
