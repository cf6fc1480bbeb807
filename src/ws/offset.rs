//! The one opaque position that a stock Socket.IO client and an `EventSource` can hold.
//!
//! Its stream resumes exactly; the other streams of the same user resume from the commit time, less the longest commit.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Error;
use crate::ids::StreamId;

/// How many letters one has at most.
pub const LETTERS_MAX: usize = 64;
const BYTES: usize = 40;

/// A place in one stream, and when it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The stream that was heard last.
    pub stream: StreamId,
    /// Its life.
    pub epoch: i64,
    /// The place in it.
    pub seq: i64,
    /// When that was committed.
    pub at: DateTime<Utc>,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(self.stream.0.as_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.seq.to_be_bytes());
        bytes[32..].copy_from_slice(&self.at.timestamp_micros().to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Offset {
    type Err = Error;

    /// What was never given out is malformed.
    fn from_str(text: &str) -> Result<Offset, Error> {
        let bytes = Some(text).filter(|it| it.len() <= LETTERS_MAX).and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
        let number = |bytes: &[u8; BYTES], at: usize| i64::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let read = |bytes: [u8; BYTES]| {
            let stream = StreamId(Uuid::from_bytes(std::array::from_fn(|byte| bytes[byte])));
            let (epoch, seq) = (number(&bytes, 16), number(&bytes, 24));
            let at = DateTime::from_timestamp_micros(number(&bytes, 32))?;
            Some(Offset { stream, epoch, seq, at }).filter(|it| it.seq >= 0)
        };
        let offset = bytes.and_then(|it| <[u8; BYTES]>::try_from(it).ok()).and_then(read);
        offset.ok_or(Error::Malformed("the offset is not one that was given out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_offset_comes_back_as_it_went_and_anything_else_is_refused() {
        let clock = Clock::system();
        let offset = Offset { stream: StreamId::new(&clock), epoch: 3, seq: i64::MAX, at: clock.now() };
        let text = offset.to_string();
        assert!(text.len() <= LETTERS_MAX);
        assert_eq!(text.parse::<Offset>(), Ok(offset));
        for text in ["", "0", "x", &text[1..], &format!("{text}A"), &"A".repeat(1 << 16), "ä"] {
            assert_eq!(text.parse::<Offset>().map_err(|it| it.code()), Err("malformed"), "{text:.80}");
        }
    }
}
