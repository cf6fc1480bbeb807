-- When people were here last, as others may know it: not while they are invisible.
CREATE TABLE last_seen (
    user_id    UUID        NOT NULL PRIMARY KEY,
    seen_at    TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 70);
