//! Queue tables in the database. A publish is one transaction.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use uuid::Uuid;

use super::{DEAD_LOOKED_AT_MAX, Dead, Event, NO_SUCH_LETTER, Subscription, matches};
use crate::clock::Clock;
use crate::error::Result;
use crate::storage::db::{Db, Sql};
use crate::storage::{Probe, in_process};

/// A broker in the database. Cloning it gives the same broker.
#[derive(Clone, Debug)]
pub struct Embedded {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) published: Arc<Notify>,
}

/// A claim on one message, until it ends.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) broker: Embedded,
    pub(super) queue: Arc<str>,
    pub(super) event: Uuid,
    pub(super) attempts: i64,
    pub(super) lasts: Duration,
    pub(super) _place: OwnedSemaphorePermit,
}

/// An event as it lies in a queue.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Message {
    pub(super) place: i64,
    #[sqlx(flatten)]
    pub(super) event: Event,
    pub(super) attempts: i64,
    error: String,
}

/// Adds what a queue does not have yet: a relay that starts again after a crash repeats itself.
const INSERT: &str = "INSERT INTO queue_messages
    (queue, event_id, topic, key, seq, kind, payload, created_at, ready_at, attempts, error)";

/// What one process claims, no other does; SQLite has one writer anyway.
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE queue_messages
                SET attempts = attempts + 1, ready_at = $1
              WHERE id IN (SELECT id
                             FROM queue_messages
                            WHERE queue = $2 AND died_at IS NULL AND ready_at <= $3
                            ORDER BY id
                            LIMIT $4 ",
            $lock,
            ") RETURNING id AS place, event_id AS id, topic, key, seq, kind, payload, created_at, attempts, error"
        )
    };
}

impl Embedded {
    /// Queues in a database that has its tables.
    pub fn new(db: &Db, clock: &Clock) -> Embedded {
        Embedded { db: db.clone(), clock: clock.clone(), published: Arc::default() }
    }

    pub(super) async fn declare(&self, subscription: &Subscription) -> Result<()> {
        let stmt = self.db.write(
            "INSERT INTO queues (name, topics) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET topics = excluded.topics",
        );
        stmt.bind(subscription.queue.clone()).bind(subscription.topics.join("\n")).execute().await?;
        Ok(())
    }

    pub(super) async fn publish(&self, events: &[Event]) -> Result<()> {
        let queues: Vec<(String, String)> = self.db.sql("SELECT name, topics FROM queues").all().await?;
        let wants = |topics: &str, event: &Event| topics.lines().any(|pattern| matches(pattern, &event.topic));
        let rows: Vec<(&str, &Event)> = events
            .iter()
            .flat_map(|event| queues.iter().map(move |queue| (queue, event)))
            .filter(|((_, topics), event)| wants(topics, event))
            .map(|((name, _), event)| (name.as_str(), event))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        tx.insert_rows(INSERT, "ON CONFLICT (queue, event_id) DO NOTHING", 11, &rows, |stmt, (queue, event)| {
            stmt.bind((*queue).to_owned())
                .bind(event.id)
                .bind(event.topic.clone())
                .bind(event.key)
                .bind(event.seq)
                .bind(event.kind.clone())
                .bind(event.payload.clone())
                .bind(event.created_at)
                .bind(now)
                .bind(0_i64)
                .bind("")
        })
        .await?;
        tx.commit().await?;
        self.published.notify_waiters();
        Ok(())
    }

    /// Takes what is ready, or whose lease has ended, in order.
    pub(super) async fn claim(&self, queue: &str, lasts: Duration, limit: usize) -> Result<Vec<Message>> {
        let now = self.clock.now();
        let stmt = self.db.write(Sql::Split { sqlite: claim!(""), postgres: claim!("FOR UPDATE SKIP LOCKED") });
        let stmt = stmt.bind(now + lasts).bind(queue.to_owned()).bind(now).bind(bound(limit));
        let mut taken: Vec<Message> = stmt.all().await?;
        taken.sort_unstable_by_key(|message| message.place);
        Ok(taken)
    }

    pub(super) async fn dead(&self, queue: &str, limit: usize) -> Result<Vec<Dead>> {
        let stmt = self.db.sql(
            "SELECT id AS place, event_id AS id, topic, key, seq, kind, payload, created_at, attempts, error
               FROM queue_messages
              WHERE queue = $1 AND died_at IS NOT NULL
              ORDER BY id
              LIMIT $2",
        );
        let found: Vec<Message> = stmt.bind(queue.to_owned()).bind(bound(limit.min(DEAD_LOOKED_AT_MAX))).all().await?;
        let dead = |it: Message| Dead { attempts: attempts(it.attempts), error: it.error, event: it.event };
        Ok(found.into_iter().map(dead).collect())
    }

    pub(super) async fn replay(&self, queue: &str, event: Uuid) -> Result<()> {
        let stmt = self.db.write(
            "UPDATE queue_messages
                SET died_at = NULL, attempts = 0, error = '', ready_at = $3
              WHERE queue = $1 AND event_id = $2 AND died_at IS NOT NULL",
        );
        let replayed = stmt.bind(queue.to_owned()).bind(event).bind(self.clock.now()).execute().await?;
        self.published.notify_waiters();
        if replayed == 0 { Err(NO_SUCH_LETTER) } else { Ok(()) }
    }

    pub(super) async fn discard(&self, queue: &str, event: Uuid) -> Result<()> {
        let stmt =
            self.db.write("DELETE FROM queue_messages WHERE queue = $1 AND event_id = $2 AND died_at IS NOT NULL");
        let discarded = stmt.bind(queue.to_owned()).bind(event).execute().await?;
        if discarded == 0 { Err(NO_SUCH_LETTER) } else { Ok(()) }
    }

    pub(super) async fn probe(&self) -> Result<Probe> {
        let (_,): (i64,) = self.db.sql("SELECT COUNT(*) FROM queues").one().await?;
        Ok(in_process())
    }
}

impl Lease {
    /// Whoever finishes it finishes it, also when the lease has ended meanwhile: the work is done.
    pub(super) async fn done(self) -> Result<()> {
        let stmt = self.broker.db.write("DELETE FROM queue_messages WHERE queue = $1 AND event_id = $2");
        stmt.bind(self.queue.to_string()).bind(self.event).execute().await?;
        Ok(())
    }

    pub(super) async fn retry(self, after: Duration, why: &str) -> Result<()> {
        self.change(self.broker.clock.now() + after, why, None).await
    }

    pub(super) async fn dead(self, why: &str) -> Result<()> {
        let now = self.broker.clock.now();
        self.change(now, why, Some(now)).await
    }

    /// Does work; the lease is renewed three times in its length, for as long as that takes.
    pub(super) async fn hold<F: Future>(&self, work: F) -> F::Output {
        // The first third begins before the work does.
        let mut beat = self.broker.clock.every(self.lasts / 3);
        let renewing = async {
            loop {
                beat.tick().await;
                let renewed = self.change(self.broker.clock.now() + self.lasts, "", None).await;
                if let Err(error) = renewed {
                    tracing::warn!(%error, queue = &*self.queue, "a lease was not renewed");
                }
            }
        };
        tokio::select! {
            output = work => output,
            () = renewing => unreachable!("renewing goes on until the work is done"),
        }
    }

    /// Changes the message, unless it is somebody else's by now.
    async fn change(&self, ready_at: DateTime<Utc>, why: &str, died_at: Option<DateTime<Utc>>) -> Result<()> {
        let stmt = self.broker.db.write(
            "UPDATE queue_messages
                SET ready_at = $4, error = $5, died_at = $6
              WHERE queue = $1 AND event_id = $2 AND attempts = $3 AND died_at IS NULL",
        );
        let stmt = stmt.bind(self.queue.to_string()).bind(self.event).bind(self.attempts).bind(ready_at);
        // PostgreSQL keeps no NUL in a text.
        stmt.bind(why.replace('\0', " ")).bind(died_at).execute().await?;
        Ok(())
    }
}

/// How often something was tried, as it is told.
pub(super) fn attempts(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
