//! Works off a queue of a RabbitMQ server, with an acknowledgement for each letter.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel};
use tokio::time::timeout;

use super::delivery::Receipt;
use super::rabbitmq::{RabbitMq, dead_queue, read};
use super::{Event, Subscription};
use crate::error::{Error, Result};

/// How long letters may wait until they are tried again. Each has a queue of its own: within one queue a letter with
/// a long wait would hold up those behind it.
const WAITS_MS: [u32; 6] = [100, 1_000, 5_000, 30_000, 120_000, 600_000];

/// A queue from which nothing comes for so long is looked at.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// The least time between tries that fail though the server is there.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Worker {
    broker: RabbitMq,
    subscription: Subscription,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    channel: Channel,
    consumer: lapin::Consumer,
    /// Every letter that is open has a share in it.
    open: Arc<()>,
}

/// A letter that the server waits to hear about. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Letter {
    broker: RabbitMq,
    queue: String,
    acker: Acker,
    _open: Arc<()>,
}

impl Worker {
    pub(super) fn new(broker: &RabbitMq, subscription: Subscription) -> Worker {
        Worker { broker: broker.clone(), subscription, live: None }
    }

    pub(super) async fn next(&mut self) -> (Event, u32, Receipt) {
        loop {
            let live = match &mut self.live {
                Some(live) => live,
                None => match self.open().await {
                    Ok(live) => self.live.insert(live),
                    Err(error) => {
                        tracing::debug!(%error, queue = self.subscription.queue, "a queue is not consumed");
                        tokio::time::sleep(PAUSE).await;
                        self.broker.consuming().wait().await;
                        continue;
                    }
                },
            };
            let Ok(got) = timeout(IDLE_MAX, live.consumer.next()).await else {
                if self.is_stuck().await {
                    self.live = None;
                }
                continue;
            };
            // It ends when the queue is deleted, and fails when the connection does.
            let Some(Ok(delivery)) = got else {
                self.live = None;
                continue;
            };
            let Some((event, attempt, _)) = read(&delivery.data, &delivery.properties) else {
                tracing::error!(queue = self.subscription.queue, "a message that is no event was thrown away");
                let _ = delivery.acker.reject(BasicRejectOptions { requeue: false }).await;
                continue;
            };
            let (queue, _open) = (self.subscription.queue.clone(), live.open.clone());
            let letter = Letter { broker: self.broker.clone(), queue, acker: delivery.acker, _open };
            return (event, attempt, Receipt::RabbitMq(letter));
        }
    }

    async fn open(&self) -> Result<Live> {
        self.broker.declare(&self.subscription).await?;
        let line = self.broker.consuming();
        let channel = line.channel().await?;
        line.step(channel.basic_qos(self.subscription.prefetch.max(1), BasicQosOptions::default())).await?;
        let queue = self.subscription.queue.as_str().into();
        let consumer = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = line.step(consumer).await?;
        Ok(Live { channel, consumer, open: Arc::default() })
    }

    /// Whether letters wait although none comes. A server does not tell a consumer that its queue was deleted when
    /// the queue is made again at once; and one that hangs tells nothing at all.
    async fn is_stuck(&self) -> bool {
        let Some(live) = &self.live else { return false };
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.subscription.queue.as_str().into();
        let looked = self.broker.consuming().step(live.channel.queue_declare(queue, passive, FieldTable::default()));
        match looked.await {
            Ok(queue) => queue.message_count() > 0 && Arc::strong_count(&live.open) == 1,
            Err(_) => true,
        }
    }
}

impl Letter {
    pub(super) async fn done(&self) -> Result<()> {
        let acked = self.broker.consuming().step(self.acker.ack(BasicAckOptions::default())).await?;
        // The connection it came by has ended: the server gives it to somebody again.
        if acked { Ok(()) } else { Err(Error::unavailable("broker")) }
    }

    /// First the copy that waits, then the acknowledgement: whoever dies between them leaves two, not none.
    pub(super) async fn retry(&self, event: &Event, attempt: u32, after: Duration, why: &str) -> Result<()> {
        let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        let wait_ms = WAITS_MS.into_iter().find(|it| *it >= after_ms).unwrap_or(WAITS_MS[WAITS_MS.len() - 1]);
        self.broker.put(&self.queue, Some(wait_ms), event, (attempt.saturating_add(1), why)).await?;
        self.done().await
    }

    pub(super) async fn dead(&self, event: &Event, attempt: u32, why: &str) -> Result<()> {
        self.broker.put(&dead_queue(&self.queue), None, event, (attempt, why)).await?;
        self.done().await
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        // The first poll hands it to the connection. Of one that was answered nothing is sent.
        let _ = self.acker.nack(BasicNackOptions { requeue: true, multiple: false }).now_or_never();
    }
}
