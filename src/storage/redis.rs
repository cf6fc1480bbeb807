//! A Redis server, as cache and bus ask it: one connection, made when it is first needed and again when it is lost.
//!
//! Every step is bounded in time. A connection that fails or keeps silent is thrown away, since nobody knows what would
//! still come through it. While there is none one caller a pause tries; the others are refused at once.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Probe;
use crate::config::Secret;
use crate::error::{Error, Result};

/// How long a connection may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait before the next try to connect: what was asked of the one before has failed by then.
pub const PAUSE: Duration = Duration::from_millis(250);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// A server, the way to it, and what every name of ours begins with there.
#[derive(Debug)]
pub struct Redis {
    /// The address, for connections of another kind.
    pub client: Client,
    what: &'static str,
    prefix: String,
    /// The connection; or none, and when the next one is tried.
    line: Mutex<Result<MultiplexedConnection, Instant>>,
    /// Whether one was tried: until then nobody knows better than to wait for it.
    tried: OnceCell<()>,
}

impl Redis {
    /// Reads the address; the server is asked on first use. `what` names the part in refusals and logs.
    pub fn open(url: &Secret, prefix: &str, what: &'static str) -> Result<Redis> {
        let wrong = |_| Error::invalid("redis_url", "is not the address of a redis server");
        let client = Client::open(url.expose()).map_err(wrong)?;
        let (line, tried) = (Mutex::new(Err(Instant::now())), OnceCell::new());
        Ok(Redis { client, what, prefix: prefix.to_owned(), line, tried })
    }

    /// A name of ours as the server knows it.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Asks one thing, or several in one go.
    pub async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Result<T> {
        self.tried.get_or_init(async || drop(self.connection().await)).await;
        let mut connection = self.connection().await?;
        question.query_async(&mut connection).await.map_err(|why| self.failed(&why))
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        {
            let mut line = self.line.lock();
            match &*line {
                Ok(connection) => return Ok(connection.clone()),
                Err(closed_until) if Instant::now() < *closed_until => return Err(Error::unavailable(self.what)),
                Err(_) => *line = Err(Instant::now() + CONNECT_WITHIN),
            }
        }
        let within = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connected = self.client.get_multiplexed_async_connection_with_config(&within).await;
        let connection = connected.map_err(|why| self.failed(&why))?;
        *self.line.lock() = Ok(connection.clone());
        Ok(connection)
    }

    /// Throws the connection away, unless the server only refused: out of memory, read only, still loading.
    fn failed(&self, why: &RedisError) -> Error {
        if why.is_io_error() || why.is_unrecoverable_error() {
            *self.line.lock() = Err(Instant::now() + PAUSE);
        } else {
            tracing::warn!(what = self.what, %why, "the server refused");
        }
        Error::unavailable(self.what)
    }

    /// Asks the server who it is, and whether a write is taken.
    pub async fn probe(&self) -> Result<Probe> {
        let mut question = redis::pipe();
        question.cmd("INFO").arg("server").cmd("SET").arg(self.name("probe")).arg("").arg("PX").arg(1_000);
        let (info, written): (String, redis::Value) = self.ask(&question).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").to_owned();
        Ok(Probe { backend: "redis", version, rights: vec![("write", written == redis::Value::Okay)] })
    }
}
