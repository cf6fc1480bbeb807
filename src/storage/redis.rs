//! A Redis server, as cache and bus ask it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, Pipeline, RedisError};

use super::Probe;
use super::link::Link;
use crate::config::Secret;
use crate::error::{Error, Result};

/// How long a connection may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// A server, the way to it, and what every name of ours begins with there.
#[derive(Debug)]
pub struct Redis {
    client: Client,
    link: Link<MultiplexedConnection>,
    prefix: String,
}

impl Redis {
    /// Reads the address; the server is asked on first use.
    pub fn open(url: &Secret, prefix: &str, what: &'static str) -> Result<Redis> {
        let wrong = |_| Error::invalid("redis_url", "is not the address of a redis server");
        let client = Client::open(url.expose()).map_err(wrong)?;
        Ok(Redis { client, link: Link::new(what, CONNECT_WITHIN, ANSWER_WITHIN), prefix: prefix.to_owned() })
    }

    /// The address, for connections of another kind.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// A name of ours as the server knows it.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Asks one thing, or several in one go.
    pub async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Result<T> {
        let dial = self.client.get_multiplexed_async_connection();
        let mut connection = self.link.connection(|_| true, dial).await?;
        // Out of memory, read only, still loading.
        let refusal = |why: &RedisError| !why.is_io_error() && !why.is_unrecoverable_error();
        self.link.step(question.query_async(&mut connection), refusal).await
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
