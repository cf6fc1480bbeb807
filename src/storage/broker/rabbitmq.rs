//! A RabbitMQ server: one topic exchange, and a quorum queue for each of ours.
//!
//! The topology is declared again before each publish, on the same channel and without waiting: a queue or exchange
//! that was deleted is there again when the events arrive. A publish is mandatory and confirmed; when an event comes
//! back although a declared queue wants it, the publish has failed. Who publishes and each who consumes has a connection
//! of its own, since a server that runs out of memory stops reading from those that publish.

use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Event;
use super::tables::{Queue, wants};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::storage::Probe;

/// How long any one step may take.
const WITHIN: Duration = Duration::from_secs(2);
/// Events on their way at a time.
pub(super) const WINDOW: usize = 256;

#[derive(Debug)]
pub(super) struct RabbitMq {
    url: Secret,
    exchange: String,
    /// Held while something is published: the client library pairs confirms and returns of one publisher only.
    publisher: Mutex<Option<Line>>,
}

/// A connection with one channel. Whatever fails on it, or keeps silent, is its end.
#[derive(Debug)]
pub(super) struct Line {
    pub channel: Channel,
    connection: Connection,
}

impl RabbitMq {
    /// Reads the address; the server is asked on first use.
    pub fn open(url: &Secret, exchange: &str) -> Result<RabbitMq> {
        let wrong = |_| Error::invalid("amqp_url", "is not the address of a RabbitMQ server");
        url.expose().parse::<AMQPUri>().map_err(wrong)?;
        Ok(RabbitMq { url: url.clone(), exchange: exchange.to_owned(), publisher: Mutex::default() })
    }

    pub async fn line(&self) -> Result<Line> {
        let properties = ConnectionProperties::default().with_connection_name("folio".into());
        let dial = async {
            let connection = Connection::connect(self.url.expose(), properties).await?;
            Ok(Line { channel: connection.create_channel().await?, connection })
        };
        step(dial).await
    }

    /// Declares a queue and what leads into it. Nothing is waited for: a refusal closes the channel.
    pub async fn topology(&self, channel: &Channel, queue: &str, topics: &str) -> lapin::Result<()> {
        self.declare_exchange(channel, true).await?;
        let durable = QueueDeclareOptions { durable: true, nowait: true, ..Default::default() };
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        // Without a limit what is given back goes to the end of the queue, and with the one of newer servers it is lost.
        quorum.insert("x-delivery-limit".into(), AMQPValue::LongInt(1_000_000));
        channel.queue_declare(queue.into(), durable, quorum).await?;
        for topic in topics.lines() {
            let (exchange, options) = (self.exchange.as_str().into(), QueueBindOptions { nowait: true });
            channel.queue_bind(queue.into(), exchange, topic.into(), options, FieldTable::default()).await?;
        }
        Ok(())
    }

    async fn declare_exchange(&self, channel: &Channel, nowait: bool) -> lapin::Result<()> {
        let (exchange, options) =
            (self.exchange.as_str().into(), ExchangeDeclareOptions { durable: true, nowait, ..Default::default() });
        channel.exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default()).await
    }

    pub async fn publish(&self, queues: &[Queue], events: &[Event]) -> Result<()> {
        for window in events.chunks(WINDOW) {
            if !self.published(async |channel| self.transmit(channel, queues, window).await).await? {
                return Err(GONE);
            }
        }
        Ok(())
    }

    /// Does something on the channel that publishes.
    async fn published<T>(&self, work: impl AsyncFnOnce(&Channel) -> lapin::Result<T>) -> Result<T> {
        let mut held = timeout(2 * WITHIN, self.publisher.lock()).await.map_err(|_| GONE)?;
        // Taken out: who gives up on the way leaves confirms behind that nobody could tell from those of the next.
        let line = match held.take().filter(|line| line.channel.status().connected()) {
            Some(line) => line,
            None => {
                let line = self.line().await?;
                step(line.channel.confirm_select(ConfirmSelectOptions::default())).await?;
                line
            }
        };
        // A server without memory or disk reads nothing more from who publishes, and says so.
        if line.connection.status().blocked() {
            *held = Some(line);
            return Err(GONE);
        }
        let done = step(work(&line.channel)).await;
        *held = done.is_ok().then_some(line);
        done
    }

    /// Publishes in one go, and tells whether everything is where it should be.
    async fn transmit(&self, channel: &Channel, queues: &[Queue], events: &[Event]) -> lapin::Result<bool> {
        for (queue, topics) in queues {
            self.topology(channel, queue, topics).await?;
        }
        let mut confirms = Vec::with_capacity(events.len());
        for event in events {
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2)
                .with_message_id(event.id.to_string().into());
            let body = serde_json::to_vec(event).expect("an event is plain JSON");
            let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, topic) = (self.exchange.as_str().into(), event.topic.as_str().into());
            confirms.push(channel.basic_publish(exchange, topic, mandatory, &body, properties).await?);
        }
        let mut kept = true;
        for confirm in confirms {
            let confirm = confirm.await?;
            kept &= !confirm.is_nack();
            // Which confirm a returned message hangs at is chance.
            if let Some(back) = confirm.take_message() {
                let topic = back.delivery.routing_key.to_string();
                kept &= !queues.iter().any(|(_, topics)| wants(topics, &topic));
            }
        }
        Ok(kept)
    }

    pub async fn probe(&self) -> Result<Probe> {
        let configure = self.published(async |channel| match self.declare_exchange(channel, false).await {
            // After a soft error the server is there: it said no.
            Err(error) if error.is_amqp_soft_error() => Ok(false),
            declared => declared.map(|()| true),
        });
        Ok(Probe { backend: "rabbitmq", version: String::new(), rights: vec![("configure", configure.await?)] })
    }
}

pub(super) const GONE: Error = Error::unavailable("broker");

/// Waits for one step of the server, which may neither fail nor keep silent.
pub(super) async fn step<T>(step: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    let done = timeout(WITHIN, step).await.map_err(|_| GONE)?;
    done.map_err(|error| {
        tracing::debug!(%error, "the broker did not do it");
        GONE
    })
}
