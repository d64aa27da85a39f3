"""The SQL statements of what people do with their sessions: lists of one owner, cuts, forks, names and marks."""

# ruff: noqa: S608 - the parts that statements are put together from are constants of the storage

from typing import Final

from gateway.storage.queries import _ENTRY, SEARCH_CURSOR
from gateway.storage.words import snippet

# --- lists ---------------------------------------------------------------------------------------------

_RUNNING: Final = """EXISTS (
    SELECT 1 FROM turns WHERE turns.session_id = sessions.id AND turns.state IN ('running', 'waiting', 'put_back'))"""

_VIEW: Final = f"""
SELECT {_ENTRY}, sessions.agent, sessions.pinned, sessions.archived, sessions.starred, sessions.project,
       {_RUNNING} AS running
FROM sessions JOIN slots ON slots.id = sessions.slot_id"""

_WHOLE: Final = "sessions.end_reason IS NOT 'session_joined'"
"""Not the rest of a session that has joined another. One whose deletion was cut short can be deleted again."""

_IN_CHAT: Final = "(?2 = '' OR slots.chat = ?2)"

_VISIBLE: Final = f"""(
    coalesce(sessions.title, 'Untitled') <> 'Untitled' OR sessions.message_count > 0 OR sessions.pinned = 1
    OR sessions.starred = 1 OR sessions.updated_at >= ?4 OR {_RUNNING} OR EXISTS (
        SELECT 1 FROM slots AS own JOIN inbound ON inbound.slot_id = own.id
        WHERE own.session_id = sessions.id AND inbound.state IN ('pending', 'running')))"""

LIST_OWN: Final = f"""
{_VIEW} WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.archived = ?3 AND {_WHOLE} AND {_VISIBLE}
ORDER BY sessions.pinned DESC, sessions.updated_at DESC, sessions.id LIMIT ?5 OFFSET ?6"""
"""One owner's sessions, in one chat or (the second argument is '') in all: pinned ones first, then the newest. Empty
ones without a name are left out, unless they were touched since an instant, are pinned or starred, or have something
under way."""

_KIND_OF_OWN: Final = f"""SELECT * FROM (
    SELECT sessions.id AS id, sessions.pinned AS pinned, sessions.updated_at AS updated_at
    FROM sessions JOIN slots ON slots.id = sessions.slot_id
    WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.archived = :kind AND {_WHOLE} AND {_VISIBLE}
    ORDER BY sessions.pinned DESC, sessions.updated_at DESC, sessions.id LIMIT ?5 + ?6)"""

LIST_ALL_OWN: Final = f"""
{_VIEW} WHERE ?3 IS NULL AND sessions.id IN (SELECT id FROM (
    {_KIND_OF_OWN.replace(":kind", "0")} UNION ALL {_KIND_OF_OWN.replace(":kind", "1")}
    ORDER BY pinned DESC, updated_at DESC, id LIMIT ?5 OFFSET ?6))
ORDER BY sessions.pinned DESC, sessions.updated_at DESC, sessions.id"""
"""The same of those that were put away and of the others, in one order; the third argument is null. Each kind is read
in the order of its index as far as the page may reach."""

LIST_PROJECT: Final = f"""
{_VIEW} WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.project = ?3 AND {_WHOLE}
ORDER BY sessions.pinned DESC, sessions.updated_at DESC, sessions.id LIMIT ?4 OFFSET ?5"""
"""The sessions that an owner has put into a project, those that are put away among them."""

PROJECTS: Final = f"""
SELECT sessions.project AS name, count(*) AS sessions, max(sessions.updated_at) AS updated_at
FROM sessions JOIN slots ON slots.id = sessions.slot_id
WHERE sessions.owner = ?1 AND sessions.project IS NOT NULL AND {_IN_CHAT} AND {_WHOLE}
GROUP BY sessions.project ORDER BY sessions.project LIMIT ?3 OFFSET ?4"""
"""An owner's projects, with how many sessions are in each and when one of them was last touched."""

GET_OWN: Final = f"{_VIEW} WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.id = ?3 AND {_WHOLE}"
"""A session of this owner."""

FIND_OWN: Final = f"""
{_VIEW} WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.id >= ?3 AND sessions.id < ?4 AND {_WHOLE}
ORDER BY sessions.id LIMIT ?5"""
"""Sessions of this owner whose ids lie between two texts. It looks at each of the owner's."""

FIND_OWN_OF_MANY: Final = FIND_OWN.replace("sessions.owner = ?1", "+sessions.owner = ?1")
"""The same for an owner of many: it looks at the ids between the texts, of all owners, until it has found enough."""

OWN_TITLES: Final = f"""
SELECT sessions.id, sessions.title FROM sessions JOIN slots ON slots.id = sessions.slot_id
WHERE sessions.owner = ?1 AND {_IN_CHAT} AND sessions.title IS NOT NULL AND {_WHOLE}
ORDER BY sessions.archived, sessions.pinned DESC, sessions.updated_at DESC, sessions.id LIMIT ?3"""
"""The names of an owner's sessions, those of the list first."""

SEARCH_OWN: Final = f"""
SELECT messages.id, messages.session_id, messages.role, messages.created_at, slots.key AS session_key,
       sessions.title, {snippet("messages_search", "messages.content", 16)} AS snippet
FROM messages_search JOIN messages ON messages.id = messages_search.rowid
JOIN sessions ON sessions.id = messages.session_id JOIN slots ON slots.id = sessions.slot_id
WHERE messages_search MATCH ?3 AND sessions.owner = ?1 AND {_IN_CHAT} AND {_WHOLE}
ORDER BY messages_search.rowid DESC LIMIT ?4 OFFSET ?5"""
"""Messages in an owner's sessions that match, the newest first."""

SIZE_OF_OWN: Final = """
SELECT count(*) AS sessions, coalesce(sum(message_count), 0) AS messages
FROM (SELECT message_count FROM sessions WHERE owner = ? LIMIT ?)"""
"""How many sessions an owner has, up to a bound, and how many messages are in these."""

OWN_TEXTS: Final = f"""
SELECT messages.id, messages.session_id, messages.role, messages.created_at, messages.content, sessions.title
FROM sessions CROSS JOIN slots ON slots.id = sessions.slot_id
CROSS JOIN messages ON messages.session_id = sessions.id
WHERE sessions.owner = ?1 AND {_IN_CHAT} AND {_WHOLE} AND messages.content IS NOT NULL"""
"""All that was said in an owner's sessions."""

# --- names and marks -----------------------------------------------------------------------------------

SLOT_OF_SESSION: Final = "SELECT id FROM slots WHERE session_id = ?"
"""The slot in which a session is live."""

NAME_SESSION: Final = "UPDATE sessions SET title = ?, title_by = 'person' WHERE id = ?"
"""Give a session another name, by which it stays."""

NAME_BY_AGENT: Final = """
UPDATE sessions SET title = ?, title_by = 'agent' WHERE id = ? AND title_by IS NULL AND title IS NOT NULL"""
"""Give a session that is called by its first words a better name."""

TO_BE_NAMED: Final = """
SELECT 1 FROM sessions WHERE id = ? AND title_by IS NULL AND title IS NOT NULL
  AND archived = 0 AND message_count BETWEEN 2 AND 20"""
"""Whether a session has begun, with an answer, not long ago, and is called by its first words. One that
was put away is in no list that a name would be for."""

PIN_SESSION: Final = "UPDATE sessions SET pinned = ? WHERE id = ?"
"""Pin a session, or do not."""

STAR_SESSION: Final = "UPDATE sessions SET starred = ? WHERE id = ?"
"""Star a session, or do not."""

PUT_INTO_PROJECT: Final = "UPDATE sessions SET project = ? WHERE id = ?"
"""Put a session into a project; null takes it out."""

RENAME_PROJECT: Final = "UPDATE sessions SET project = ?3 WHERE owner = ?1 AND project = ?2"
"""Give a project another name; null takes its sessions out of it."""

ARCHIVE_SESSION: Final = "UPDATE sessions SET archived = ? WHERE id = ?"
"""Put a session away, or back."""

CHOOSE_AGENT: Final = "UPDATE sessions SET agent = ? WHERE id = ?"
"""Choose who answers in a session; null is whoever answers by default."""

# --- forks ---------------------------------------------------------------------------------------------

COPY_MESSAGES: Final = """
INSERT INTO messages (session_id, turn_id, key, role, content, data, created_at)
SELECT ?2, turn_id, key, role, content, data, created_at FROM messages WHERE session_id = ?1 ORDER BY id LIMIT ?3"""
"""Copy the first so many messages of one session to another."""

DESCRIBE_FORK: Final = """
UPDATE sessions SET title = ?, title_by = 'person', agent = ?, model = ?, message_count = ?, project = ? WHERE id = ?"""
"""What a fork has of the session that it was made from."""

# --- cuts ----------------------------------------------------------------------------------------------

LAST_USER_BEFORE: Final = """
SELECT id, turn_id, created_at FROM messages
WHERE session_id = ? AND id < ? AND role = 'user' ORDER BY id DESC LIMIT 1"""
"""The last message of a user before another message."""

BEFORE_TURN: Final = """
SELECT id FROM messages WHERE session_id = ? AND id < ? AND turn_id IS NOT ? ORDER BY id DESC LIMIT 1"""
"""The last message before another one that belongs to another turn."""

MESSAGES_BETWEEN: Final = """
SELECT id, turn_id, key, role, content, data, created_at FROM messages
WHERE session_id = ? AND id >= ? AND id <= ? ORDER BY id"""
"""A part of a transcript, the rows as they stand."""

NTH_MESSAGE: Final = "SELECT id FROM messages WHERE session_id = ? ORDER BY id LIMIT 1 OFFSET ?"
"""A message by its place in the transcript, from 0."""

NTH_LAST_MESSAGE: Final = "SELECT id FROM messages WHERE session_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
"""A message by its place from the end, from 0."""

ADD_CUT: Final = """
INSERT INTO cuts (session_id, first_id, last_id, tail, count, messages, cut_at, summary_id, since)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (session_id, first_id) DO UPDATE SET
    last_id = excluded.last_id, tail = excluded.tail, count = excluded.count, messages = excluded.messages,
    cut_at = excluded.cut_at, summary_id = excluded.summary_id, since = excluded.since"""
"""Keep what was taken off a transcript."""

LATEST_CUT: Final = """
SELECT * FROM cuts WHERE session_id = ? AND summary_id IS NULL ORDER BY cut_at DESC, rowid DESC LIMIT 1"""
"""What was taken back last, and not put back; what was summarised is another matter."""

SUMMARISED_CUT: Final = """
SELECT cuts.* FROM cuts JOIN messages ON messages.id = cuts.summary_id AND messages.session_id = cuts.session_id
WHERE cuts.session_id = ? ORDER BY cuts.cut_at DESC, cuts.rowid DESC LIMIT 1"""
"""What was summarised last, where the summary stands in the transcript."""

REMOVE_MESSAGE: Final = "DELETE FROM messages WHERE id = ? AND session_id = ?"
"""Remove one message; take it out of the search index first."""

REMOVE_CUT: Final = "DELETE FROM cuts WHERE session_id = ? AND first_id = ?"
"""Forget what was taken off: it has been put back."""

PUT_BACK_MESSAGE: Final = """
INSERT INTO messages (id, session_id, turn_id, key, role, content, data, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
"""Put a message back in its place."""

INDEX_BETWEEN: Final = f"""
INSERT INTO messages_search (rowid, content)
SELECT id, content FROM messages_words WHERE session_id = ? AND id >= ? AND id <= ? AND id <= ({SEARCH_CURSOR})"""
"""Put a part of a transcript into the search index, as far as that has passed it by."""

LATEST_TURN: Final = "SELECT id FROM turns WHERE session_id = ? ORDER BY rowid DESC LIMIT 1"
"""The turn that began last in a session."""

GIVEN_UP_MESSAGES: Final = """
SELECT id, text, extra FROM inbound WHERE turn_id = ? AND state = 'dead' AND text IS NOT NULL ORDER BY id"""
"""The messages of a turn that was given up."""

EXTRA_OF_TURN: Final = "SELECT extra FROM inbound WHERE turn_id = ? ORDER BY id LIMIT 1"
"""What belongs to the first message of a turn besides its text."""

# --- homes ---------------------------------------------------------------------------------------------

HOMES: Final = "SELECT name, value FROM meta WHERE name > ? AND name < ?"
"""Named values whose names lie between two texts."""

SET_HOME: Final = """
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Make a chat a platform's home channel."""

DROP_HOME: Final = "DELETE FROM meta WHERE name = ?"
"""No chat was made a platform's home channel any more."""
