//! The long way to append: for repeats, and for what is one part of a larger transaction.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::plan::{Known, Plan, plan};
use super::{Append, Appended, Head, Key};
use crate::error::Error;
use crate::ids::StreamId;
use crate::storage::db::{Engine, Result, Tx, placeholders};

/// Appends a batch to its streams: locks, finds repeats, writes rows, heads and outbox.
pub async fn append(tx: &mut Tx<'_>, batch: &[&Append], now: DateTime<Utc>) -> Result<Vec<Result<Appended, Error>>> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
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
    let stmt = tx.sql(AssertSqlSafe(heads(tx.engine(), ids.len()))).of_rows(ids.len());
    ids.iter().fold(stmt, |stmt, id| stmt.bind(*id)).all().await
}

/// Finds what the batch would store again. A statement of its own, after the lock: only then does it see what another
/// node committed while this one waited.
async fn find_known(tx: &mut Tx<'_>, batch: &[&Append]) -> Result<Vec<Known>> {
    let keys: Vec<Key<'_>> = batch.iter().filter_map(|it| it.key()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let stmt = tx.sql(AssertSqlSafe(known(tx.engine(), keys.len()))).of_rows(keys.len());
    keys.iter().fold(stmt, |stmt, it| stmt.bind(it.0).bind(it.1).bind(it.2.to_owned())).all().await
}

async fn write(tx: &mut Tx<'_>, batch: &[&Append], Plan { rows, spans, .. }: &Plan) -> Result<()> {
    let head = "INSERT INTO entries (stream_id, seq, created_at, id, kind, sender_id, client_id, body)";
    tx.insert_rows(head, "", 8, rows, |stmt, &(index, seq, at)| {
        let it = batch[index];
        let stmt = stmt.bind(it.stream).bind(seq).bind(at).bind(it.id).bind(it.kind).bind(it.sender);
        stmt.bind(it.client_id.clone()).bind(it.body.clone())
    })
    .await?;
    let head = "INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)";
    tx.insert_rows(head, "", 5, spans, |stmt, &(id, first, last, at)| {
        stmt.bind("stream.grown").bind(id).bind(first).bind(last).bind(at)
    })
    .await?;
    let stmt = tx.sql(AssertSqlSafe(grow(tx.engine(), spans.len()))).of_rows(spans.len());
    spans.iter().fold(stmt, |stmt, &(id, _, last, at)| stmt.bind(id).bind(last).bind(at)).execute().await?;
    Ok(())
}

fn heads(engine: Engine, streams: usize) -> String {
    let lock = if engine == Engine::Postgres { "FOR NO KEY UPDATE" } else { "" };
    let ids = placeholders(engine, streams, 1);
    format!("SELECT id, epoch, head, head_at FROM streams WHERE id IN ({ids}) ORDER BY id {lock}")
}

/// One by one, by the index that is made for it: left to themselves both engines may read every entry there is, or all
/// that a stream holds.
fn known(engine: Engine, keys: usize) -> String {
    let said = match engine {
        Engine::Sqlite => "entries ON client_id = column3 AND sender_id = column2",
        Engine::Postgres => {
            "LATERAL (SELECT * FROM entries WHERE client_id = column3 AND sender_id = column2 OFFSET 0) AS said"
        }
    };
    format!(
        "SELECT stream_id, sender_id, client_id, seq, id, kind, body, created_at
           FROM (VALUES {}) AS asked CROSS JOIN {said} WHERE stream_id = column1",
        placeholders(engine, keys, 3)
    )
}

fn grow(engine: Engine, spans: usize) -> String {
    let grown = placeholders(engine, spans, 3);
    format!("UPDATE streams SET head = column2, head_at = column3 FROM (VALUES {grown}) AS grown WHERE id = column1")
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
            for text in [heads(Engine::Sqlite, size), known(Engine::Sqlite, size), grow(Engine::Sqlite, size)] {
                let plan = plan_of(&db, &text).await;
                let whole = |it: &String| ["SCAN streams", "SCAN entries"].iter().any(|scan| it.starts_with(scan));
                assert!(!plan.iter().any(whole), "{size} rows, {text:.60}: {plan:#?}");
                assert!(plan.iter().any(|it| it.starts_with("SEARCH")), "{size} rows, {text:.60}: {plan:#?}");
            }
        }
    }
}
