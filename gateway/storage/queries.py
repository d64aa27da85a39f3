"""Every SQL statement of the gateway, by subject; each says what it is for."""

# ruff: noqa: S608 - the parts that statements are put together from are constants of this module

from typing import Final

from gateway.storage.words import snippet

# --- meta ----------------------------------------------------------------------------------------------

GET_META: Final = "SELECT value FROM meta WHERE name = ?"
"""One named value of the installation."""

ADD_META: Final = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
"""Set a named value unless it is there already."""

PUT_META: Final = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
"""Set a named value."""

# --- slots ---------------------------------------------------------------------------------------------

FIND_SLOT: Final = """
SELECT id FROM slots
WHERE agent = ? AND platform = ? AND chat_type = ? AND chat = ? AND thread = ? AND participant = ?"""
"""The slot with these parts."""

ADD_SLOT: Final = """
INSERT INTO slots (agent, platform, chat_type, chat, thread, participant, key) VALUES (?, ?, ?, ?, ?, ?, ?)"""
"""Create a slot, empty."""

GET_SLOT: Final = "SELECT * FROM slots WHERE id = ?"
"""A slot by number."""

FIND_SLOTS_BY_KEY: Final = """
SELECT * FROM slots WHERE key = ? AND (session_id IS NOT NULL OR previous_session_id IS NOT NULL) ORDER BY id"""
"""The slots that people see under this key, and that have or had a session; more than one where parts of a chat
share a name."""

BIND_SLOT: Final = "UPDATE slots SET session_id = ?, previous_session_id = NULL WHERE id = ?"
"""Make a session the live one of a slot."""

VACATE_SLOT: Final = "UPDATE slots SET previous_session_id = session_id, session_id = NULL WHERE id = ?"
"""Leave a slot empty after its session has ended, remembering which that was."""

# --- sessions ------------------------------------------------------------------------------------------

_ENTRY: Final = """
    slots.key AS session_key, sessions.id, sessions.created_at, sessions.updated_at, sessions.origin,
    sessions.display_name, sessions.platform, sessions.chat_type, sessions.input_tokens, sessions.output_tokens,
    sessions.cache_read_tokens, sessions.cache_write_tokens, sessions.last_prompt_tokens,
    sessions.estimated_cost_usd, sessions.cost_status, sessions.was_auto_reset, sessions.auto_reset_reason,
    sessions.reset_had_activity, sessions.message_count, sessions.model, sessions.title, sessions.predecessor_id,
    sessions.successor_id, sessions.ended_at, sessions.end_reason"""
ENTRY_WIDTH: Final = 25
"""A session's record is the first columns of a row; `gateway.session.records.entry_from_row` reads them by place."""

_SESSION: Final = f"""SELECT {_ENTRY}, sessions.owner, sessions.slot_id, sessions.end_detail,
       sessions.agent, sessions.pinned, sessions.archived
FROM sessions JOIN slots ON slots.id = sessions.slot_id"""

LIVE_SESSION: Final = f"""
SELECT {_ENTRY}, slots.id AS bound_slot_id, slots.previous_session_id, sessions.agent AS chosen_agent
FROM slots LEFT JOIN sessions ON sessions.id = slots.session_id
WHERE slots.agent = ? AND slots.platform = ? AND slots.chat_type = ? AND slots.chat = ? AND slots.thread = ?
  AND slots.participant = ?"""
"""The slot with these parts and its live session, whose columns are null when the slot is empty."""

LIVE_SESSION_BRIEF: Final = """
SELECT sessions.id, sessions.updated_at, sessions.title IS NOT NULL AS titled, slots.id AS bound_slot_id,
       slots.previous_session_id
FROM slots LEFT JOIN sessions ON sessions.id = slots.session_id
WHERE slots.agent = ? AND slots.platform = ? AND slots.chat_type = ? AND slots.chat = ? AND slots.thread = ?
  AND slots.participant = ?"""
"""The same, as much as the rules about resets need: half the time of the whole record."""

GET_SESSION: Final = f"{_SESSION} WHERE sessions.id = ?"
"""A session by id, under the key of the slot that it is or was live in."""

SESSION_EXISTS: Final = "SELECT 1 FROM sessions WHERE id = ?"
"""Whether a session id is taken."""

ADD_SESSION: Final = """
INSERT INTO sessions (
    id, slot_id, owner, platform, chat_type, display_name, origin, created_at, updated_at, predecessor_id,
    was_auto_reset, auto_reset_reason, reset_had_activity
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
"""Begin a session."""

TOUCH_SESSION: Final = """
UPDATE sessions SET updated_at = max(updated_at, ?), display_name = coalesce(?, display_name), origin = ?
WHERE id = ?"""
"""A message came in: move the session's time forward and refresh how its place is called."""

END_SESSION: Final = """
UPDATE sessions SET ended_at = ?, end_reason = ?, end_detail = ? WHERE id = ?"""
"""End a session, naming why."""

LINK_SUCCESSOR: Final = "UPDATE sessions SET successor_id = ? WHERE id = ?"
"""Name the session that came after one that has ended."""

REOPEN_SESSION: Final = """
UPDATE sessions SET ended_at = NULL, end_reason = NULL, end_detail = NULL, successor_id = NULL,
       updated_at = max(updated_at, ?), slot_id = ?, chat_type = ?
WHERE id = ?"""
"""Take an ended session up again, in this slot."""

_COUNT_TURN: Final = """
UPDATE sessions SET
    updated_at = max(updated_at, ?),
    display_name = coalesce(?, display_name), origin = coalesce(?, origin), title = coalesce(title, ?),
    message_count = message_count + ?,
    input_tokens = input_tokens + ?, output_tokens = output_tokens + ?,
    cache_read_tokens = cache_read_tokens + ?, cache_write_tokens = cache_write_tokens + ?,
    last_prompt_tokens = coalesce(?, last_prompt_tokens), model = coalesce(?, model),
    estimated_cost_usd = coalesce(estimated_cost_usd + ?, ?, estimated_cost_usd),
    cost_status = coalesce(?, cost_status)"""

COUNT_TURN: Final = f"{_COUNT_TURN} WHERE id = ? AND end_reason IS NOT 'session_joined'"
"""Add a turn to a session: its time, how its place is called, its first title, its messages and its usage.
What is null leaves what was there. The cost is given twice. A session that has joined another takes no more."""

COUNT_LIVE_TURN: Final = f"{_COUNT_TURN} WHERE id = ? AND slot_id = ? AND ended_at IS NULL AND updated_at >= ?"
"""The same, if the session is still the live one of this slot and has not been quiet since before an instant."""

RESIZE_TRANSCRIPT: Final = """
UPDATE sessions SET message_count = message_count + ?, updated_at = max(updated_at, ?) WHERE id = ?"""
"""Messages came into, or went out of, a session's transcript outside any turn."""

TAKE_RESET_NOTICE: Final = """
UPDATE sessions SET was_auto_reset = 0 WHERE id = ? AND was_auto_reset = 1
RETURNING auto_reset_reason, reset_had_activity"""
"""Take the notice of an automatic reset; a second call finds nothing."""

SESSION_FOR_OWNER: Final = "SELECT 1 FROM sessions WHERE owner = ? AND id <> ? LIMIT 1"
"""Whether an owner has a session besides this one."""

TWO_SESSIONS: Final = "SELECT 1 FROM sessions LIMIT 2"
"""Two rows when there is more than one session."""

EVER: Final = -(2**63)
"""An instant before all others, in microseconds."""

_NEWEST: Final = " UNION ALL ".join(
    f"""SELECT id FROM (SELECT id FROM sessions WHERE archived = {archived} AND pinned = {pinned} AND updated_at >= ?1
                        ORDER BY updated_at DESC, id DESC LIMIT ?2)"""
    for archived in (0, 1)
    for pinned in (0, 1)
)

LIST_SESSIONS: Final = f"""
{_SESSION} WHERE sessions.id IN ({_NEWEST}) ORDER BY sessions.updated_at DESC, sessions.id DESC LIMIT ?2"""
"""Sessions touched since an instant, the newest first: the newest of each of the four ranges of the index
`sessions_latest`, so that a short list is short work however many sessions there are."""

LATEST_SESSIONS: Final = f"""
{_SESSION} WHERE sessions.archived = 0
ORDER BY sessions.pinned DESC, sessions.updated_at DESC, sessions.id DESC LIMIT ?"""
"""What a person sees first: pinned ones, then the newest."""

FIND_SESSION_PREFIX: Final = f"{_SESSION} WHERE sessions.id >= ? AND sessions.id < ? ORDER BY sessions.id LIMIT 3"
"""Sessions whose id begins so."""

QUIET_SLOTS: Final = """
SELECT slots.*, sessions.updated_at
FROM slots JOIN sessions ON sessions.id = slots.session_id
WHERE slots.session_id > ?1 AND sessions.updated_at < ?2 AND coalesce(sessions.imported_at, ?2 - 1) < ?2
ORDER BY slots.session_id LIMIT ?3"""
"""A page of slots whose live sessions have been quiet, and here, since an instant."""

COUNT_SESSIONS: Final = """
SELECT (SELECT count(*) FROM sessions) AS total,
       (SELECT count(*) FROM slots WHERE session_id IS NOT NULL) AS live"""
"""How many sessions there are, and how many are live: each counted on the narrowest index that has them."""

# --- transcripts ---------------------------------------------------------------------------------------

ADD_MESSAGE: Final = """
INSERT INTO messages (session_id, turn_id, key, role, content, data, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"""
"""Append a message."""

HAS_MESSAGE_KEY: Final = "SELECT 1 FROM messages WHERE session_id = ? AND key = ?"
"""Whether a message with this key has been appended already."""

LOAD_MESSAGES: Final = "SELECT role, content, data FROM messages WHERE session_id = ? ORDER BY id"
"""A transcript."""

LOAD_MESSAGES_WITH_TIMES: Final = """
SELECT id, turn_id, role, content, data, created_at FROM messages WHERE session_id = ? ORDER BY id"""
"""A transcript with what an export shows besides."""

LAST_USER_MESSAGE: Final = """
SELECT id, content, data FROM messages WHERE session_id = ? AND role = 'user' ORDER BY id DESC LIMIT 1"""
"""Where a retry or an undo cuts."""

DELETE_MESSAGES: Final = "DELETE FROM messages WHERE session_id = ? AND id >= ?"
"""Remove the end of a transcript; take it out of the search index first."""

# --- the search index: everything up to the cursor is in it, as the view `messages_words` has it ---------

SEARCH_CURSOR: Final = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'search_cursor'"
"""The last message that has been indexed."""

MOVE_SEARCH_CURSOR: Final = """
INSERT INTO meta (name, value) VALUES ('search_cursor', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Note the last message that has been indexed."""

NEXT_INDEX_BOUND: Final = "SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?)"
"""The last message of the next batch to index."""

INDEX_MESSAGES: Final = """
INSERT INTO messages_search (rowid, content) SELECT id, content FROM messages_words WHERE id > ? AND id <= ?"""
"""Index the next messages."""

UNINDEX_MESSAGES: Final = f"""
INSERT INTO messages_search (messages_search, rowid, content)
SELECT 'delete', id, content FROM messages_words WHERE session_id = ? AND id >= ? AND id <= ({SEARCH_CURSOR})"""
"""Take the end of a transcript out of the search index, as far as it is in it."""

COUNT_UNINDEXED: Final = f"SELECT count(*) FROM messages WHERE id > coalesce(({SEARCH_CURSOR}), 0)"
"""How many messages the index is behind."""

SEARCH_NEWEST: Final = f"""
SELECT messages.id, messages.session_id, messages.role, messages.created_at, slots.key AS session_key,
       sessions.title, {snippet("messages_search", "messages.content", 24, marks="?, ?")} AS snippet
FROM messages_search JOIN messages ON messages.id = messages_search.rowid
JOIN sessions ON sessions.id = messages.session_id JOIN slots ON slots.id = sessions.slot_id
WHERE messages_search MATCH ? AND messages_search.rowid < ? ORDER BY messages_search.rowid DESC LIMIT ?"""
"""Messages that match, the newest first."""

# --- inbound -------------------------------------------------------------------------------------------

ADD_INBOUND: Final = """
INSERT INTO inbound (platform, account, chat, message_id, slot_id, source, text, group_id, received_at, state,
                     reason, ended_at, extra)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (platform, account, chat, message_id) DO NOTHING"""
"""Take a message in, once."""

FIND_INBOUND: Final = """
SELECT id, state, reason FROM inbound WHERE platform = ? AND account = ? AND chat = ? AND message_id = ?"""
"""The message that was taken in under this platform id."""

PUT_CURSOR: Final = """
INSERT INTO cursors (platform, account, name, value) VALUES (?, ?, ?, ?)
ON CONFLICT (platform, account, name) DO UPDATE SET value = excluded.value"""
"""Move a platform's cursor."""

COUNT_QUEUED: Final = (
    "SELECT count(*) FROM inbound WHERE slot_id = ? AND state IN ('pending', 'running') AND state = 'pending'"
)
"""How many messages wait in a slot."""

_INBOUND: Final = """
SELECT inbound.*, slots.agent AS slot_agent, slots.platform AS slot_platform, slots.chat_type AS slot_chat_type,
       slots.chat AS slot_chat, slots.thread AS slot_thread, slots.participant AS slot_participant
FROM inbound JOIN slots ON slots.id = inbound.slot_id"""

_UNANSWERED: Final = "inbound.state IN ('pending', 'running', 'refused', 'expired', 'failed', 'dead')"
"""Word for word the condition of the index `inbound_unanswered`, which is used where this stands."""

PENDING_INBOUND: Final = f"""
{_INBOUND} WHERE {_UNANSWERED} AND inbound.state = 'pending' AND inbound.id > ? ORDER BY inbound.id LIMIT ?"""
"""A page of messages that wait, in order of receipt."""

INBOUND_OF_TURN: Final = f"{_INBOUND} WHERE inbound.turn_id = ? AND inbound.state = 'running' ORDER BY inbound.id"
"""The messages that a turn answers."""

CLAIM_INBOUND: Final = """
UPDATE inbound SET state = 'running', turn_id = ? WHERE id = ? AND state = 'pending' RETURNING reason, text, extra"""
"""Give a message to a turn, as its sender wants it by now; a reason says that it was stopped before it had one. Fetch
the row."""

STOP_INBOUND: Final = """
UPDATE inbound SET reason = ? WHERE id = ? AND state = 'pending'"""
"""A message that waits is to be stopped as soon as its turn begins."""

TURN_OF_INBOUND: Final = "SELECT turn_id FROM inbound WHERE id = ? AND state IN ('pending', 'running')"
"""The turn of a message that has no end yet, null while it waits for one."""

END_INBOUND: Final = """
UPDATE inbound SET state = ?, reason = ?, ended_at = ? WHERE id = ? AND state IN ('pending', 'running')"""
"""End a message, once."""

UNANSWERED: Final = f"""
SELECT inbound.id, inbound.platform, inbound.chat, inbound.message_id, inbound.source, inbound.text,
       inbound.received_at, inbound.state, inbound.reason, inbound.ended_at, inbound.turn_id, slots.key AS session_key
FROM inbound LEFT JOIN slots ON slots.id = inbound.slot_id
WHERE {_UNANSWERED}
ORDER BY inbound.id DESC LIMIT ?"""
"""Messages without an answer, the newest first."""

COUNT_INBOUND: Final = f"SELECT state, count(*) AS number FROM inbound WHERE {_UNANSWERED} GROUP BY state"
"""How many messages are without an answer, by state."""

# --- turns ---------------------------------------------------------------------------------------------

ADD_TURN: Final = """
INSERT INTO turns (id, slot_id, session_id, agent, state, started_at) VALUES (?, ?, ?, ?, 'running', ?)"""
"""Begin a turn."""

SESSION_HAS_TURN: Final = "SELECT id FROM turns WHERE slot_id = ? AND state IN ('running', 'waiting')"
"""The turn that is open in a slot."""

TURN_IS_OPEN: Final = "SELECT 1 FROM turns WHERE id = ? AND state IN ('running', 'waiting')"
"""Whether a turn has not ended."""

OPEN_TURNS: Final = """
SELECT turns.*, slots.agent AS slot_agent, slots.platform AS slot_platform, slots.chat_type AS slot_chat_type,
       slots.chat AS slot_chat, slots.thread AS slot_thread, slots.participant AS slot_participant
FROM turns JOIN slots ON slots.id = turns.slot_id
WHERE turns.state IN ('running', 'waiting') ORDER BY turns.started_at"""
"""Turns that have not ended, with their slots."""

OPEN_TURN_IDS: Final = "SELECT id FROM turns WHERE state IN ('running', 'waiting')"
"""Turns that have not ended."""

GET_TURN: Final = "SELECT * FROM turns WHERE id = ?"
"""A turn by id."""

SUSPEND_TURN: Final = """
UPDATE turns SET state = 'waiting', not_before = ?, attempts = max(attempts - 1, 0)
WHERE id = ? AND state = 'running'"""
"""An orderly stop of the program cut a turn short; that attempt does not count. A turn that waits without an
instant was cut short while its agent worked."""

RESTART_TURN: Final = """
UPDATE turns SET state = 'running', attempts = attempts + 1, not_before = NULL WHERE id = ? RETURNING attempts"""
"""Count a further attempt."""

DELAY_TURN: Final = "UPDATE turns SET state = 'waiting', not_before = ?, reason = ? WHERE id = ?"
"""Put a turn off."""

END_TURN: Final = """
UPDATE turns SET state = 'done', reason = ?, ended_at = ?, not_before = NULL
WHERE id = ? AND state IN ('running', 'waiting')"""
"""End a turn, once."""

ADD_STEP: Final = """
INSERT INTO turn_steps (turn_id, seq, kind, data)
SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3 FROM turn_steps WHERE turn_id = ?1"""
"""Journal what a turn has done."""

STEPS: Final = "SELECT kind, data FROM turn_steps WHERE turn_id = ? ORDER BY seq"
"""A turn's journal."""

DELETE_STEPS: Final = "DELETE FROM turn_steps WHERE turn_id = ?"
"""Drop the journal of a turn that has ended; its transcript has it."""

# --- merging a spool -----------------------------------------------------------------------------------

JOIN_SESSION: Final = """
UPDATE sessions SET
    updated_at = max(updated_at, ?),
    display_name = coalesce(?, display_name), origin = coalesce(?, origin), title = coalesce(title, ?),
    message_count = message_count + ?,
    input_tokens = input_tokens + ?, output_tokens = output_tokens + ?,
    cache_read_tokens = cache_read_tokens + ?, cache_write_tokens = cache_write_tokens + ?,
    last_prompt_tokens = coalesce(?, last_prompt_tokens), model = coalesce(?, model),
    estimated_cost_usd = coalesce(estimated_cost_usd + ?, ?, estimated_cost_usd),
    cost_status = coalesce(?, cost_status)
WHERE id = ?"""
"""Add what a provisional session has counted to the one that it joins. The cost is given twice."""

END_JOINED: Final = """
UPDATE sessions SET ended_at = ?, end_reason = ?, end_detail = ?, successor_id = ? WHERE id = ?"""
"""End, or take up again, a session as the provisional one that joined it was."""

JOINED_BY: Final = "SELECT successor_id FROM sessions WHERE id = ? AND end_reason = 'session_joined'"
"""The session that a provisional one has joined."""

RENUMBER_INBOUND: Final = "UPDATE inbound SET id = ? WHERE id = ?"
"""A message that waits was taken in once more during an outage: it goes by the number that it got then."""

REQUEUE_INBOUND: Final = """
UPDATE inbound SET state = 'pending', turn_id = NULL WHERE turn_id = ? AND state = 'running'"""
"""What a turn that has ended has left without an end waits again."""

PUT_BACK_TURN: Final = "UPDATE turns SET state = 'put_back', not_before = NULL, reason = ? WHERE id = ?"
"""Another turn of the slot goes first; this one keeps its messages and its journal."""

PUT_BACK_TURNS: Final = """
SELECT DISTINCT turns.*, slots.agent AS slot_agent, slots.platform AS slot_platform,
       slots.chat_type AS slot_chat_type, slots.chat AS slot_chat, slots.thread AS slot_thread,
       slots.participant AS slot_participant
FROM inbound JOIN turns ON turns.id = inbound.turn_id JOIN slots ON slots.id = inbound.slot_id
WHERE inbound.state IN ('pending', 'running') AND inbound.state = 'running' AND turns.state = 'put_back'
ORDER BY turns.started_at"""
"""Turns that were put back, with their slots."""

REOPEN_TURN: Final = """
UPDATE turns SET state = 'waiting',
       slot_id = coalesce((SELECT slot_id FROM inbound WHERE turn_id = turns.id AND state = 'running'), slot_id)
WHERE id = ? AND state = 'put_back'"""
"""A turn that was put back has its place again, where its messages are by now. Fails while another is open there."""

LAST_ROW: Final = "SELECT last_insert_rowid()"
"""The number of the row that was added last."""

TURN_HAS_INBOUND: Final = "SELECT 1 FROM inbound WHERE turn_id = ? AND state = 'running' LIMIT 1"
"""Whether a turn has messages that it answers."""

END_UNBOUND_SESSIONS: Final = """
UPDATE sessions SET ended_at = updated_at, end_reason = 'session_reset', end_detail = 'command'
WHERE slot_id = ? AND ended_at IS NULL
  AND id <> coalesce((SELECT session_id FROM slots WHERE slots.id = ?), '')"""
"""End the sessions of a slot that are live by their record and not in it: a commit that failed and still went in."""

UNINDEX_MESSAGE: Final = f"""
INSERT INTO messages_search (messages_search, rowid, content)
SELECT 'delete', id, content FROM messages_words WHERE id = ? AND id <= ({SEARCH_CURSOR})"""
"""Take one message out of the search index, if it is in it."""

MERGED_UP_TO: Final = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?"
"""The last record of a spool that is in the database; the name is `spool:` and its id."""

NOTE_MERGED: Final = """
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Note the last record of a spool that is in the database."""

NOTE_RETURN: Final = """
INSERT INTO meta (name, value) VALUES ('in_use_since', ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Note when the database came back into use, in microseconds since 1970 UTC: that it can be written is shown by it."""
