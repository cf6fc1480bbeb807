-- Entries lie as they came, and an index leads to them. In the order of their streams, each stream wrote a page of its own
-- that split every few messages, with the pages beside it: twice as many pages for each message.
DROP TRIGGER appends_one;
DROP VIEW appends;
DROP INDEX entries_sent;
ALTER TABLE entries RENAME TO entries_before;

CREATE TABLE entries (
    stream_id  BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    kind       TEXT    NOT NULL,
    sender_id  BLOB,
    client_id  TEXT,
    body       TEXT    NOT NULL CHECK (body <> ''),
    created_at TEXT    NOT NULL,
    PRIMARY KEY (stream_id, seq),
    CHECK (client_id IS NULL OR sender_id IS NOT NULL)
) STRICT;

INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
SELECT stream_id, seq, id, kind, sender_id, client_id, body, created_at FROM entries_before ORDER BY created_at, id;

DROP TABLE entries_before;

CREATE UNIQUE INDEX entries_sent ON entries (client_id, sender_id, stream_id) WHERE client_id IS NOT NULL;

CREATE VIEW appends AS SELECT stream_id, id, kind, sender_id, client_id, body, created_at FROM entries;

CREATE TRIGGER appends_one INSTEAD OF INSERT ON appends BEGIN
    UPDATE streams SET head = head + 1, head_at = MAX(head_at, NEW.created_at)
     WHERE id = NEW.stream_id
       AND NOT EXISTS (SELECT 1 FROM entries
                        WHERE client_id = NEW.client_id AND sender_id = NEW.sender_id AND stream_id = NEW.stream_id);
    SELECT RAISE(IGNORE) WHERE changes() = 0;
    INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
    SELECT id, head, NEW.id, NEW.kind, NEW.sender_id, NEW.client_id, NEW.body, head_at
      FROM streams WHERE id = NEW.stream_id;
    INSERT INTO outbox (topic, key, first_seq, last_seq, created_at)
    SELECT 'stream.grown', id, head, head, head_at FROM streams WHERE id = NEW.stream_id;
END;
