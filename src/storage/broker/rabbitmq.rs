//! A RabbitMQ server: one topic exchange, and a quorum queue (which counts deliveries) for each of ours. What fails
//! goes to the tables and waits or lies there.
//!
//! The topology is declared again before each publish, on the same channel and without waiting: a queue or exchange
//! that was deleted is there again when the events arrive. A publish is mandatory and confirmed; when an event comes
//! back although a declared queue wants it, it is published again with those around it. Publishing and consuming have a
//! connection each, since a server that runs out of memory stops reading from those that publish.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::TryFutureExt;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Event, Subscription};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::storage::Probe;
use crate::storage::link::Link;

/// How long any one step may take.
const WITHIN: Duration = Duration::from_secs(2);
/// A server that is silent for twice this is gone.
const HEARTBEAT_SECONDS: u16 = 5;
/// Events on their way at a time.
const WINDOW: usize = 256;
/// How often events are published again that came back.
const ROUNDS: usize = 3;

#[derive(Clone)]
pub(super) struct RabbitMq(Arc<Inner>);

struct Inner {
    uri: AMQPUri,
    exchange: ShortString,
    publishing: Way,
    consuming: Way,
    /// Held while something is published: the client library pairs confirms and returns of one publisher only.
    publisher: tokio::sync::Mutex<Option<Channel>>,
    known: Mutex<Vec<Subscription>>,
    version: OnceLock<String>,
}

pub(super) type Way = Link<Arc<Connection>>;

impl std::fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds the password.
        f.debug_struct("RabbitMq").field("exchange", &self.0.exchange).finish_non_exhaustive()
    }
}

impl RabbitMq {
    /// Reads the address; the server is asked on first use.
    pub(super) fn open(url: &Secret, exchange: &str) -> Result<RabbitMq> {
        let wrong = |_| Error::invalid("amqp_url", "is not the address of a RabbitMQ server");
        let mut uri: AMQPUri = url.expose().parse().map_err(wrong)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(RabbitMq(Arc::new(Inner {
            uri,
            exchange: exchange.into(),
            publishing: Link::new("broker", WITHIN, WITHIN),
            consuming: Link::new("broker", WITHIN, WITHIN),
            publisher: Default::default(),
            known: Mutex::default(),
            version: OnceLock::new(),
        })))
    }

    pub(super) fn consuming(&self) -> &Way {
        &self.0.consuming
    }

    pub(super) async fn declare(&self, subscription: &Subscription) {
        {
            let mut known = self.0.known.lock();
            known.retain(|it| it.queue != subscription.queue);
            known.push(subscription.clone());
        }
        // Where that fails it is done before the next publish.
        if let Ok(channel) = self.channel(&self.0.consuming).await {
            let _ = step(&self.0.consuming, self.topology(&channel, subscription, false)).await;
        }
    }

    /// Declares a queue and what leads into it. Without waiting, a refusal closes the channel.
    async fn topology(&self, channel: &Channel, subscription: &Subscription, nowait: bool) -> lapin::Result<()> {
        let exchange = self.0.exchange.clone();
        let options = ExchangeDeclareOptions { durable: true, nowait, ..Default::default() };
        channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default()).await?;
        let durable = QueueDeclareOptions { durable: true, nowait, ..Default::default() };
        let queue = ShortString::from(subscription.queue.as_str());
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        // Without a limit what is given back goes to the end of the queue. Ours counts before this one is reached.
        quorum.insert("x-delivery-limit".into(), AMQPValue::LongInt(1_000_000));
        channel.queue_declare(queue.clone(), durable, quorum).await?;
        for topic in &subscription.topics {
            let (options, topic) = (QueueBindOptions { nowait }, topic.as_str().into());
            channel.queue_bind(queue.clone(), exchange.clone(), topic, options, FieldTable::default()).await?;
        }
        Ok(())
    }

    pub(super) async fn publish(&self, events: &[Event]) -> Result<()> {
        let known = self.0.known.lock().clone();
        'windows: for window in events.chunks(WINDOW) {
            for _ in 0..ROUNDS {
                if self.send(&known, window).await? {
                    continue 'windows;
                }
            }
            return Err(self.0.publishing.refusal());
        }
        Ok(())
    }

    /// Publishes in one go, and tells whether everything is where it should be.
    async fn send(&self, known: &[Subscription], events: &[Event]) -> Result<bool> {
        let Inner { publishing, publisher, .. } = &*self.0;
        let mut held = timeout(2 * WITHIN, publisher.lock()).await.map_err(|_| publishing.refusal())?;
        self.connection(publishing).await?;
        // Taken out: who gives up on the way leaves confirms behind that nobody could tell from those of the next.
        let channel = match held.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => {
                let channel = self.channel(publishing).await?;
                step(publishing, channel.confirm_select(ConfirmSelectOptions::default())).await?;
                channel
            }
        };
        let sending = async {
            for subscription in known {
                self.topology(&channel, subscription, true).await?;
            }
            self.transmit(&channel, known, events).await
        };
        let sent = step(publishing, sending).await?;
        *held = Some(channel);
        Ok(sent)
    }

    async fn transmit(&self, channel: &Channel, known: &[Subscription], events: &[Event]) -> lapin::Result<bool> {
        let mut confirms = Vec::with_capacity(events.len());
        for event in events {
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2)
                .with_message_id(event.id.to_string().into());
            let body = serde_json::to_vec(event).expect("an event is plain JSON");
            let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, topic) = (self.0.exchange.clone(), event.topic.as_str().into());
            confirms.push(channel.basic_publish(exchange, topic, mandatory, &body, properties).await?);
        }
        let mut kept = true;
        for confirm in confirms {
            let confirm = confirm.await?;
            kept &= !confirm.is_nack();
            // Which confirm a returned message hangs at is chance.
            if let Some(back) = confirm.take_message() {
                let topic = back.delivery.routing_key.to_string();
                kept &= !known.iter().any(|subscription| subscription.wants(&topic));
            }
        }
        Ok(kept)
    }

    async fn connection(&self, way: &Way) -> Result<Arc<Connection>> {
        let properties = ConnectionProperties::default().with_connection_name("folio".into());
        let dial = Connection::connect_uri(self.0.uri.clone(), properties).map_ok(Arc::new);
        let connection = way.connection(|it| it.status().connected(), dial).await?;
        if connection.status().blocked() {
            tracing::warn!("the broker takes no messages now: it has no memory or no disk left");
            return Err(way.refusal());
        }
        Ok(connection)
    }

    pub(super) async fn channel(&self, way: &Way) -> Result<Channel> {
        let connection = self.connection(way).await?;
        step(way, connection.create_channel()).await
    }

    pub(super) async fn probe(&self) -> Result<Probe> {
        let channel = self.channel(&self.0.consuming).await?;
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let table = FieldTable::default();
        let declared = channel.exchange_declare(self.0.exchange.clone(), ExchangeKind::Topic, options, table);
        let configure = step(&self.0.consuming, declared).await.is_ok();
        if let (None, Ok(Some(version))) = (self.0.version.get(), timeout(WITHIN, self.greeted()).await) {
            let _ = self.0.version.set(version);
        }
        let version = self.0.version.get().map_or("unknown", String::as_str).to_owned();
        Ok(Probe { backend: "rabbitmq", version, rights: vec![("configure", configure)] })
    }

    /// The version, from what the server tells whoever greets it. The client library keeps it to itself.
    async fn greeted(&self) -> Option<String> {
        let AMQPUri { scheme: AMQPScheme::AMQP, authority, .. } = &self.0.uri else { return None };
        let mut stream = TcpStream::connect((&*authority.host, authority.port)).await.ok()?;
        stream.write_all(b"AMQP\0\0\x09\x01").await.ok()?;
        let mut answer = vec![0; 4096];
        let count = stream.read(&mut answer).await.ok()?;
        // A field of a table: its name, `S` for a long string, four bytes of length, the text.
        let mark = b"\x07versionS";
        let at = answer[..count].windows(mark.len()).position(|it| it == mark)? + mark.len();
        let (length, text) = answer[at..count].split_first_chunk::<4>()?;
        let text = text.get(..u32::from_be_bytes(*length) as usize)?;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// After a soft error the server is there: it said no.
pub(super) async fn step<T>(way: &Way, step: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    way.step(step, lapin::Error::is_amqp_soft_error).await
}
