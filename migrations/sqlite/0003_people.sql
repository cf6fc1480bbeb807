-- Who is here, and how they sign in. The names lie beside it.
CREATE TABLE users (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    name_folded     TEXT    NOT NULL,
    email           TEXT,
    email_folded    TEXT UNIQUE,
    email_confirmed_at TEXT,
    password        TEXT    NOT NULL,
    role            TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    -- Tokens that carry a smaller number are void.
    grants          INTEGER NOT NULL,
    delete_after    TEXT,
    created_at      TEXT    NOT NULL,
    updated_at      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_name ON users (name_folded, id);
-- The list of people, however many were banned in a row.
CREATE INDEX users_listed ON users (name_folded, id) WHERE state = 'active';
CREATE INDEX users_leaving ON users (delete_after) WHERE delete_after IS NOT NULL;
-- Few have a role or are kept out: whoever looks for them reads nobody else.
CREATE INDEX users_by_role ON users (role, name_folded, id) WHERE role <> 'user';
CREATE INDEX users_by_state ON users (state, name_folded, id) WHERE state <> 'active';

-- Every name that is taken: the present one of each user, and former ones until they are free again.
CREATE TABLE names (
    folded          TEXT    NOT NULL PRIMARY KEY,
    -- What it looks like: names that cannot be told apart by eye have the same.
    skeleton        TEXT    NOT NULL UNIQUE,
    user_id         BLOB    NOT NULL,
    free_after      TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX names_of_user ON names (user_id);
CREATE INDEX names_by_end ON names (free_after) WHERE free_after IS NOT NULL;

-- What people say about themselves. The version is what a writer must have seen.
CREATE TABLE profiles (
    user_id         BLOB    NOT NULL PRIMARY KEY,
    version         INTEGER NOT NULL,
    display_name    TEXT    NOT NULL,
    headline        TEXT    NOT NULL,
    bio             TEXT    NOT NULL,
    location        TEXT    NOT NULL,
    age             INTEGER,
    links           TEXT    NOT NULL,
    expertise       TEXT    NOT NULL,
    contact         TEXT    NOT NULL,
    theme_music_url TEXT,
    avatar_url      TEXT,
    updated_at      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What people have set for themselves.
CREATE TABLE preferences (
    user_id         BLOB    NOT NULL PRIMARY KEY,
    version         INTEGER NOT NULL,
    body            TEXT    NOT NULL,
    updated_at      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Who does not want to hear from whom.
CREATE TABLE blocks (
    user_id         BLOB    NOT NULL,
    blocked_id      BLOB    NOT NULL,
    created_at      TEXT    NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX blocks_of_blocked ON blocks (blocked_id);

-- A sign-in on one device, until it ends. It is the family of its refresh tokens.
CREATE TABLE sessions (
    id              BLOB    NOT NULL PRIMARY KEY,
    user_id         BLOB    NOT NULL,
    device          TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    created_at      TEXT    NOT NULL,
    seen_at         TEXT    NOT NULL,
    ends_at         TEXT    NOT NULL,
    ended_at        TEXT,
    ended_why       TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_of_user ON sessions (user_id, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended_of_user ON sessions (user_id, id) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (ends_at);

-- Only hashes: who reads this table cannot sign in.
CREATE TABLE refresh_tokens (
    hash            BLOB    NOT NULL PRIMARY KEY,
    session_id      BLOB    NOT NULL,
    created_at      TEXT    NOT NULL,
    ends_at         TEXT    NOT NULL,
    used_at         TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (ends_at);

-- What makes tokens void before their time: a session that ended, or all of a user below a number. Every node reads it.
CREATE TABLE revocations (
    id              BLOB    NOT NULL PRIMARY KEY,
    session_id      BLOB,
    user_id         BLOB,
    grants          INTEGER,
    made_at         TEXT    NOT NULL,
    ends_at         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_time ON revocations (made_at);

-- The ids of the keys that sign tokens; the keys themselves are derived from the secret.
CREATE TABLE signing_keys (
    id              BLOB    NOT NULL PRIMARY KEY,
    created_at      TEXT    NOT NULL,
    ends_at         TEXT
) STRICT, WITHOUT ROWID;

-- Words sent by mail that do one thing once: confirm an address, set a new password.
CREATE TABLE tickets (
    hash            BLOB    NOT NULL PRIMARY KEY,
    user_id         BLOB    NOT NULL,
    purpose         TEXT    NOT NULL,
    email           TEXT,
    created_at      TEXT    NOT NULL,
    ends_at         TEXT    NOT NULL,
    used_at         TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_of_user ON tickets (user_id, purpose);
CREATE INDEX tickets_by_end ON tickets (ends_at);

-- The second factor of those who have one. The last step makes a code good for one use.
CREATE TABLE second_factors (
    user_id         BLOB    NOT NULL PRIMARY KEY,
    secret          BLOB    NOT NULL,
    confirmed_at    TEXT,
    last_step       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    user_id         BLOB    NOT NULL,
    hash            BLOB    NOT NULL,
    used_at         TEXT,
    PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;

-- Keys of services; shown once, kept as hashes.
CREATE TABLE api_keys (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    hash            BLOB    NOT NULL,
    scopes          TEXT    NOT NULL,
    -- None: on the command line.
    made_by         BLOB,
    created_at      TEXT    NOT NULL,
    changed_at      TEXT    NOT NULL,
    ends_at         TEXT,
    revoked_at      TEXT,
    used_at         TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_by_change ON api_keys (changed_at);

-- What happened to whom by whose hand: sign-ins, failures, passwords, roles, keys.
CREATE TABLE audit (
    id              BLOB    NOT NULL PRIMARY KEY,
    user_id         BLOB,
    actor_id        BLOB,
    what            TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    device          TEXT    NOT NULL,
    detail          TEXT    NOT NULL,
    created_at      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_of_user ON audit (user_id, id);
CREATE INDEX audit_by_time ON audit (created_at);
-- What somebody did to others.
CREATE INDEX audit_of_actor ON audit (actor_id) WHERE user_id IS NULL OR user_id <> actor_id;

-- Mail that waits for its server, or for somebody who reads it on this machine.
CREATE TABLE mails (
    id              BLOB    NOT NULL PRIMARY KEY,
    user_id         BLOB,
    recipient       TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    body            TEXT    NOT NULL,
    created_at      TEXT    NOT NULL,
    ready_at        TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    error           TEXT,
    sent_at         TEXT,
    -- The server refused it for good, or would not have it for a day.
    refused_at      TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX mails_waiting ON mails (ready_at) WHERE sent_at IS NULL AND refused_at IS NULL;
CREATE INDEX mails_by_time ON mails (created_at);
CREATE INDEX mails_of_user ON mails (user_id) WHERE user_id IS NOT NULL;
