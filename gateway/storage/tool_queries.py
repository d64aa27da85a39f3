"""The SQL statements of what agents do with the sessions of the person whom they work for."""

# ruff: noqa: S608 - the parts that statements are put together from are constants of the storage

from typing import Final

from gateway.storage.session_queries import _IN_CHAT, _VIEW, _VISIBLE, _WHOLE

_LISTED: Final = f"sessions.owner = ?1 AND {_IN_CHAT} AND ?3 IS NOT NULL AND {_WHOLE} AND {_VISIBLE}"

NEWEST_OWN: Final = f"""
{_VIEW} WHERE {_LISTED}
ORDER BY sessions.updated_at DESC, sessions.id LIMIT ?5"""
"""One owner's sessions, put away or not, in one chat or (the second argument is '') in all; the newest first."""

COUNT_OWN: Final = f"SELECT count(*) FROM sessions JOIN slots ON slots.id = sessions.slot_id WHERE {_LISTED}"
"""How many there are."""

NAMES_OF_OWN: Final = f"""
SELECT sessions.id, coalesce(sessions.title, 'Untitled') AS title
FROM sessions JOIN slots ON slots.id = sessions.slot_id WHERE {_LISTED}
ORDER BY sessions.updated_at DESC, sessions.id"""
"""What they are called, the newest first."""

COPY_SPOKEN: Final = """
INSERT INTO messages (session_id, turn_id, key, role, content, data, created_at)
SELECT ?2, turn_id, key, role, content, data, created_at FROM messages
WHERE session_id = ?1 AND NOT (role = 'user' AND coalesce(content, '') GLOB '/[A-Za-z]*')
ORDER BY id LIMIT ?3"""
"""Copy the first so many messages of one session to another, commands left out."""

ANSWER_OF_TURN: Final = """
SELECT role, content, data FROM messages
WHERE session_id = ? AND turn_id = ? AND role = 'assistant' ORDER BY id DESC LIMIT 1"""
"""What a turn said last."""

RELAYED: Final = "SELECT state, reason, turn_id FROM inbound WHERE id = ?"
"""What became of a message."""

OPEN_TURN: Final = "SELECT session_id, attempts FROM turns WHERE id = ? AND state IN ('running', 'waiting', 'put_back')"
"""An open turn."""
