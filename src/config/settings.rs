//! The one table of settings. Loading, `folio config`, the sample file and the reference all come from it.
//!
//! Each row is a field: its comment is the meaning that people read, then come type, default and bounds. The name in
//! the file is the field's; the variable is the same in capitals after `FOLIO_`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{Bytes, Hide, Levels, Networks, Origins, Rule, Server, Setting};
use super::words::{MailAddress, Origin, Scheme};
use super::{LogFormat, Secret};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

/// One row of the table.
#[derive(Debug)]
pub struct Key {
    /// The name in the file.
    pub name: &'static str,
    /// The value when nobody says anything; empty is none.
    pub default: &'static str,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    /// How much of the value is shown.
    pub hide: Hide,
    /// Reads a value into the settings, or tells what was expected.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Key {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FOLIO_{}", self.name.to_ascii_uppercase())
    }

    /// Whether the value may hold a secret: then it can come from a file of its own, and not from the command line.
    pub fn holds_secret(&self) -> bool {
        self.hide != Hide::Nothing
    }
}

macro_rules! settings {
    ($($(#[doc = $line:literal])+ $name:ident: $kind:ty = $default:literal, $rule:expr;)+) => {
        /// Every setting, each valid by itself.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $line])+ pub $name: $kind,)+
        }

        /// Every row of the table.
        pub static KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            default: $default,
            meaning: concat!($($line),+),
            hide: <$kind as Setting>::HIDE,
            set: |settings, text| {
                settings.$name = Setting::parse(text, $rule)?;
                Ok(())
            },
        }),+];

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($name: Setting::parse($default, $rule).expect("a default is valid")),+ }
            }
        }
    };
}

settings! {
    /// The folder where everything lies that Folio keeps itself: database, files, search index and the secret.
    data_dir: PathBuf = "folio-data", Rule::Any;
    /// Where Folio listens. Off loopback it also wants origins, trusted_proxies and strong secrets.
    listen: SocketAddr = "127.0.0.1:8080", Rule::Any;
    /// Where metrics, details of health and supervision are served instead of on the address above.
    ops_listen: Option<SocketAddr> = "", Rule::Any;
    /// What signs cursors and links: 32 characters or more. Without it one is made on first start and kept in the
    /// data folder; nodes behind one balancer need the same.
    secret: Option<Secret> = "", Rule::Any;
    /// Origins of the web pages that may call the API, as `https://folio.example`, separated by commas.
    origins: Origins = "", Rule::Any;
    /// Networks of the proxies whose X-Forwarded-For is believed, as 10.0.0.0/8, or none.
    trusted_proxies: Option<Networks> = "", Rule::Any;

    /// A PostgreSQL server, as postgres://user:password@host:5432/folio. Without it SQLite keeps everything in the
    /// data folder.
    database_url: Option<Server> = "", Rule::Schemes(&["postgres", "postgresql"]);
    /// Connections to PostgreSQL at a time.
    database_connections_max: u32 = "10", Rule::Within(2, 1_000);
    /// How long a request waits for a connection to the database before it is refused for now.
    database_acquire_within: Duration = "2s", Rule::Within(100, HOUR);
    /// Connections that read from SQLite, beside the one that writes.
    database_readers: u32 = "4", Rule::Within(1, 64);
    /// A Redis server, as redis://:password@host:6379/0, for the cache and the way from node to node. Without it
    /// both stay in this process.
    redis_url: Option<Server> = "", Rule::Schemes(&["redis", "rediss"]);
    /// What every key and channel in Redis begins with.
    redis_prefix: String = "folio:", Rule::Any;
    /// What the cache of this process may hold, where there is no Redis.
    cache_bytes_max: Bytes = "64MiB", Rule::Within(MIB, 64 * GIB);
    /// A RabbitMQ server, as amqp://user:password@host:5672/vhost. Without it events and jobs wait in the database.
    amqp_url: Option<Server> = "", Rule::Schemes(&["amqp", "amqps"]);
    /// A server that speaks S3, as http://key:secret@host:9000/bucket. Without it uploads lie in the data folder.
    s3_url: Option<Server> = "", Rule::Schemes(&["https", "http"]);
    /// The access key, where it does not stand in the address.
    s3_key: Option<String> = "", Rule::Any;
    /// The secret of the access key, where it does not stand in the address.
    s3_secret: Option<Secret> = "", Rule::Any;
    /// The bucket, where it does not stand in the address; it is made when it is missing.
    s3_bucket: Option<String> = "", Rule::Any;
    /// The region that requests are signed for.
    s3_region: String = "us-east-1", Rule::Any;
    /// How long the S3 server may take to answer a call.
    s3_answer_within: Duration = "10s", Rule::Within(100, HOUR);
    /// How long the S3 server may keep silent while an object is read, and may take to store one, with a second more
    /// for each 128 KiB.
    s3_transfer_within: Duration = "30s", Rule::Within(100, HOUR);
    /// An Elasticsearch or OpenSearch server, as http://user:password@host:9200. Without it the search index lies in
    /// the data folder.
    elasticsearch_url: Option<Server> = "", Rule::Schemes(&["https", "http"]);

    /// Whether the number of requests is limited: on, or off for load tests.
    rate_limit: bool = "on", Rule::Any;
    /// Requests at once from one address.
    rate_per_address_burst: u32 = "600", Rule::Within(1, 60_000);
    /// Requests a minute in the long run from one address.
    rate_per_address_minute: u32 = "3000", Rule::Within(1, 1_000_000);
    /// Requests at once from one user.
    rate_per_user_burst: u32 = "300", Rule::Within(1, 60_000);
    /// Requests a minute in the long run from one user.
    rate_per_user_minute: u32 = "1200", Rule::Within(1, 1_000_000);
    /// Connections at a time.
    connections_max: usize = "20000", Rule::Within(1, 1_000_000);
    /// Connections at a time from one address; a trusted proxy is not counted.
    connections_per_address_max: usize = "1000", Rule::Within(1, 1_000_000);
    /// Size of a request's head.
    head_bytes_max: Bytes = "16KiB", Rule::Within(8 * KIB, MIB);
    /// Size of a request's body, where the route says nothing else.
    body_bytes_max: Bytes = "256KiB", Rule::Within(KIB, GIB);
    /// How long a request's head may take to arrive, and its body after it.
    head_within: Duration = "10s", Rule::Within(100, HOUR);
    /// How long a request may take, where the route says nothing else.
    answer_within: Duration = "10s", Rule::Within(100, HOUR);
    /// How long a client may leave an answer unread.
    write_within: Duration = "30s", Rule::Within(100, HOUR);
    /// When an idle connection gives back most of its memory.
    park_after: Duration = "5s", Rule::Within(100, HOUR);
    /// When an idle connection is closed.
    idle_within: Duration = "75s", Rule::Within(100, 24 * HOUR);
    /// How long requests under way may go on after a stop.
    drain_within: Duration = "25s", Rule::Within(0, HOUR);

    /// Writes that may wait for the database; one more is refused.
    writer_waiting_max: usize = "8192", Rule::Within(1, 1_000_000);
    /// Size of the writes that may wait for the database; more are refused.
    writer_waiting_bytes_max: Bytes = "64MiB", Rule::Within(MIB, 16 * GIB);
    /// Writes in one transaction.
    writer_batch_max: usize = "1024", Rule::Within(1, 10_000);
    /// How long a transaction may take before its callers hear that the database is not available.
    writer_commit_within: Duration = "2s", Rule::Within(50, HOUR);

    /// Size of a message that comes in on a live connection.
    socket_message_bytes_max: Bytes = "64KiB", Rule::Within(KIB, 64 * MIB);
    /// Messages a second, in the long run, on one live connection.
    socket_messages_per_second: u32 = "20", Rule::Within(1, 100_000);
    /// Messages at once on one live connection.
    socket_messages_burst: u32 = "40", Rule::Within(1, 100_000);
    /// What may wait for a client that does not read; then it is closed, and may resume.
    socket_outbox_bytes_max: Bytes = "1MiB", Rule::Within(256 * KIB, 64 * MIB);
    /// Frames that may wait for a client that does not read.
    socket_outbox_frames_max: usize = "1024", Rule::Within(256, 65_536);
    /// How often a live connection is asked whether its client is there.
    socket_ping_every: Duration = "25s", Rule::Within(50, HOUR);
    /// How long a client may take to answer that.
    socket_pong_within: Duration = "20s", Rule::Within(50, HOUR);
    /// How long a client may take to sign in on a live connection.
    socket_connect_within: Duration = "10s", Rule::Within(100, HOUR);
    /// Requests under way at a time on one live connection.
    socket_requests_waiting_max: usize = "64", Rule::Within(1, 10_000);
    /// Streams that one live connection follows.
    socket_topics_max: usize = "500", Rule::Within(1, 100_000);
    /// Live connections of one user; one more displaces the first.
    sockets_per_user_max: usize = "10", Rule::Within(1, 1_000_000);
    /// Live connections from one address.
    sockets_per_address_max: usize = "100", Rule::Within(1, 1_000_000);
    /// How old the last event may be that a stock Socket.IO client or an EventSource comes back with; then it loads afresh.
    recovers_within: Duration = "15m", Rule::Within(SECOND, 30 * 24 * HOUR);
    /// Missed entries of a stream that a client is sent when it comes back; after more it loads afresh.
    replay_entries_max: u32 = "5000", Rule::Within(1, 1_000_000);

    /// How often changes of who is here are told. What is told is at most as old as this and presence_calm together.
    presence_every: Duration = "500ms", Rule::Within(50, HOUR);
    /// How long somebody is still here whose connection broke without a goodbye, from when they were heard last.
    presence_grace: Duration = "10s", Rule::Within(0, HOUR);
    /// How long after a change of somebody the next one waits: whoever comes and goes quickly is told of once.
    presence_calm: Duration = "2s", Rule::Within(0, HOUR);
    /// After what silence of a node nobody is on it any more.
    presence_node_lost_after: Duration = "30s", Rule::Within(10 * SECOND, HOUR);
    /// People whose presence one live connection follows.
    presence_followed_max: usize = "500", Rule::Within(1, 100_000);

    /// How long an access token is good for.
    access_lives: Duration = "30m", Rule::Within(10 * SECOND, 24 * HOUR);
    /// How long a refresh token is good for. Each use makes the next one.
    refresh_lives: Duration = "7d", Rule::Within(60 * SECOND, 90 * 24 * HOUR);
    /// How long a sign-in lasts at most, however often it is refreshed.
    session_lives: Duration = "90d", Rule::Within(60 * SECOND, 1_000 * 24 * HOUR);
    /// Sign-ins that one person has at a time; for one more the one that was heard of least lately ends.
    sessions_per_user_max: u32 = "100", Rule::Within(1, 1_000);
    /// How new passwords are hashed: bcrypt or argon2id. Others are hashed again at the next sign-in.
    password_scheme: Scheme = "bcrypt", Rule::Any;
    /// The cost of bcrypt: one more is twice the work, for you and for whoever guesses.
    bcrypt_cost: u32 = "11", Rule::Within(10, 16);
    /// Threads that hash passwords; they step back for everything else. Without it: half as many as there are cores.
    password_threads: Option<usize> = "", Rule::Within(1, 64);
    /// Passwords that may wait to be hashed; one more is refused with 503.
    password_waiting_max: usize = "32", Rule::Within(1, 10_000);
    /// Wrong passwords for one account from one address, within the time below, before it has to wait.
    guesses_per_account: u32 = "10", Rule::Within(1, 1_000);
    /// Wrong passwords from one address, within the time below, before it has to wait. As many may register there, or
    /// say that they forgot their password.
    guesses_per_address: u32 = "100", Rule::Within(1, 100_000);
    /// The time within which wrong passwords are counted.
    guesses_within: Duration = "5m", Rule::Within(SECOND, 24 * HOUR);
    /// Keys of services that are good at a time; they are held in memory.
    api_keys_max: usize = "10000", Rule::Within(1, 1_000_000);

    /// How long a deleted account can be taken back, by signing in.
    delete_after: Duration = "7d", Rule::Within(0, 365 * 24 * HOUR);
    /// How long a former name leads to its user and cannot be taken by another.
    former_name_lives: Duration = "30d", Rule::Within(0, 10_000 * 24 * HOUR);
    /// How long the cache keeps a profile. A change takes it out at once.
    profile_cached_for: Duration = "5m", Rule::Within(SECOND, 24 * HOUR);
    /// How long somebody waits between two exports of everything that is known about them.
    export_every: Duration = "10m", Rule::Within(0, 30 * 24 * HOUR);
    /// How many rows of a kind an export holds, the newest first.
    export_rows_max: u32 = "10000", Rule::Within(100, 1_000_000);
    /// How long it is remembered what happened to an account.
    audit_lives: Duration = "180d", Rule::Within(24 * HOUR, 10_000 * 24 * HOUR);

    /// Letters of a message in a conversation.
    chat_letters_max: usize = "4000", Rule::Within(1, 100_000);
    /// People in a group.
    chat_members_max: usize = "1000", Rule::Within(2, 10_000);
    /// Attachments of a message.
    chat_attachments_max: usize = "10", Rule::Within(0, 100);
    /// Signs that one person may set under a message.
    chat_signs_max: usize = "20", Rule::Within(1, 1_000);
    /// Messages that may be pinned in a conversation.
    chat_pins_max: usize = "100", Rule::Within(1, 1_000);

    /// The server that sends mail, as smtp://user:password@host:587. Without it mail stays here: folio mail shows it.
    /// smtp wants STARTTLS, smtps is TLS at once. A server on this machine is talked to in the clear, or as the address says
    /// at its end: ?tls=on or ?tls=off.
    smtp_url: Option<Server> = "", Rule::Schemes(&["smtp", "smtps"]);
    /// A file with the certificates, in PEM, that vouch for a mail server which nobody else vouches for.
    smtp_ca: Option<PathBuf> = "", Rule::Any;
    /// How long the mail server may take for each step of a conversation.
    smtp_answer_within: Duration = "30s", Rule::Within(100, HOUR);
    /// The sender of mail.
    mail_from: MailAddress = "folio@localhost", Rule::Any;
    /// How long a letter is tried before it is given up. Its error stays to be seen by folio mail.
    mail_tried_for: Duration = "1d", Rule::Within(0, 30 * 24 * HOUR);
    /// How long letters are remembered, sent or not. The text of a letter is removed once it is sent.
    mail_lives: Duration = "30d", Rule::Within(24 * HOUR, 10_000 * 24 * HOUR);
    /// Where links in mail lead, as `https://folio.example`. Without it, to the address where Folio listens.
    site: Option<Origin> = "", Rule::Any;

    /// What is logged: info, or levels for parts of Folio such as info,folio::http=debug.
    log: Levels = "info", Rule::Any;
    /// json, one object a line, or pretty, for people. Without it: pretty at a terminal, json elsewhere.
    log_format: Option<LogFormat> = "", Rule::Any;
    /// Lines of the access log in a second; the others are counted and left out.
    log_access_per_second: u32 = "100", Rule::Within(0, 1_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_what_its_row_says() {
        let mut settings = Settings::default();
        for key in KEYS {
            assert_eq!((key.set)(&mut settings, key.default), Ok(()), "{}", key.name);
            assert!(key.meaning.trim().ends_with('.'), "{} has a meaning in sentences", key.name);
            assert!(key.default.is_empty() || !key.holds_secret(), "{} has a known secret", key.name);
        }
    }
}
