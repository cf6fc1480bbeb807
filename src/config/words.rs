//! Values that are one word out of few, or a text of one form.

use super::LogFormat;
use super::values::{Origins, Rule, Setting};

impl Setting for LogFormat {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        match text {
            "json" => Ok(LogFormat::Json),
            "pretty" => Ok(LogFormat::Pretty),
            _ => Err("json or pretty".to_owned()),
        }
    }
}

/// How new passwords are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// What the seeds say.
    Bcrypt,
    /// What is newer.
    Argon2id,
}

impl Setting for Scheme {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        match text {
            "bcrypt" => Ok(Scheme::Bcrypt),
            "argon2id" => Ok(Scheme::Argon2id),
            _ => Err("bcrypt or argon2id".to_owned()),
        }
    }
}

/// The address of a sender of mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAddress(pub String);

impl Setting for MailAddress {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        let plain = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_ascii_alphanumeric() || "-_.+".contains(it));
        let whole = text.split_once('@').is_some_and(|(local, host)| plain(local) && plain(host));
        if whole && text.len() <= 254 {
            Ok(MailAddress(text.to_owned()))
        } else {
            Err("an address such as folio@example.org".to_owned())
        }
    }
}

/// One web origin: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

impl Setting for Origin {
    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        let mut origins = Origins::parse(text, rule).map(|it| it.0).unwrap_or_default();
        let only = origins.pop().filter(|_| origins.is_empty());
        only.map(Origin).ok_or_else(|| "an origin without a path, such as https://folio.example".to_owned())
    }
}
