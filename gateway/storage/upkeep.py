"""The SQL statements that remove: what has become too old, and what somebody wants gone."""

from typing import Final

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.storage.queries import SEARCH_CURSOR

# ruff: noqa: S608 - the parts that statements are put together from are constants of the storage

# --- the file ------------------------------------------------------------------------------------------

DATABASES: Final = "PRAGMA database_list"
"""The files of a connection; the third column of the first is '' where it is in memory."""

FILE_TEMPORARIES: Final = "PRAGMA temp_store = FILE"
"""Put temporary data on the disk: `VACUUM` copies the whole database there."""

MEMORY_TEMPORARIES: Final = "PRAGMA temp_store = MEMORY"
"""Put temporary data in memory."""

KEEP_JOURNAL_APART: Final = "PRAGMA journal_mode = DELETE"
"""Let go of a write-ahead log, whose content goes into the database; a journal lasts as long as a transaction."""

IGNORE_FOREIGN_KEYS: Final = "PRAGMA foreign_keys = OFF"
"""Take the rows of a copy as they are: one that was salvaged may lack what others refer to."""

VACUUM: Final = "VACUUM"
"""Write the database anew from the rows that it has, without what was deleted."""

EMPTY_LOG: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Put the write-ahead log into the database and cut it to nothing; the first column is 1 if a reader was in the way."""

WAIT_FOR_NOBODY: Final = "PRAGMA busy_timeout = 0"
"""Give up at once where another connection is in the way."""

WAIT_AS_USUAL: Final = f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000:.0f}"
"""Wait for other connections as every connection of the gateway does."""

OPTIMIZE_SEARCH: Final = "INSERT INTO messages_search (messages_search) VALUES ('optimize')"
"""Merge the search index into one segment, which leaves out the words of what was removed."""

IS_GATEWAY: Final = "SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'slot_id'"
"""Whether a database is one of the gateway's."""

# --- transcripts ---------------------------------------------------------------------------------------

EXPIRED_SESSIONS: Final = """
SELECT id FROM sessions
WHERE ended_at IS NOT NULL AND updated_at < ? AND pinned = 0 AND starred = 0 AND NOT EXISTS (
    SELECT 1 FROM turns WHERE turns.session_id = sessions.id AND turns.state IN ('running', 'waiting', 'put_back'))
ORDER BY updated_at LIMIT ?"""
"""Sessions that have ended, were last touched before an instant, and are neither pinned nor starred."""

LIVE_WITH_OLD_MESSAGES: Final = """
SELECT slots.session_id FROM slots JOIN sessions ON sessions.id = slots.session_id
WHERE slots.session_id > ?1 AND sessions.created_at < ?2 AND sessions.pinned = 0 AND sessions.starred = 0
  AND (SELECT created_at FROM messages WHERE messages.session_id = slots.session_id ORDER BY messages.id LIMIT 1) < ?2
ORDER BY slots.session_id LIMIT ?3"""
"""A page of live sessions whose transcripts begin before an instant."""

OUTLINE: Final = "SELECT id, turn_id, role, created_at FROM messages WHERE session_id = ? ORDER BY id"
"""The frame of a transcript, for finding where its turns begin."""

MESSAGE_BOUND: Final = "SELECT max(id) FROM (SELECT id FROM messages WHERE session_id = ? ORDER BY id LIMIT ?)"
"""The last of the first so many messages of a session."""

UNINDEX_FIRST: Final = f"""
INSERT INTO messages_search (messages_search, rowid, content)
SELECT 'delete', id, content FROM messages_words WHERE session_id = ? AND id <= ? AND id <= ({SEARCH_CURSOR})"""
"""Take the beginning of a transcript out of the search index, as far as it is in it."""

REMOVE_FIRST: Final = "DELETE FROM messages WHERE session_id = ? AND id <= ?"
"""Remove the beginning of a transcript; take it out of the search index first."""

USER_TEXTS: Final = """
SELECT content FROM messages WHERE session_id = ? AND role = 'user' AND content IS NOT NULL"""
"""What people wrote in a session."""

JOINED_SESSIONS: Final = "SELECT id FROM sessions WHERE successor_id = ? AND end_reason = 'session_joined'"
"""The provisional sessions that have joined a session."""

# --- one session ---------------------------------------------------------------------------------------

SESSION_TO_REMOVE: Final = """
SELECT slot_id, platform, pinned, starred, created_at, ended_at, message_count FROM sessions WHERE id = ?"""
"""What decides whether, and how, a session is removed."""

OPEN_TURN_OF_SESSION: Final = """
SELECT id FROM turns WHERE session_id = ? AND state IN ('running', 'waiting', 'put_back')"""
"""The turn that is open in a session."""

COUNT_OPEN_DELIVERIES: Final = "SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending') AND session_id = ?"
"""How many of a session's replies are still on their way."""

CLOSE_SESSION: Final = """
UPDATE sessions SET ended_at = ?, end_reason = 'session_delete', end_detail = 'command'
WHERE id = ? AND ended_at IS NULL"""
"""End a session that is about to be removed."""

EMPTY_SLOT: Final = "UPDATE slots SET session_id = NULL WHERE session_id = ?"
"""Leave empty the slot in which a session is live."""

FORGET_IN_SLOT: Final = "UPDATE slots SET previous_session_id = NULL WHERE previous_session_id = ?"
"""A slot does not remember this session as the one before."""

FORGET_PREDECESSOR: Final = "UPDATE sessions SET predecessor_id = NULL WHERE predecessor_id = ?"
"""Sessions do not name this one as the one before."""

FORGET_SUCCESSOR: Final = "UPDATE sessions SET successor_id = NULL WHERE successor_id = ?"
"""Sessions do not name this one as the one after."""

TURNS_OF_SESSION: Final = """
SELECT id FROM turns WHERE session_id = ?1
UNION SELECT turn_id FROM messages WHERE session_id = ?1 AND turn_id IS NOT NULL"""
"""The turns of a session, those too whose record has been removed."""

SLOTS_OF_SESSION: Final = """
SELECT slot_id FROM sessions WHERE id = ?1 UNION SELECT slot_id FROM turns WHERE session_id = ?1"""
"""The slots in which a session is, or was when its turns began: it may have been taken up in another chat."""

MESSAGES_OF_SESSION: Final = """
SELECT platform, account, chat, message_id FROM inbound WHERE turn_id IN (
    SELECT id FROM turns WHERE session_id = ?1
    UNION SELECT turn_id FROM messages WHERE session_id = ?1 AND turn_id IS NOT NULL)"""
"""By what their platforms know the messages that came in for a session."""

CHAT_OF_SLOT: Final = "SELECT chat FROM slots WHERE id = ?"
"""The chat that a slot is of."""

_FORGET_INBOUND: Final = """
UPDATE inbound SET state = 'ignored', reason = 'deleted', source = NULL, text = NULL, group_id = NULL, slot_id = NULL,
                   turn_id = NULL, extra = NULL, edited = NULL"""

_OF_TURN: Final = "turn_id = ? AND state NOT IN ('pending', 'running')"

_OF_SLOT: Final = """id > ? AND id <= ? AND slot_id = ? AND received_at >= ? AND received_at <= ?
  AND state NOT IN ('pending', 'running') AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.id = inbound.turn_id)"""

FORGET_INBOUND_OF_TURN: Final = f"{_FORGET_INBOUND} WHERE {_OF_TURN}"
"""Keep of the messages of a turn only their platform's ids, by which a copy is recognised."""

FORGET_INBOUND_OF_SLOT: Final = f"{_FORGET_INBOUND} WHERE {_OF_SLOT}"
"""The same for messages that came to no turn (commands, and what was refused), or to one that has no record any more,
as they were received in a slot."""

FORGET_ALL_OF_TURN: Final = f"{_FORGET_INBOUND} WHERE turn_id = ?"
"""The same for messages of a turn, in a copy where it may be running."""

WITHDRAW_MESSAGE: Final = f"{_FORGET_INBOUND}, ended_at = ? WHERE id = ? AND state = 'pending'"
"""The same for one message that waits, and that people have deleted: that is its end."""

FORGET_MESSAGE: Final = f"{_FORGET_INBOUND} WHERE platform = ? AND account = ? AND chat = ? AND message_id = ?"
"""The same for one message, in a copy where it may be waiting."""

WAITING_TEXTS: Final = """
SELECT id, text FROM inbound
WHERE state IN ('pending', 'running') AND state = 'pending' AND chat = ? AND text IS NOT NULL"""
"""What waits from a chat."""

FORGET_WAITING: Final = f"{_FORGET_INBOUND} WHERE id = ?"
"""The same for one message by its number, in a copy."""

WAITING_UPDATES: Final = "SELECT platform, account, id, payload FROM updates"
"""What came from platforms and was no message yet."""

REMOVE_UPDATE: Final = "DELETE FROM updates WHERE platform = ? AND account = ? AND id = ?"
"""Remove one of them."""

_ASKED: Final = "(SELECT message_id FROM inbound WHERE platform = 'api_server' AND"

REMOVE_REQUESTS_OF_TURN: Final = f"DELETE FROM api_requests WHERE id IN {_ASKED} {_OF_TURN})"
REMOVE_REQUESTS_OF_SLOT: Final = f"DELETE FROM api_requests WHERE id IN {_ASKED} {_OF_SLOT})"
"""Remove what a program asked with these messages; before they are forgotten."""

REMOVE_ANSWERS_OF_TURN: Final = f"DELETE FROM api_answers WHERE id IN {_ASKED} {_OF_TURN})"
REMOVE_ANSWERS_OF_SLOT: Final = f"DELETE FROM api_answers WHERE id IN {_ASKED} {_OF_SLOT})"
"""Remove what it was answered; before they are forgotten."""

REMOVE_DELIVERIES: Final = "DELETE FROM outbox WHERE id > ? AND id <= ? AND session_id = ?"
"""Remove what went out for a session."""

REMOVE_STEPS: Final = "DELETE FROM turn_steps WHERE turn_id IN (SELECT id FROM turns WHERE session_id = ?)"
"""Remove the journals of a session's turns."""

REMOVE_TURNS: Final = "DELETE FROM turns WHERE session_id = ?"
"""Remove a session's turns; their journals first."""

REMOVE_CUTS: Final = "DELETE FROM cuts WHERE session_id = ?"
"""Remove what was taken off a session's transcript."""

REMOVE_OLD_CUTS: Final = "DELETE FROM cuts WHERE cut_at < ? AND summary_id IS NULL"
"""Remove what was taken off transcripts before an instant: it cannot be put back any more. What a summary stands for
stays."""

REMOVE_OLD_SUMMARISED: Final = """
DELETE FROM cuts WHERE summary_id IS NOT NULL AND since < ? AND NOT EXISTS (
    SELECT 1 FROM sessions WHERE sessions.id = cuts.session_id AND (sessions.pinned = 1 OR sessions.starred = 1))"""
"""Remove what summaries stand for, if some of it was said before an instant; not of sessions that stay whole."""

REMOVE_SESSION: Final = "DELETE FROM sessions WHERE id = ?"
"""Remove a session to which nothing refers any more."""

REMOVE_ORPHAN_SLOT: Final = """
DELETE FROM slots WHERE id = ?1 AND session_id IS NULL AND previous_session_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM sessions WHERE slot_id = ?1)
  AND NOT EXISTS (SELECT 1 FROM turns WHERE slot_id = ?1)
  AND NOT EXISTS (SELECT 1 FROM inbound WHERE slot_id = ?1)"""
"""Remove a slot to which nothing refers any more."""

# --- what has come and gone ----------------------------------------------------------------------------

INBOUND_PAGE: Final = """
SELECT max(id) AS bound, min(received_at) AS since
FROM (SELECT id, received_at FROM inbound WHERE id > ? ORDER BY id LIMIT ?)"""
"""The last message of a page, and when its first was received."""

OUTBOX_PAGE: Final = """
SELECT max(id) AS bound, min(created_at) AS since
FROM (SELECT id, created_at FROM outbox WHERE id > ? ORDER BY id LIMIT ?)"""
"""The last delivery of a page, and when its first was made."""

TURN_PAGE: Final = """
SELECT max(number) AS bound, min(started_at) AS since
FROM (SELECT rowid AS number, started_at FROM turns WHERE rowid > ? ORDER BY rowid LIMIT ?)"""
"""The last turn of a page, and when its first began."""

REMOVE_OLD_INBOUND: Final = """
DELETE FROM inbound WHERE id > ? AND id <= ? AND ended_at < CASE
    WHEN state IN ('answered', 'merged', 'ignored') THEN ?
    WHEN state IN ('refused', 'expired', 'failed', 'dead') THEN ? END"""
"""Remove messages of a page that have had their end since before an instant; for those without an answer there is
another."""

REMOVE_OLD_DELIVERIES: Final = """
DELETE FROM outbox WHERE id > ? AND id <= ? AND final = 1 AND coalesce(ended_at, sent_at, created_at) < CASE
    WHEN state = 'sent' AND repeated = 0 THEN ?
    WHEN state IN ('sent', 'dead') THEN ? END"""
"""Remove deliveries of a page that were sent before an instant; for those given up or repeated there is another."""

REMOVE_OLD_TURNS: Final = "DELETE FROM turns WHERE rowid > ? AND rowid <= ? AND state = 'done' AND ended_at < ?"
"""Remove turns of a page that ended before an instant."""

EMPTY_OLD_INBOUND: Final = """
UPDATE inbound SET text = NULL, source = NULL, extra = NULL
WHERE id > ? AND id <= ? AND state IN ('answered', 'merged') AND ended_at < ? AND source IS NOT NULL"""
"""Drop the content of a page's messages that were answered before an instant: the transcript has it."""

EMPTY_OLD_DELIVERIES: Final = """
UPDATE outbox SET text = '', file = NULL, buttons = NULL
WHERE id > ? AND id <= ? AND state = 'sent' AND final = 1 AND sent_at < ? AND text <> ''"""
"""Drop the text of a page's deliveries that were sent before an instant: the transcript has it."""
