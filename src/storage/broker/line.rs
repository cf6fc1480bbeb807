//! One connection to a RabbitMQ server, made again when it is lost.

use std::fmt::Display;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::storage::breaker::Breaker;

/// How long any one step may take.
pub(super) const WITHIN: Duration = Duration::from_secs(2);
/// A server that is silent for twice this is gone.
const HEARTBEAT_SECONDS: u16 = 5;

pub(super) struct Line {
    uri: AMQPUri,
    name: &'static str,
    breaker: Breaker,
    current: tokio::sync::Mutex<Option<Connection>>,
    version: OnceLock<String>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds the password.
        f.debug_struct("Line").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(url: &Secret, name: &'static str) -> Result<Line> {
        let wrong = |_| Error::invalid("amqp_url", "is not the address of a RabbitMQ server");
        let mut uri: AMQPUri = url.expose().parse().map_err(wrong)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Line { uri, name, breaker: Breaker::new("broker"), current: Default::default(), version: OnceLock::new() })
    }

    /// Opens a channel; the connection is made when there is none.
    pub(super) async fn channel(&self) -> Result<Channel> {
        let mut current = timeout(WITHIN, self.current.lock()).await.map_err(|_| self.breaker.refusal())?;
        let connection = match &*current {
            Some(connection) if connection.status().connected() => connection,
            _ => {
                *current = None;
                self.breaker.pass()?;
                let properties = ConnectionProperties::default().with_connection_name(self.name.into());
                let dialed = Connection::connect_uri(self.uri.clone(), properties);
                match timeout(WITHIN, dialed).await {
                    Ok(Ok(connection)) => current.insert(connection),
                    Ok(Err(why)) => return Err(self.breaker.failed(why)),
                    Err(_) => return Err(self.breaker.failed("no connection in time")),
                }
            }
        };
        if connection.status().blocked() {
            tracing::warn!("the broker takes no messages now: it has no memory or no disk left");
            return Err(self.breaker.refusal());
        }
        match timeout(WITHIN, connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            failed => {
                *current = None;
                Err(match failed {
                    Ok(Err(why)) => self.breaker.failed(why),
                    _ => self.breaker.failed("no channel in time"),
                })
            }
        }
    }

    /// Waits for one step of the server, which may neither fail nor keep silent.
    pub(super) async fn step<T>(&self, step: impl Future<Output = lapin::Result<T>>) -> Result<T> {
        match timeout(WITHIN, step).await {
            Ok(Ok(done)) => {
                self.breaker.worked();
                Ok(done)
            }
            // The server said no: it is there.
            Ok(Err(why)) if why.is_amqp_soft_error() => {
                tracing::warn!(%why, "the broker refused");
                Err(self.breaker.refusal())
            }
            Ok(Err(why)) => Err(self.lose(why).await),
            Err(_) => Err(self.lose("no answer in time").await),
        }
    }

    /// Whether the server has said that it takes no messages.
    pub(super) async fn is_blocked(&self) -> bool {
        self.current.lock().await.as_ref().is_some_and(|connection| connection.status().blocked())
    }

    /// Waits until a try makes sense again.
    pub(super) async fn wait(&self) {
        self.breaker.wait().await;
    }

    /// Throws the connection away: nobody knows what would still come through it.
    async fn lose(&self, why: impl Display + Send) -> Error {
        let failed = self.breaker.failed(why);
        *self.current.lock().await = None;
        failed
    }

    /// The version of the server, asked once.
    pub(super) async fn version(&self) -> Option<String> {
        if let Some(version) = self.version.get() {
            return Some(version.clone());
        }
        let version = self.greeted().await?;
        Some(self.version.get_or_init(|| version).clone())
    }

    /// What the server tells whoever greets it. The client library keeps it to itself.
    async fn greeted(&self) -> Option<String> {
        if self.uri.scheme != AMQPScheme::AMQP {
            return None;
        }
        let greeting = async {
            let mut stream = TcpStream::connect((&*self.uri.authority.host, self.uri.authority.port)).await?;
            stream.write_all(b"AMQP\0\0\x09\x01").await?;
            let mut answer = vec![0; 4096];
            let count = stream.read(&mut answer).await?;
            answer.truncate(count);
            std::io::Result::Ok(answer)
        };
        let answer = timeout(WITHIN, greeting).await.ok()?.ok()?;
        // A field of a table: its name, `S` for a long string, four bytes of length, the text.
        let mark = b"\x07versionS";
        let at = answer.windows(mark.len()).position(|it| it == mark)? + mark.len();
        let (length, text) = answer[at..].split_first_chunk::<4>()?;
        let text = text.get(..u32::from_be_bytes(*length) as usize)?;
        String::from_utf8(text.to_vec()).ok()
    }
}
