//! Queues as tables of the database: where every event waits to be worked off, to be tried again or to be looked at.

use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Broker, Dead, Event, Subscription};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::db::{Db, Engine};

#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) db: Db,
    pub(super) clock: Clock,
    /// Rung when there may be something to work off.
    pub(super) changed: Arc<Notify>,
}

/// The name of a queue, and the patterns of topics that lead into it, a line each.
pub(super) type Queue = (String, String);

const INSERT: &str = "INSERT INTO queue_messages
    (queue, event_id, topic, key, seq, kind, payload, created_at, ready_at, attempts, error)";

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
        stmt.bind(subscription.queue.clone()).bind(subscription.topics.clone()).execute().await?;
        Ok(())
    }

    pub(super) async fn queues(&self) -> Result<Vec<Queue>> {
        Ok(self.db.sql("SELECT name, topics FROM queues").all().await?)
    }

    pub(super) async fn publish(&self, queues: &[Queue], events: &[Event]) -> Result<()> {
        let pairs = events.iter().flat_map(|event| queues.iter().map(move |queue| (queue, event)));
        let wanted = pairs.filter(|((_, topics), event)| wants(topics, &event.topic));
        self.insert(wanted.map(|((name, _), event)| (name.as_str(), event)).collect()).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Adds what a queue does not have yet, in one transaction: a relay that starts again after a crash repeats itself,
    /// and so does a server.
    pub(super) async fn insert(&self, rows: Vec<(&str, &Event)>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut tx, now) = (self.db.begin().await?, self.clock.now());
        tx.insert_rows(INSERT, "ON CONFLICT (queue, event_id) DO NOTHING", 11, &rows, |stmt, (queue, event)| {
            event.bind(stmt.bind((*queue).to_owned())).bind(now).bind(0_i64).bind("")
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
        Ok(stmt.bind(queue.to_owned()).bind(limit as i64).all().await?)
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

/// Whether one of the patterns names a topic.
pub(super) fn wants(patterns: &str, topic: &str) -> bool {
    let topic = Vec::from_iter(topic.split('.'));
    patterns.lines().any(|pattern| fits(&Vec::from_iter(pattern.split('.')), &topic))
}

fn fits(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        // It stands for no word at all, or for one and what it stands for behind that.
        (["#", rest @ ..], _) => {
            fits(rest, topic) || topic.split_first().is_some_and(|(_, topic)| fits(pattern, topic))
        }
        ([word, rest @ ..], [first, others @ ..]) => (*word == "*" || word == first) && fits(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::wants;

    #[test]
    fn patterns_name_topics_as_a_topic_exchange_does() {
        let yes = [
            ("#", "a"),
            ("#", "a.b.c"),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("*.b", "a.b"),
            ("#.c", "a.b.c"),
            ("#.c", "c"),
            ("a.*.c", "a.b.c"),
            ("a.#.c", "a.c"),
            ("a.b", "a.b"),
            ("x\na.b", "a.b"),
        ];
        let no =
            [("*", "a.b"), ("a.*", "a"), ("a.b", "a.b.c"), ("#.c", "a.b"), ("a", "b"), ("a.*.c", "a.c"), ("", "a")];
        assert!(yes.iter().all(|(patterns, topic)| wants(patterns, topic)));
        assert!(!no.iter().any(|(patterns, topic)| wants(patterns, topic)));
    }
}
