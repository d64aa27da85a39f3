"""The SQL statements of the memory: which turns are to be remembered, and how far that has got."""

from typing import Final

NEWEST_MESSAGE: Final = """
SELECT id, session_id, turn_id FROM messages WHERE id = (SELECT max(id) FROM messages)"""
"""The message that was stored last."""

ADD_TURN: Final = "INSERT INTO memory_turns (session_id, owner, first_message, last_message) VALUES (?, ?, ?, ?)"
"""A turn is to be remembered."""

FOLLOW_AGENT: Final = """
UPDATE memory_sessions SET agent = ?1 WHERE session_id = ?2 AND agent IS NOT NULL AND agent <> ?1"""
"""Whose turn it was, the next ones are."""

REGISTER: Final = """
INSERT INTO memory_sessions (session_id, agent) VALUES (?, ?)
ON CONFLICT (session_id) DO UPDATE SET agent = excluded.agent"""
"""Whose the next turns of a session are; '' is nobody."""

GET: Final = "SELECT * FROM memory_sessions WHERE session_id = ?"
"""How far the memory has got with a session."""

WAITING: Final = """
SELECT memory_turns.*, (
    SELECT turns.slot_id FROM messages JOIN turns ON turns.id = messages.turn_id
    WHERE messages.session_id = memory_turns.session_id
      AND messages.id BETWEEN memory_turns.first_message AND memory_turns.last_message LIMIT 1) AS slot_id
FROM memory_turns WHERE session_id = ? ORDER BY id"""
"""The turns of a session that wait to be remembered, and the slot in which each took place, where that is known."""

CAPTURE: Final = "UPDATE memory_turns SET begun = 1, owner = ? WHERE session_id = ? AND id <= ?"
"""The first of them are handed over."""

RELEASE: Final = "UPDATE memory_turns SET begun = 0 WHERE session_id = ? AND id <= ?"
"""They were not taken."""

SETTLE: Final = "DELETE FROM memory_turns WHERE session_id = ? AND id <= ? AND begun = 1"
"""They were taken."""

COMMITTED: Final = """
INSERT INTO memory_sessions (session_id, committed, agent) VALUES (?1, ?2, ?3)
ON CONFLICT (session_id) DO UPDATE SET
    committed = committed + ?2, agent = coalesce(agent, ?3), failures = 0, not_before = NULL, reason = NULL"""
"""So many turns of a session were remembered."""

FAILED: Final = """
INSERT INTO memory_sessions (session_id, failures, not_before, reason) VALUES (?1, 1, ?2, ?3)
ON CONFLICT (session_id) DO UPDATE SET failures = failures + 1, not_before = ?2, reason = ?3"""
"""The memory did not take them; when it is tried again, and why it did not."""

DUE: Final = """
SELECT DISTINCT memory_turns.session_id FROM memory_turns
JOIN sessions ON sessions.id = memory_turns.session_id
LEFT JOIN memory_sessions ON memory_sessions.session_id = memory_turns.session_id
WHERE memory_turns.session_id > ?1 AND (sessions.ended_at IS NOT NULL OR sessions.updated_at < ?2)
  AND coalesce(memory_sessions.not_before, 0) <= ?3
ORDER BY memory_turns.session_id LIMIT ?4"""
"""A page of the sessions with turns to remember that have ended, or were quiet since an instant."""

DIRTY: Final = """
SELECT DISTINCT memory_turns.session_id FROM memory_turns
LEFT JOIN memory_sessions ON memory_sessions.session_id = memory_turns.session_id
WHERE memory_turns.session_id > ?1 AND coalesce(memory_sessions.not_before, 0) <= ?2
ORDER BY memory_turns.session_id LIMIT ?3"""
"""A page of the sessions with turns to remember, but for those that are to be tried again later."""

PLACE: Final = """
SELECT slots.agent, slots.platform, slots.chat_type, slots.chat, slots.thread, slots.participant, sessions.origin,
       sessions.title, sessions.updated_at
FROM sessions JOIN slots ON slots.id = coalesce((SELECT id FROM slots WHERE id = ?2), sessions.slot_id)
WHERE sessions.id = ?1"""
"""Where, and with whom, a session was held: in a slot, else in its latest one."""

FIRST_CHAT: Final = "SELECT old FROM moved_chats WHERE platform = ? AND new = ? ORDER BY moved_at LIMIT 1"
"""The id that a chat had first, where it has got another one."""

MESSAGES: Final = """
SELECT messages.id, messages.role, messages.content, messages.data
FROM memory_turns JOIN messages
  ON messages.session_id = memory_turns.session_id
 AND messages.id BETWEEN memory_turns.first_message AND memory_turns.last_message
WHERE memory_turns.session_id = ? AND memory_turns.id <= ? ORDER BY messages.id"""
"""What was said in the first of the turns that wait; what was taken back since is not in it."""

SUMMARISED: Final = """
SELECT messages FROM cuts WHERE session_id = ? AND summary_id IS NOT NULL ORDER BY cut_at DESC"""
"""What summaries stand for in a transcript, the latest first."""

COUNT_WAITING: Final = """
SELECT count(*) AS turns, count(DISTINCT session_id) AS sessions FROM memory_turns"""
"""How many turns wait to be remembered, and of how many sessions."""

COUNT_FAILING: Final = "SELECT count(*) AS failing, max(reason) AS reason FROM memory_sessions WHERE failures > 0"
"""How many sessions the memory did not take at the last try, and one of the reasons."""

FORGET_TURNS: Final = "DELETE FROM memory_turns WHERE session_id = ?"
"""Nothing of a session is to be remembered any more."""

FORGET_SESSION: Final = "DELETE FROM memory_sessions WHERE session_id = ?"
"""Remove what is known of a session's memory."""
