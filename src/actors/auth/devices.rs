//! Devices that have signed in: each is given a word that only this Folio can make, and has guesses of its own.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::hmac;
use uuid::Uuid;

use crate::config::Secret;
use crate::ids::UserId;

/// How long a device is known after its last sign-in.
const KNOWN_SECONDS: i64 = 90 * 24 * 3_600;
const TAG_BYTES: usize = 32;

/// Makes words for devices, and knows them.
pub(super) struct Devices(hmac::Key);

impl Devices {
    pub(super) fn new(secret: &Secret) -> Devices {
        Devices(super::key(secret, "devices"))
    }

    /// The word of a device on which somebody has signed in.
    pub(super) fn word(&self, user: UserId, device: Uuid, now: DateTime<Utc>) -> String {
        let known = [device.as_bytes().as_slice(), &now.timestamp().to_be_bytes()].concat();
        let tag = self.tag(user, &known);
        BASE64_URL_SAFE_NO_PAD.encode([&known, tag.as_ref()].concat())
    }

    /// The device of a word that was made for this user, not too long ago.
    pub(super) fn known(&self, user: UserId, word: &str, now: DateTime<Utc>) -> Option<Uuid> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(Some(word).filter(|it| it.len() <= 128)?).ok()?;
        let (known, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        hmac::verify(&self.0, &signed(user, known), tag).ok()?;
        let (device, made) = known.split_first_chunk()?;
        let age = now.timestamp() - i64::from_be_bytes(*made.first_chunk()?);
        (age < KNOWN_SECONDS).then(|| Uuid::from_bytes(*device))
    }

    fn tag(&self, user: UserId, known: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &signed(user, known))
    }
}

fn signed(user: UserId, known: &[u8]) -> Vec<u8> {
    [user.0.as_bytes(), known].concat()
}
