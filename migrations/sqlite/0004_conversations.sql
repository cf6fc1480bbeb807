-- A talk between two or more people. What is said lies in the stream of the same id.
CREATE TABLE conversations (
    id              BLOB    NOT NULL PRIMARY KEY,
    kind            TEXT    NOT NULL,
    -- What makes it the same when it is begun again: the two of a direct one, or who began it under which key.
    claim           TEXT    UNIQUE,
    -- What was asked for under that key.
    claim_hash      TEXT,
    title           TEXT,
    title_folded    TEXT,
    created_by      BLOB    NOT NULL,
    created_at      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Who takes part, and how far each has come.
CREATE TABLE members (
    conversation_id BLOB    NOT NULL,
    user_id         BLOB    NOT NULL,
    role            TEXT    NOT NULL,
    -- What was said up to here is not shown to them.
    joined_seq      INTEGER NOT NULL,
    joined_at       TEXT    NOT NULL,
    left_at         TEXT,
    delivered_seq   INTEGER NOT NULL,
    read_seq        INTEGER NOT NULL,
    notify          TEXT    NOT NULL,
    muted_until     TEXT,
    draft           TEXT,
    PRIMARY KEY (conversation_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_of_user ON members (user_id, conversation_id);

-- Signs under messages.
CREATE TABLE reactions (
    conversation_id BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    user_id         BLOB    NOT NULL,
    emoji           TEXT    NOT NULL,
    -- The entry that told of it: what orders them.
    told_seq        INTEGER NOT NULL,
    created_at      TEXT    NOT NULL,
    PRIMARY KEY (conversation_id, seq, user_id, emoji)
) STRICT, WITHOUT ROWID;

-- Messages that everybody in a conversation should find.
CREATE TABLE pins (
    conversation_id BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    pinned_by       BLOB    NOT NULL,
    -- The entry that told of it: what orders them.
    told_seq        INTEGER NOT NULL,
    created_at      TEXT    NOT NULL,
    PRIMARY KEY (conversation_id, seq)
) STRICT, WITHOUT ROWID;
