//! The way from one queue of a RabbitMQ server into the tables.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::ReadyChunks;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::time::sleep;

use super::rabbitmq::{Line, RabbitMq, WINDOW, step};
use super::tables::Tables;
use super::{Event, Subscription};
use crate::error::Result;

/// The time between tries to reach a server that is away.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Inbox {
    server: Option<Arc<RabbitMq>>,
    subscription: Arc<Subscription>,
    live: Option<(ReadyChunks<lapin::Consumer>, Line)>,
    /// What came and is not acknowledged.
    letters: Vec<Delivery>,
}

impl Inbox {
    /// An inbox in which nothing ever lies where there is no server.
    pub fn new(server: Option<Arc<RabbitMq>>, subscription: &Arc<Subscription>) -> Inbox {
        Inbox { server, subscription: subscription.clone(), live: None, letters: Vec::new() }
    }

    /// Begins to consume, unless it did.
    pub async fn open(&mut self) {
        if let (Some(server), None) = (&self.server, &self.live) {
            self.live = self.consume(server).await.ok();
        }
    }

    async fn consume(&self, server: &RabbitMq) -> Result<(ReadyChunks<lapin::Consumer>, Line)> {
        let (line, queue) = (server.line().await?, self.subscription.queue.as_str());
        let consumer = step(async {
            server.topology(&line.channel, queue, &self.subscription.topics).await?;
            // No more than that is on its way here, so that letters are seen to wait where none comes.
            line.channel.basic_qos(self.subscription.prefetch.max(1), BasicQosOptions::default()).await?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            line.channel.basic_consume(queue.into(), "".into(), options, arguments).await
        });
        Ok((consumer.await?.ready_chunks(WINDOW), line))
    }

    /// Waits for something to lie in it, or for the time to open it again. Giving up waiting loses nothing.
    pub async fn fill(&mut self) {
        let (Some((letters, _)), []) = (&mut self.live, &*self.letters) else {
            return if self.server.is_some() { sleep(PAUSE).await } else { pending().await };
        };
        // It ends when the queue is deleted, and fails when the connection does.
        match letters.next().await.map(|it| it.into_iter().collect()) {
            Some(Ok(letters)) => self.letters = letters,
            Some(Err::<_, lapin::Error>(_)) | None => self.live = None,
        }
    }

    /// Gives up a channel by which none comes although letters wait. A server does not tell a consumer that its queue
    /// was deleted when the queue is made again at once; and one that hangs tells nothing at all.
    pub async fn check(&mut self) {
        let Some((_, line)) = &self.live else { return };
        let (queue, passive) =
            (self.subscription.queue.as_str(), QueueDeclareOptions { passive: true, ..Default::default() });
        let queue = step(line.channel.queue_declare(queue.into(), passive, FieldTable::default())).await;
        if queue.map_or(true, |queue| queue.message_count() > 0) {
            self.live = None;
        }
    }

    /// Moves what lies in it into the tables. Whoever dies before the acknowledgement leaves it on the server too.
    pub async fn empty(&mut self, tables: &Tables) -> Result<()> {
        let Some(last) = self.letters.last() else { return Ok(()) };
        // What is no event was published by somebody else.
        let events = self.letters.iter().filter_map(|it| serde_json::from_slice(&it.data).ok());
        let (queue, events) = (self.subscription.queue.as_str(), Vec::<Event>::from_iter(events));
        tables.insert(events.iter().map(|event| (queue, event)).collect()).await?;
        // Else the connection it came by has ended, and it comes again.
        let _ = step(last.acker.ack(BasicAckOptions { multiple: true })).await;
        self.letters.clear();
        Ok(())
    }
}
