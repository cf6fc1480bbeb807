//! What a RabbitMQ server delivers from one queue, with an acknowledgement for each letter.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::Acker;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::sleep;

use super::rabbitmq::{GONE, Line, RabbitMq, step};
use super::{Event, Subscription};
use crate::error::Result;

/// The time between tries to reach a server that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// The way in from one queue.
#[derive(Debug)]
pub(super) struct Inbox {
    server: Arc<RabbitMq>,
    subscription: Subscription,
    live: Option<(lapin::Consumer, Arc<Line>)>,
}

/// A letter that the server waits to hear about. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Letter {
    acker: Acker,
    line: Weak<Line>,
}

impl Inbox {
    pub fn new(server: &Arc<RabbitMq>, subscription: &Subscription) -> Inbox {
        Inbox { server: server.clone(), subscription: subscription.clone(), live: None }
    }

    /// Begins to consume, unless it did.
    pub async fn open(&mut self) {
        if self.live.is_none() {
            self.live = self.consume().await.ok();
        }
    }

    async fn consume(&self) -> Result<(lapin::Consumer, Arc<Line>)> {
        self.server.declare(&self.subscription);
        let line = self.server.line().await?;
        let consumer = step(async {
            self.server.topology(&line.channel, &self.subscription).await?;
            line.channel.basic_qos(self.subscription.prefetch, BasicQosOptions::default()).await?;
            let (queue, options) = (self.subscription.queue.as_str().into(), BasicConsumeOptions::default());
            line.channel.basic_consume(queue, "".into(), options, FieldTable::default()).await
        });
        Ok((consumer.await?, Arc::new(line)))
    }

    /// The next letter and which attempt it is; none when it has to be opened again. Giving up waiting loses nothing.
    pub async fn next(&mut self) -> Option<(Event, i64, Letter)> {
        let Some((consumer, line)) = &mut self.live else {
            sleep(PAUSE).await;
            return None;
        };
        let line = Arc::downgrade(line);
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
            Some(AMQPValue::LongLongInt(count)) => *count,
            _ => 0,
        };
        Some((event, before + 1, Letter { acker: delivery.acker, line }))
    }

    /// Gives up a channel by which none comes although letters wait. A server does not tell a consumer that its queue
    /// was deleted when the queue is made again at once; and one that hangs tells nothing at all.
    pub async fn check(&mut self, none_is_open: bool) {
        let Some((_, line)) = &self.live else { return };
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = line.channel.queue_declare(self.subscription.queue.as_str().into(), passive, FieldTable::default());
        if step(queue).await.map_or(true, |queue| none_is_open && queue.message_count() > 0) {
            self.live = None;
        }
    }
}

impl Letter {
    pub async fn done(&self) -> Result<()> {
        // Else the connection it came by has ended: the server gives it to somebody again.
        if step(self.acker.ack(BasicAckOptions::default())).await? { Ok(()) } else { Err(GONE) }
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        // With the end of a connection the server takes back what came by it. The first poll hands it over. Of one that
        // was answered nothing is sent.
        if self.line.strong_count() > 0 {
            let _ = self.acker.nack(BasicNackOptions { requeue: true, multiple: false }).now_or_never();
        }
    }
}
