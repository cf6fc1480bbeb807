-- What each queue of the embedded broker takes: patterns of topics, one a line.
CREATE TABLE queues (
    name       TEXT        NOT NULL PRIMARY KEY,
    topics     TEXT        NOT NULL
);

-- What waits in a queue, is being worked on (then `ready_at` is the end of the lease), or died there.
CREATE TABLE queue_messages (
    id         BIGINT      NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    queue      TEXT        NOT NULL,
    event_id   UUID        NOT NULL,
    topic      TEXT        NOT NULL,
    key        UUID        NOT NULL,
    seq        BIGINT,
    kind       TEXT        NOT NULL,
    payload    TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    ready_at   TIMESTAMPTZ NOT NULL,
    attempts   BIGINT      NOT NULL,
    error      TEXT        NOT NULL,
    died_at    TIMESTAMPTZ,
    UNIQUE (queue, event_id)
);

CREATE INDEX queue_messages_waiting ON queue_messages (queue, id) WHERE died_at IS NULL;
CREATE INDEX queue_messages_dead ON queue_messages (queue, id) WHERE died_at IS NOT NULL;
