-- Times are microseconds since 1970-01-01 UTC. Booleans are 0 or 1. Absent parts of a slot are ''.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A conversation slot; its identity is its parts, `key` is how people see it.
CREATE TABLE slots (
    id                  INTEGER PRIMARY KEY,
    agent               TEXT NOT NULL,
    platform            TEXT NOT NULL,
    chat_type           TEXT NOT NULL,
    chat                TEXT NOT NULL,
    thread              TEXT NOT NULL,
    participant         TEXT NOT NULL,
    key                 TEXT NOT NULL,
    session_id          TEXT REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
    previous_session_id TEXT REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (agent, platform, chat_type, chat, thread, participant)
) STRICT;
CREATE INDEX slots_by_key ON slots (key);
CREATE UNIQUE INDEX slots_by_session ON slots (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE sessions (
    id                  TEXT PRIMARY KEY,
    slot_id             INTEGER NOT NULL REFERENCES slots (id),
    owner               TEXT NOT NULL,
    platform            TEXT,
    chat_type           TEXT NOT NULL,
    display_name        TEXT,
    origin              TEXT,
    title               TEXT,
    agent               TEXT,
    model               TEXT,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    ended_at            INTEGER,
    end_reason          TEXT,
    end_detail          TEXT,
    predecessor_id      TEXT REFERENCES sessions (id),
    successor_id        TEXT REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
    message_count       INTEGER NOT NULL DEFAULT 0,
    input_tokens        INTEGER NOT NULL DEFAULT 0,
    output_tokens       INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens   INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens  INTEGER NOT NULL DEFAULT 0,
    last_prompt_tokens  INTEGER NOT NULL DEFAULT 0,
    estimated_cost_usd  REAL,
    cost_status         TEXT NOT NULL DEFAULT 'unknown',
    was_auto_reset      INTEGER NOT NULL DEFAULT 0,
    auto_reset_reason   TEXT,
    reset_had_activity  INTEGER NOT NULL DEFAULT 0,
    archived            INTEGER NOT NULL DEFAULT 0,
    pinned              INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_latest ON sessions (archived, pinned DESC, updated_at DESC);
CREATE INDEX sessions_by_slot ON sessions (slot_id, created_at);
CREATE INDEX sessions_by_owner ON sessions (owner, created_at);

-- `content` holds the text, which is what a search finds; `data` the rest of the message as JSON, with its content
-- if that is not plain text. `key` makes an append idempotent.
CREATE TABLE messages (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    turn_id    TEXT,
    key        TEXT,
    role       TEXT NOT NULL,
    content    TEXT,
    data       TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_by_session ON messages (session_id);  -- and by id, as every index goes on with it
CREATE UNIQUE INDEX messages_by_key ON messages (session_id, key) WHERE key IS NOT NULL;

CREATE VIRTUAL TABLE messages_search USING fts5 (
    content, content = 'messages', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TABLE cursors (
    platform TEXT NOT NULL,
    account  TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (platform, account, name)
) STRICT, WITHOUT ROWID;

-- What came in. The order of ids is the order of receipt. An ignored message keeps its id alone.
CREATE TABLE inbound (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT NOT NULL,
    account     TEXT NOT NULL,
    chat        TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    slot_id     INTEGER REFERENCES slots (id),
    source      TEXT,
    text        TEXT,
    group_id    TEXT,
    received_at INTEGER NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT,
    turn_id     TEXT,
    ended_at    INTEGER,
    UNIQUE (platform, account, chat, message_id)
) STRICT;
CREATE INDEX inbound_open ON inbound (slot_id, id) WHERE state IN ('pending', 'running');
CREATE INDEX inbound_by_turn ON inbound (turn_id) WHERE turn_id IS NOT NULL;
CREATE INDEX inbound_unanswered ON inbound (id)
    WHERE state IN ('pending', 'running', 'refused', 'expired', 'failed', 'dead');

-- One run of the agent. At most one open turn a slot.
CREATE TABLE turns (
    id         TEXT PRIMARY KEY,
    slot_id    INTEGER NOT NULL REFERENCES slots (id),
    session_id TEXT NOT NULL REFERENCES sessions (id),
    agent      TEXT NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT,
    attempts   INTEGER NOT NULL DEFAULT 1,
    not_before INTEGER,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX turns_open ON turns (slot_id) WHERE state IN ('running', 'waiting');

-- What an open turn has done so far: model steps, tool calls begun, their results, messages absorbed.
CREATE TABLE turn_steps (
    turn_id TEXT NOT NULL REFERENCES turns (id),
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    data    TEXT NOT NULL,
    PRIMARY KEY (turn_id, seq)
) STRICT, WITHOUT ROWID;

-- What goes out. `final` is 0 while a reply still grows. A pending row that has a `message_id` is an edit.
CREATE TABLE outbox (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    platform         TEXT NOT NULL,
    account          TEXT NOT NULL,
    chat             TEXT NOT NULL,
    thread           TEXT NOT NULL,
    session_id       TEXT,
    turn_id          TEXT,
    kind             TEXT NOT NULL,
    text             TEXT NOT NULL,
    answers          TEXT NOT NULL DEFAULT '[]',
    final            INTEGER NOT NULL DEFAULT 1,
    state            TEXT NOT NULL,
    message_id       TEXT,
    repeated         INTEGER NOT NULL DEFAULT 0,
    attempts         INTEGER NOT NULL DEFAULT 0,
    not_before       INTEGER,
    reason           TEXT,
    created_at       INTEGER NOT NULL,
    sent_at          INTEGER
) STRICT;
CREATE INDEX outbox_open ON outbox (platform, account, chat, id) WHERE state IN ('pending', 'sending');
CREATE INDEX outbox_by_turn ON outbox (turn_id) WHERE turn_id IS NOT NULL;
