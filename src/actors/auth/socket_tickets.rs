//! Tickets for sockets: what stands for a token where a page must not hold one. Good once, for seconds.
//!
//! A ticket carries the claims of the token that it was asked for with, under a MAC, so that giving one out writes
//! nothing. That it was used is a row: the second one who comes with it finds that, on every node.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::tokens::Claims;
use super::{Auth, hashed, key};
use crate::error::{Error, Result};
use crate::storage::tickets;

/// How long a ticket is good.
pub const LIVES: TimeDelta = TimeDelta::seconds(30);
const TICKET_BYTES_MAX: usize = 2_048;
const REFUSED: Error = Error::Unauthenticated("the ticket is not valid, or was used");

#[derive(Serialize, Deserialize)]
struct Slip {
    /// Makes it another one each time.
    number: Uuid,
    claims: Claims,
    ends_at: DateTime<Utc>,
}

impl Auth {
    /// Makes a ticket for whoever holds a good token.
    pub fn socket_ticket(&self, claims: Claims) -> Result<String> {
        let slip = Slip { number: self.id(), claims, ends_at: self.0.clock.now() + LIVES };
        let slip = serde_json::to_vec(&slip).map_err(Error::internal)?;
        let tag = hmac::sign(&self.ticket_key(), &slip);
        let encoded = [BASE64_URL_SAFE_NO_PAD.encode(slip), BASE64_URL_SAFE_NO_PAD.encode(tag)];
        Ok(encoded.join("."))
    }

    /// Uses a ticket. What it says is as good as the token that it was made of, which may have ended meanwhile.
    pub async fn redeem(&self, ticket: &str) -> Result<Claims> {
        let now = self.0.clock.now();
        let slip = self.read(ticket).filter(|it| it.ends_at > now && it.claims.exp > now.timestamp()).ok_or(REFUSED)?;
        self.still_lets_in(&slip.claims.holder())?;
        let fresh = tickets::insert_used(
            &self.0.storage.db,
            hashed(slip.number.as_bytes()),
            slip.claims.sub,
            "socket",
            now,
            slip.ends_at,
        );
        if fresh.await? { Ok(slip.claims) } else { Err(REFUSED) }
    }

    fn read(&self, ticket: &str) -> Option<Slip> {
        let (slip, tag) = Some(ticket).filter(|it| it.len() <= TICKET_BYTES_MAX)?.split_once('.')?;
        let (slip, tag) = (BASE64_URL_SAFE_NO_PAD.decode(slip).ok()?, BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?);
        hmac::verify(&self.ticket_key(), &slip, &tag).ok()?;
        serde_json::from_slice(&slip).ok()
    }

    fn ticket_key(&self) -> hmac::Key {
        key(&self.0.secret, "socket tickets")
    }
}
