//! How somebody becomes a user.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::guesses::Counted;
use super::{Auth, Client, Role, passwords};
use crate::actors::users::names::{Email, Name};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::accounts::{self, NewAccount, Taken};
use crate::storage::outbox;

const AGE_MAX: i64 = 150;
const DISPLAY_LETTERS_MAX: usize = 64;

/// What somebody says who wants to be a user.
pub struct Registration {
    /// What they want to be called.
    pub username: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// Their password.
    pub password: String,
    /// What stands above their profile; the name where nothing is said.
    pub display_name: Option<String>,
    /// How old they are.
    pub age: Option<i64>,
}

/// Somebody who has registered.
pub struct Registered {
    /// Who.
    pub id: UserId,
    /// What they are called.
    pub username: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// When they registered.
    pub created_at: DateTime<Utc>,
}

impl Auth {
    /// Makes an account. Names are public, so a taken one is told.
    pub async fn register(&self, asked: Registration, client: &Client) -> Result<Registered> {
        let name = Name::read(&asked.username)?;
        if name.is_reserved() {
            return Err(Error::invalid("username", "is kept for Folio itself"));
        }
        let email = asked.email.as_deref().map(Email::read).transpose()?;
        let mailbox = email.as_ref().map(|it| it.shown.rsplit_once('@').unwrap_or_default().0);
        passwords::judge("password", &asked.password, &[&name.shown, mailbox.unwrap_or_default()])?;
        let display_name = display_name(asked.display_name, &name)?;
        if asked.age.is_some_and(|it| !(0..=AGE_MAX).contains(&it)) {
            return Err(Error::invalid("age", "must be from 0 to 150"));
        }
        self.limit(Counted::Registered, client)?;
        let account = NewAccount {
            id: UserId(self.id()),
            name: name.shown,
            name_folded: name.folded,
            name_skeleton: name.skeleton,
            email: email.as_ref().map(|it| it.shown.clone()),
            email_folded: email.map(|it| it.folded),
            password: self.0.passwords.hash(&asked.password).await?,
            role: Role::User.name().to_owned(),
            display_name,
            age: asked.age,
            created_at: self.0.clock.now(),
        };
        self.enrol(account, client).await
    }

    /// Writes a new account with all that comes with it.
    async fn enrol(&self, it: NewAccount, client: &Client) -> Result<Registered> {
        let mut tx = self.0.storage.db.begin().await?;
        accounts::insert(&mut tx, &it).await?.map_err(taken)?;
        self.note(&mut tx, Some(it.id), "account.registered", client).await?;
        if let Some(email) = &it.email {
            self.ask_to_confirm(&mut tx, it.id, &it.name, email).await?;
        }
        let event = json!({ "user_id": it.id, "username": it.name, "email": it.email, "created_at": it.created_at });
        outbox::append(&mut tx, self.id(), "user.registered", it.id.0, event.to_string(), it.created_at).await?;
        self.commit_and_post(tx).await?;
        self.0.committed.notify_one();
        Ok(Registered { id: it.id, username: it.name, email: it.email, created_at: it.created_at })
    }
}

fn taken(what: Taken) -> Error {
    match what {
        Taken::Name => Error::Conflict { code: "username_taken", detail: "somebody has this name, or one like it" },
        Taken::Email => Error::Conflict { code: "email_taken", detail: "somebody gets mail at this address" },
    }
}

fn display_name(asked: Option<String>, name: &Name) -> Result<String> {
    let Some(asked) = asked else { return Ok(name.shown.clone()) };
    let shown = asked.trim();
    let fits = (1..=DISPLAY_LETTERS_MAX).contains(&shown.chars().count()) && !shown.chars().any(char::is_control);
    if fits { Ok(shown.to_owned()) } else { Err(Error::invalid("display_name", "must have 1 to 64 letters")) }
}
