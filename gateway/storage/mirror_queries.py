"""The SQL statements of the JSONL mirror: how far it is, which transcripts it has to write anew, what comes next."""

# ruff: noqa: S608 - the parts that statements are put together from are constants of this module

from typing import Final

_SWITCHED_ON: Final = "EXISTS (SELECT 1 FROM meta WHERE name = 'mirror_cursor')"
_AGAIN: Final = "ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"

SWITCH_ON: Final = "INSERT INTO meta (name, value) VALUES ('mirror_cursor', '0') ON CONFLICT (name) DO NOTHING"
"""The mirror begins: from now on cuts are marked. There is a cursor for as long as it is switched on."""

MARK_CUT: Final = f"""
INSERT INTO meta (name, value) SELECT 'mirror:' || ?, '1' WHERE {_SWITCHED_ON} {_AGAIN}"""
"""Messages are removed from this session: its file is to be written anew. The value counts, so that a mark that is made
while the file is being written stays. Nothing happens while the mirror is switched off."""

MARK_CUT_AT: Final = f"""
INSERT INTO meta (name, value) SELECT 'mirror:' || session_id, '1' FROM messages WHERE id = ? AND {_SWITCHED_ON}
{_AGAIN}"""
"""The same, for the session of a message that is about to be removed."""

MARK_UNWRITTEN: Final = "INSERT INTO meta (name, value) VALUES ('mirror:' || ?, '0') ON CONFLICT (name) DO NOTHING"
"""The file of this session could not be written: it is tried again. Nothing was removed, so the mark counts 0."""

MARKS: Final = """
SELECT substr(name, 8) AS session_id FROM meta WHERE name > 'mirror:' || ? AND name < 'mirror;' ORDER BY name LIMIT ?"""
"""A page of sessions whose files are to be written anew."""

CLEAR_MARK: Final = "DELETE FROM meta WHERE name = 'mirror:' || ? AND value = ?"
"""The file has been written as the transcript was when the mark had this value."""

DROP_MARK: Final = "DELETE FROM meta WHERE name = 'mirror:' || ?"
"""Nothing of this session is left that could be written."""

MIRROR_CURSOR: Final = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'mirror_cursor'"
"""The last message that is in the files."""

MOVE_MIRROR_CURSOR: Final = """
INSERT INTO meta (name, value) VALUES ('mirror_cursor', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Note the last message that is in the files."""

FORGET_MIRROR: Final = """
DELETE FROM meta WHERE name = 'mirror_cursor' OR (name >= 'mirror:' AND name < 'mirror;')"""
"""The mirror is switched off."""

LAST_MESSAGE: Final = "SELECT coalesce(max(id), 0) FROM messages"
"""The newest message of all."""

NEXT_MESSAGES: Final = """
SELECT id, session_id, role, content, data, created_at, (
    SELECT max(earlier.id) FROM messages AS earlier
    WHERE earlier.session_id = messages.session_id AND earlier.id < messages.id) AS previous
FROM messages WHERE id > ? ORDER BY id LIMIT ?"""
"""The next messages of all sessions; `previous` is the message before, in the same session."""

NEXT_OF_SESSION: Final = """
SELECT id, role, content, data, created_at FROM messages WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?"""
"""The next messages of one session."""

TRANSCRIPT_ENDS: Final = """
SELECT sessions.id AS session_id,
       (SELECT min(id) FROM messages WHERE messages.session_id = sessions.id) AS first,
       (SELECT max(id) FROM messages WHERE messages.session_id = sessions.id) AS last
FROM sessions WHERE sessions.id > ? ORDER BY sessions.id LIMIT ?"""
"""A page of sessions, with the first and the last message of each."""

STANDING: Final = """
SELECT (SELECT value FROM meta WHERE name = 'mirror:' || ?1) AS mark,
       (SELECT min(id) FROM messages WHERE session_id = ?1) AS first,
       EXISTS (SELECT 1 FROM messages WHERE id = ?2 AND session_id = ?1) AS known"""
"""What decides how the file of a session is brought up to date; `known` is whether its last line is still a message."""

COUNT_UNMIRRORED: Final = f"SELECT count(*) FROM messages WHERE id > coalesce(({MIRROR_CURSOR}), 0)"
"""How many messages the files are behind."""
