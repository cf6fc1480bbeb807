//! How a batch is appended: what is new is one statement, and what was said before is looked up where there is some.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};

use super::texts::{POSTGRES, POSTGRES_ONE, SQLITE_ROWS_MAX, known, sqlite};
use super::{Append, Appended, Entered, Head};
use crate::error::Error;
use crate::ids::{EntryId, StreamId, UserId};
use crate::storage::db::{Engine, Held, PgQuery, Result, Sql, Stmt, ToPostgres, ToSqlite, placeholders};
use crate::storage::trouble::Trouble;

/// How often what is left of a batch is tried: a look at what is in its way lies between.
const ROUNDS_MAX: u32 = 4;

/// Where a sender's client id may be used once.
type Key<'a> = (StreamId, UserId, &'a str);

#[derive(Debug, FromRow)]
struct Known {
    stream_id: StreamId,
    epoch: i64,
    #[sqlx(flatten)]
    entry: Entered,
}

impl Known {
    fn key(&self) -> Option<Key<'_>> {
        Some((self.stream_id, self.entry.sender_id?, self.entry.client_id.as_deref()?))
    }
}

impl Append {
    fn key(&self) -> Option<Key<'_>> {
        Some((self.stream, self.sender?, self.client_id.as_deref()?))
    }
}

/// Appends a batch, each to the end of its stream, and tells of each where it lies. Outside of a transaction all that is
/// new is one; what is found to be repeated is written again by nobody.
pub async fn append<S: ToSqlite, P: ToPostgres>(
    at: &mut Held<S, P>,
    batch: &[&Append],
    now: DateTime<Utc>,
) -> Result<Vec<Result<Appended, Error>>> {
    let mut firsts: HashMap<Key<'_>, &Append> = HashMap::new();
    let mut left: Vec<&Append> = batch.to_vec();
    left.retain(|it| it.key().is_none_or(|key| std::ptr::eq(*firsts.entry(key).or_insert(it), *it)));
    let (mut fresh, mut known) = (HashMap::new(), Vec::<Known>::new());
    for round in 1..=ROUNDS_MAX {
        // PostgreSQL places nothing where something is left out, SQLite all the rest of a small batch.
        if left.is_empty() || !fresh.is_empty() {
            break;
        }
        match place(at, &left, now).await {
            // Another node stored it while this one waited: who looks now sees it.
            Err(error) if Trouble::of(&error) == Trouble::Taken && round < ROUNDS_MAX => {}
            placed => fresh = placed?,
        }
        left.retain(|it| !fresh.contains_key(&it.id));
        if left.is_empty() {
            break;
        }
        match look(at, &left).await {
            Ok((said, there)) => {
                let said_before: HashSet<_> = said.iter().filter_map(Known::key).collect();
                left.retain(|it| there.contains(&it.stream) && it.key().is_none_or(|key| !said_before.contains(&key)));
                known.extend(said);
            }
            Err(error) if fresh.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    let known: HashMap<Key<'_>, &Known> = known.iter().filter_map(|it| Some((it.key()?, it))).collect();
    let outcome = |it: &&Append| {
        let first = it.key().map_or(*it, |key| firsts[&key]);
        match (fresh.get(&first.id), it.key().and_then(|key| known.get(&key))) {
            (Some(new), _) if first.id == it.id => Ok(*new),
            (Some(new), _) if (first.kind, &first.body) == (it.kind, &it.body) => {
                Ok(Appended { repeated: true, ..*new })
            }
            (None, Some(Known { epoch, entry: said, .. })) if (&*said.kind, &said.body) == (it.kind, &it.body) => {
                Ok(Appended { epoch: *epoch, seq: said.seq, id: said.id, at: said.created_at, repeated: true })
            }
            (None, None) if left.iter().any(|it| it.id == first.id) => Err(Error::unavailable("database")),
            (None, None) => Err(Error::NotFound("stream")),
            _ => Err(mismatch()),
        }
    };
    Ok(batch.iter().map(outcome).collect())
}

fn mismatch() -> Error {
    let fields = BTreeMap::from([("client_id".to_owned(), "was used for something else".to_owned())]);
    Error::Invalid { code: "idempotency_mismatch", fields }
}

/// Writes what is new. What two nodes write at once violates a constraint.
async fn place<S: ToSqlite, P: ToPostgres>(
    at: &mut Held<S, P>,
    batch: &[&Append],
    now: DateTime<Utc>,
) -> Result<HashMap<EntryId, Appended>> {
    let text = match at.engine() {
        Engine::Sqlite if batch.len() > SQLITE_ROWS_MAX => {
            // All of it or nothing: what was said before is found in the middle.
            at.sql("SAVEPOINT many").execute().await?;
            let placed = place_many(at, batch, now).await;
            at.sql(if placed.is_ok() { "RELEASE many" } else { "ROLLBACK TO many" }).execute().await?;
            return placed;
        }
        Engine::Sqlite => Sql::from(AssertSqlSafe(sqlite(batch.len()))),
        Engine::Postgres => Sql::from(if batch.len() == 1 { POSTGRES_ONE } else { POSTGRES }),
    };
    let bound = match at.sql(text) {
        Stmt::Postgres(at, query) if batch.len() > 1 => Stmt::Postgres(at, columns(query, batch, now)),
        stmt => rows(stmt, batch, now),
    };
    let placed: Vec<(EntryId, i64, i64, DateTime<Utc>)> = bound.all().await?;
    let appended = |(id, epoch, seq, at)| (id, Appended { epoch, seq, id, at, repeated: false });
    Ok(placed.into_iter().map(appended).collect())
}

/// The same in several statements, as a part of a transaction: each stream is looked up once instead of for each row. What
/// was said before violates a constraint too, before anything is written.
async fn place_many<S: ToSqlite, P: ToPostgres>(
    at: &mut Held<S, P>,
    batch: &[&Append],
    now: DateTime<Utc>,
) -> Result<HashMap<EntryId, Appended>> {
    let heads = lock(at, batch.iter().map(|it| it.stream)).await?;
    let mut spans: BTreeMap<StreamId, (Head, i64)> = heads.into_iter().map(|it| (it.id, (it, it.head))).collect();
    let mut rows = Vec::with_capacity(batch.len());
    for it in batch {
        let Some((head, last)) = spans.get_mut(&it.stream) else { continue };
        *last += 1;
        let (epoch, seq, at) = (head.epoch, *last, now.max(head.head_at));
        rows.push((*it, Appended { epoch, seq, id: it.id, at, repeated: false }));
    }
    rows.sort_unstable_by_key(|(it, placed)| (it.stream, placed.seq));
    let spans: Vec<_> = spans.into_values().filter(|(head, last)| *last > head.head).collect();
    let head = "INSERT INTO entries (stream_id, seq, created_at, id, kind, sender_id, client_id, body)";
    at.insert_rows(head, "", 8, &rows, |stmt, (it, placed)| {
        let stmt = stmt.bind(it.stream).bind(placed.seq).bind(placed.at).bind(it.id).bind(it.kind);
        stmt.bind(it.sender).bind(it.client_id.clone()).bind(it.body.clone())
    })
    .await?;
    let head = "INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)";
    at.insert_rows(head, "", 5, &spans, |stmt, (head, last)| {
        stmt.bind("stream.grown").bind(head.id).bind(head.head + 1).bind(*last).bind(now.max(head.head_at))
    })
    .await?;
    // All of them are there.
    let tail = "ON CONFLICT (id) DO UPDATE SET head = excluded.head, head_at = excluded.head_at";
    at.insert_rows("INSERT INTO streams (id, kind, epoch, head, head_at)", tail, 5, &spans, |stmt, (head, last)| {
        stmt.bind(head.id).bind("").bind(head.epoch).bind(*last).bind(now.max(head.head_at))
    })
    .await?;
    Ok(rows.into_iter().map(|(_, placed)| (placed.id, placed)).collect())
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

/// Finds what was said before, and which streams are there.
async fn look<S: ToSqlite, P: ToPostgres>(
    at: &mut Held<S, P>,
    batch: &[&Append],
) -> Result<(Vec<Known>, HashSet<StreamId>)> {
    let said = find(at, batch).await?;
    let there = lock(at, batch.iter().map(|it| it.stream)).await?;
    Ok((said, there.into_iter().map(|it| it.id).collect()))
}

async fn find<S: ToSqlite, P: ToPostgres>(at: &mut Held<S, P>, batch: &[&Append]) -> Result<Vec<Known>> {
    let keys: Vec<Key<'_>> = batch.iter().filter_map(|it| it.key()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let stmt = at.sql(AssertSqlSafe(known(at.engine(), keys.len()))).once();
    keys.iter().fold(stmt, |stmt, it| stmt.bind(it.0).bind(it.1).bind(it.2.to_owned())).all().await
}

/// Locks streams, in the order of their ids: two nodes never deadlock. What is there of them ends as it says.
pub async fn lock<S: ToSqlite, P: ToPostgres>(
    at: &mut Held<S, P>,
    ids: impl IntoIterator<Item = StreamId>,
) -> Result<Vec<Head>> {
    let ids: BTreeSet<StreamId> = ids.into_iter().collect();
    let lock = if at.engine() == Engine::Postgres { "FOR NO KEY UPDATE" } else { "" };
    // A few sizes, whose texts stay prepared: some are asked for twice.
    let size = ids.len().next_power_of_two();
    let each = placeholders(at.engine(), size, 1);
    let text = format!("SELECT id, epoch, head, head_at FROM streams WHERE id IN ({each}) ORDER BY id {lock}");
    ids.iter().cycle().take(size).fold(at.sql(AssertSqlSafe(text)), |stmt, id| stmt.bind(*id)).all().await
}
