-- Who was let in, who asks to be, what was decided about people, and what their turns took.

-- People who were let in by pairing. `person` is their platform's id, the lasting one where there are two; the place is
-- where they are told what becomes of that.
CREATE TABLE people (
    platform  TEXT NOT NULL,
    person    TEXT NOT NULL,
    role      TEXT NOT NULL,
    name      TEXT,
    account   TEXT NOT NULL,
    chat      TEXT NOT NULL,
    thread    TEXT NOT NULL,
    let_in_at INTEGER NOT NULL,
    let_in_by TEXT NOT NULL,
    PRIMARY KEY (platform, person)
) STRICT, WITHOUT ROWID;

-- Strangers who were given a code. Of the code there is a keyed hash alone.
CREATE TABLE pairing_requests (
    platform     TEXT NOT NULL,
    person       TEXT NOT NULL,
    code_hash    TEXT NOT NULL,
    name         TEXT,
    account      TEXT NOT NULL,
    chat         TEXT NOT NULL,
    thread       TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (platform, person)
) STRICT, WITHOUT ROWID;

-- Wrong codes in a row, by who tried.
CREATE TABLE pairing_tries (
    actor        TEXT PRIMARY KEY,
    wrong        INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    locked_until INTEGER
) STRICT, WITHOUT ROWID;

-- What the turns of a person, or in a chat, took on a day of the configured time zone.
CREATE TABLE tokens_by_day (
    day      TEXT NOT NULL,
    platform TEXT NOT NULL,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (day, platform, kind, id)
) STRICT, WITHOUT ROWID;

-- What was decided about people. Rows are added, and neither changed nor removed.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    event    TEXT NOT NULL,
    platform TEXT NOT NULL,
    person   TEXT NOT NULL,
    actor    TEXT NOT NULL,
    role     TEXT,
    detail   TEXT
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
WHEN (OLD.id, OLD.at, OLD.event, OLD.platform, OLD.person, OLD.actor, OLD.role, OLD.detail)
  IS NOT (NEW.id, NEW.at, NEW.event, NEW.platform, NEW.person, NEW.actor, NEW.role, NEW.detail)
BEGIN
    SELECT RAISE(ABORT, 'the audit is never changed');
END;
CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is never removed');
END;
