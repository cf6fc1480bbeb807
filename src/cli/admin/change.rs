//! The changes of `folio admin`: accounts, roles, passwords, keys.

use std::io::Read;

use clap::Args;
use folio::actors::auth::api_keys::add;
use folio::actors::auth::doors::cut_off;
use folio::actors::auth::tickets::{self, Purpose};
use folio::actors::auth::{Hand, NewKey, Role, Scope, passwords};
use folio::actors::moderation::change_role;
use folio::actors::users::names::{Email, Name, fold};
use folio::clock::Clock;
use folio::config::{AuthConfig, Settings};
use folio::error::{Error, Result as Outcome};
use folio::ids::{self, UserId};
use folio::storage::accounts::{self, Account, NewAccount, State, Taken};
use folio::storage::db::{Db, Tx};
use folio::storage::{account_list, audit, outbox};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::confirm;
use super::people_file::told;
use crate::cli::{Failure, say};

/// What is longer is no password.
const PASSWORD_BYTES_MAX: u64 = 1_024;
const PAGE: usize = 500;

#[derive(Args)]
pub struct Create {
    /// The name to sign in with.
    #[arg(long)]
    name: String,
    /// Where mail reaches them.
    #[arg(long)]
    email: Option<String>,
    /// user, seller, moderator, operator or admin.
    #[arg(long, default_value = "user", value_parser = role)]
    role: Role,
    /// Reads the password from the standard input, up to the end of its first line. Without it one is made and printed.
    #[arg(long)]
    password_stdin: bool,
}

impl Create {
    pub async fn run(self, settings: &Settings, db: &Db, clock: &Clock) -> Result<(), Failure> {
        let made = if self.password_stdin { None } else { Some(word().map_err(refused)?) };
        let password = match &made {
            Some(word) => word.clone(),
            None => read_password()?,
        };
        let (name, role) = (self.name.clone(), self.role);
        self.create(&settings.auth(), &password, db, clock).await.map_err(refused)?;
        say(&match made {
            None => format!("{name} is registered as {}.\n", role.name()),
            Some(word) => format!(
                "{name} is registered as {}. The password is shown only now; change it after the first sign-in:\n{word}\n",
                role.name()
            ),
        })
    }

    async fn create(self, config: &AuthConfig, password: &str, db: &Db, clock: &Clock) -> Outcome<()> {
        let name = Name::read(&self.name)?;
        let email = self.email.as_deref().map(Email::read).transpose()?;
        passwords::judge("password", password, &[&name.shown])?;
        let account = NewAccount {
            id: UserId::new(clock),
            display_name: name.shown.clone(),
            name: name.shown,
            name_folded: name.folded,
            name_skeleton: name.skeleton,
            email: email.as_ref().map(|it| it.shown.clone()),
            email_folded: email.map(|it| it.folded),
            password: passwords::hash(config.passwords, password.as_bytes())?,
            role: self.role.name().to_owned(),
            age: None,
            created_at: clock.now(),
        };
        let mut tx = db.begin().await?;
        accounts::insert(&mut tx, &account).await?.map_err(|taken| match taken {
            Taken::Name => Error::Conflict { code: "username_taken", detail: "somebody has this name, or one like it" },
            Taken::Email => Error::Conflict { code: "email_taken", detail: "somebody gets mail at this address" },
        })?;
        let detail = json!({ "role": self.role });
        let hand = Hand::command_line();
        audit::append(&mut tx, &hand.incident(clock, Some(account.id), "account.registered", detail)).await?;
        let event = json!({ "user_id": account.id, "username": account.name, "email": account.email,
            "created_at": account.created_at });
        let (id, key, at) = (ids::v7(clock), account.id.0, account.created_at);
        outbox::append(&mut tx, id, "user.registered", key, event.to_string(), at).await?;
        Ok(tx.commit().await?)
    }
}

#[derive(Args)]
pub struct Grant {
    /// The name they sign in with.
    #[arg(long)]
    user: String,
    /// user, seller, moderator, operator or admin.
    #[arg(long, value_parser = role)]
    role: Role,
    /// Does it without asking.
    #[arg(long)]
    yes: bool,
}

impl Grant {
    pub async fn run(self, settings: &Settings, db: &Db, clock: &Clock) -> Result<(), Failure> {
        let account = find(db, &self.user).await.map_err(refused)?;
        if account.role == self.role.name() {
            return say(&format!("{} is {} already.\n", account.name, account.role));
        }
        let lives = settings.auth().access_lives;
        confirm(self.yes, &format!("{} is {} and becomes {}.", account.name, account.role, self.role.name()))?;
        let granting = async {
            let mut tx = db.begin().await?;
            let admins = account_list::lock_admins(&mut tx).await?;
            change_role(&mut tx, clock, &Hand::command_line(), (account.id, self.role), &admins, lives).await?;
            tx.commit().await.map_err(Error::from)
        };
        granting.await.map_err(refused)?;
        say(&format!(
            "{} is {} now; tokens that say something else end within a second.\n",
            account.name,
            self.role.name()
        ))
    }
}

#[derive(Args)]
pub struct ResetPassword {
    /// The name they sign in with.
    #[arg(long)]
    user: String,
    /// Does it without asking.
    #[arg(long)]
    yes: bool,
}

impl ResetPassword {
    pub async fn run(self, settings: &Settings, db: &Db, clock: &Clock) -> Result<(), Failure> {
        let account = find(db, &self.user).await.map_err(refused)?;
        confirm(self.yes, &format!("The password of {} becomes useless and every session ends.", account.name))?;
        let ticket = self.reset(&settings.auth(), &account, db, clock).await.map_err(refused)?;
        say(&format!(
            "{} sets a new password with this word, once, within {} minutes, by POST /api/v1/auth/password/reset \
             {{\"token\": .., \"new_password\": ..}}:\n{ticket}\n",
            account.name,
            Purpose::Password.lives().as_secs() / 60
        ))
    }

    async fn reset(&self, config: &AuthConfig, account: &Account, db: &Db, clock: &Clock) -> Outcome<String> {
        // A password that nobody has ever seen.
        let nobodys = passwords::hash(config.passwords, word()?.as_bytes())?;
        let mut tx: Tx<'_> = db.begin().await?;
        let held = accounts::lock(&mut tx, account.id).await?.ok_or(Error::NotFound("user"))?;
        if held.state == State::Banned {
            return Err(Error::Conflict { code: "banned", detail: "this account is banned" });
        }
        accounts::set_password(&mut tx, account.id, &nobodys, clock.now()).await?;
        cut_off(&mut tx, account.id, "password", clock, config.access_lives).await?;
        let word = tickets::give(&mut tx, account.id, Purpose::Password, account.email.clone(), clock.now()).await?;
        let reset = Hand::command_line().incident(clock, Some(account.id), "password.voided", json!({}));
        audit::append(&mut tx, &reset).await?;
        tx.commit().await?;
        Ok(word)
    }
}

#[derive(Args)]
pub struct List {
    /// Names that begin so.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Those alone who have this role.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// active, deactivated, banned or deleting.
    #[arg(long, value_parser = state)]
    state: Option<State>,
}

impl List {
    pub async fn run(self, db: &Db) -> Result<(), Failure> {
        let to =
            account_list::Narrowed { prefix: fold(&self.prefix), state: self.state, role: self.role.map(Role::name) };
        let mut after = None;
        loop {
            let read = account_list::list(db, &to, after, PAGE).await.map_err(refused)?;
            let line = |it: &account_list::Listed| {
                let email = it.email.as_deref().unwrap_or("-");
                format!("{}\t{}\t{}\t{}\t{email}\n", it.id, it.name, it.role, it.state.name())
            };
            say(&read.iter().map(line).collect::<String>())?;
            match read.last() {
                Some(last) if read.len() == PAGE => after = Some((last.name_folded.clone(), last.id)),
                _ => return Ok(()),
            }
        }
    }
}

#[derive(Args)]
pub struct CreateKey {
    /// What people call it.
    #[arg(long)]
    name: String,
    /// What it is for; may be given more than once: users:read, users:write, profiles:read.
    #[arg(long, required = true, value_parser = scope)]
    scope: Vec<Scope>,
}

impl CreateKey {
    pub async fn run(self, settings: &Settings, db: &Db, clock: &Clock) -> Result<(), Failure> {
        let asked = NewKey { name: self.name, scopes: self.scope, ends_at: None };
        let making = async {
            let mut tx = db.begin().await?;
            let made = add(&mut tx, clock, asked, &Hand::command_line(), settings.auth().api_keys_max).await?;
            tx.commit().await?;
            Ok(made)
        };
        let made = making.await.map_err(refused)?;
        say(&format!("The key {} is shown only now:\n{}\n", made.kept.id, made.key))
    }
}

async fn find(db: &Db, name: &str) -> Outcome<Account> {
    accounts::find_by_name(db, &fold(name)).await?.ok_or(Error::NotFound("user"))
}

fn role(text: &str) -> Result<Role, String> {
    let names: Vec<_> = Role::ALL.iter().map(|it| it.name()).collect();
    Role::named(text).ok_or_else(|| format!("a role is one of {}", names.join(", ")))
}

fn state(text: &str) -> Result<State, String> {
    State::try_from(text.to_owned()).map_err(|_| "a state is one of active, deactivated, banned, deleting".to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    let names: Vec<_> = Scope::ALL.iter().map(|it| it.name()).collect();
    Scope::named(text).ok_or_else(|| format!("a scope is one of {}", names.join(", ")))
}

/// Four groups of five letters and digits that are not taken for each other: 100 bits.
fn word() -> Outcome<String> {
    const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no random numbers"))?;
    let signs = bytes.map(|it| char::from(SIGNS[usize::from(it & 31)]));
    Ok(signs.chunks(5).map(|it| it.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

fn read_password() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(PASSWORD_BYTES_MAX + 3).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("the password cannot be read: {error}")))?;
    Ok(text.split(['\r', '\n']).next().unwrap_or_default().to_owned())
}

/// Says what was wrong with what was asked; what is broken says where to look.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn refused(error: Error) -> Failure {
    match &error {
        Error::Invalid { .. } | Error::NotFound(_) | Error::Conflict { .. } => Failure::failed(told(&error)),
        error => Failure::broken(error),
    }
}
