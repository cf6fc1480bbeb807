//! What somebody can have of their account as a whole: a copy of everything, and an end to it.
//!
//! Owns: nothing but the task that sweeps.  Writes: `users` of those who leave, and removes all that is theirs.
//! Publishes: `user.deleted`.  Queue: none, it reads the tables.
//! On restart: whoever was being removed is found again by their row; nothing is forgotten half.

mod sweeps;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::auth::{Auth, Client, Person};
use super::conversations::Conversations;
use super::kernel::Root;
use super::profiles::Profiles;
use crate::clock::Clock;
use crate::config::{Config, PeopleConfig};
use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::storage::accounts::{self, State};
use crate::storage::db::Db;
use crate::storage::exports::{self, Export};

/// The way in. Cloning it gives the same.
#[derive(Clone)]
pub struct Account(Arc<Inner>);

/// The ways in to what a whole account is part of.
pub struct Ways {
    /// Asks for passwords, and ends sessions.
    pub auth: Auth,
    /// Shows profiles.
    pub profiles: Profiles,
    /// Takes people out of what they took part in.
    pub conversations: Conversations,
    /// Rung when an event was committed.
    pub committed: Arc<Notify>,
}

struct Inner {
    db: Db,
    clock: Clock,
    ways: Ways,
    config: PeopleConfig,
    mail_lives: Duration,
}

impl Account {
    /// Starts to sweep what has ended, and to remove those who have left.
    pub fn start(root: &Root, storage: &Storage, config: &Config, clock: &Clock, ways: Ways) -> Account {
        let account = Account(Arc::new(Inner {
            db: storage.db.clone(),
            clock: clock.clone(),
            ways,
            config: config.people,
            mail_lives: config.mail.lives,
        }));
        let swept = account.0.clone();
        root.keep("people", move |_| {
            let swept = swept.clone();
            async move { swept.sweep_again_and_again().await }
        });
        account
    }

    /// Reads everything that is kept about somebody; now and then, because it is much.
    pub async fn export(&self, person: Person, client: &Client) -> Result<Export> {
        let Inner { db, clock, ways: Ways { auth, .. }, config, .. } = &*self.0;
        let now = clock.now();
        let mut tx = db.begin().await?;
        // Two that ask at once are answered one after the other.
        accounts::lock(&mut tx, person.user).await?.ok_or(Error::NotFound("user"))?;
        if let Some(last) = exports::last(&mut tx, person.user).await?
            && let Ok(retry_after) = (last + config.export_every - now).to_std()
            && !retry_after.is_zero()
        {
            return Err(Error::TooMany { retry_after });
        }
        auth.note(&mut tx, Some(person.user), "data.exported", client).await?;
        tx.commit().await?;
        exports::read(db, person.user, config.export_rows_max, now).await
    }

    /// Begins to end an account: every session ends, and signing in until then takes it back. Tells until when.
    pub async fn leave(
        &self,
        person: Person,
        password: Option<&str>,
        code: Option<&str>,
        client: &Client,
    ) -> Result<DateTime<Utc>> {
        let Inner { db, clock, ways: Ways { auth, profiles, .. }, config, .. } = &*self.0;
        let password = password.ok_or(Error::Forbidden("your password is needed for this"))?;
        let account = auth.confirm(person, Some(password)).await?;
        let now = clock.now();
        let delete_after = now + config.delete_after;
        let mut tx = db.begin().await?;
        let account = auth.hold_to_leave(&mut tx, &account).await?;
        auth.confirm_code(&mut tx, account.id, code).await?;
        accounts::set_state(&mut tx, account.id, State::Deleting, Some(delete_after), now).await?;
        let cut = auth.cut_off(&mut tx, account.id, "deleted").await?;
        auth.note(&mut tx, Some(account.id), "account.deleting", client).await?;
        if let Some(email) = &account.email {
            let body = format!(
                "Hello {},\n\nyour account and all that is yours here will be removed after {}. Until then you can take \
                 that back: sign in.\n",
                account.name,
                delete_after.format("%F %H:%M UTC")
            );
            auth.letter(&mut tx, account.id, email, "Your account will be removed", body).await?;
        }
        auth.commit_and_post(tx).await?;
        auth.close(&[cut]).await;
        profiles.forget(account.id).await;
        Ok(delete_after)
    }
}
