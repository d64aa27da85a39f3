-- Chats that have another id now, and what is looked up for them.

CREATE TABLE moved_chats (
    platform TEXT NOT NULL,
    old      TEXT NOT NULL,
    new      TEXT NOT NULL,
    account  TEXT NOT NULL,
    moved_at INTEGER NOT NULL,
    PRIMARY KEY (platform, old)
) STRICT, WITHOUT ROWID;
CREATE INDEX slots_by_chat ON slots (platform, chat);

-- Updates that were set aside, by age.
CREATE INDEX updates_set_aside ON updates (received_at) WHERE problem IS NOT NULL;
