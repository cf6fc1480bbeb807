//! The texts of an append, one spelling for each engine.

use crate::storage::db::{Engine, placeholders};

/// Locks the streams in the order of their ids, and goes on if all of them are there and nothing was said before. It is
/// planned once, whatever the sizes: arrays stand where a join would be.
pub const POSTGRES: &str = "
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

/// The same for one: nothing is counted, and a table of one row is not joined.
pub const POSTGRES_ONE: &str = "
    WITH grown AS (
        UPDATE streams SET head = head + 1, head_at = GREATEST(head_at, $7)
         WHERE id = $1
           AND NOT EXISTS (
                   SELECT FROM (SELECT stream_id FROM entries WHERE client_id = $5 AND sender_id = $4 OFFSET 0) AS said
                    WHERE said.stream_id = $1)
        RETURNING id, epoch, head, head_at
    ), told AS (
        INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)
        SELECT 'stream.grown', id, head, head, head_at FROM grown
    ), entry AS (
        INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
        SELECT id, head, $2, $3, $4, $5, $6, head_at FROM grown
    )
    SELECT $2, epoch, head, head_at FROM grown";

/// How many rows go into one statement on SQLite: each size has a text that stays prepared. More than that belong into a
/// transaction.
pub const SQLITE_ROWS_MAX: usize = 32;

/// Each row goes through the trigger of a view, because SQLite lets no `WITH` write.
pub fn sqlite(rows: usize) -> String {
    format!(
        "INSERT INTO appends (stream_id, id, kind, sender_id, client_id, body, created_at) VALUES {}
         RETURNING id, (SELECT epoch FROM streams WHERE streams.id = stream_id),
                   (SELECT head FROM streams WHERE streams.id = stream_id),
                   (SELECT head_at FROM streams WHERE streams.id = stream_id)",
        placeholders(Engine::Sqlite, rows, 7)
    )
}

/// What was said before under a client id. PostgreSQL could find it by the stream alone too, and would read all of it
/// where statistics lag: it asks one by one, and keeps the stream out of the search.
pub fn known(engine: Engine, keys: usize) -> String {
    let own = "client_id = column3 AND sender_id = column2";
    let said = match engine {
        Engine::Sqlite => format!("entries ON {own}"),
        Engine::Postgres => format!("LATERAL (SELECT * FROM entries WHERE {own} OFFSET 0) AS said"),
    };
    format!(
        "SELECT stream_id, (SELECT epoch FROM streams WHERE streams.id = stream_id) AS epoch,
                sender_id, client_id, seq, id, kind, body, created_at
           FROM (VALUES {}) AS asked CROSS JOIN {said} WHERE stream_id = column1",
        placeholders(engine, keys, 3)
    )
}
