-- A talk between two or more people. What is said lies in the stream of the same id.
CREATE TABLE conversations (
    id              UUID        NOT NULL PRIMARY KEY,
    kind            TEXT        NOT NULL,
    -- What makes it the same when it is begun again: the two of a direct one, or who began it under which key.
    claim           TEXT COLLATE "C" UNIQUE,
    -- What was asked for under that key.
    claim_hash      TEXT,
    title           TEXT,
    title_folded    TEXT,
    created_by      UUID        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL
);

-- Who takes part, and how far each has come. Cursors move often: free room keeps that off the indexes.
CREATE TABLE members (
    conversation_id UUID        NOT NULL,
    user_id         UUID        NOT NULL,
    role            TEXT        NOT NULL,
    -- What was said up to here is not shown to them.
    joined_seq      BIGINT      NOT NULL,
    joined_at       TIMESTAMPTZ NOT NULL,
    left_at         TIMESTAMPTZ,
    delivered_seq   BIGINT      NOT NULL,
    read_seq        BIGINT      NOT NULL,
    notify          TEXT        NOT NULL,
    muted_until     TIMESTAMPTZ,
    draft           TEXT,
    PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 70);

CREATE INDEX members_of_user ON members (user_id, conversation_id);

-- Signs under messages.
CREATE TABLE reactions (
    conversation_id UUID        NOT NULL,
    seq             BIGINT      NOT NULL,
    user_id         UUID        NOT NULL,
    emoji           TEXT        NOT NULL COLLATE "C",
    -- The entry that told of it: what orders them.
    told_seq        BIGINT      NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, seq, user_id, emoji)
);

-- Messages that everybody in a conversation should find.
CREATE TABLE pins (
    conversation_id UUID        NOT NULL,
    seq             BIGINT      NOT NULL,
    pinned_by       UUID        NOT NULL,
    -- The entry that told of it: what orders them.
    told_seq        BIGINT      NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, seq)
);
