-- Indexes for what is looked up at each start, with each message and with each status, and for what is removed in time.
-- They are partial: a row that nobody will look for costs no write.

-- The replies that still grow; only they are looked up by their turn.
CREATE INDEX outbox_growing ON outbox (turn_id) WHERE final = 0;
DROP INDEX outbox_by_turn;

-- What `status` counts of the outbox.
CREATE INDEX outbox_dead ON outbox (id) WHERE state = 'dead';
CREATE INDEX outbox_repeated ON outbox (id) WHERE repeated = 1;

-- Sessions that have ended, by age; and what refers to a session, which has to be known when it is removed.
CREATE INDEX sessions_ended ON sessions (updated_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_predecessor ON sessions (predecessor_id) WHERE predecessor_id IS NOT NULL;
CREATE INDEX sessions_by_successor ON sessions (successor_id) WHERE successor_id IS NOT NULL;
CREATE INDEX slots_by_previous_session ON slots (previous_session_id) WHERE previous_session_id IS NOT NULL;
CREATE INDEX turns_by_session ON turns (session_id);

-- When a delivery was given up; a dead letter stays in sight for a time.
ALTER TABLE outbox ADD COLUMN ended_at INTEGER;
