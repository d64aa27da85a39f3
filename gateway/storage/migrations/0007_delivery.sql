-- When the call that shows the next part of a delivery began: what was in the chat before that is not it.
ALTER TABLE outbox ADD COLUMN started_at INTEGER;
