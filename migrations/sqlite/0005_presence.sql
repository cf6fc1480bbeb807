-- When people were here last, as others may know it: not while they are invisible.
CREATE TABLE last_seen (
    user_id    BLOB    NOT NULL PRIMARY KEY,
    seen_at    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
