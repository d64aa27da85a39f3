-- Sessions that came from another program: how many of its messages are here, and since when (null for all others).
ALTER TABLE sessions ADD COLUMN imported INTEGER;
ALTER TABLE sessions ADD COLUMN imported_at INTEGER;
