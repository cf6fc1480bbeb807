//! Every setting, read once, validated as a whole, handed out in parts.
//!
//! A backend is an enum that carries its own address, so that "Redis without a URL" cannot be written down.

mod build;
mod load;
mod page;
mod people;
mod rules;
mod settings;
mod sockets;
mod text;
mod values;
mod words;

pub use load::{Asked, FILE_NAME, Loaded, Value, load};
pub use page::{reference, sample, show};
pub use people::{AuthConfig, ChatConfig, MailConfig, PasswordScheme, PeopleConfig};
pub use rules::weakness;
pub use settings::{KEYS, Key, Settings};
pub use sockets::{MessageRate, PresenceConfig, SocketsConfig};
pub use values::{Bytes, Hide, Levels, Networks, Origins, Rule, Server, Setting};
pub use words::{MailAddress, Origin, Scheme};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Everything a running Folio is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lies that Folio keeps itself.
    pub data_dir: PathBuf,
    /// What signs cursors and links. At least 32 bytes.
    pub secret: Secret,
    /// The HTTP shell.
    pub http: HttpConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The cache.
    pub cache: CacheConfig,
    /// The way from node to node.
    pub bus: BusConfig,
    /// The broker of events and jobs.
    pub broker: BrokerConfig,
    /// The store of objects.
    pub objects: ObjectsConfig,
    /// The search engine.
    pub search: SearchConfig,
    /// Group commit.
    pub writer: WriterConfig,
    /// Live connections.
    pub sockets: SocketsConfig,
    /// Who is here.
    pub presence: PresenceConfig,
    /// Signing in.
    pub auth: AuthConfig,
    /// Accounts of people.
    pub people: PeopleConfig,
    /// Conversations.
    pub chat: ChatConfig,
    /// Mail.
    pub mail: MailConfig,
    /// Logs.
    pub log: LogConfig,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub const fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text itself, for whoever has to use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How the shell behaves.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where metrics, details of health and supervision are served instead, if not there.
    pub ops_listen: Option<SocketAddr>,
    /// Origins of pages that may call the API; exact, without a path.
    pub origins: Vec<String>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits on rates; `None` lifts all of them.
    pub rate_limit: Option<RateLimitConfig>,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time of one address.
    pub connections_per_address_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Bytes of a request's body, where the route says nothing else.
    pub body_bytes_max: usize,
    /// How long a head may take to arrive.
    pub head_within: Duration,
    /// How long a request may take, where the route says nothing else.
    pub answer_within: Duration,
    /// How long a client may leave an answer unread.
    pub write_within: Duration,
    /// When an idle connection is parked.
    pub park_after: Duration,
    /// When an idle connection is closed.
    pub idle_within: Duration,
    /// How long requests under way may go on after a stop.
    pub drain_within: Duration,
}

/// How many requests are taken, from whom.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitConfig {
    /// At once, from one address.
    pub per_address_burst: u32,
    /// A minute in the long run, from one address.
    pub per_address_minute: u32,
    /// At once, from one user.
    pub per_user_burst: u32,
    /// A minute in the long run, from one user.
    pub per_user_minute: u32,
}

/// Which database, and where.
#[derive(Clone, Debug)]
pub enum DatabaseConfig {
    /// One file in the data folder.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Reading connections beside the one that writes.
        readers: u32,
        /// How long anybody waits for a connection.
        acquire_within: Duration,
    },
    /// A PostgreSQL server.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: Secret,
        /// Connections at a time.
        connections_max: u32,
        /// How long anybody waits for one.
        acquire_within: Duration,
    },
}

/// Which cache, and where.
#[derive(Clone, Debug)]
pub enum CacheConfig {
    /// Bounded memory of this process.
    Embedded {
        /// What it may hold.
        bytes_max: u64,
    },
    /// A Redis server.
    Redis {
        /// `redis://:password@host:port/0`.
        url: Secret,
        /// What every key begins with.
        prefix: String,
    },
}

/// Which way from node to node.
#[derive(Clone, Debug)]
pub enum BusConfig {
    /// There is one node.
    Embedded,
    /// A Redis server's publish and subscribe.
    Redis {
        /// `redis://:password@host:port/0`.
        url: Secret,
        /// What every channel begins with.
        prefix: String,
    },
}

/// Which broker, and where.
#[derive(Clone, Debug)]
pub enum BrokerConfig {
    /// Queue tables in the database.
    Embedded,
    /// A RabbitMQ server.
    RabbitMq {
        /// `amqp://user:password@host:port/vhost`.
        url: Secret,
        /// Where events go to there.
        exchange: String,
    },
}

/// Which store of objects, and where.
#[derive(Clone, Debug)]
pub enum ObjectsConfig {
    /// Files in the data folder.
    Files {
        /// The folder.
        dir: PathBuf,
    },
    /// MinIO, or another server that speaks S3.
    S3(S3Config),
}

/// How an S3 server is reached.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// `http://host:port`, without key, secret and bucket.
    pub endpoint: String,
    /// The access key.
    pub key: String,
    /// The secret of the access key.
    pub secret: Secret,
    /// The bucket; it is made when it is missing.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The folder in which objects arrive before they are sent there.
    pub dir: PathBuf,
    /// How long the server may take to answer a call.
    pub answer_within: Duration,
    /// How long it may keep silent while an object is sent or read.
    pub transfer_within: Duration,
}

/// Which search engine, and where.
#[derive(Clone, Debug)]
pub enum SearchConfig {
    /// An index in the data folder.
    Embedded {
        /// The folder.
        dir: PathBuf,
    },
    /// An Elasticsearch or OpenSearch server.
    Elasticsearch {
        /// `http://user:password@host:port`.
        url: Secret,
    },
}

/// How hot writes are put together.
#[derive(Clone, Copy, Debug)]
pub struct WriterConfig {
    /// Writes that may wait; one more is refused.
    pub waiting_max: usize,
    /// Bytes that may wait; more are refused.
    pub waiting_bytes_max: usize,
    /// Writes in one transaction.
    pub batch_max: usize,
    /// How long a batch may take before its callers hear that the database is gone.
    pub commit_within: Duration,
}

impl Default for WriterConfig {
    fn default() -> WriterConfig {
        WriterConfig {
            waiting_max: 8_192,
            waiting_bytes_max: 64 * 1024 * 1024,
            batch_max: 1_024,
            commit_within: Duration::from_secs(2),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Levels, as `info,folio::http=debug`.
    pub filter: String,
    /// One JSON object a line, or lines for people.
    pub format: LogFormat,
    /// Lines of the access log in a second; what is more is counted and left out.
    pub access_per_second: u32,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Pretty,
}
