-- What people can do with their sessions: the lists of one owner, and what was taken off a transcript.

-- One owner's sessions in the order of a list. It also serves what the index that it replaces was for.
CREATE INDEX sessions_of_owner ON sessions (owner, archived, pinned DESC, updated_at DESC, id);
DROP INDEX sessions_by_owner;

-- The end, or the beginning, of a transcript that was taken off, as long as it can be put back. `messages` is JSON: the
-- rows as they stood. `last_id` is the last message that stayed, 0 if none did; `tail`: the end was taken off.
CREATE TABLE cuts (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    first_id   INTEGER NOT NULL,
    last_id    INTEGER NOT NULL,
    tail       INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    messages   TEXT NOT NULL,
    cut_at     INTEGER NOT NULL,
    PRIMARY KEY (session_id, first_id)
) STRICT;
CREATE INDEX cuts_by_age ON cuts (cut_at);
