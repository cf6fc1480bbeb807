//! Dead letters on a RabbitMQ server: a queue beside each queue, looked at by taking letters and giving them back.

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use uuid::Uuid;

use super::rabbitmq::{RabbitMq, dead_queue, read};
use super::{DEAD_LOOKED_AT_MAX, Dead, NO_SUCH_LETTER, name_fits};
use crate::error::Result;

impl RabbitMq {
    pub(super) async fn dead(&self, queue: &str, limit: usize) -> Result<Vec<Dead>> {
        let mut dead = Vec::new();
        let limit = limit.min(DEAD_LOOKED_AT_MAX);
        let looked = self.look(queue, |letter| {
            dead.extend(letter.filter(|_| dead.len() < limit));
            dead.len() >= limit
        });
        let (channel, _, _looking) = looked.await?;
        self.put_back(channel).await?;
        Ok(dead)
    }

    /// Takes one dead letter out, into its queue again or away.
    pub(super) async fn bury(&self, queue: &str, event: Uuid, again: bool) -> Result<()> {
        let mut found = None;
        let looked = self.look(queue, |letter| {
            found = letter.filter(|dead| dead.event.id == event);
            found.is_some()
        });
        let (channel, tag, _looking) = looked.await?;
        let Some(found) = found else {
            self.put_back(channel).await?;
            return Err(NO_SUCH_LETTER);
        };
        if again {
            self.put(queue, None, &found.event, (1, "")).await?;
        }
        self.consuming().step(channel.basic_ack(tag, BasicAckOptions::default())).await?;
        self.put_back(channel).await
    }

    /// Puts what was looked at and not acknowledged back where it lay; returns when it lies there.
    async fn put_back(&self, channel: Channel) -> Result<()> {
        self.consuming().step(channel.close(200, "seen".into())).await
    }

    /// Looks at dead letters, the oldest first, until `enough`; gives the channel that holds them, the tag of the last
    /// one, and the right to look.
    async fn look(
        &self,
        queue: &str,
        mut enough: impl FnMut(Option<Dead>) -> bool,
    ) -> Result<(Channel, u64, tokio::sync::MutexGuard<'_, ()>)> {
        if !name_fits(queue) {
            return Err(NO_SUCH_LETTER);
        }
        let looking = self.looking().await;
        let line = self.consuming();
        let channel = line.channel().await?;
        let name = ShortString::from(dead_queue(queue));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        line.step(channel.queue_declare(name.clone(), durable, FieldTable::default())).await?;
        let mut tag = 0;
        for _ in 0..DEAD_LOOKED_AT_MAX {
            let got = line.step(channel.basic_get(name.clone(), BasicGetOptions::default())).await?;
            let Some(got) = got else { break };
            tag = got.delivery.delivery_tag;
            let letter = read(&got.delivery.data, &got.delivery.properties);
            if enough(letter.map(|(event, attempts, error)| Dead { event, attempts, error })) {
                break;
            }
        }
        Ok((channel, tag, looking))
    }
}
