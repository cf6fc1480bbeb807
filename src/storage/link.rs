//! One connection to a Redis server, made again when it is lost.
//!
//! Every question is bounded in time. A connection that fails or keeps silent is thrown away, since nobody knows what
//! would still come through it; then one caller tries to get the next one and the others are refused at once.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion};
use tokio::time::timeout;

use super::Probe;
use super::breaker::Breaker;
use crate::config::Secret;
use crate::error::{Error, Result};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// A way to a Redis server that is opened on first use.
pub struct Link {
    client: Client,
    settings: AsyncConnectionConfig,
    breaker: Breaker,
    held: Mutex<Held>,
    dial: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    connection: Option<MultiplexedConnection>,
    life: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client would print the password.
        f.debug_struct("Link").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Link {
    /// Reads the address; nothing is connected yet. What the server pushes by itself goes to `pushes`.
    pub fn open(url: &Secret, what: &'static str, pushes: Option<impl AsyncPushSender>) -> Result<Link> {
        let wrong = |_| Error::invalid("redis_url", "is not the address of a redis server");
        let info = url.expose().into_connection_info().map_err(wrong)?;
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(redis)).map_err(wrong)?;
        let mut settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        if let Some(pushes) = pushes {
            settings = settings.set_push_sender(pushes);
        }
        Ok(Link { client, settings, breaker: Breaker::new(what), held: Mutex::default(), dial: Default::default() })
    }

    /// Asks one thing, or several in one transaction.
    pub async fn ask<T: FromRedisValue>(&self, question: &Pipeline) -> Result<T> {
        let (connection, life) = self.connection().await?;
        self.ask_on(connection, life, question).await
    }

    /// Asks over a connection of a certain life.
    pub async fn ask_on<T>(&self, mut connection: MultiplexedConnection, life: u64, question: &Pipeline) -> Result<T>
    where
        T: FromRedisValue,
    {
        let answer = question.query_async(&mut connection);
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => {
                self.breaker.worked();
                Ok(answer)
            }
            Ok(Err(why)) if why.is_io_error() || why.is_unrecoverable_error() => Err(self.lose(life, why)),
            // It is there, but may not or cannot: out of memory, read only, still loading.
            Ok(Err(why)) => {
                tracing::warn!(%why, "redis refused");
                Err(self.breaker.refusal())
            }
            Err(_) => Err(self.lose(life, "no answer in time")),
        }
    }

    /// The connection there is, or the next one; each has a life of its own number.
    pub async fn connection(&self) -> Result<(MultiplexedConnection, u64)> {
        if let Some(held) = self.held() {
            return Ok(held);
        }
        self.breaker.pass()?;
        let failures = self.breaker.failures();
        let _dialing = self.dial.lock().await;
        if let Some(held) = self.held() {
            return Ok(held);
        }
        if self.breaker.failures() != failures {
            return Err(self.breaker.refusal());
        }
        let dialed = self.client.get_multiplexed_async_connection_with_config(&self.settings);
        match timeout(CONNECT_WITHIN, dialed).await {
            Ok(Ok(connection)) => {
                let mut held = self.held.lock();
                held.connection = Some(connection.clone());
                held.life += 1;
                Ok((connection, held.life))
            }
            Ok(Err(why)) => Err(self.breaker.failed(why)),
            Err(_) => Err(self.breaker.failed("no connection in time")),
        }
    }

    /// Throws a connection away, unless that was done already.
    pub fn lose(&self, life: u64, why: impl std::fmt::Display) -> Error {
        let mut held = self.held.lock();
        if held.life == life && held.connection.take().is_some() {
            return self.breaker.failed(why);
        }
        self.breaker.refusal()
    }

    /// The life of the connection, if there is one of which nothing bad is known.
    pub fn life(&self) -> Option<u64> {
        let held = self.held.lock();
        held.connection.is_some().then_some(held.life)
    }

    /// Waits until a try makes sense again.
    pub async fn wait(&self) {
        self.breaker.wait().await;
    }

    /// Asks the server who it is, and whether a write is taken.
    pub async fn probe(&self, key: &str) -> Result<Probe> {
        let mut question = redis::pipe();
        question.cmd("INFO").arg("server").cmd("SET").arg(key).arg("").arg("PX").arg(1_000);
        let (info, written): (String, redis::Value) = self.ask(&question).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").to_owned();
        Ok(Probe { backend: "redis", version, rights: vec![("write", written == redis::Value::Okay)] })
    }

    fn held(&self) -> Option<(MultiplexedConnection, u64)> {
        let held = self.held.lock();
        held.connection.clone().map(|connection| (connection, held.life))
    }
}
