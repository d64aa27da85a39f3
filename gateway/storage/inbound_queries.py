"""The SQL statements about what comes in besides new messages: raw updates, edits, and chats that get another id."""

from typing import Final

# --- updates -------------------------------------------------------------------------------------------

FORGET_MESSAGE_IDS: Final = """
UPDATE inbound SET message_id = message_id || '@' || ?1 WHERE platform = ?2 AND account = ?3"""
"""The ids of an account's messages are those of another from now on."""

DROP_CURSORS: Final = "DELETE FROM cursors WHERE platform = ? AND account = ?"
"""Positions in the streams of another account mean nothing."""

SET_ASIDE_ALL: Final = """
UPDATE updates SET problem = ? WHERE platform = ? AND account = ? AND problem IS NULL"""
"""Updates of another account are for the operator to look at."""

GET_CURSOR: Final = "SELECT value FROM cursors WHERE platform = ? AND account = ? AND name = ?"
"""A platform's position in its stream of updates."""

LIST_CURSORS: Final = """
SELECT name, value FROM cursors WHERE platform = ? AND account = ? AND name >= ? AND name < ? ORDER BY name"""
"""A platform's positions whose names lie between two texts."""

LAST_UPDATE: Final = "SELECT max(seq) FROM updates WHERE platform = ? AND account = ? AND problem IS NULL"
"""The place of the last update that is kept; null if none is."""

KEEP_UPDATE: Final = """
INSERT INTO updates (platform, account, id, seq, payload, received_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (platform, account, id) DO NOTHING"""
"""Keep an update as it came, once."""

KEPT_UPDATES: Final = """
SELECT id, seq, payload FROM updates
WHERE platform = ? AND account = ? AND problem IS NULL AND seq > ? ORDER BY seq LIMIT ?"""
"""A page of the updates that are kept, in the order in which they came."""

DELETE_UPDATE: Final = "DELETE FROM updates WHERE platform = ? AND account = ? AND id = ?"
"""It is decided what an update is, and that is stored."""

SET_ASIDE_UPDATE: Final = "UPDATE updates SET problem = ? WHERE platform = ? AND account = ? AND id = ?"
"""An update that nothing can be made of, for the operator to look at."""

COUNT_UPDATES: Final = """
SELECT (SELECT count(*) FROM updates WHERE problem IS NULL) AS kept,
       (SELECT count(*) FROM updates WHERE problem IS NOT NULL) AS set_aside"""
"""How many updates are kept, and how many were set aside."""

UPDATES_SET_ASIDE: Final = """
SELECT platform, account, id, problem, received_at FROM updates WHERE problem IS NOT NULL
ORDER BY received_at DESC LIMIT ?"""
"""Updates that were set aside, the newest first."""

REMOVE_OLD_UPDATES: Final = "DELETE FROM updates WHERE problem IS NOT NULL AND received_at < ?"
"""Remove updates that were set aside and came before an instant."""

EXCESS_UPDATE: Final = """
SELECT received_at FROM updates WHERE problem IS NOT NULL ORDER BY received_at DESC LIMIT 1 OFFSET ?"""
"""When the first of those came that are too many, counted from the newest."""

# --- groups of messages --------------------------------------------------------------------------------

RECENT_GROUP: Final = """
SELECT 1 FROM inbound WHERE id > (SELECT max(id) FROM inbound) - ?
                        AND +platform = ? AND +account = ? AND +chat = ? AND group_id = ? LIMIT 1"""
"""Whether any of the newest messages is of this group; one that was ignored names none."""

KNOWN_INBOUND: Final = """
SELECT message_id FROM inbound
WHERE platform = ? AND account = ? AND chat = ? AND message_id IN (SELECT value FROM json_each(?))"""
"""Those of these messages of a chat, a JSON array of their ids, that were taken in."""

# --- messages that their sender changes ----------------------------------------------------------------

INBOUND_BY_KEY: Final = """
SELECT inbound.*, slots.agent AS slot_agent, slots.platform AS slot_platform, slots.chat_type AS slot_chat_type,
       slots.chat AS slot_chat, slots.thread AS slot_thread, slots.participant AS slot_participant
FROM inbound JOIN slots ON slots.id = inbound.slot_id
WHERE inbound.platform = ? AND inbound.account = ? AND inbound.chat = ? AND inbound.message_id = ?"""
"""A message by its platform's id, with its slot; one that was ignored has none."""

SLOT_TO_BEGIN_IN: Final = """
SELECT slots.*, (SELECT id FROM turns WHERE slot_id = slots.id AND state IN ('running', 'waiting')) AS open_turn,
       EXISTS (SELECT 1 FROM inbound AS other WHERE other.slot_id = slots.id AND other.edited IS NOT NULL) AS has_edits
FROM slots WHERE slots.id = coalesce((SELECT slot_id FROM inbound WHERE id = ?1), ?2)"""
"""The slot that a message is in, else the one of this number; with the turn that is open there, and whether edits wait
that the agent has not been told of."""

AMEND_INBOUND: Final = "UPDATE inbound SET text = ?, extra = ? WHERE id = ? AND state = 'pending'"
"""What a message says now that has no turn yet."""

IS_WITHDRAWN: Final = "SELECT 1 FROM inbound WHERE id = ? AND state = 'ignored'"
"""Whether a message that was to be answered was deleted before its turn."""

NOTE_EDIT: Final = "UPDATE inbound SET edited = ? WHERE id = ?"
"""What a message says now that the agent has seen before; null if that is what it has seen."""

TAKE_EDITS: Final = """
UPDATE inbound SET edited = NULL, text = edited WHERE slot_id = ? AND edited IS NOT NULL
RETURNING id, text, source"""
"""Take the edits that the agent has not been told of. Fetch all rows; their order is none."""

ANNOTATE_INBOUND: Final = "UPDATE inbound SET extra = ? WHERE id = ?"
"""What belongs to a message besides its text."""

# --- chats that get another id -------------------------------------------------------------------------

MOVED_TO: Final = "SELECT new FROM moved_chats WHERE platform = ? AND old = ?"
"""The id that a chat has now, if it has had this one before."""

NOTE_MOVE: Final = """
INSERT INTO moved_chats (platform, old, new, account, moved_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (platform, old)
DO UPDATE SET new = excluded.new, account = excluded.account, moved_at = excluded.moved_at"""
"""A chat has another id from now on."""

FORGET_MOVE: Final = "DELETE FROM moved_chats WHERE platform = ? AND old = ?"
"""An id is in use again."""

LENGTHEN_MOVES: Final = "UPDATE moved_chats SET new = ? WHERE platform = ? AND new = ?"
"""A chat that had moved already has moved on."""

SLOTS_OF_CHAT: Final = "SELECT * FROM slots WHERE platform = ? AND chat = ? ORDER BY id"
"""The slots of a chat."""

MOVE_SLOT: Final = "UPDATE slots SET chat = ?, key = ? WHERE id = ?"
"""A slot is of another chat now."""

CLEAR_SLOT: Final = "UPDATE slots SET session_id = NULL, previous_session_id = NULL WHERE id = ?"
"""A slot's sessions are another's now."""

FILL_SLOT: Final = "UPDATE slots SET session_id = ?, previous_session_id = ? WHERE id = ?"
"""A slot gets the sessions of another."""

SLOT_HAS_CONTENT: Final = """
SELECT 1 FROM sessions WHERE id IN (?, ?) AND message_count > 0
UNION ALL SELECT 1 FROM turns WHERE slot_id = ?3 AND state IN ('running', 'waiting')
UNION ALL SELECT 1 FROM inbound WHERE slot_id = ?3 AND state IN ('pending', 'running') LIMIT 1"""
"""Whether a slot, whose sessions are these, has anything that must not be put away."""

MOVE_SESSIONS: Final = "UPDATE sessions SET slot_id = ? WHERE slot_id = ?"
"""The sessions of a slot are another's now."""

MOVE_TURNS: Final = "UPDATE turns SET slot_id = ? WHERE slot_id = ? AND state IN ('running', 'waiting')"
"""The open turn of a slot is another's now."""

MOVE_PUT_BACK: Final = """
UPDATE turns SET slot_id = ? WHERE state = 'put_back' AND id IN (
    SELECT turn_id FROM inbound WHERE slot_id = ? AND state IN ('pending', 'running') AND state = 'running')"""
"""The turns of a slot that wait for its open one are another's now; before their messages are."""

MOVE_OPEN_INBOUND: Final = "UPDATE inbound SET slot_id = ? WHERE slot_id = ? AND state IN ('pending', 'running')"
"""What waits in a slot, or is being answered, is another's now."""

MOVE_EDITS: Final = "UPDATE inbound SET slot_id = ? WHERE slot_id = ? AND edited IS NOT NULL"
"""The edits that a slot's agent has not been told of are another's now."""

READDRESS_INBOUND: Final = """
UPDATE inbound SET source = CASE WHEN json_valid(source) THEN json_set(source, '$.chat_id', ?) || '' ELSE source END
WHERE slot_id = ? AND state IN ('pending', 'running')"""
"""The answers to a slot's messages go to another chat id. Joined with nothing, JSON is a text like any other, also to
the trigger that captures it."""

READDRESS_SESSIONS: Final = """
UPDATE sessions SET origin = json_set(origin, '$.chat_id', ?) || ''
WHERE slot_id = ? AND CASE WHEN json_valid(origin) THEN json_extract(origin, '$.chat_id') = ? END"""
"""The place that a slot's sessions are of has another id."""

RENAME_OWNER: Final = "UPDATE sessions SET owner = ? WHERE owner = ?"
"""The chat that sessions belong to has another id."""

MOVE_DELIVERIES: Final = """
UPDATE outbox SET chat = ?, answers = '[]', repeated = max(repeated, message_id IS NOT NULL), message_id = NULL,
                  parts = '[]'
WHERE platform = ? AND account = ? AND chat = ? AND state IN ('pending', 'sending')"""
"""What waits to be sent goes to a chat's new id. Ids of messages mean nothing there: what was shown is sent again."""

MOVE_GROWING: Final = """
UPDATE outbox SET chat = ?, answers = '[]', repeated = max(repeated, message_id IS NOT NULL), message_id = NULL,
                  parts = '[]'
WHERE platform = ? AND account = ? AND chat = ? AND final = 0"""
"""The same for replies that still grow."""

MOVE_HOLDS: Final = """
INSERT INTO holds (platform, account, chat, until)
SELECT platform, account, ?, until FROM holds WHERE platform = ? AND account = ? AND chat = ?
ON CONFLICT (platform, account, chat) DO UPDATE SET until = max(until, excluded.until)"""
"""A chat's new id is to be left alone as long as its old one."""

DROP_HOLD: Final = "DELETE FROM holds WHERE platform = ? AND account = ? AND chat = ?"
"""A chat's hold is gone."""
