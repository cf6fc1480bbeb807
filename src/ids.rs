//! Who and what: newtypes over UUIDv7, so that one kind of id is never taken for another and ids sort by time.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp, Uuid};

use crate::clock::Clock;
use crate::error::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type, serde::Serialize, utoipa::ToSchema)]
        #[sqlx(transparent)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id that sorts after those made before.
            pub fn new(clock: &Clock) -> $name {
                $name(v7(clock))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// What is no UUID of version 7 in its plain form names nothing.
            fn from_str(text: &str) -> Result<$name, Error> {
                parse(text).map($name).ok_or(Error::NotFound($what))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                parse(&text).map($name).ok_or_else(|| serde::de::Error::custom(concat!("not the id of a ", $what)))
            }
        }
    };
}

id!(
    /// The history of one thing: a conversation, a user.
    StreamId, "stream"
);
id!(
    /// A person, or a service with a key.
    UserId, "user"
);
id!(
    /// A sign-in on one device.
    SessionId, "session"
);
id!(
    /// A key of a service.
    KeyId, "key"
);
id!(
    /// A talk between two or more people.
    ConversationId, "conversation"
);
id!(
    /// One entry of a stream.
    EntryId, "entry"
);

impl ConversationId {
    /// The stream in which it lies.
    pub const fn stream(self) -> StreamId {
        StreamId(self.0)
    }
}

impl UserId {
    /// The part of it that is chance.
    pub const fn chance(self) -> u64 {
        self.0.as_u64_pair().1
    }

    /// The stream of what concerns this person alone.
    pub const fn stream(self) -> StreamId {
        StreamId(self.0)
    }
}

/// Counts on within a millisecond, so that ids made in it sort as they were made.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A UUID of version 7 at the clock's time.
pub fn v7(clock: &Clock) -> Uuid {
    let now = clock.now();
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&CONTEXT, seconds, now.timestamp_subsec_nanos()))
}

fn parse(text: &str) -> Option<Uuid> {
    // The plain form only: 36 characters. Braces, `urn:` and bare hex would be second names of one thing.
    Uuid::try_parse(text).ok().filter(|id| text.len() == 36 && id.get_version_num() == 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_version_7_is_an_id() {
        let id = UserId::new(&Clock::system());
        assert_eq!(id.to_string().parse::<UserId>(), Ok(id));
        for text in [
            "",
            "1",
            "1e3",
            "null",
            "00000000-0000-0000-0000-000000000000",
            &id.0.simple().to_string(),
            &format!("{{{id}}}"),
        ] {
            assert_eq!(text.parse::<UserId>(), Err(Error::NotFound("user")), "{text}");
        }
    }
}
