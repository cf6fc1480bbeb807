//! People who can connect, and their tokens: written to Folio's database before it starts, or only agreed upon with the
//! peer. Nobody signs in by password here: that is what the scenario `logins` is for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chrono::TimeDelta;
use folio::actors::auth::rules::{Person, Role};
use folio::actors::auth::tokens::{Claims, Tokens};
use folio::clock::Clock;
use folio::config::Secret;
use folio::ids::{SessionId, UserId, v7};
use folio::storage::db::Db;
use folio::storage::signing_keys;
use ring::hmac;
use serde_json::json;
use uuid::Uuid;

use crate::settled;

/// Everybody there is.
pub struct Folk {
    people: Vec<UserId>,
    clock: Clock,
    signs: Signs,
}

enum Signs {
    Folio(Box<Tokens>),
    Peer(hmac::Key),
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Folk {
    /// Writes so many people into a database of Folio, which may be empty, and learns to sign as it does.
    pub async fn settle(db: &Db, secret: &str, count: usize) -> Result<Folk, String> {
        let clock = Clock::system();
        db.migrate().await.map_err(text)?;
        let people = settled::people(db, &clock, count).await.map_err(text)?;
        signing_keys::insert_first(db, v7(&clock), clock.now()).await.map_err(text)?;
        let tokens = Tokens::new(&Secret::new(secret.to_owned()));
        tokens.set_keys(signing_keys::list(db, clock.now()).await.map_err(text)?);
        Ok(Folk { people, clock, signs: Signs::Folio(Box::new(tokens)) })
    }

    /// People whom the peer knows.
    pub fn of_peer(secret: &str, count: usize) -> Folk {
        let people = (0..count as u128).map(|it| UserId(Uuid::from_u128(1 << 96 | 0x7000_8000 << 48 | it)));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Folk { people: people.collect(), clock: Clock::system(), signs: Signs::Peer(key) }
    }

    pub fn user(&self, nth: usize) -> UserId {
        self.people[nth]
    }

    /// A token that nobody has seen before.
    pub fn token(&self, nth: usize) -> Result<String, String> {
        let (user, now) = (self.people[nth], self.clock.now());
        match &self.signs {
            Signs::Folio(tokens) => {
                let person = Person { user, session: SessionId::new(&self.clock), role: Role::User };
                let claims = Claims::new(person, &settled::name(nth), 1, now, now + TimeDelta::hours(2));
                tokens.sign(&claims, now).map_err(text)
            }
            Signs::Peer(key) => {
                let claims = json!({ "sub": user, "jti": v7(&self.clock), "exp": now.timestamp() + 7_200 });
                let head = BASE64.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
                let signed = format!("{head}.{}", BASE64.encode(claims.to_string()));
                let signature = BASE64.encode(hmac::sign(key, signed.as_bytes()));
                Ok(format!("{signed}.{signature}"))
            }
        }
    }

    /// What a message is called by whoever sends it.
    pub fn client_id(&self) -> Uuid {
        v7(&self.clock)
    }
}
