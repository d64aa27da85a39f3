-- What is still to be handed to the memory, and how far that has got with each session.

-- The turns that wait to be remembered, in their order. The turns of a session are counted from 1 (its generations): those
-- that are not here any more come first. `begun`: it was handed over, and nothing is known yet of what that came to.
CREATE TABLE memory_turns (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id    TEXT NOT NULL REFERENCES sessions (id),
    owner         TEXT,
    first_message INTEGER NOT NULL,
    last_message  INTEGER NOT NULL,
    begun         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX memory_turns_by_session ON memory_turns (session_id, id);

-- How many turns of a session were remembered, whose the next ones are ('' is nobody), and when it is tried again.
CREATE TABLE memory_sessions (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id),
    committed  INTEGER NOT NULL DEFAULT 0,
    agent      TEXT,
    failures   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER,
    reason     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_sessions_failing ON memory_sessions (session_id) WHERE failures > 0;
