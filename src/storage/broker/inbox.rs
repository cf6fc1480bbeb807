//! What a RabbitMQ server delivers from one queue, with an acknowledgement for each letter.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, Channel};
use tokio::time::sleep;

use super::rabbitmq::{RabbitMq, step};
use super::{Event, Subscription};
use crate::error::Result;

/// The least time between tries that fail though the server is there.
const PAUSE: Duration = Duration::from_millis(20);

/// The way in from one queue.
#[derive(Debug)]
pub(super) struct Inbox {
    server: RabbitMq,
    subscription: Subscription,
    live: Option<(Channel, lapin::Consumer)>,
}

/// A letter that the server waits to hear about. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Letter {
    server: RabbitMq,
    acker: Acker,
}

impl Inbox {
    pub(super) fn new(server: &RabbitMq, subscription: &Subscription) -> Inbox {
        Inbox { server: server.clone(), subscription: subscription.clone(), live: None }
    }

    /// Begins to consume, unless it did.
    pub(super) async fn open(&mut self) {
        if self.live.is_none() {
            let noted = |error: &_| tracing::debug!(%error, queue = self.subscription.queue, "a queue is not consumed");
            self.live = self.consume().await.inspect_err(noted).ok();
        }
    }

    async fn consume(&self) -> Result<(Channel, lapin::Consumer)> {
        self.server.declare(&self.subscription).await;
        let way = self.server.consuming();
        let channel = self.server.channel(way).await?;
        step(way, channel.basic_qos(self.subscription.prefetch, BasicQosOptions::default())).await?;
        let (queue, options) = (self.subscription.queue.as_str().into(), BasicConsumeOptions::default());
        let consumer = step(way, channel.basic_consume(queue, "".into(), options, FieldTable::default())).await?;
        Ok((channel, consumer))
    }

    /// The next letter and which attempt it is; none when it has to be opened again. Giving up waiting loses nothing.
    pub(super) async fn next(&mut self) -> Option<(Event, u32, Letter)> {
        let Some((_, consumer)) = &mut self.live else {
            sleep(PAUSE).await;
            self.server.consuming().wait().await;
            return None;
        };
        // It ends when the queue is deleted, and fails when the connection does.
        let Some(Ok(delivery)) = consumer.next().await else {
            self.live = None;
            return None;
        };
        let Ok(event) = serde_json::from_slice(&delivery.data) else {
            tracing::error!(queue = self.subscription.queue, "a message that is no event was thrown away");
            let _ = delivery.acker.reject(BasicRejectOptions { requeue: false }).await;
            return None;
        };
        let headers = delivery.properties.headers().as_ref();
        let before = match headers.and_then(|it| it.inner().get("x-delivery-count")) {
            Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).unwrap_or(u32::MAX),
            _ => 0,
        };
        Some((event, before.saturating_add(1), Letter { server: self.server.clone(), acker: delivery.acker }))
    }

    /// Gives up a channel by which none comes although letters wait. A server does not tell a consumer that its queue
    /// was deleted when the queue is made again at once; and one that hangs tells nothing at all.
    pub(super) async fn check(&mut self, none_is_open: bool) {
        let Some((channel, _)) = &self.live else { return };
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = channel.queue_declare(self.subscription.queue.as_str().into(), passive, FieldTable::default());
        let looked = step(self.server.consuming(), queue).await;
        if looked.map_or(true, |queue| none_is_open && queue.message_count() > 0) {
            self.live = None;
        }
    }
}

impl Letter {
    pub(super) async fn done(&self) -> Result<()> {
        let way = self.server.consuming();
        let acked = step(way, self.acker.ack(BasicAckOptions::default())).await?;
        // The connection it came by has ended: the server gives it to somebody again.
        if acked { Ok(()) } else { Err(way.refusal()) }
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        // The first poll hands it to the connection. Of one that was answered nothing is sent.
        let _ = self.acker.nack(BasicNackOptions { requeue: true, multiple: false }).now_or_never();
    }
}
