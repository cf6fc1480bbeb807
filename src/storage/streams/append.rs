//! The statements of an append.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::plan::{Known, Plan, plan};
use super::{Append, Appended, Head, Key};
use crate::error::Error;
use crate::ids::StreamId;
use crate::storage::db::{Conn, Engine, Result, Sql, Tx, placeholders};

/// Appends a batch to its streams: locks, finds repeats, writes rows, heads and outbox.
pub async fn append(tx: &mut Tx<'_>, batch: &[&Append], now: DateTime<Utc>) -> Result<Vec<Result<Appended, Error>>> {
    let heads = lock(tx, batch.iter().map(|it| it.stream)).await?;
    let known = find_known(tx, batch).await?;
    let plan = plan(batch, &heads, &known, now);
    if !plan.rows.is_empty() {
        write(tx, batch, &plan).await?;
    }
    Ok(plan.outcomes)
}

/// Locks streams, in the order of their ids: two nodes never deadlock. What is there of them ends as it says.
pub async fn lock(tx: &mut Tx<'_>, ids: impl IntoIterator<Item = StreamId>) -> Result<Vec<Head>> {
    let ids: BTreeSet<StreamId> = ids.into_iter().collect();
    match tx {
        Tx::Postgres(tx) => {
            let text = "SELECT id, epoch, head, head_at FROM streams WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
            sqlx::query_as(text).bind(Vec::from_iter(ids)).fetch_all(&mut **tx).await
        }
        // The transaction began with the lock on the whole file.
        Tx::Sqlite(_) => {
            let stmt = tx.sql(AssertSqlSafe(sqlite_heads(ids.len()))).once();
            ids.iter().fold(stmt, |stmt, id| stmt.bind(*id)).all().await
        }
    }
}

/// Finds what the batch would store again. A statement of its own, after the lock: only then does it see what another
/// node committed while this one waited.
async fn find_known(tx: &mut Tx<'_>, batch: &[&Append]) -> Result<Vec<Known>> {
    let keys: Vec<Key<'_>> = batch.iter().filter_map(|it| it.key()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    match tx {
        Tx::Postgres(tx) => {
            sqlx::query_as(
                "SELECT found.*
                   FROM UNNEST($1::uuid[], $2::uuid[], $3::text[]) AS asked (stream_id, sender_id, client_id)
                  CROSS JOIN LATERAL (
                        SELECT stream_id, sender_id, client_id, seq, id, kind, body, created_at
                          FROM entries AS it
                         WHERE it.client_id = asked.client_id AND it.sender_id = asked.sender_id
                           AND it.stream_id = asked.stream_id
                         -- Looked up one by one: otherwise the planner may read every entry there is.
                         LIMIT 1) AS found",
            )
            // Planned each time: a plan made when the table was small reads all of it when it is large.
            .persistent(false)
            .bind(column(&keys, |it| it.0))
            .bind(column(&keys, |it| it.1))
            .bind(column(&keys, |it| it.2))
            .fetch_all(&mut **tx)
            .await
        }
        Tx::Sqlite(_) => {
            let stmt = tx.sql(AssertSqlSafe(sqlite_known(keys.len()))).once();
            keys.iter().fold(stmt, |stmt, it| stmt.bind(it.0).bind(it.1).bind(it.2.to_owned())).all().await
        }
    }
}

/// Writes rows, heads and outbox in one statement; on SQLite in one text: one way to the engine.
async fn write(tx: &mut Tx<'_>, batch: &[&Append], Plan { rows: entries, spans, .. }: &Plan) -> Result<()> {
    match tx {
        Tx::Postgres(tx) => {
            sqlx::query(
                "WITH entry AS (
                     INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
                     SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::text[],
                                          $7::text[], $8::timestamptz[])
                 ), grown AS (
                     SELECT * FROM UNNEST($9::uuid[], $10::bigint[], $11::bigint[], $12::timestamptz[])
                                AS grown (id, first, last, at)
                 ), told AS (
                     INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)
                     SELECT 'stream.grown', id, first, last, at FROM grown
                 )
                 UPDATE streams SET head = last, head_at = at FROM grown WHERE streams.id = grown.id",
            )
            .bind(column(entries, |it| batch[it.0].stream))
            .bind(column(entries, |it| it.1))
            .bind(column(entries, |it| batch[it.0].id))
            .bind(column(entries, |it| batch[it.0].kind))
            .bind(column(entries, |it| batch[it.0].sender))
            .bind(column(entries, |it| batch[it.0].client_id.as_deref()))
            .bind(column(entries, |it| &*batch[it.0].body))
            .bind(column(entries, |it| it.2))
            .bind(column(spans, |it| it.0))
            .bind(column(spans, |it| it.1))
            .bind(column(spans, |it| it.2))
            .bind(column(spans, |it| it.3))
            .execute(&mut **tx)
            .await?;
        }
        Tx::Sqlite(_) => {
            let text = format!(
                "INSERT INTO entries (stream_id, seq, created_at, id, kind, sender_id, client_id, body) VALUES {};
                 INSERT INTO outbox (topic, key, first_seq, last_seq, created_at) VALUES {};
                 {}",
                rows(entries.len(), 8),
                rows(spans.len(), 5),
                sqlite_grow(spans.len())
            );
            let mut stmt = tx.sql(AssertSqlSafe(text)).once();
            for &(index, seq, at) in entries {
                let it = batch[index];
                stmt = stmt.bind(it.stream).bind(seq).bind(at).bind(it.id).bind(it.kind).bind(it.sender);
                stmt = stmt.bind(it.client_id.clone()).bind(it.body.clone());
            }
            for &(id, first, last, at) in spans {
                stmt = stmt.bind("stream.grown").bind(id).bind(first).bind(last).bind(at);
            }
            spans.iter().fold(stmt, |stmt, &(id, _, last, at)| stmt.bind(id).bind(last).bind(at)).execute().await?;
        }
    }
    Ok(())
}

/// On SQLite the view's trigger does what PostgreSQL is told here.
const ALONE: Sql = Sql::Split {
    sqlite: "INSERT INTO appends (stream_id, id, kind, sender_id, client_id, body, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             RETURNING (SELECT epoch FROM streams WHERE streams.id = stream_id),
                       (SELECT head FROM streams WHERE streams.id = stream_id),
                       (SELECT head_at FROM streams WHERE streams.id = stream_id)",
    postgres: "WITH grown AS (
                   UPDATE streams SET head = head + 1, head_at = GREATEST(head_at, $7)
                    WHERE id = $1
                      AND NOT EXISTS (SELECT FROM entries WHERE client_id = $5 AND sender_id = $4 AND stream_id = $1)
                   RETURNING id, epoch, head, head_at
               ), entry AS (
                   INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
                   SELECT id, head, $2, $3, $4, $5, $6, head_at FROM grown
               ), told AS (
                   INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)
                   SELECT 'stream.grown', id, head, head, head_at FROM grown
               )
               SELECT epoch, head, head_at FROM grown",
};

/// Appends one entry by one statement, or says that the long way must be gone: for a repeat, for a stream that does not
/// exist.
pub async fn append_alone(conn: &mut Conn, it: &Append, now: DateTime<Utc>) -> Result<Option<Appended>> {
    let stmt = conn.sql(ALONE).bind(it.stream).bind(it.id).bind(it.kind).bind(it.sender);
    // Every row: SQLite commits behind the last one.
    let heads = stmt.bind(it.client_id.clone()).bind(it.body.clone()).bind(now).all().await?;
    Ok(heads.first().map(|&(epoch, seq, at)| Appended { epoch, seq, id: it.id, at, repeated: false }))
}

fn sqlite_heads(streams: usize) -> String {
    format!("SELECT id, epoch, head, head_at FROM streams WHERE id IN (VALUES {})", rows(streams, 1))
}

/// CROSS keeps the order of the tables: left to itself SQLite reads every entry there is and looks each up among the
/// few that are asked for.
fn sqlite_known(keys: usize) -> String {
    format!(
        "SELECT stream_id, sender_id, client_id, seq, id, kind, body, created_at
           FROM (VALUES {}) AS asked
          CROSS JOIN entries ON client_id = column3 AND sender_id = column2 AND stream_id = column1",
        rows(keys, 3)
    )
}

fn sqlite_grow(spans: usize) -> String {
    format!("UPDATE streams SET head = column2, head_at = column3 FROM (VALUES {}) WHERE id = column1", rows(spans, 3))
}

/// One column of the rows, as PostgreSQL's UNNEST takes it.
fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// `(?, ?), (?, ?)`.
fn rows(rows: usize, columns: usize) -> String {
    placeholders(Engine::Sqlite, rows, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseConfig;
    use crate::storage::db::Db;

    /// What SQLite reads to answer a statement with all its values NULL.
    async fn plan_of(db: &Db, text: &str) -> Vec<String> {
        let plan: Vec<(i64, i64, i64, String)> =
            db.sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"))).all().await.unwrap();
        plan.into_iter().map(|it| it.3).collect()
    }

    #[tokio::test]
    async fn a_batch_on_sqlite_never_reads_a_whole_table() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("folio.db");
        let db =
            Db::open(&DatabaseConfig::Sqlite { path, readers: 1, acquire_within: std::time::Duration::from_secs(2) })
                .await
                .unwrap();
        db.migrate().await.unwrap();
        for size in [1, 2, 3, 50, 1_000] {
            for text in [sqlite_heads(size), sqlite_known(size), sqlite_grow(size)] {
                let plan = plan_of(&db, &text).await;
                let whole = |it: &String| ["SCAN streams", "SCAN entries"].iter().any(|scan| it.starts_with(scan));
                assert!(!plan.iter().any(whole), "{size} rows, {text:.60}: {plan:#?}");
                assert!(plan.iter().any(|it| it.starts_with("SEARCH")), "{size} rows, {text:.60}: {plan:#?}");
            }
        }
    }
}
