//! Streams at rest: dense order, repeats, pages.
//!
//! A stream's row is its lock and its counter. Whoever appends holds the row until the commit, so `seq` has no gap and
//! the order of commits is the order of `seq`, on every node.

mod append;
mod texts;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow};

pub use self::append::{append, lock};
pub use self::texts::SQLITE_ROWS_MAX;
use super::db::{Db, Engine, Tx, placeholders};
use crate::error::{Error, Result};
use crate::ids::{EntryId, StreamId, UserId};

/// Something to be written at the end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where.
    pub stream: StreamId,
    /// Its id, unless it turns out to be a repeat.
    pub id: EntryId,
    /// What kind of thing happened, as `message` or `reaction.added`.
    pub kind: &'static str,
    /// Whose doing it is.
    pub sender: Option<UserId>,
    /// What makes it the same when its sender sends it again; needs a sender.
    pub client_id: Option<String>,
    /// Text or JSON, as the kind says; never empty.
    pub body: String,
}

impl Append {
    /// What it takes while it waits.
    pub const fn bytes(&self) -> usize {
        let client_id = if let Some(it) = &self.client_id { it.len() } else { 0 };
        size_of::<Append>() + client_id + self.body.len()
    }
}

/// Where an append lies now; for a repeat, where it has lain since the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The life of the stream.
    pub epoch: i64,
    /// Its place.
    pub seq: i64,
    /// Its id.
    pub id: EntryId,
    /// When it was committed first.
    pub at: DateTime<Utc>,
    /// Whether it was there already.
    pub repeated: bool,
}

/// The end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Head {
    /// Which stream.
    pub id: StreamId,
    /// Its life: another one means that positions of before mean nothing.
    pub epoch: i64,
    /// The `seq` of its last entry; 0 when there is none.
    pub head: i64,
    /// When that was written. It never goes back: the clock's time of the commit, or that of the entry before.
    pub head_at: DateTime<Utc>,
}

/// One entry of a stream, as it is read.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize, Deserialize)]
pub struct Entered {
    /// Its place.
    pub seq: i64,
    /// Its id.
    pub id: EntryId,
    /// What kind of thing happened.
    pub kind: String,
    /// Whose doing it is.
    pub sender_id: Option<UserId>,
    /// What its sender calls it.
    pub client_id: Option<String>,
    /// Text or JSON, as the kind says.
    pub body: String,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
}

/// An entry that was written, as listeners are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where.
    pub stream: StreamId,
    /// The life of the stream.
    pub epoch: i64,
    /// What it says.
    pub entry: Arc<Entered>,
}

impl Told {
    /// The entry that came of an append.
    pub fn of(append: Append, appended: &Appended) -> Told {
        let Append { stream, kind, sender, client_id, body, .. } = append;
        let Appended { epoch, seq, id, at, .. } = *appended;
        let kind = kind.to_owned();
        let entry = Entered { seq, id, kind, sender_id: sender, client_id, body, created_at: at };
        Told { stream, epoch, entry: Arc::new(entry) }
    }
}

/// Streams at rest.
#[derive(Clone, Debug)]
pub struct StreamStore {
    /// Where they are.
    pub db: Db,
}

impl StreamStore {
    /// Begins a stream, in the transaction that makes the thing it tells of.
    pub async fn create(tx: &mut Tx<'_>, id: StreamId, kind: &'static str) -> Result<Head> {
        let stmt = tx.sql("INSERT INTO streams (id, kind, epoch, head) VALUES ($1, $2, 1, 0)");
        stmt.bind(id).bind(kind).execute().await?;
        Ok(Head { id, epoch: 1, head: 0, head_at: DateTime::UNIX_EPOCH })
    }

    /// Begins the streams that are not there yet.
    pub async fn ensure(&self, ids: &[StreamId], kind: &'static str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let (head, tail) = ("INSERT INTO streams (id, kind, epoch, head)", "ON CONFLICT (id) DO NOTHING");
        let sorted: Vec<StreamId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        tx.insert_rows(head, tail, 4, &sorted, |stmt, id| stmt.bind(*id).bind(kind).bind(1_i64).bind(0_i64)).await?;
        Ok(tx.commit().await?)
    }

    /// Tells where a stream ends.
    pub async fn head(&self, stream: StreamId) -> Result<Head> {
        let head = "SELECT id, epoch, head, head_at FROM streams WHERE id = $1";
        self.db.sql(head).bind(stream).optional().await?.ok_or(Error::NotFound("stream"))
    }

    /// Tells where streams stood at a time: `head` is their last entry that was committed until then.
    pub async fn places_at(&self, streams: &[StreamId], at: DateTime<Utc>) -> Result<Vec<Head>> {
        let engine = self.db.engine();
        let asked = placeholders(engine, streams.len(), 1);
        let at_place = if engine == Engine::Sqlite { "?".to_owned() } else { format!("${}", streams.len() + 1) };
        let text = format!(
            "WITH asked (stream_id) AS (VALUES {asked})
             SELECT streams.id, epoch, head_at,
                    COALESCE((SELECT seq FROM entries WHERE entries.stream_id = streams.id AND created_at <= {at_place}
                               ORDER BY seq DESC LIMIT 1), 0) AS head
               FROM asked JOIN streams ON streams.id = asked.stream_id"
        );
        let stmt = streams.iter().fold(self.db.sql(AssertSqlSafe(text)).once(), |stmt, it| stmt.bind(*it));
        Ok(stmt.bind(at).all().await?)
    }

    /// The entries with `after < seq <= up_to`, oldest first.
    pub async fn page(&self, stream: StreamId, after: i64, up_to: i64) -> Result<Vec<Entered>> {
        let page = "SELECT seq, id, kind, sender_id, client_id, body, created_at FROM entries
                     WHERE stream_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq";
        Ok(self.db.sql(page).bind(stream).bind(after).bind(up_to).all().await?)
    }
}
