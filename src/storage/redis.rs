//! A Redis server, as cache and bus ask it: one connection, made when it is first needed and again when it is lost.
//!
//! Every step is bounded in time. A connection that fails or keeps silent is thrown away, since nobody knows what would
//! still come through it. While the server is away one caller a pause tries; the others are refused at once.

use std::fmt::Display;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, Pipeline, RedisError};
use tokio::time::{Instant, timeout};

use super::Probe;
use crate::config::Secret;
use crate::error::{Error, Result};

/// How long a connection may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait before the next try to connect.
pub const PAUSE: Duration = Duration::from_millis(250);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// A server, the way to it, and what every name of ours begins with there.
#[derive(Debug)]
pub struct Redis {
    /// The address, for connections of another kind.
    pub client: Client,
    what: &'static str,
    prefix: String,
    line: Mutex<Line>,
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Line {
    connection: Option<MultiplexedConnection>,
    /// Tells one connection from the next.
    life: u64,
    /// Without a connection: when the next one is tried.
    closed_until: Option<Instant>,
}

impl Redis {
    /// Reads the address; the server is asked on first use. `what` names the part in refusals and logs.
    pub fn open(url: &Secret, prefix: &str, what: &'static str) -> Result<Redis> {
        let wrong = |_| Error::invalid("redis_url", "is not the address of a redis server");
        let client = Client::open(url.expose()).map_err(wrong)?;
        let (line, dialing) = Default::default();
        Ok(Redis { client, what, prefix: prefix.to_owned(), line, dialing })
    }

    /// A name of ours as the server knows it.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Asks one thing, or several in one go.
    pub async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Result<T> {
        let (mut connection, life) = self.connection().await?;
        // Out of memory, read only, still loading.
        let refusal = |why: &RedisError| !why.is_io_error() && !why.is_unrecoverable_error();
        match timeout(ANSWER_WITHIN, question.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) if refusal(&why) => {
                tracing::warn!(what = self.what, %why, "the server refused");
                Err(Error::unavailable(self.what))
            }
            Ok(Err(why)) => Err(self.failed(life, &why)),
            Err(_) => Err(self.failed(life, &"no answer in time")),
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64)> {
        if let Some(held) = self.held()? {
            return Ok(held);
        }
        let _dialing = self.dialing.lock().await;
        // Whoever waited takes what was found out meanwhile.
        if let Some(held) = self.held()? {
            return Ok(held);
        }
        let life = {
            let mut line = self.line.lock();
            line.life += 1;
            // Once the server was away nobody waits for what one finds who tries it.
            line.closed_until = line.closed_until.map(|_| Instant::now() + CONNECT_WITHIN);
            line.life
        };
        match timeout(CONNECT_WITHIN, self.client.get_multiplexed_async_connection()).await {
            Ok(Ok(connection)) => {
                self.line.lock().connection = Some(connection.clone());
                Ok((connection, life))
            }
            Ok(Err(why)) => Err(self.failed(life, &why)),
            Err(_) => Err(self.failed(life, &"no connection in time")),
        }
    }

    /// The connection there is; an error while it is too early for another.
    fn held(&self) -> Result<Option<(MultiplexedConnection, u64)>> {
        let line = self.line.lock();
        match &line.connection {
            Some(connection) => Ok(Some((connection.clone(), line.life))),
            None if line.closed_until.is_some_and(|until| Instant::now() < until) => Err(Error::unavailable(self.what)),
            None => Ok(None),
        }
    }

    /// Throws a connection away, unless there is another one already.
    fn failed(&self, life: u64, why: &dyn Display) -> Error {
        let mut line = self.line.lock();
        if line.life == life {
            line.connection = None;
            line.closed_until = Some(Instant::now() + PAUSE);
            tracing::debug!(what = self.what, %why, "is away");
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
