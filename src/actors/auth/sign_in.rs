//! How somebody comes in: a password, perhaps a second factor, and then a session with its tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use super::doors::{self, Cut};
use super::guesses::{Guess, Slowed};
use super::tokens::Claims;
use super::{Auth, Client, Person, Role, after, chance, hashed};
use crate::actors::users::names::{Email, fold};
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::storage::accounts::{self, Account, State};
use crate::storage::db::Tx;
use crate::storage::sessions::{self, Session};

/// What is longer is nobody.
const WHO_BYTES_MAX: usize = 320;
const REFUSED: Error = Error::Unauthenticated("name or password is wrong");

/// Whom somebody says they are.
pub enum Who {
    /// What they are called; an address is taken too.
    Username(String),
    /// Where mail reaches them.
    Email(String),
}

impl Who {
    /// What is looked up, and whether it is an address.
    fn folded(&self) -> (String, bool) {
        // One engine takes no NUL in text, and nobody has one in a name.
        let fold = |it: &str| fold(&it.replace('\0', "\u{fffd}"));
        match self {
            Who::Username(it) | Who::Email(it) if it.len() > WHO_BYTES_MAX => (String::new(), false),
            Who::Username(it) if !it.contains('@') => (fold(it), false),
            Who::Username(it) | Who::Email(it) => (Email::read(it).map_or_else(|_| fold(it), |it| it.folded), true),
        }
    }
}

/// What somebody says who wants to come in.
pub struct Login {
    /// Who they are.
    pub who: Who,
    /// Their password.
    pub password: String,
    /// A code of their second factor.
    pub code: Option<String>,
    /// The word that this device was given when they last came in.
    pub device_token: Option<String>,
}

/// Somebody who has come in.
pub struct SignedIn {
    /// Who and where.
    pub person: Person,
    /// What they are called.
    pub username: String,
    /// For requests.
    pub access_token: String,
    /// For the next access token.
    pub refresh_token: String,
    /// For how many seconds the access token is good.
    pub expires_in: i64,
    /// What makes this device known; nothing where it has been told before.
    pub device_token: Option<String>,
}

impl Auth {
    /// Lets somebody in. Whoever is refused cannot tell whether there is such an account: it takes the same statements
    /// and the same hash.
    pub async fn sign_in(&self, login: Login, client: &Client) -> Result<SignedIn> {
        let (who, is_email) = login.who.folded();
        let db = &self.0.storage.db;
        let account = match is_email {
            true => accounts::find_by_email(db, &who).await?,
            false => accounts::find_by_name(db, &who).await?,
        };
        let guess = self.begin_guess(&who, account.as_ref(), login.device_token.as_deref(), client).await?;
        let stored = account.as_ref().map(|it| it.password.as_str());
        let matches = match self.0.passwords.matches(stored, &login.password).await {
            Ok(matches) => matches,
            Err(refusal) => {
                guess.forgive();
                return Err(refusal);
            }
        };
        let id = account.as_ref().map(|it| it.id);
        let let_in = match account.filter(|it| matches && it.may_return(self.0.clock.now())) {
            Some(account) => Box::pin(self.let_in(account, login, client)).await,
            None => Err(REFUSED),
        };
        match &let_in {
            Err(Error::Unauthenticated(_) | Error::SecondFactor { given: true }) => {
                self.note_alone(id, "login.failed", client).await?;
            }
            _ => guess.forgive(),
        }
        let_in
    }

    async fn begin_guess(
        &self,
        who: &str,
        account: Option<&Account>,
        word: Option<&str>,
        client: &Client,
    ) -> Result<Guess<'_>> {
        let now = self.0.clock.now();
        let device = account.zip(word).and_then(|(account, word)| self.0.devices.known(account.id, word, now));
        match self.0.guesses.begin(who, client.address, device) {
            Ok(guess) => Ok(guess),
            Err(Slowed { error, first }) => {
                if first {
                    self.note_alone(account.map(|it| it.id), "login.slowed", client).await?;
                }
                Err(error)
            }
        }
    }

    /// Begins the session of somebody whose password was right.
    async fn let_in(&self, account: Account, login: Login, client: &Client) -> Result<SignedIn> {
        let fresh = match self.0.passwords.is_current(&account.password) {
            true => None,
            // Whoever is right is not kept out because there is no room to hash again: next time.
            false => self.0.passwords.hash(&login.password).await.ok(),
        };
        let now = self.0.clock.now();
        let mut tx = self.0.storage.db.begin().await?;
        // What was compared may have changed since.
        let held = accounts::lock(&mut tx, account.id).await?;
        let account = held.filter(|it| it.password == account.password && it.may_return(now)).ok_or(REFUSED)?;
        self.check_code(&mut tx, account.id, login.code.as_deref()).await?;
        if let Some(fresh) = fresh {
            accounts::set_password(&mut tx, account.id, &fresh, now).await?;
        }
        if account.state != State::Active {
            accounts::set_state(&mut tx, account.id, State::Active, None, now).await?;
            self.note(&mut tx, Some(account.id), "account.restored", client).await?;
        }
        self.note(&mut tx, Some(account.id), "login.ok", client).await?;
        let (session, refresh_token) = self.begin_session(&mut tx, account.id, client, now).await?;
        let surplus = self.end_surplus(&mut tx, account.id, now).await?;
        let device = login.device_token.and_then(|it| self.0.devices.known(account.id, &it, now));
        let device_token = self.0.devices.word(account.id, device.unwrap_or_else(|| self.id()), now);
        let signed_in =
            SignedIn { device_token: Some(device_token), ..self.tokens(&account, session, now, refresh_token)? };
        tx.commit().await?;
        self.close(&surplus).await;
        Ok(signed_in)
    }

    /// Writes a session and its first refresh token.
    async fn begin_session(
        &self,
        tx: &mut Tx<'_>,
        user: UserId,
        client: &Client,
        now: DateTime<Utc>,
    ) -> Result<(SessionId, String)> {
        let config = &self.0.config;
        let session = Session {
            id: SessionId(self.id()),
            user_id: user,
            device: client.device.clone(),
            address: client.address.to_string(),
            created_at: now,
            seen_at: now,
            ends_at: after(now, config.session_lives),
        };
        sessions::insert(tx, &session).await?;
        let refresh = chance::<32>()?;
        let ends_at = after(now, config.refresh_lives).min(session.ends_at);
        sessions::insert_refresh(tx, hashed(&refresh), session.id, now, ends_at).await?;
        Ok((session.id, BASE64_URL_SAFE_NO_PAD.encode(refresh)))
    }

    /// Ends the sessions that are more than one person may have.
    async fn end_surplus(&self, tx: &mut Tx<'_>, user: UserId, now: DateTime<Utc>) -> Result<Vec<Cut>> {
        let ended = sessions::end_surplus(tx, user, self.0.config.sessions_per_user_max.into(), now).await?;
        self.cut_sessions(tx, ended).await
    }

    /// Writes that the access tokens of sessions are void.
    pub(super) async fn cut_sessions(&self, tx: &mut Tx<'_>, ended: Vec<SessionId>) -> Result<Vec<Cut>> {
        let cuts: Vec<Cut> = ended.into_iter().map(Cut::Session).collect();
        for cut in &cuts {
            doors::write(tx, *cut, &self.0.clock, self.0.config.access_lives).await?;
        }
        Ok(cuts)
    }

    /// Makes the tokens of a session, as of a point in time: the same ones for the same.
    pub(super) fn tokens(
        &self,
        account: &Account,
        session: SessionId,
        made_at: DateTime<Utc>,
        refresh_token: String,
    ) -> Result<SignedIn> {
        let role = Role::named(&account.role);
        let role = role.ok_or_else(|| Error::internal(format!("a role called {}", account.role)))?;
        let person = Person { user: account.id, session, role };
        let (now, ends_at) = (self.0.clock.now(), after(made_at, self.0.config.access_lives));
        let claims = Claims::new(person, &account.name, account.grants, made_at, ends_at);
        Ok(SignedIn {
            person,
            username: account.name.clone(),
            access_token: self.0.tokens.sign(&claims, now)?,
            refresh_token,
            expires_in: (ends_at - now).num_seconds(),
            device_token: None,
        })
    }

    /// Notes what happened to an account, where nothing else was changed.
    pub(super) async fn note_alone(&self, user: Option<UserId>, what: &str, client: &Client) -> Result<()> {
        let mut tx = self.0.storage.db.begin().await?;
        self.note(&mut tx, user, what, client).await?;
        Ok(tx.commit().await?)
    }
}
