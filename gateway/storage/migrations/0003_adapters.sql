-- What adapters over a network need: updates as they came, messages of several parts, files, what is to be waited for.

-- An update as its platform sent it, until it is decided what it is; `problem` says why one was set aside.
CREATE TABLE updates (
    platform    TEXT NOT NULL,
    account     TEXT NOT NULL,
    id          TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    payload     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    problem     TEXT,
    PRIMARY KEY (platform, account, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX updates_in_order ON updates (platform, account, seq) WHERE problem IS NULL;

-- `extra` holds a message's attachments and what it answers, as JSON. `edited` is the text that its sender gave it
-- after its turn had begun, until the agent has been told.
ALTER TABLE inbound ADD COLUMN extra TEXT;
ALTER TABLE inbound ADD COLUMN edited TEXT;
CREATE INDEX inbound_edited ON inbound (slot_id) WHERE edited IS NOT NULL;

-- `parts` has what was shown of a delivery, as JSON: for each message its id, and whether it is marked as repeated.
-- `message_id` is the first one's. `file` is what is to be sent in place of text, `buttons` what stands below. `key` makes adding a delivery idempotent.
ALTER TABLE outbox ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE outbox ADD COLUMN file TEXT;
ALTER TABLE outbox ADD COLUMN buttons TEXT;
ALTER TABLE outbox ADD COLUMN key TEXT;
CREATE UNIQUE INDEX outbox_by_key ON outbox (key) WHERE key IS NOT NULL;

-- Until when a platform wants to be left alone in a chat; for the whole account the chat is ''.
CREATE TABLE holds (
    platform TEXT NOT NULL,
    account  TEXT NOT NULL,
    chat     TEXT NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (platform, account, chat)
) STRICT, WITHOUT ROWID;
