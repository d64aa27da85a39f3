-- Keys of the HTTP interface, what programs asked for through it, and what they were answered.

-- Of a key's secret there is a hash alone; `scopes` is a JSON list. A name is free again once its key is revoked.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    secret_hash  TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_by_name ON api_keys (name) WHERE revoked_at IS NULL;

-- A request for an answer; its id is the message's in `inbound` too. `asked` is what its answer repeats of it, as JSON.
-- Rows are added, and removed in time; nothing changes them.
CREATE TABLE api_requests (
    id          TEXT PRIMARY KEY,
    holder      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    chat        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    asked       TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_requests_by_age ON api_requests (created_at);
CREATE INDEX api_requests_by_chat ON api_requests (chat, created_at);

CREATE TABLE api_answers (
    id          TEXT PRIMARY KEY,
    answer      TEXT NOT NULL,
    answered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_answers_by_age ON api_answers (answered_at);
