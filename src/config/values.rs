//! The forms of values: how the text of a setting becomes a duration, a size, an address, a list.
//!
//! A refusal names what was expected and shows the value, unless the value may hold a secret.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::Secret;

/// What a value may be, beyond its form.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Whatever has the form.
    Any,
    /// A number of things, bytes or milliseconds between these two, both included.
    Within(u64, u64),
    /// The address of a server by one of these schemes.
    Schemes(&'static [&'static str]),
}

/// How much of a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hide {
    /// All of it.
    Nothing,
    /// All but the password within an address.
    Password,
    /// Nothing of it.
    All,
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// How much of it is shown.
    const HIDE: Hide = Hide::Nothing;

    /// Reads it from text; otherwise tells what was expected, as "a duration, such as 30s".
    fn parse(text: &str, rule: Rule) -> Result<Self, String>;
}

impl<T: Setting> Setting for Option<T> {
    const HIDE: Hide = T::HIDE;

    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text, rule).map(Some) }
    }
}

impl Setting for Secret {
    const HIDE: Hide = Hide::All;

    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        Ok(Secret::new(text.to_owned()))
    }
}

impl Setting for String {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
        (text.len() <= 200 && text.chars().all(plain))
            .then(|| text.to_owned())
            .ok_or_else(|| "at most 200 letters, digits and any of - _ . : /".to_owned())
    }
}

impl Setting for PathBuf {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        if text.contains('\0') { Err("a path".to_owned()) } else { Ok(PathBuf::from(text)) }
    }
}

impl Setting for SocketAddr {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        text.parse().map_err(|_| "an address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned())
    }
}

impl Setting for bool {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        match text {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err("on or off".to_owned()),
        }
    }
}

impl Setting for u32 {
    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        usize::parse(text, rule)?.try_into().map_err(|_| "a smaller number".to_owned())
    }
}

impl Setting for usize {
    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        let (least, most) = bounds(rule);
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.and_then(|number| number.try_into().ok()).ok_or_else(|| format!("a number from {least} to {most}"))
    }
}

/// Units with their size, the smallest first.
type Units = [(&'static str, u64); 5];

const SIZES: Units = [("B", 1), ("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const TIMES: Units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Bytes {
    /// As a length of memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Setting for Bytes {
    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        let (least, most) = bounds(rule);
        measured(text, &SIZES).filter(|bytes| (least..=most).contains(bytes)).map(Bytes).ok_or_else(|| {
            let (least, most) = (spoken(least, &SIZES), spoken(most, &SIZES));
            format!("a size such as 64KiB, 16MiB or 1GiB, from {least} to {most}")
        })
    }
}

impl Setting for Duration {
    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        let (least, most) = bounds(rule);
        measured(text, &TIMES).filter(|ms| (least..=most).contains(ms)).map(Duration::from_millis).ok_or_else(|| {
            let (least, most) = (spoken(least, &TIMES), spoken(most, &TIMES));
            format!("a duration such as 250ms, 30s, 5m or 1h, from {least} to {most}")
        })
    }
}

fn bounds(rule: Rule) -> (u64, u64) {
    match rule {
        Rule::Within(least, most) => (least, most),
        Rule::Any | Rule::Schemes(_) => (0, u64::MAX),
    }
}

/// A whole number followed by one of the units, as the number of smallest units.
fn measured(text: &str, units: &Units) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// A number of smallest units, in the largest unit that fits without a rest.
fn spoken(number: u64, units: &Units) -> String {
    let fits = |(_, size): &&(&str, u64)| number.is_multiple_of(*size) && number >= *size;
    let (name, size) = units.iter().rfind(fits).unwrap_or(&units[0]);
    format!("{}{name}", number / size)
}

/// Origins of web pages: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

impl Setting for Origins {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        let origin = |item: &str| {
            let url = Url::parse(item).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
            // What a browser sends has no path: compared as text, another form would never match.
            (url.origin().ascii_serialization() == item.to_ascii_lowercase()).then(|| item.to_ascii_lowercase())
        };
        let origins: Option<Vec<String>> = items(text).map(origin).collect();
        origins.map(Origins).ok_or_else(|| {
            "a list of origins without a path, such as https://folio.example, https://folio.example:8443".to_owned()
        })
    }
}

/// Networks, as addresses with the length of their prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Setting for Networks {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        if text == "none" {
            return Ok(Networks(Vec::new()));
        }
        let networks: Option<Vec<IpNet>> = items(text).map(network).collect();
        networks.map(Networks).ok_or_else(|| "none, or a list of networks such as 10.0.0.0/8, fd00::/8".to_owned())
    }
}

fn network(item: &str) -> Option<IpNet> {
    let network: IpNet = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from)).ok()?;
    // 10.1.2.3/8 is more likely a slip than a network.
    (network.trunc() == network).then_some(network)
}

/// What stands between commas, without the blanks around it.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The address of a server, perhaps with a user and a password.
#[derive(Clone)]
pub struct Server(pub Url);

impl Setting for Server {
    const HIDE: Hide = Hide::Password;

    fn parse(text: &str, rule: Rule) -> Result<Self, String> {
        let Rule::Schemes(schemes) = rule else { return Err("no address at all".to_owned()) };
        let reachable = |url: &Url| url.has_host() || url.query().is_some_and(|query| query.contains("host="));
        Url::parse(text)
            .ok()
            .filter(|url| schemes.contains(&url.scheme()) && reachable(url))
            .map(Server)
            .ok_or_else(|| format!("an address such as {}://user:password@host:port", schemes[0]))
    }
}

impl Server {
    /// The address with its password.
    pub fn secret(&self) -> Secret {
        Secret::new(self.0.to_string())
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(Hide::Password, self.0.as_str()))
    }
}

/// Levels of the log: `info`, or `info,folio::http=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels(pub String);

impl Setting for Levels {
    fn parse(text: &str, _: Rule) -> Result<Self, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let target = |name: &str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:".contains(letter));
        let known = |item: &str| match item.split_once('=') {
            Some((name, level)) => !name.is_empty() && target(name) && LEVELS.contains(&level),
            None => LEVELS.contains(&item),
        };
        if items(text).all(known) {
            Ok(Levels(text.to_owned()))
        } else {
            Err("levels such as info or info,folio::http=debug; a level is off, error, warn, info, debug or trace"
                .to_owned())
        }
    }
}

/// A value as it may be shown: secrets as `***`, control characters escaped.
pub fn shown(hide: Hide, text: &str) -> String {
    match hide {
        _ if text.is_empty() => String::new(),
        Hide::Nothing => text.escape_debug().to_string(),
        Hide::All => "***".to_owned(),
        Hide::Password => masked(text).unwrap_or_else(|()| "***".to_owned()),
    }
}

fn masked(text: &str) -> Result<String, ()> {
    // Without a host nobody knows what is what.
    let mut url = Url::parse(text).ok().filter(Url::has_host).ok_or(())?;
    if url.password().is_some() {
        url.set_password(Some("***"))?;
    } else if !url.username().is_empty() {
        url.set_username("***")?;
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.set_fragment(None);
    Ok(url.to_string())
}
