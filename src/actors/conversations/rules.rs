//! What may be said, and who may do what in a conversation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, SubsecRound, Utc};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::actors::profiles::text;
use crate::config::ChatConfig;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::conversations::changes::Standing;

/// Letters of a title.
const TITLE_LETTERS_MAX: usize = 100;
/// Letters of a sign under a message; some are put together of many.
const EMOJI_LETTERS_MAX: usize = 16;
const CLIENT_ID_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// The kind of an entry that is a message.
pub const MESSAGE: &str = "message";
/// The kind of a message that was taken back.
pub const GONE: &str = "message.gone";
/// The kind of an entry that tells what a message says now.
pub const EDITED: &str = "message.edited";

/// To those who take no part there is no such conversation.
pub const NO_SUCH_CONVERSATION: Error = Error::NotFound("conversation");
/// One of the two has blocked the other, or is gone; it is not told which.
pub const CLOSED: Error = Error::Forbidden("this person cannot be written to");

/// What a message says, as it is kept in its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The text; empty only beside attachments.
    #[serde(default)]
    pub text: String,
    /// The place of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i64>,
    /// Media by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Uuid>,
    /// When it was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<DateTime<Utc>>,
    /// The place of the entry that told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<i64>,
    /// What it was when it was sent, as a hash: so that sending that again is no other message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_hash: Option<String>,
}

impl Said {
    /// Reads it back from an entry.
    pub fn of(body: &str) -> Said {
        serde_json::from_str(body).unwrap_or_default()
    }

    /// The form in which it is kept.
    pub fn body(&self) -> String {
        serde_json::to_string(self).expect("a message is JSON")
    }
}

/// The hash of what was sent.
pub fn hash(body: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, body.as_bytes()).as_ref()[..16])
}

/// Something that changes what was said, or who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One's own message says something else.
    Edit {
        /// Which one.
        seq: i64,
        /// What it says now.
        text: String,
    },
    /// A message goes: its place stays, what it said does not.
    Delete {
        /// Which one.
        seq: i64,
    },
    /// A sign under a message, or its removal.
    React {
        /// Which one.
        seq: i64,
        /// The sign.
        emoji: String,
        /// Whether it is there afterwards.
        on: bool,
    },
    /// A message that everybody should find, or no more.
    Pin {
        /// Which one.
        seq: i64,
        /// Whether it is pinned afterwards.
        on: bool,
    },
    /// People come in.
    Add(Vec<UserId>),
    /// Somebody goes, by their own will or not.
    Remove(UserId),
    /// Somebody goes because their account does.
    Depart,
    /// Somebody gets another role.
    Appoint {
        /// Who.
        user: UserId,
        /// Whether they own the group afterwards.
        owner: bool,
    },
    /// A group has another title.
    Rename(String),
}

/// Whether somebody may make a change.
pub fn may(change: &Change, by: UserId, standing: &Standing) -> Result<()> {
    let group = standing.kind == "group";
    let for_groups = || match group {
        true => Ok(()),
        false => Err(Error::Conflict { code: "direct_conversation", detail: "this is for groups" }),
    };
    let by_owners = || match standing.role == "owner" {
        true => Ok(()),
        false => Err(Error::Forbidden("only an owner may do this")),
    };
    match change {
        Change::Edit { .. } | Change::Delete { .. } | Change::React { .. } | Change::Pin { .. } | Change::Depart => {
            Ok(())
        }
        Change::Remove(user) if *user == by => for_groups(),
        Change::Add(_) | Change::Remove(_) | Change::Appoint { .. } | Change::Rename(_) => {
            for_groups().and_then(|()| by_owners())
        }
    }
}

/// Whether somebody may take back messages of others as well: the owner of a group.
pub fn may_delete_any(standing: &Standing) -> bool {
    standing.kind == "group" && standing.role == "owner"
}

/// A message that can be said.
pub fn said(draft: Said, limits: &ChatConfig) -> Result<Said> {
    if draft.attachments.len() > limits.attachments_max {
        return Err(Error::invalid("attachments", format!("at most {}", limits.attachments_max)));
    }
    if draft.attachments.iter().any(|it| it.get_version_num() != 7) {
        return Err(Error::invalid("attachments", "must be ids of media"));
    }
    if draft.reply_to.is_some_and(|it| it < 1) {
        return Err(Error::invalid("reply_to", "must be the place of a message"));
    }
    if !draft.attachments.is_empty() && draft.text.is_empty() {
        return Ok(draft);
    }
    seen("text", &draft.text)?;
    text::lines(&draft.text, limits.letters_max).map_err(|fault| Error::invalid("text", fault))?;
    Ok(draft)
}

/// A text in which there is something to see.
fn seen(field: &'static str, it: &str) -> Result<()> {
    let visible = it.split(char::is_control).any(|line| text::words(line, usize::MAX).is_ok());
    if visible { Ok(()) } else { Err(Error::invalid(field, "must have something in it that can be seen")) }
}

/// A title that can be shown.
pub fn title(title: &str) -> Result<String> {
    text::words(title.trim(), TITLE_LETTERS_MAX).map_err(|fault| Error::invalid("title", fault))?;
    Ok(title.trim().to_owned())
}

/// A sign that can stand under a message.
pub fn emoji(emoji: &str) -> Result<String> {
    let blank = emoji.chars().any(char::is_whitespace);
    match text::words(emoji, EMOJI_LETTERS_MAX) {
        Ok(()) if !blank => Ok(emoji.to_owned()),
        _ => Err(Error::invalid("emoji", format!("must be one sign of at most {EMOJI_LETTERS_MAX} letters"))),
    }
}

/// What somebody began to write; nothing where it is empty.
pub fn draft(text: String, limits: &ChatConfig) -> Result<Option<String>> {
    text::lines(&text, limits.letters_max).map_err(|fault| Error::invalid("text", fault))?;
    Ok(Some(text).filter(|it| !it.is_empty()))
}

/// Until when a conversation is silent: a time as it can be kept.
pub fn muted_until(until: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>> {
    match until {
        Some(it) if !(1970..=9_999).contains(&it.year()) => {
            Err(Error::invalid("muted_until", "must be a time before the year 10000"))
        }
        until => Ok(until.map(|it| it.trunc_subsecs(6))),
    }
}

/// What a client calls its message, so that sending it again is the same message.
pub fn client_id(id: Option<String>) -> Result<Option<String>> {
    let fits = |it: &String| {
        let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        CLIENT_ID_BYTES.contains(&it.len()) && it.bytes().all(word)
    };
    match id {
        Some(it) if !fits(&it) => {
            Err(Error::invalid("client_id", "must be 8 to 64 letters, digits, hyphens or underscores"))
        }
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChatConfig =
        ChatConfig { letters_max: 20, members_max: 3, attachments_max: 2, signs_max: 2, pins_max: 2 };

    fn standing(kind: &str, role: &str) -> Standing {
        Standing { kind: kind.into(), title: None, role: role.into(), joined_seq: 0 }
    }

    #[test]
    fn only_owners_of_groups_bring_in_and_take_out_and_everybody_may_go() {
        let [me, other] = [1, 2].map(|it| UserId(Uuid::from_u128(it)));
        let code =
            |change: &Change, kind: &str, role: &str| may(change, me, &standing(kind, role)).map_err(|it| it.code());
        for change in [
            Change::Add(vec![other]),
            Change::Remove(other),
            Change::Appoint { user: other, owner: true },
            Change::Rename("x".into()),
        ] {
            assert_eq!(code(&change, "group", "owner"), Ok(()), "{change:?}");
            assert_eq!(code(&change, "group", "member"), Err("forbidden"), "{change:?}");
            assert_eq!(code(&change, "direct", "member"), Err("direct_conversation"), "{change:?}");
        }
        assert_eq!(code(&Change::Remove(me), "group", "member"), Ok(()));
        assert_eq!(code(&Change::Remove(me), "direct", "member"), Err("direct_conversation"));
        assert_eq!(code(&Change::Depart, "direct", "member"), Ok(()));
        assert!(may_delete_any(&standing("group", "owner")) && !may_delete_any(&standing("group", "member")));
    }

    #[test]
    fn a_message_says_something_and_not_too_much() {
        let says = |text: &str| said(Said { text: text.into(), ..Said::default() }, &LIMITS).map_err(|it| it.code());
        for good in ["hi", "two\nlines", "\n\n.", &"é".repeat(20)] {
            assert_eq!(says(good), Ok(Said { text: good.into(), ..Said::default() }), "{good:?}");
        }
        for bad in ["", "  \n", "\u{200b}\u{feff}\n\u{3164}", "a\0b", "a\rb", &"x".repeat(21)] {
            assert_eq!(says(bad), Err("invalid"), "{bad:?}");
        }
        let with = |attachments: Vec<Uuid>| said(Said { attachments, ..Said::default() }, &LIMITS).is_ok();
        let media = crate::ids::v7(&crate::clock::Clock::system());
        assert!(with(vec![media, media]) && !with(vec![media; 3]) && !with(vec![Uuid::nil()]));
    }

    #[test]
    fn a_sign_is_one_word_that_can_be_seen() {
        for good in ["👍", "❤\u{fe0f}", "👩‍👩‍👧‍👦", "ok"] {
            assert_eq!(emoji(good).as_deref(), Ok(good));
        }
        for bad in ["", " ", "a b", "\u{200b}", "a\0", &"x".repeat(17)] {
            assert!(emoji(bad).is_err(), "{bad:?}");
        }
    }
}
