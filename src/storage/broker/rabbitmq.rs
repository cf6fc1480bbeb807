//! A RabbitMQ server: one topic exchange, and for each queue a quorum queue (which counts deliveries), a queue of its
//! dead letters, and queues where letters wait until they are tried again.
//!
//! The topology is declared again before each publish, on the same channel and without waiting: a queue or exchange
//! that was deleted is there again when the events arrive. A publish is mandatory and confirmed; an event that comes
//! back although a declared queue wants it is published again. Publishing and consuming have a connection each, since
//! a server that runs out of memory stops reading from those that publish.

use std::collections::HashSet;
use std::sync::Arc;

use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};
use parking_lot::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::line::{Line, WITHIN};
use super::{Event, Subscription};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::storage::Probe;

/// Events on their way at a time.
const WINDOW: usize = 256;
/// How often an event is published again that came back.
const ROUNDS: usize = 3;
/// Headers of a letter.
const ATTEMPT: &str = "x-attempt";
const ERROR: &str = "x-error";

/// A broker on a RabbitMQ server. Cloning it gives the same broker.
#[derive(Clone, Debug)]
pub struct RabbitMq(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    exchange: ShortString,
    publishing: Line,
    consuming: Line,
    /// Held while something is published: the client library pairs confirms and returns of one publisher only.
    publisher: tokio::sync::Mutex<Option<Channel>>,
    /// Held while dead letters are looked at: two who look would each see a part.
    looking: tokio::sync::Mutex<()>,
    known: Mutex<Vec<Subscription>>,
}

/// An event on its way into an exchange, or into one queue.
struct Outgoing<'a> {
    exchange: &'a str,
    key: &'a str,
    event: &'a Event,
    attempt: u32,
    error: &'a str,
}

impl RabbitMq {
    /// Reads the address; the server is asked on first use.
    pub fn open(url: &Secret, exchange: &str) -> Result<RabbitMq> {
        Ok(RabbitMq(Arc::new(Inner {
            exchange: exchange.into(),
            publishing: Line::new(url, "folio publishes")?,
            consuming: Line::new(url, "folio consumes")?,
            publisher: Default::default(),
            looking: Default::default(),
            known: Mutex::default(),
        })))
    }

    pub(super) async fn looking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.looking.lock().await
    }

    pub(super) fn consuming(&self) -> &Line {
        &self.0.consuming
    }

    pub(super) async fn declare(&self, subscription: &Subscription) -> Result<()> {
        {
            let mut known = self.0.known.lock();
            known.retain(|it| it.queue != subscription.queue);
            known.push(subscription.clone());
        }
        match self.0.consuming.channel().await {
            Ok(channel) => self.0.consuming.step(self.topology(&channel, subscription, false)).await,
            // It is done before the next publish.
            Err(_) => Ok(()),
        }
    }

    /// Declares a queue and what belongs to it. Without waiting, a refusal closes the channel.
    pub(super) async fn topology(
        &self,
        channel: &Channel,
        subscription: &Subscription,
        nowait: bool,
    ) -> lapin::Result<()> {
        let exchange = self.0.exchange.clone();
        let options = ExchangeDeclareOptions { durable: true, nowait, ..Default::default() };
        channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default()).await?;
        let durable = QueueDeclareOptions { durable: true, nowait, ..Default::default() };
        let queue = ShortString::from(subscription.queue.as_str());
        channel.queue_declare(queue.clone(), durable, quorum()).await?;
        channel.queue_declare(dead_queue(&queue.to_string()).into(), durable, FieldTable::default()).await?;
        for topic in &subscription.topics {
            let options = QueueBindOptions { nowait };
            let table = FieldTable::default();
            channel.queue_bind(queue.clone(), exchange.clone(), topic.as_str().into(), options, table).await?;
        }
        Ok(())
    }

    pub(super) async fn publish(&self, events: &[Event]) -> Result<()> {
        let known = self.0.known.lock().clone();
        let exchange = self.0.exchange.to_string();
        for window in events.chunks(WINDOW) {
            let letters = window.iter();
            let mut left: Vec<Outgoing<'_>> = letters
                .map(|event| Outgoing { exchange: &exchange, key: &event.topic, event, attempt: 1, error: "" })
                .collect();
            for _ in 0..ROUNDS {
                let returned = self.send(&known, &left).await?;
                let wanted = |topic: &str| known.iter().any(|queue| queue.wants(topic));
                left.retain(|it| returned.contains(&it.event.id) && wanted(it.key));
                if left.is_empty() {
                    break;
                }
            }
            if !left.is_empty() {
                return Err(Error::unavailable("broker"));
            }
        }
        Ok(())
    }

    /// Puts a letter straight into one queue, which is made first.
    pub(super) async fn put(&self, queue: &str, ttl_ms: Option<u32>, event: &Event, tried: (u32, &str)) -> Result<()> {
        let (attempt, error) = tried;
        let mut name = queue.to_owned();
        if let Some(ttl_ms) = ttl_ms {
            name = format!("{queue}.retry.{ttl_ms}");
            let mut table = FieldTable::default();
            table.insert("x-message-ttl".into(), AMQPValue::LongUInt(ttl_ms));
            table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
            table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.into()));
            let channel = self.0.consuming.channel().await?;
            let durable = QueueDeclareOptions { durable: true, ..Default::default() };
            self.0.consuming.step(channel.queue_declare(name.as_str().into(), durable, table)).await?;
        }
        let known = self.0.known.lock().clone();
        let letter = Outgoing { exchange: "", key: &name, event, attempt, error };
        let returned = self.send(&known, &[letter]).await?;
        if returned.is_empty() { Ok(()) } else { Err(Error::unavailable("broker")) }
    }

    /// Publishes in one go, and tells which events came back or were not kept.
    async fn send(&self, known: &[Subscription], letters: &[Outgoing<'_>]) -> Result<HashSet<Uuid>> {
        let line = &self.0.publishing;
        let held = timeout(2 * WITHIN, self.0.publisher.lock()).await;
        let mut held = held.map_err(|_| Error::unavailable("broker"))?;
        if line.is_blocked().await {
            return Err(Error::unavailable("broker"));
        }
        // Taken out: who gives up on the way leaves confirms behind that nobody could tell from those of the next.
        let channel = match held.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => {
                let channel = line.channel().await?;
                line.step(channel.confirm_select(ConfirmSelectOptions::default())).await?;
                channel
            }
        };
        let sending = async {
            for subscription in known {
                self.topology(&channel, subscription, true).await?;
            }
            transmit(&channel, letters).await
        };
        let returned = line.step(sending).await?;
        *held = Some(channel);
        Ok(returned)
    }

    pub(super) async fn probe(&self) -> Result<Probe> {
        let channel = self.0.consuming.channel().await?;
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let table = FieldTable::default();
        let declared = channel.exchange_declare(self.0.exchange.clone(), ExchangeKind::Topic, options, table);
        let configure = timeout(WITHIN, declared).await.map_err(|_| Error::unavailable("broker"))?.is_ok();
        let version = self.0.consuming.version().await.unwrap_or_else(|| "unknown".to_owned());
        Ok(Probe { backend: "rabbitmq", version, rights: vec![("configure", configure)] })
    }
}

async fn transmit(channel: &Channel, letters: &[Outgoing<'_>]) -> lapin::Result<HashSet<Uuid>> {
    let mut confirms = Vec::with_capacity(letters.len());
    for it in letters {
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(it.attempt.into()));
        headers.insert(ERROR.into(), AMQPValue::LongString(it.error.into()));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_message_id(it.event.id.to_string().into())
            .with_headers(headers);
        let body = serde_json::to_vec(it.event).expect("an event is plain JSON");
        let mandatory = BasicPublishOptions { mandatory: true, ..Default::default() };
        confirms.push(channel.basic_publish(it.exchange.into(), it.key.into(), mandatory, &body, properties).await?);
    }
    let mut back = HashSet::new();
    for (it, confirm) in letters.iter().zip(confirms) {
        let confirm = confirm.await?;
        if confirm.is_nack() {
            back.insert(it.event.id);
        }
        // Which confirm a returned message hangs at is chance; whose it is stands in it.
        back.extend(confirm.take_message().as_ref().and_then(returned_id));
    }
    Ok(back)
}

fn returned_id(message: &BasicReturnMessage) -> Option<Uuid> {
    message.delivery.properties.message_id().as_ref()?.as_str().parse().ok()
}

/// Reads a letter: the event, how often it was handed out, and its last error. What is no letter of ours is `None`.
pub(super) fn read(body: &[u8], properties: &BasicProperties) -> Option<(Event, u32, String)> {
    let event = serde_json::from_slice(body).ok()?;
    let header = |name: &str| properties.headers().as_ref().and_then(|it| it.inner().get(name));
    let count = |name: &str| match header(name) {
        Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).unwrap_or(0),
        Some(AMQPValue::LongInt(count)) => u32::try_from(*count).unwrap_or(0),
        Some(AMQPValue::LongUInt(count)) => *count,
        _ => 0,
    };
    let error = match header(ERROR) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    Some((event, count(ATTEMPT).max(1).saturating_add(count("x-delivery-count")), error))
}

pub(super) fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

fn quorum() -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    // Without a limit what is given back goes to the end of the queue. Ours counts before this one is reached.
    table.insert("x-delivery-limit".into(), AMQPValue::LongInt(1_000_000));
    table
}
