//! Queues as tables of the database: where every event waits when there is no server, and where those wait that
//! failed, to be tried again or to be looked at, when there is one.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Broker, DEAD_LOOKED_AT_MAX, Dead, Event, Subscription, wants};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::db::{Db, Engine, Stmt};

#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) db: Db,
    pub(super) clock: Clock,
    /// Rung when there may be something to work off.
    pub(super) changed: Arc<Notify>,
}

/// What is to become of an event in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate<'a> {
    pub(super) ready_at: DateTime<Utc>,
    pub(super) attempts: i64,
    pub(super) error: &'a str,
    pub(super) died_at: Option<DateTime<Utc>>,
}

impl Fate<'_> {
    /// Binds attempts, the time, the error and the death. PostgreSQL keeps no NUL in a text.
    fn bind<'q>(&self, stmt: Stmt<'q>) -> Stmt<'q> {
        let stmt = stmt.bind(self.attempts).bind(self.ready_at);
        stmt.bind(self.error.replace('\0', " ")).bind(self.died_at)
    }
}

const INSERT: &str = "INSERT INTO queue_messages
    (queue, event_id, topic, key, seq, kind, payload, created_at, attempts, ready_at, error, died_at)";

const CLAIM: &str = "UPDATE queue_messages
    SET attempts = attempts + 1, ready_at = $1
  WHERE id = (SELECT id
                FROM queue_messages
               WHERE queue = $2 AND died_at IS NULL AND ready_at <= $3
               ORDER BY id
               LIMIT 1 FOR UPDATE SKIP LOCKED)
  RETURNING event_id AS id, topic, key, seq, kind, payload, created_at, attempts, error";

impl Tables {
    pub(super) async fn declare(&self, subscription: &Subscription) -> Result<()> {
        let stmt = self.db.write(
            "INSERT INTO queues (name, topics) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET topics = excluded.topics",
        );
        stmt.bind(subscription.queue.clone()).bind(subscription.topics.join("\n")).execute().await?;
        Ok(())
    }

    /// Every queue and the patterns that lead into it, a line each.
    pub(super) async fn queues(&self) -> Result<Vec<(String, String)>> {
        Ok(self.db.sql("SELECT name, topics FROM queues").all().await?)
    }

    pub(super) async fn publish(&self, events: &[Event]) -> Result<()> {
        let queues = self.queues().await?;
        let pairs = events.iter().flat_map(|event| queues.iter().map(move |(name, topics)| (name, topics, event)));
        let rows: Vec<(&str, &Event)> = pairs
            .filter(|(_, topics, event)| wants(topics.lines(), &event.topic))
            .map(|(name, _, event)| (name.as_str(), event))
            .collect();
        if !rows.is_empty() {
            self.insert(&rows, Fate { ready_at: self.clock.now(), attempts: 0, error: "", died_at: None }).await?;
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Adds what a queue does not have yet, in one transaction: a relay that starts again after a crash repeats itself.
    pub(super) async fn insert(&self, rows: &[(&str, &Event)], fate: Fate<'_>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.insert_rows(INSERT, "ON CONFLICT (queue, event_id) DO NOTHING", 12, rows, |stmt, (queue, event)| {
            fate.bind(event.bind(stmt.bind((*queue).to_owned())))
        })
        .await?;
        Ok(tx.commit().await?)
    }

    /// Takes the first that is ready, or whose lease has ended, and tells which attempt this is.
    pub(super) async fn claim(&self, queue: &str, lease: Duration) -> Result<Option<Dead>> {
        let now = self.clock.now();
        // What one process claims, no other does; SQLite has one writer anyway.
        let text = match self.db.engine() {
            Engine::Sqlite => CLAIM.replace("FOR UPDATE SKIP LOCKED", ""),
            Engine::Postgres => CLAIM.to_owned(),
        };
        let stmt = self.db.write(AssertSqlSafe(text)).bind(now + lease).bind(queue.to_owned()).bind(now);
        // Every row: SQLite commits behind the last one.
        Ok(stmt.all().await?.pop())
    }

    /// Whoever finishes it finishes it, also when the lease has ended meanwhile: the work is done.
    pub(super) async fn done(&self, queue: &str, event: Uuid) -> Result<()> {
        let stmt = self.db.write("DELETE FROM queue_messages WHERE queue = $1 AND event_id = $2");
        stmt.bind(queue.to_owned()).bind(event).execute().await?;
        Ok(())
    }

    /// Changes what is claimed, unless it is somebody else's by now.
    pub(super) async fn change(&self, queue: &str, event: Uuid, fate: Fate<'_>) -> Result<()> {
        let stmt = self.db.write(
            "UPDATE queue_messages
                SET ready_at = $4, error = $5, died_at = $6
              WHERE queue = $1 AND event_id = $2 AND attempts = $3 AND died_at IS NULL",
        );
        fate.bind(stmt.bind(queue.to_owned()).bind(event)).execute().await?;
        Ok(())
    }
}

/// The dead letters.
impl Broker {
    /// Lists dead letters of a queue, the oldest first.
    pub async fn dead(&self, queue: &str, limit: usize) -> Result<Vec<Dead>> {
        let stmt = self.tables.db.sql(
            "SELECT event_id AS id, topic, key, seq, kind, payload, created_at, attempts, error
               FROM queue_messages
              WHERE queue = $1 AND died_at IS NOT NULL
              ORDER BY id
              LIMIT $2",
        );
        Ok(stmt.bind(queue.to_owned()).bind(limit.min(DEAD_LOOKED_AT_MAX) as i64).all().await?)
    }

    /// Puts a dead letter into its queue again, as if it had never been tried.
    pub async fn replay(&self, queue: &str, event: Uuid) -> Result<()> {
        let stmt = self.tables.db.write(
            "UPDATE queue_messages
                SET died_at = NULL, attempts = 0, error = '', ready_at = $3
              WHERE queue = $1 AND event_id = $2 AND died_at IS NOT NULL",
        );
        let replayed = stmt.bind(queue.to_owned()).bind(event).bind(self.tables.clock.now()).execute().await?;
        self.tables.changed.notify_waiters();
        found(replayed)
    }

    /// Throws a dead letter away.
    pub async fn discard(&self, queue: &str, event: Uuid) -> Result<()> {
        let text = "DELETE FROM queue_messages WHERE queue = $1 AND event_id = $2 AND died_at IS NOT NULL";
        found(self.tables.db.write(text).bind(queue.to_owned()).bind(event).execute().await?)
    }
}

fn found(changed: u64) -> Result<()> {
    if changed == 0 { Err(Error::NotFound("dead letter")) } else { Ok(()) }
}
