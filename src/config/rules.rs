//! What settings demand of each other.

use std::net::SocketAddr;

use url::Url;

use super::settings::Settings;
use super::values::Server;

/// One demand: the settings it looks at, and what is wrong with them, if anything.
pub struct Demand {
    /// A demand is left out when one of these could not be read at all.
    pub reads: &'static [&'static str],
    /// What is wrong, as a sentence.
    pub refusal: fn(&Settings) -> Option<String>,
}

/// Every demand.
pub static DEMANDS: &[Demand] = &[
    Demand { reads: &["listen", "origins"], refusal: public_needs_origins },
    Demand { reads: &["listen", "trusted_proxies"], refusal: public_needs_proxies },
    Demand { reads: &["secret"], refusal: secret_is_strong },
    Demand { reads: &["listen"], refusal: public_has_no_known_password },
    Demand { reads: &["listen", "ops_listen"], refusal: listeners_differ },
    Demand { reads: &["smtp_ca"], refusal: ca_holds_certificates },
    Demand { reads: &["s3_url", "s3_key"], refusal: |it| beside(it, "s3_key", it.s3_key.is_some(), key) },
    Demand { reads: &["s3_url", "s3_secret"], refusal: |it| beside(it, "s3_secret", it.s3_secret.is_some(), password) },
    Demand { reads: &["s3_url", "s3_bucket"], refusal: |it| beside(it, "s3_bucket", it.s3_bucket.is_some(), bucket) },
    Demand {
        reads: &["connections_per_address_max", "connections_max"],
        refusal: |it| {
            let over = it.connections_per_address_max > it.connections_max;
            over.then(|| "connections_per_address_max is larger than connections_max".to_owned())
        },
    },
    Demand {
        reads: &["park_after", "idle_within"],
        refusal: |it| (it.park_after > it.idle_within).then(|| "park_after is longer than idle_within".to_owned()),
    },
    Demand {
        reads: &["writer_batch_max", "writer_waiting_max"],
        refusal: |it| {
            let over = it.writer_batch_max > it.writer_waiting_max;
            over.then(|| "writer_batch_max is larger than writer_waiting_max".to_owned())
        },
    },
];

fn is_public(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn public_needs_origins(settings: &Settings) -> Option<String> {
    (is_public(settings.listen) && settings.origins.0.is_empty()).then(|| {
        format!(
            "listen is {}, which is not on loopback, so origins must say which web pages may call Folio, such as \
             https://folio.example",
            settings.listen
        )
    })
}

fn public_needs_proxies(settings: &Settings) -> Option<String> {
    (is_public(settings.listen) && settings.trusted_proxies.is_none()).then(|| {
        format!(
            "listen is {}, which is not on loopback, so trusted_proxies must name the networks of the proxies in \
             front of Folio, or say none",
            settings.listen
        )
    })
}

fn secret_is_strong(settings: &Settings) -> Option<String> {
    let why = weakness(settings.secret.as_ref()?.expose())?;
    Some(format!("secret {why}; leave it out to have one made, or take the output of: openssl rand -hex 32"))
}

/// Why a secret could be guessed, if it could.
pub fn weakness(secret: &str) -> Option<&'static str> {
    // Each is longer than what chance puts into a random text.
    const KNOWN: [&str; 8] =
        ["changeme", "changethis", "replaceme", "secretkey", "supersecret", "password", "yoursecret", "examplesecret"];
    let letters: String = secret.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let mut different: Vec<u8> = secret.bytes().collect();
    different.sort_unstable();
    different.dedup();
    match secret.len() {
        ..32 => Some("is shorter than 32 characters"),
        _ if secret.contains(char::is_control) => Some("has control characters"),
        _ if KNOWN.iter().any(|known| letters.contains(known)) => Some("is a known placeholder"),
        _ if different.len() < 10 => Some("has fewer than 10 different characters"),
        _ => None,
    }
}

/// Passwords that the makers of the servers, and their tutorials, give out.
const GIVEN_OUT: [&str; 9] =
    ["guest", "minioadmin", "admin", "password", "postgres", "root", "changeme", "secret", "folio"];

fn public_has_no_known_password(settings: &Settings) -> Option<String> {
    let servers = [
        ("database_url", &settings.database_url),
        ("redis_url", &settings.redis_url),
        ("amqp_url", &settings.amqp_url),
        ("s3_url", &settings.s3_url),
        ("elasticsearch_url", &settings.elasticsearch_url),
    ];
    let known = |server: &Option<Server>| {
        server.as_ref().and_then(|it| it.0.password()).is_some_and(|password| GIVEN_OUT.contains(&password))
    };
    let mut names: Vec<&str> = servers.into_iter().filter(|(_, server)| known(server)).map(|(name, _)| name).collect();
    if settings.s3_secret.as_ref().is_some_and(|secret| GIVEN_OUT.contains(&secret.expose())) {
        names.push("s3_secret");
    }
    (is_public(settings.listen) && !names.is_empty()).then(|| {
        format!(
            "listen is {}, which is not on loopback, and everybody knows the password of {}",
            settings.listen,
            names.join(", ")
        )
    })
}

fn ca_holds_certificates(settings: &Settings) -> Option<String> {
    let path = settings.smtp_ca.as_ref()?;
    let why = match std::fs::read_to_string(path) {
        Err(error) => format!("cannot be read: {error}"),
        Ok(text) if !text.contains("-----BEGIN CERTIFICATE-----") => "holds no certificate in PEM".to_owned(),
        Ok(_) => return None,
    };
    Some(format!("smtp_ca {} {why}", path.display()))
}

fn listeners_differ(settings: &Settings) -> Option<String> {
    let same = settings.ops_listen == Some(settings.listen) && settings.listen.port() != 0;
    same.then(|| "ops_listen is the same as listen; leave it out to serve both there".to_owned())
}

/// A part of the S3 address that may stand beside it, but not in neither place and not in both.
fn beside(settings: &Settings, name: &str, given: bool, part: fn(&Url) -> Option<String>) -> Option<String> {
    match (settings.s3_url.as_ref().map(|url| part(&url.0)), given) {
        (None, true) => Some(format!("{name} is set, but s3_url is not")),
        (Some(None), false) => Some(format!("s3_url is set, but {name} stands neither in it nor beside it")),
        (Some(Some(_)), true) => Some(format!("{name} stands both in s3_url and beside it")),
        _ => None,
    }
}

/// The access key within an S3 address.
pub fn key(url: &Url) -> Option<String> {
    (!url.username().is_empty()).then(|| decoded(url.username()))
}

/// The secret within an S3 address.
pub fn password(url: &Url) -> Option<String> {
    url.password().map(decoded)
}

/// The bucket within an S3 address.
pub fn bucket(url: &Url) -> Option<String> {
    Some(url.path().trim_matches('/')).filter(|path| !path.is_empty()).map(decoded)
}

fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_could_be_guessed_is_weak() {
        for weak in [
            "",
            "short",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "1212121212121212121212121212121212121212",
            "your-secret-key-change-in-production-0123456789",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_0123456789",
            "0123456789abcdef0123456789abcde\n0123456789",
        ] {
            assert!(weakness(weak).is_some(), "{weak:?}");
        }
        assert_eq!(weakness("c2b8b3f4d1f9a07e6f5d4c3b2a190817c2b8b3f4d1f9a07e6f5d4c3b2a190817"), None);
    }
}
