-- What was posted to webhooks, so that nothing is taken in twice: neither what a sender repeats nor what somebody replays.

-- `mark` is what the request was signed with, by our own reckoning; `delivery` is a hash of the id that it came under.
-- `taken`: it is in the inbox. Rows are added, marked as taken, and removed in time.
CREATE TABLE webhook_calls (
    hook        TEXT NOT NULL,
    mark        TEXT NOT NULL,
    delivery    TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    taken       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hook, mark)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_calls_by_delivery ON webhook_calls (hook, delivery, taken);
CREATE INDEX webhook_calls_by_age ON webhook_calls (received_at);
