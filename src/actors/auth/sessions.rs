//! Sessions: how they go on, and how they end.
//!
//! A refresh token makes the next one, as a MAC of itself: the answer that was lost can be made again, though only hashes
//! are kept. Whoever comes with a used one later than that has stolen it, or was stolen from: the session ends.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;

use super::{Auth, Client, Person, SignedIn, after, hashed};
use crate::error::{Error, Result};
use crate::ids::SessionId;
use crate::storage::accounts::{self, State};
use crate::storage::sessions::{self, Refresh, Session};

/// How long the same question has the same answer.
const ASKED_AGAIN_WITHIN: TimeDelta = TimeDelta::seconds(10);
const REFUSED: Error = Error::Unauthenticated("the refresh token is not valid");

impl Auth {
    /// Gives a session new tokens for its refresh token, which is used up.
    pub async fn refresh(&self, token: &str, client: &Client) -> Result<SignedIn> {
        let old: [u8; 32] =
            BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|it| it.try_into().ok()).ok_or(REFUSED)?;
        let now = self.0.clock.now();
        let mut tx = self.0.storage.db.begin().await?;
        let found =
            sessions::lock_refresh(&mut tx, hashed(&old)).await?.filter(|it| is_open(it, now)).ok_or(REFUSED)?;
        let account = accounts::read(&mut tx, found.user_id).await?.filter(|it| it.state == State::Active);
        let account = account.ok_or(REFUSED)?;
        let next = hmac::sign(&self.0.successors, &old);
        let answer = |made_at| self.tokens(&account, found.session_id, made_at, BASE64_URL_SAFE_NO_PAD.encode(next));
        match found.used_at {
            None => {
                let ends_at = after(now, self.0.config.refresh_lives).min(found.session_ends_at);
                sessions::set_used(&mut tx, hashed(&old), now).await?;
                sessions::insert_refresh(&mut tx, hashed(next.as_ref()), found.session_id, now, ends_at).await?;
                sessions::set_seen(&mut tx, found.session_id, &client.address.to_string(), now).await?;
                let answer = answer(now)?;
                tx.commit().await?;
                Ok(answer)
            }
            Some(used_at) if now - used_at <= ASKED_AGAIN_WITHIN => answer(used_at),
            Some(_) => {
                sessions::end(&mut tx, found.user_id, found.session_id, "reused", now).await?;
                let cuts = self.cut_sessions(&mut tx, vec![found.session_id]).await?;
                self.note(&mut tx, Some(found.user_id), "token.reused", client).await?;
                tx.commit().await?;
                self.close(&cuts).await;
                Err(REFUSED)
            }
        }
    }

    /// Ends the session that asks. Ending it again changes nothing.
    pub async fn sign_out(&self, person: Person, client: &Client) -> Result<()> {
        match self.end_one(person, person.session, "logout", client).await {
            Err(Error::NotFound(_)) => Ok(()),
            done => done,
        }
    }

    /// Ends every session of somebody.
    pub async fn sign_out_everywhere(&self, person: Person, client: &Client) -> Result<()> {
        let mut tx = self.0.storage.db.begin().await?;
        accounts::lock(&mut tx, person.user).await?;
        let cut = self.cut_off(&mut tx, person.user, "logout").await?;
        self.note(&mut tx, Some(person.user), "logout.everywhere", client).await?;
        tx.commit().await?;
        self.close(&[cut]).await;
        Ok(())
    }

    /// Lists the sessions of somebody, the oldest first.
    pub async fn sessions(&self, person: Person) -> Result<Vec<Session>> {
        sessions::list(&self.0.storage.db, person.user, self.0.clock.now()).await
    }

    /// Ends one session of somebody; another's is not found.
    pub async fn end_session(&self, person: Person, session: SessionId, client: &Client) -> Result<()> {
        self.end_one(person, session, "session.ended", client).await
    }

    async fn end_one(&self, person: Person, session: SessionId, why: &'static str, client: &Client) -> Result<()> {
        let mut tx = self.0.storage.db.begin().await?;
        if !sessions::end(&mut tx, person.user, session, why, self.0.clock.now()).await? {
            return Err(Error::NotFound("session"));
        }
        let cuts = self.cut_sessions(&mut tx, vec![session]).await?;
        self.note(&mut tx, Some(person.user), why, client).await?;
        tx.commit().await?;
        self.close(&cuts).await;
        Ok(())
    }
}

fn is_open(it: &Refresh, now: DateTime<Utc>) -> bool {
    it.ended_at.is_none() && it.session_ends_at > now && it.ends_at > now
}
