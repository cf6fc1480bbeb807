//! Events that are committed and not yet published.
//!
//! A stream's growth is one line, `first_seq` to `last_seq`; the entries are stored once, in the stream. A line's id is
//! given out under the lock of its key, so within a key ids follow commits. Between keys a lower id may appear after a
//! higher one: a relay keeps no cursor, it removes.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::broker::Event;
use super::db::{Conn, Db, Engine, Sql, Stmt, Tx};
use crate::error::Result;

/// Appends an event that is not part of a stream to the transaction that caused it. The transaction holds the row that
/// the key stands for, or order within the key is lost.
pub async fn append(
    tx: &mut Tx<'_>,
    id: Uuid,
    topic: &'static str,
    key: Uuid,
    payload: String,
    at: DateTime<Utc>,
) -> Result<()> {
    let stmt = tx.sql("INSERT INTO outbox (event_id, topic, key, payload, created_at) VALUES ($1, $2, $3, $4, $5)");
    stmt.bind(id).bind(topic).bind(key).bind(payload).bind(at).execute().await?;
    Ok(())
}

/// The right to relay: one node at a time has it, and loses it with its connection.
#[derive(Debug)]
pub struct Claim {
    db: Db,
    session: Option<Conn>,
    held: bool,
    /// Lines that are published and not yet removed.
    published: Vec<i64>,
}

/// One line of the outbox.
#[derive(Debug, sqlx::FromRow)]
pub struct Line {
    /// Its place.
    pub id: i64,
    /// What kind of thing its events are.
    pub topic: String,
    /// How many events it stands for.
    pub entries: i64,
}

const LINES_MAX: usize = 512;
const ENTRIES_MAX: i64 = 4_096;

/// `$1` as a table of line ids.
const IDS: Sql = Sql::Split {
    sqlite: "SELECT value FROM json_each($1)",
    postgres: "SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON))",
};

impl Claim {
    /// Prepares to ask for the right.
    pub async fn open(db: &Db) -> Result<Claim> {
        let held = db.engine() == Engine::Sqlite;
        let mut claim = Claim { db: db.clone(), session: None, held, published: Vec::new() };
        if !held {
            // It ends with the claim, and the lock with it. A removal that a crash takes back is published twice, which
            // is allowed.
            let mut session = db.session().await?;
            session.sql("SELECT set_config('synchronous_commit', 'off', false)").execute().await?;
            claim.session = Some(session);
        }
        Ok(claim)
    }

    /// Takes the right unless another node has it. SQLite has one node.
    pub async fn take(&mut self) -> Result<bool> {
        if !self.held {
            // The table's own number, so that two databases of one server are two rights.
            let lock = "SELECT pg_try_advisory_lock(1, CAST(CAST(CAST('outbox' AS REGCLASS) AS OID) AS INT))";
            (self.held,) = self.sql(lock).one().await?;
        }
        Ok(self.held)
    }

    fn sql(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        match &mut self.session {
            Some(session) => session.sql(sql),
            None => self.db.sql(sql),
        }
    }

    fn write(&mut self, sql: impl Into<Sql>) -> Stmt<'_> {
        match &mut self.session {
            Some(session) => session.sql(sql),
            None => self.db.write(sql),
        }
    }

    /// The oldest lines that are not published. Tells first whether more may wait behind them.
    pub async fn oldest(&mut self) -> Result<(bool, Vec<Line>)> {
        let after = self.published.last().copied().unwrap_or(0);
        let text = "SELECT id, topic, COALESCE(last_seq - first_seq, 0) + 1 AS entries
                      FROM outbox WHERE id > $1 ORDER BY id LIMIT $2";
        let mut lines: Vec<Line> = self.sql(text).bind(after).bind(LINES_MAX as i64).all().await?;
        let (found, mut room) = (lines.len(), ENTRIES_MAX);
        lines.retain(|line| {
            room -= line.entries;
            room + line.entries > 0
        });
        Ok((found == LINES_MAX || lines.len() < found, lines))
    }

    /// The events that lines stand for, in order.
    pub async fn events(&mut self, lines: &[i64]) -> Result<Vec<Event>> {
        let text = format!(
            "WITH line AS MATERIALIZED (SELECT * FROM outbox WHERE id IN ({}))
             SELECT COALESCE(entry.id, event_id) AS id, topic, key, seq, COALESCE(kind, topic) AS kind,
                    COALESCE(body, payload) AS payload, COALESCE(entry.created_at, line.created_at) AS created_at
               FROM line
               LEFT JOIN entries AS entry ON stream_id = key AND seq BETWEEN first_seq AND last_seq
              WHERE entry.id IS NOT NULL OR event_id IS NOT NULL
              ORDER BY line.id, seq",
            IDS.text(self.db.engine()).as_str()
        );
        Ok(self.sql(AssertSqlSafe(text)).bind(list(lines)).all().await?)
    }

    /// Notes lines as published. SQLite removes them many at a time: a removal there takes the one writer and a sync.
    /// PostgreSQL at once, because lower ids may yet appear.
    pub async fn publish(&mut self, ids: impl IntoIterator<Item = i64>) -> Result<()> {
        self.published.extend(ids);
        let enough = if self.session.is_some() { 1 } else { LINES_MAX };
        if self.published.len() >= enough { self.remove().await } else { Ok(()) }
    }

    /// Removes what was published. A crash before it publishes the same again, in the same order.
    pub async fn remove(&mut self) -> Result<()> {
        if !self.published.is_empty() {
            let text = format!("DELETE FROM outbox WHERE id IN ({})", IDS.text(self.db.engine()).as_str());
            let ids = list(&self.published);
            self.write(AssertSqlSafe(text)).bind(ids).execute().await?;
            self.published.clear();
        }
        Ok(())
    }

    /// Puts an event aside that the broker refuses for good, with its reason; doing so twice changes nothing.
    pub async fn park(&mut self, event: &Event, reason: String) -> Result<()> {
        let stmt = self.write(
            "INSERT INTO parked_events (id, topic, key, seq, kind, payload, created_at, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (id) DO NOTHING",
        );
        event.bind(stmt).bind(reason).execute().await?;
        Ok(())
    }
}

/// A list as one parameter.
fn list(ids: &[i64]) -> String {
    serde_json::to_string(ids).expect("numbers are JSON")
}
