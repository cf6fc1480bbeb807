-- Who is here, and how they sign in. The names lie beside it.
CREATE TABLE users (
    id              UUID        NOT NULL PRIMARY KEY,
    name            TEXT        NOT NULL,
    name_folded     TEXT        NOT NULL COLLATE "C",
    email           TEXT,
    email_folded    TEXT COLLATE "C" UNIQUE,
    email_confirmed_at TIMESTAMPTZ,
    password        TEXT        NOT NULL,
    role            TEXT        NOT NULL,
    state           TEXT        NOT NULL,
    -- Tokens that carry a smaller number are void.
    grants          BIGINT      NOT NULL,
    delete_after    TIMESTAMPTZ,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL
);

CREATE INDEX users_by_name ON users (name_folded, id);
-- The list of people, however many were banned in a row.
CREATE INDEX users_listed ON users (name_folded, id) WHERE state = 'active';
CREATE INDEX users_leaving ON users (delete_after) WHERE delete_after IS NOT NULL;
-- Few have a role or are kept out: whoever looks for them reads nobody else.
CREATE INDEX users_by_role ON users (role, name_folded, id) WHERE role <> 'user';
CREATE INDEX users_by_state ON users (state, name_folded, id) WHERE state <> 'active';

-- Every name that is taken: the present one of each user, and former ones until they are free again.
CREATE TABLE names (
    folded          TEXT        NOT NULL COLLATE "C" PRIMARY KEY,
    -- What it looks like: names that cannot be told apart by eye have the same.
    skeleton        TEXT        NOT NULL COLLATE "C" UNIQUE,
    user_id         UUID        NOT NULL,
    free_after      TIMESTAMPTZ
);

CREATE INDEX names_of_user ON names (user_id);
CREATE INDEX names_by_end ON names (free_after) WHERE free_after IS NOT NULL;

-- What people say about themselves. The version is what a writer must have seen.
CREATE TABLE profiles (
    user_id         UUID        NOT NULL PRIMARY KEY,
    version         BIGINT      NOT NULL,
    display_name    TEXT        NOT NULL,
    headline        TEXT        NOT NULL,
    bio             TEXT        NOT NULL,
    location        TEXT        NOT NULL,
    age             BIGINT,
    links           JSONB       NOT NULL,
    expertise       JSONB       NOT NULL,
    contact         JSONB       NOT NULL,
    theme_music_url TEXT,
    avatar_url      TEXT,
    updated_at      TIMESTAMPTZ NOT NULL
);

-- What people have set for themselves.
CREATE TABLE preferences (
    user_id         UUID        NOT NULL PRIMARY KEY,
    version         BIGINT      NOT NULL,
    body            JSONB       NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL
);

-- Who does not want to hear from whom.
CREATE TABLE blocks (
    user_id         UUID        NOT NULL,
    blocked_id      UUID        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
);

CREATE INDEX blocks_of_blocked ON blocks (blocked_id);

-- A sign-in on one device, until it ends. It is the family of its refresh tokens.
CREATE TABLE sessions (
    id              UUID        NOT NULL PRIMARY KEY,
    user_id         UUID        NOT NULL,
    device          TEXT        NOT NULL,
    address         TEXT        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    seen_at         TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ NOT NULL,
    ended_at        TIMESTAMPTZ,
    ended_why       TEXT
);

CREATE INDEX sessions_of_user ON sessions (user_id, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_of_user ON sessions (user_id, id) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (ends_at);

-- Only hashes: who reads this table cannot sign in.
CREATE TABLE refresh_tokens (
    hash            BYTEA       NOT NULL PRIMARY KEY,
    session_id      UUID        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ
);

CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (ends_at);

-- What makes tokens void before their time: a session that ended, or all of a user below a number. Every node reads it.
CREATE TABLE revocations (
    id              UUID        NOT NULL PRIMARY KEY,
    session_id      UUID,
    user_id         UUID,
    grants          BIGINT,
    made_at         TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ NOT NULL
);

CREATE INDEX revocations_by_time ON revocations (made_at);

-- The ids of the keys that sign tokens; the keys themselves are derived from the secret.
CREATE TABLE signing_keys (
    id              UUID        NOT NULL PRIMARY KEY,
    created_at      TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ
);

-- Words sent by mail that do one thing once: confirm an address, set a new password.
CREATE TABLE tickets (
    hash            BYTEA       NOT NULL PRIMARY KEY,
    user_id         UUID        NOT NULL,
    purpose         TEXT        NOT NULL,
    email           TEXT,
    created_at      TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ
);

CREATE INDEX tickets_of_user ON tickets (user_id, purpose);
CREATE INDEX tickets_by_end ON tickets (ends_at);

-- The second factor of those who have one. The last step makes a code good for one use.
CREATE TABLE second_factors (
    user_id         UUID        NOT NULL PRIMARY KEY,
    secret          BYTEA       NOT NULL,
    confirmed_at    TIMESTAMPTZ,
    last_step       BIGINT      NOT NULL
);

CREATE TABLE recovery_codes (
    user_id         UUID        NOT NULL,
    hash            BYTEA       NOT NULL,
    used_at         TIMESTAMPTZ,
    PRIMARY KEY (user_id, hash)
);

-- Keys of services; shown once, kept as hashes.
CREATE TABLE api_keys (
    id              UUID        NOT NULL PRIMARY KEY,
    name            TEXT        NOT NULL,
    hash            BYTEA       NOT NULL,
    scopes          JSONB       NOT NULL,
    -- None: on the command line.
    made_by         UUID,
    created_at      TIMESTAMPTZ NOT NULL,
    changed_at      TIMESTAMPTZ NOT NULL,
    ends_at         TIMESTAMPTZ,
    revoked_at      TIMESTAMPTZ,
    used_at         TIMESTAMPTZ
);

CREATE INDEX api_keys_by_change ON api_keys (changed_at);

-- What happened to whom by whose hand: sign-ins, failures, passwords, roles, keys.
CREATE TABLE audit (
    id              UUID        NOT NULL PRIMARY KEY,
    user_id         UUID,
    actor_id        UUID,
    what            TEXT        NOT NULL,
    address         TEXT        NOT NULL,
    device          TEXT        NOT NULL,
    detail          JSONB       NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL
);

CREATE INDEX audit_of_user ON audit (user_id, id);
CREATE INDEX audit_by_time ON audit (created_at);
-- What somebody did to others.
CREATE INDEX audit_of_actor ON audit (actor_id) WHERE user_id IS NULL OR user_id <> actor_id;

-- Mail that waits for its server, or for somebody who reads it on this machine.
CREATE TABLE mails (
    id              UUID        NOT NULL PRIMARY KEY,
    user_id         UUID,
    recipient       TEXT        NOT NULL,
    subject         TEXT        NOT NULL,
    body            TEXT        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    ready_at        TIMESTAMPTZ NOT NULL,
    attempts        BIGINT      NOT NULL,
    error           TEXT,
    sent_at         TIMESTAMPTZ,
    -- The server refused it for good, or would not have it for a day.
    refused_at      TIMESTAMPTZ
);

CREATE INDEX mails_waiting ON mails (ready_at) WHERE sent_at IS NULL AND refused_at IS NULL;
CREATE INDEX mails_by_time ON mails (created_at);
CREATE INDEX mails_of_user ON mails (user_id) WHERE user_id IS NOT NULL;
