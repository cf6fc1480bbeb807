//! The quick way to append: a batch is one statement, which is a transaction of its own.

use std::collections::{BTreeMap, HashMap};
use std::ops::DerefMut;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::{Append, Appended};
use crate::ids::{EntryId, StreamId};
use crate::storage::db::{Engine, Held, PgQuery, Result, Sql, Stmt, placeholders};

/// Locks the streams in the order of their ids, and goes on if all of them are there and nothing was said before. It is
/// planned once, whatever the sizes: arrays stand where a join would be.
const POSTGRES: &str = "
    WITH held AS (
        SELECT streams.id, more, at
          FROM UNNEST($1::uuid[], $2::bigint[]) WITH ORDINALITY AS span (id, more, at)
          JOIN streams ON streams.id = span.id
         ORDER BY streams.id FOR NO KEY UPDATE OF streams
    ), grown AS (
        UPDATE streams SET head = head + more, head_at = GREATEST(head_at, $3)
          FROM held
         WHERE streams.id = held.id
           AND (SELECT COUNT(*) FROM held) = CARDINALITY($1)
           AND NOT EXISTS (
                   SELECT FROM UNNEST($4::bigint[], $8::uuid[], $9::text[]) AS asked (span, sender_id, client_id)
                    CROSS JOIN LATERAL (
                          SELECT stream_id FROM entries AS it
                           WHERE it.client_id = asked.client_id AND it.sender_id = asked.sender_id
                          -- Keeps the stream out of the search: its own index leads through all that it holds.
                          OFFSET 0) AS said
                    WHERE said.stream_id = ($1)[span])
        RETURNING streams.id, at, epoch, head - more AS before, head, head_at
    ), told AS (
        INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)
        SELECT 'stream.grown', id, before + 1, head, head_at FROM grown
    ), ends AS (
        SELECT ARRAY_AGG(epoch ORDER BY at) AS epochs, ARRAY_AGG(before ORDER BY at) AS befores,
               ARRAY_AGG(head_at ORDER BY at) AS ats
          FROM grown HAVING COUNT(*) > 0
    ), placed AS (
        SELECT ($1)[span] AS stream_id, befores[span] + place AS seq, id, kind, sender_id, client_id, body,
               ats[span] AS at, epochs[span] AS epoch
          FROM ends
         CROSS JOIN UNNEST($4::bigint[], $5::bigint[], $6::uuid[], $7::text[], $8::uuid[], $9::text[], $10::text[])
                 AS said (span, place, id, kind, sender_id, client_id, body)
    ), entry AS (
        INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
        SELECT stream_id, seq, id, kind, sender_id, client_id, body, at FROM placed
    )
    SELECT id, epoch, seq, at FROM placed";

/// Each size is a text that is kept prepared. More rows are cheaper the long way, which looks up each stream once.
const SQLITE_ROWS_MAX: usize = 64;

/// The view's trigger does for each row what PostgreSQL is told for all: a repeat, and what has no stream, comes to
/// nothing.
fn sqlite(rows: usize) -> String {
    format!(
        "INSERT INTO appends (stream_id, id, kind, sender_id, client_id, body, created_at) VALUES {}
         RETURNING id, (SELECT epoch FROM streams WHERE streams.id = stream_id),
                   (SELECT head FROM streams WHERE streams.id = stream_id),
                   (SELECT head_at FROM streams WHERE streams.id = stream_id)",
        placeholders(Engine::Sqlite, rows, 7)
    )
}

/// Appends what is new, and tells where it lies. What is left out must go the long way: repeats, what has no stream, and
/// what is too much; on PostgreSQL the whole batch. What two nodes store at once, or a batch holds twice, violates a
/// constraint.
pub async fn append_at_once<S, P>(
    at: &mut Held<S, P>,
    batch: &[&Append],
    now: DateTime<Utc>,
) -> Result<Vec<Option<Appended>>>
where
    S: DerefMut<Target = SqliteConnection>,
    P: DerefMut<Target = PgConnection>,
{
    let text = match at.engine() {
        Engine::Sqlite if batch.len() > SQLITE_ROWS_MAX => return Ok(vec![None; batch.len()]),
        Engine::Sqlite => Sql::from(AssertSqlSafe(sqlite(batch.len()))),
        Engine::Postgres => Sql::from(POSTGRES),
    };
    let bound = match at.sql(text) {
        Stmt::Postgres(at, query) => Stmt::Postgres(at, columns(query, batch, now)),
        stmt => rows(stmt, batch, now),
    };
    let placed: Vec<(EntryId, i64, i64, DateTime<Utc>)> = bound.all().await?;
    let appended = |(id, epoch, seq, at)| (id, Appended { epoch, seq, id, at, repeated: false });
    let mut placed: HashMap<EntryId, Appended> = placed.into_iter().map(appended).collect();
    Ok(batch.iter().map(|it| placed.remove(&it.id)).collect())
}

fn rows<'e>(stmt: Stmt<'e>, batch: &[&Append], now: DateTime<Utc>) -> Stmt<'e> {
    batch.iter().fold(stmt, |stmt, it| {
        let stmt = stmt.bind(it.stream).bind(it.id).bind(it.kind).bind(it.sender);
        stmt.bind(it.client_id.clone()).bind(it.body.clone()).bind(now)
    })
}

fn columns(query: PgQuery, batch: &[&Append], now: DateTime<Utc>) -> PgQuery {
    let mut spans: BTreeMap<StreamId, i64> = BTreeMap::new();
    let place = |it: &&Append| {
        let more = spans.entry(it.stream).or_default();
        *more += 1;
        *more
    };
    let places: Vec<i64> = batch.iter().map(place).collect();
    let (streams, more): (Vec<StreamId>, Vec<i64>) = spans.into_iter().unzip();
    // Arrays of PostgreSQL begin with one.
    let span = |it: &&Append| streams.partition_point(|stream| *stream <= it.stream) as i64;
    let spans: Vec<i64> = batch.iter().map(span).collect();
    let query = query.bind(streams).bind(more).bind(now).bind(spans).bind(places);
    let query = query.bind(column(batch, |it| it.id)).bind(column(batch, |it| it.kind));
    let query = query.bind(column(batch, |it| it.sender)).bind(column(batch, |it| it.client_id.clone()));
    query.bind(column(batch, |it| it.body.clone()))
}

fn column<T>(batch: &[&Append], value: impl Fn(&Append) -> T) -> Vec<T> {
    batch.iter().map(|it| value(it)).collect()
}
