-- What each queue of the embedded broker takes: patterns of topics, one a line.
CREATE TABLE queues (
    name       TEXT    NOT NULL PRIMARY KEY,
    topics     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What waits in a queue, is being worked on (then `ready_at` is the end of the lease), or died there.
CREATE TABLE queue_messages (
    id         INTEGER NOT NULL PRIMARY KEY,
    queue      TEXT    NOT NULL,
    event_id   BLOB    NOT NULL,
    topic      TEXT    NOT NULL,
    key        BLOB    NOT NULL,
    seq        INTEGER,
    kind       TEXT    NOT NULL,
    payload    TEXT    NOT NULL,
    created_at TEXT    NOT NULL,
    ready_at   TEXT    NOT NULL,
    attempts   INTEGER NOT NULL,
    error      TEXT    NOT NULL,
    died_at    TEXT,
    UNIQUE (queue, event_id)
) STRICT;

CREATE INDEX queue_messages_waiting ON queue_messages (queue, id) WHERE died_at IS NULL;
CREATE INDEX queue_messages_dead ON queue_messages (queue, id) WHERE died_at IS NOT NULL;
