//! What somebody signs in with, and how they change it: password and address.

use chrono::{DateTime, Utc};

use super::guesses::Counted;
use super::tickets::{Purpose, bad_ticket, give, read};
use super::{Auth, Client, Person, passwords};
use crate::actors::moderation::rules::keeps_an_admin;
use crate::actors::users::names::Email;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::accounts::{self, Account, State};
use crate::storage::db::Tx;
use crate::storage::{account_list, sessions, tickets};

const EMAIL_TAKEN: Error = Error::Conflict { code: "email_taken", detail: "somebody gets mail at this address" };

impl Auth {
    /// Sets a new password for somebody who knows the old one. Their other sessions end, unless they are to be kept.
    pub async fn change_password(
        &self,
        person: Person,
        old: Option<&str>,
        new: &str,
        keep_others: bool,
        client: &Client,
    ) -> Result<()> {
        let account = self.confirm(person, old).await?;
        self.judge("new_password", new, &account)?;
        let hashed = self.0.passwords.hash(new).await?;
        let now = self.0.clock.now();
        let mut tx = self.0.storage.db.begin().await?;
        let account = self.hold(&mut tx, &account).await?;
        accounts::set_password(&mut tx, account.id, &hashed, now).await?;
        let ended = match keep_others {
            true => Vec::new(),
            false => sessions::end_all(&mut tx, account.id, Some(person.session), "password", now).await?,
        };
        let cuts = self.cut_sessions(&mut tx, ended).await?;
        self.tell_password(&mut tx, &account, "password.changed", client, now).await?;
        self.commit_and_post(tx).await?;
        self.close(&cuts).await;
        Ok(())
    }

    /// Sends a link that sets a new password, if somebody gets mail there. Nobody can tell whether anybody does: what
    /// is written for an unknown address is a ticket that nobody holds.
    pub async fn remind(&self, email: &str, client: &Client) -> Result<()> {
        let email = Email::read(email)?;
        self.limit(Counted::Caused, client)?;
        if self.may_mail(&email).is_err() {
            return Ok(());
        }
        let account = accounts::find_by_email(&self.0.storage.db, &email.folded).await?;
        let account = account.filter(|it| it.may_return(self.0.clock.now()));
        let (now, mut tx) = (self.0.clock.now(), self.0.storage.db.begin().await?);
        let id = account.as_ref().map_or_else(|| UserId(self.id()), |it| it.id);
        let word = give(&mut tx, id, Purpose::Password, Some(email.shown.clone()), now).await?;
        self.note(&mut tx, account.as_ref().map(|it| it.id), "password.forgotten", client).await?;
        if let Some((account, to)) = account.as_ref().and_then(|it| Some((it, it.email.as_deref()?))) {
            let body = format!(
                "Hello {},\n\nsomebody asked for a new password for your account. If it was you, open this link within \
                 half an hour:\n\n{}/app/reset#token={word}\n\nIf it was not, do nothing: your password stays as it is.\n",
                account.name, self.0.site
            );
            self.letter(&mut tx, id, to, "A new password", body).await?;
        }
        self.commit_and_post(tx).await
    }

    /// Sets a new password for whoever holds a ticket. Every session ends.
    pub async fn reset_password(&self, ticket: &str, new: &str, client: &Client) -> Result<()> {
        let (hash, db, purpose) = (read(ticket)?, &self.0.storage.db, Purpose::Password.name());
        // Nobody makes us hash who has no ticket.
        let found = tickets::find(db, hash, purpose, self.0.clock.now()).await?.ok_or_else(bad_ticket)?;
        let account = accounts::find_by_id(db, found.user_id).await?.ok_or_else(bad_ticket)?;
        self.judge("new_password", new, &account)?;
        let hashed = self.0.passwords.hash(new).await?;
        let (now, mut tx) = (self.0.clock.now(), db.begin().await?);
        let held = accounts::lock(&mut tx, account.id).await?.filter(|it| it.may_return(now));
        let account = held.ok_or_else(bad_ticket)?;
        tickets::take(&mut tx, hash, purpose, now).await?.ok_or_else(bad_ticket)?;
        accounts::set_password(&mut tx, account.id, &hashed, now).await?;
        let cut = self.cut_off(&mut tx, account.id, "password").await?;
        self.tell_password(&mut tx, &account, "password.reset", client, now).await?;
        self.commit_and_post(tx).await?;
        self.close(&[cut]).await;
        Ok(())
    }

    /// Asks again whether the address of somebody is theirs.
    pub async fn ask_again_to_confirm(&self, person: Person) -> Result<()> {
        let mut tx = self.0.storage.db.begin().await?;
        let account = accounts::lock(&mut tx, person.user).await?.ok_or(Error::NotFound("user"))?;
        let open = account.email.filter(|_| account.email_confirmed_at.is_none());
        let email = Email::read(&open.ok_or(Error::NotFound("address to confirm"))?)?;
        self.may_mail(&email)?;
        self.ask_to_confirm(&mut tx, account.id, &account.name, &email.shown).await?;
        self.commit_and_post(tx).await
    }

    /// Asks whether another address is somebody's. It is theirs when the mail there was answered.
    pub async fn change_email(&self, person: Person, password: Option<&str>, email: &str) -> Result<()> {
        let email = Email::read(email)?;
        let account = self.confirm(person, password).await?;
        let other = accounts::find_by_email(&self.0.storage.db, &email.folded).await?;
        if other.is_some_and(|it| it.id != account.id) {
            return Err(EMAIL_TAKEN);
        }
        self.may_mail(&email)?;
        let mut tx = self.0.storage.db.begin().await?;
        let account = self.hold(&mut tx, &account).await?;
        self.ask_to_confirm(&mut tx, account.id, &account.name, &email.shown).await?;
        self.commit_and_post(tx).await
    }

    /// Makes an address somebody's, for whoever holds a ticket that was sent there. The old address is told.
    pub async fn confirm_email(&self, ticket: &str, client: &Client) -> Result<()> {
        let (hash, db, purpose) = (read(ticket)?, &self.0.storage.db, Purpose::Email.name());
        let found = tickets::find(db, hash, purpose, self.0.clock.now()).await?.ok_or_else(bad_ticket)?;
        let (now, mut tx) = (self.0.clock.now(), db.begin().await?);
        let held = accounts::lock(&mut tx, found.user_id).await?.filter(|it| it.may_return(now));
        let account = held.ok_or_else(bad_ticket)?;
        let taken = tickets::take(&mut tx, hash, purpose, now).await?.ok_or_else(bad_ticket)?;
        let email = Email::read(&taken.email.ok_or_else(bad_ticket)?)?;
        if account.email.as_ref() == Some(&email.shown) {
            accounts::set_email_confirmed(&mut tx, account.id, now).await?;
            self.note(&mut tx, Some(account.id), "email.confirmed", client).await?;
            return Ok(tx.commit().await?);
        }
        if !accounts::set_email(&mut tx, account.id, (&email.shown, &email.folded), now).await? {
            return Err(EMAIL_TAKEN);
        }
        // A link that lies in the old mailbox must not open the account.
        tickets::void(&mut tx, account.id, Purpose::Password.name(), now).await?;
        tickets::void(&mut tx, account.id, Purpose::Email.name(), now).await?;
        self.note(&mut tx, Some(account.id), "email.changed", client).await?;
        if let Some(old) = &account.email {
            let body = format!(
                "Hello {},\n\nmail from Folio goes to another address from now on. If you did not do this, sign in and \
                 change your password.\n",
                account.name
            );
            self.letter(&mut tx, account.id, old, "Your address was changed", body).await?;
        }
        self.commit_and_post(tx).await
    }

    /// Leaves for a while: every session ends. Signing in brings the account back.
    pub async fn deactivate(&self, person: Person, password: Option<&str>, client: &Client) -> Result<()> {
        let account = self.confirm(person, password).await?;
        let (now, mut tx) = (self.0.clock.now(), self.0.storage.db.begin().await?);
        let account = self.hold_to_leave(&mut tx, &account).await?;
        accounts::set_state(&mut tx, account.id, State::Deactivated, None, now).await?;
        let cut = self.cut_off(&mut tx, account.id, "deactivated").await?;
        self.note(&mut tx, Some(account.id), "account.deactivated", client).await?;
        tx.commit().await?;
        self.close(&[cut]).await;
        Ok(())
    }

    /// Makes sure that whoever has signed in knows the password too, before something that cannot be taken back.
    pub async fn confirm(&self, person: Person, password: Option<&str>) -> Result<Account> {
        let password = password.ok_or(Error::Forbidden("your password is needed for this"))?;
        let account = accounts::find_by_id(&self.0.storage.db, person.user).await?.ok_or(Error::NotFound("user"))?;
        let guess = self.0.guesses.begin_own(person.user)?;
        match self.0.passwords.matches(Some(&account.password), password).await {
            Ok(false) => Err(Error::Forbidden("the password is wrong")),
            outcome => {
                guess.forgive();
                outcome.map(|_| account)
            }
        }
    }

    /// Holds an account whose password was confirmed; one that changed meanwhile has to be confirmed again.
    pub async fn hold(&self, tx: &mut Tx<'_>, confirmed: &Account) -> Result<Account> {
        let held = accounts::lock(tx, confirmed.id).await?.filter(|it| it.password == confirmed.password);
        held.ok_or(Error::Forbidden("the password was changed just now"))
    }

    /// Holds an account that is about to go, unless nobody would be left to give out roles.
    pub async fn hold_to_leave(&self, tx: &mut Tx<'_>, confirmed: &Account) -> Result<Account> {
        // Before their own row, as whoever gives out roles does.
        let admins = account_list::lock_admins(tx).await?;
        keeps_an_admin(&admins, confirmed.id)?;
        self.hold(tx, confirmed).await
    }

    fn judge(&self, field: &str, password: &str, account: &Account) -> Result<()> {
        let mailbox = account.email.as_deref().and_then(|it| it.rsplit_once('@')).unwrap_or_default().0;
        passwords::judge(field, password, &[&account.name, mailbox])
    }

    /// Notes that a password is another now, makes links for a new one useless, and tells the owner.
    async fn tell_password(
        &self,
        tx: &mut Tx<'_>,
        account: &Account,
        what: &str,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<()> {
        tickets::void(tx, account.id, Purpose::Password.name(), now).await?;
        self.note(tx, Some(account.id), what, client).await?;
        let Some(email) = &account.email else { return Ok(()) };
        let body = format!(
            "Hello {},\n\nyour password was changed. If you did not do this, ask for a new one at once:\n\n{}/app/forgotten\n",
            account.name, self.0.site
        );
        self.letter(tx, account.id, email, "Your password was changed", body).await
    }

    /// Limits what an address may cause without a password.
    pub(super) fn limit(&self, counted: fn(std::net::IpAddr) -> Counted<'static>, client: &Client) -> Result<()> {
        if self.0.limited { self.0.guesses.spend_address(counted, client.address) } else { Ok(()) }
    }
}
