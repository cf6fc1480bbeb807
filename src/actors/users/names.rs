//! What somebody may be called, and when two names are the same.
//!
//! A name has three forms: as it is shown, folded (case, width and composition gone: what is looked up) and its
//! skeleton (what it looks like: two names with one skeleton cannot be told apart by eye).

use std::collections::HashSet;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{GeneralSecurityProfile, MixedScript, skeleton};
use url::Host;

use crate::error::{Error, Result};

/// How many letters a name has.
pub const LETTERS: std::ops::RangeInclusive<usize> = 2..=64;
/// Marks on one letter: more pile up over the lines above.
const MARKS_MAX: usize = 2;
/// The most that a mail server takes.
const EMAIL_BYTES_MAX: usize = 254;
const MAILBOX_BYTES_MAX: usize = 64;

/// Words that would be taken for Folio itself, or for a page.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "abuse", "account", "admin", "administrator", "anonymous", "api", "app", "auth", "bot", "contact", "deleted",
    "deleted user", "everybody", "everyone", "folio", "guest", "help", "here", "info", "me", "moderator", "news", "nobody",
    "noreply", "null", "official", "operator", "owner", "postmaster", "root", "security", "seller", "settings", "staff",
    "support", "sysadmin", "system", "team", "undefined", "unknown", "user", "username", "webmaster", "www",
];

static RESERVED_SKELETONS: LazyLock<HashSet<String>> = LazyLock::new(|| RESERVED.iter().map(|it| looks(it)).collect());

/// A name that somebody may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it is shown.
    pub shown: String,
    /// As it is looked up.
    pub folded: String,
    /// As it looks.
    pub skeleton: String,
}

impl Name {
    /// Reads a name: letters and digits of one script, with single blanks, dots, hyphens, underscores and apostrophes
    /// between them.
    pub fn read(text: &str) -> Result<Name> {
        let refused = |why: &str| Err(Error::invalid("username", why));
        // Whoever sends a megabyte need not have it normalised.
        if text.len() > 8 * LETTERS.end() {
            return refused("must have 2 to 64 letters");
        }
        let shown: String = text.nfkc().collect();
        if !LETTERS.contains(&shown.chars().count()) {
            return refused("must have 2 to 64 letters");
        }
        if let Err(why) = check(&shown) {
            return refused(why);
        }
        let folded = fold(&shown);
        Ok(Name { skeleton: looks(&folded), shown, folded })
    }

    /// Whether it would be taken for Folio itself. Operators may give such a name out.
    pub fn is_reserved(&self) -> bool {
        RESERVED_SKELETONS.contains(&self.skeleton)
    }
}

fn check(shown: &str) -> Result<(), &'static str> {
    let joins = |it: char| matches!(it, ' ' | '.' | '-' | '_' | '\'');
    let (mut before, mut marks) = (None, 0);
    for letter in shown.chars() {
        marks = if is_combining_mark(letter) { marks + 1 } else { 0 };
        let known = letter.is_alphanumeric() || joins(letter) || marks > 0;
        if !known || !(letter == ' ' || letter.identifier_allowed() || joins(letter)) {
            return Err("holds a character that names do not have");
        }
        if marks > MARKS_MAX || (joins(letter) || marks > 0) && before.is_none_or(joins) {
            return Err("must begin with a letter or digit, with one sign at a time between them");
        }
        before = Some(letter);
    }
    if before.is_none_or(joins) {
        return Err("must end with a letter or digit");
    }
    if shown.is_single_script() { Ok(()) } else { Err("mixes scripts that look alike") }
}

/// The form in which names are looked up. Folding what is folded changes nothing.
pub fn fold(text: &str) -> String {
    // Up and then down: the letters that meet on one of both ways (ß and ss, ς and σ) are one.
    let once = |text: &str| -> String {
        text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect()
    };
    let folded = once(text);
    // A composition may have another case than its parts.
    once(&folded)
}

fn looks(folded: &str) -> String {
    // What is an `i` here may be shown as `I`, which is taken for an `l`.
    fold(&skeleton(&folded.replace('i', "l")).collect::<String>())
}

/// An address for mail: as it is written to, and as it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// As it is written to.
    pub shown: String,
    /// As it is looked up.
    pub folded: String,
}

impl Email {
    /// Reads an address.
    pub fn read(text: &str) -> Result<Email> {
        let parsed = (text.len() <= EMAIL_BYTES_MAX).then(|| parse(text)).flatten();
        parsed.ok_or_else(|| Error::invalid("email", "must be an address such as ada@example.org"))
    }
}

fn parse(text: &str) -> Option<Email> {
    let (mailbox, host) = text.rsplit_once('@')?;
    let mailbox: String = mailbox.nfkc().collect();
    let plain = |it: char| it.is_alphanumeric() || is_combining_mark(it) || "!#$%&'*+-/=?^_`{|}~".contains(it);
    let words = mailbox.split('.').all(|word| !word.is_empty() && word.chars().all(plain));
    let Ok(Host::Domain(host)) = Host::parse(host) else { return None };
    let label = |it: &str| {
        (1..=63).contains(&it.len())
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let fits = (1..=MAILBOX_BYTES_MAX).contains(&mailbox.len()) && words && host.split('.').all(label);
    let (shown, folded) = (format!("{mailbox}@{host}"), format!("{}@{host}", fold(&mailbox)));
    (fits && shown.len() <= EMAIL_BYTES_MAX).then_some(Email { shown, folded })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::read(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
    }

    #[test]
    fn a_name_is_the_same_in_any_case_width_and_composition() {
        let folded = name("bigbird").folded;
        for text in ["BIGBIRD", "ᴮᴵᴳᴮᴵᴿᴰ", "ｂｉｇｂｉｒｄ"] {
            assert_eq!(name(text).folded, folded, "{text}");
        }
        assert_eq!(name("Zoe\u{308}").folded, name("ZO\u{cb}").folded);
        assert_eq!(name("STRASSE").folded, name("straße").folded);
        assert_eq!(name("ΣΊΣΥΦΟΣ").folded, name("σίσυφος").folded);
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in [("cocoa", "сосоа"), ("paul", "pau1"), ("modern", "modem"), ("bill.gates", "biII.gates")]
        {
            assert_eq!(name(one).skeleton, name(other).skeleton, "{one} {other}");
        }
        assert_ne!(name("ada").skeleton, name("adb").skeleton);
        for text in ["admin", "ADMIN", "Admln", "support", "F0lio"] {
            assert!(name(text).is_reserved(), "{text}");
        }
        assert!(!name("adam").is_reserved() && !name("ali").is_reserved());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "n".repeat(65);
        for text in [
            "",
            "a",
            &long,
            " ada",
            "ada ",
            "a  b",
            "ada\u{0}",
            "a\u{7}b",
            "ada\u{200b}",
            "\u{200b}\u{200b}",
            "a\u{202e}b",
            "pаypal",
            "-ada",
            "ada.",
            ".",
            "..",
            "a/b",
            "a@b",
            "a\nb",
            "😀😀",
            "a<b>",
            "e\u{301}\u{302}\u{303}\u{304}x",
            "\u{301}ab",
            "=cmd|x",
            "a\u{ad}b",
        ] {
            assert_eq!(Name::read(text).map_err(|it| it.code()), Err("invalid"), "{text:?}");
        }
        for text in
            ["ab", &"n".repeat(64), "Ada Lovelace", "o'brien", "jean-luc", "a_b.c", "Ольга", "山田太郎", "हिन्दी", "42"]
        {
            name(text);
        }
    }

    #[test]
    fn an_address_is_the_same_in_any_case() {
        let email = |text: &str| Email::read(text).unwrap_or_else(|_| panic!("{text:?}"));
        assert_eq!(email("Ada@Example.ORG").folded, email("ada@example.org").folded);
        assert_eq!(email("ada@BÜCHER.example").folded, email("ada@bücher.example").folded);
        assert_eq!(email("Ada+shop@example.org").shown, "Ada+shop@example.org");
        email("folio@localhost");
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "ada@ex ample.org",
            "a da@example.org",
            "ada@-x.org",
            "ada\r\nBcc: b@c.d@example.org",
            "<ada@example.org>",
            ".ada@example.org",
            "ada..l@example.org",
            "ada@127.0.0.1",
            "ada@[::1]",
            "ada@example..org",
            "ada\u{0}@example.org",
            "a,b@example.org",
            &long,
        ] {
            assert_eq!(Email::read(text).map_err(|it| it.code()), Err("invalid"), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_what_is_folded_changes_nothing(text in "\\PC{0,40}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
