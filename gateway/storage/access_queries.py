"""The SQL statements about people: who was let in, who asks to be, what was decided, and what their turns took."""

from typing import Final

# --- people --------------------------------------------------------------------------------------------

PEOPLE: Final = "SELECT * FROM people WHERE (platform, person) > (?, ?) ORDER BY platform, person LIMIT ?"
"""A page of the people who were let in by pairing."""

GET_PERSON: Final = "SELECT * FROM people WHERE platform = ? AND person = ?"
"""Someone who was let in."""

PUT_PERSON: Final = """
INSERT INTO people (platform, person, role, name, account, chat, thread, let_in_at, let_in_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (platform, person) DO UPDATE SET role = excluded.role, name = excluded.name, account = excluded.account,
    chat = excluded.chat, thread = excluded.thread, let_in_at = excluded.let_in_at, let_in_by = excluded.let_in_by"""
"""Let someone in."""

SET_ROLE: Final = "UPDATE people SET role = ? WHERE platform = ? AND person = ?"
"""Give someone who was let in another role."""

DELETE_PERSON: Final = "DELETE FROM people WHERE platform = ? AND person = ?"
"""Let someone in no more."""

# --- requests ------------------------------------------------------------------------------------------

REQUESTS: Final = "SELECT * FROM pairing_requests WHERE (platform, person) > (?, ?) ORDER BY platform, person LIMIT ?"
"""A page of the strangers who have a code."""

GET_REQUEST: Final = "SELECT * FROM pairing_requests WHERE platform = ? AND person = ?"
"""A stranger who has a code."""

COUNT_REQUESTS: Final = "SELECT count(*) FROM pairing_requests WHERE platform = ?"
"""How many of a platform have one; their number is bounded."""

PUT_REQUEST: Final = """
INSERT INTO pairing_requests (platform, person, code_hash, name, account, chat, thread, requested_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (platform, person) DO UPDATE SET code_hash = excluded.code_hash, name = excluded.name,
    account = excluded.account, chat = excluded.chat, thread = excluded.thread,
    requested_at = excluded.requested_at, expires_at = excluded.expires_at"""
"""Give a stranger a code; one from before counts no more."""

DELETE_REQUEST: Final = "DELETE FROM pairing_requests WHERE platform = ? AND person = ?"
"""A stranger's code counts no more."""

FORGET_CODE: Final = "UPDATE outbox SET text = ? WHERE key = ? AND state = 'sent'"
"""Take a code that counts no more out of the message that brought it."""

# --- wrong codes ---------------------------------------------------------------------------------------

GET_TRIES: Final = "SELECT * FROM pairing_tries WHERE actor = ?"
"""How often someone gave a wrong code."""

PUT_TRIES: Final = """
INSERT INTO pairing_tries (actor, wrong, last_at, locked_until) VALUES (?, ?, ?, ?)
ON CONFLICT (actor) DO UPDATE SET wrong = excluded.wrong, last_at = excluded.last_at,
    locked_until = excluded.locked_until"""
"""Count a wrong code."""

FORGET_TRIES: Final = "DELETE FROM pairing_tries WHERE actor = ?"
"""A right code ends the count."""

FORGET_OLD_TRIES: Final = "DELETE FROM pairing_tries WHERE last_at < ?"
"""So does time."""

# --- tokens --------------------------------------------------------------------------------------------

ADD_TOKENS: Final = """
INSERT INTO tokens_by_day (day, platform, kind, id, tokens) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (day, platform, kind, id) DO UPDATE SET tokens = tokens + excluded.tokens"""
"""Count what a turn took."""

GET_TOKENS: Final = "SELECT tokens FROM tokens_by_day WHERE day = ? AND platform = ? AND kind = ? AND id = ?"
"""What turns took on a day."""

FORGET_TOKENS: Final = "DELETE FROM tokens_by_day WHERE day < ?"
"""Days that are over count no more."""

# --- the audit -----------------------------------------------------------------------------------------

ADD_AUDIT: Final = """
INSERT INTO audit (at, event, platform, person, actor, role, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"""
"""Note a decision."""

AUDIT: Final = "SELECT * FROM audit ORDER BY id DESC LIMIT ?"
"""The latest decisions, the newest first."""
