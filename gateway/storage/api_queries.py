"""The SQL statements about the HTTP interface: its keys, what was asked through it, and what was answered."""

from typing import Final

# --- keys ----------------------------------------------------------------------------------------------

API_KEYS: Final = "SELECT * FROM api_keys"
"""Every key there ever was; an operator makes them by hand."""

API_KEY_BY_NAME: Final = "SELECT * FROM api_keys WHERE name = ? AND revoked_at IS NULL"
"""The key that has a name at present."""

ADD_API_KEY: Final = "INSERT INTO api_keys (id, name, secret_hash, scopes, created_at) VALUES (?, ?, ?, ?, ?)"
"""Note a new key."""

REVOKE_API_KEY: Final = "UPDATE api_keys SET revoked_at = ? WHERE id = ?"
"""Let a key count no more."""

USE_API_KEY: Final = "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?"
"""Note that a key was used."""

# --- requests and answers ------------------------------------------------------------------------------

ADD_API_REQUEST: Final = """
INSERT INTO api_requests (id, holder, kind, chat, fingerprint, asked, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6,
    max(?7, coalesce((SELECT max(created_at) + 1 FROM api_requests WHERE chat = ?4), 0)))
ON CONFLICT (id) DO NOTHING"""
"""Note a request; the same one again is not noted again. In a conversation each comes after the one before, also
where the clock has gone back between them."""

NEXT_API_INSTANT: Final = "SELECT coalesce(max(created_at) + 1, 0) FROM api_requests WHERE chat = ?"
"""The least time that a further request of a conversation is noted with."""

GET_API_REQUEST: Final = "SELECT * FROM api_requests WHERE id = ?"
"""A request."""

LAST_API_REQUEST: Final = "SELECT id FROM api_requests WHERE chat = ? ORDER BY created_at DESC LIMIT 1"
"""The latest request in a conversation."""

LATER_API_REQUESTS: Final = """
SELECT api_requests.id FROM api_requests
LEFT JOIN inbound ON inbound.platform = ? AND inbound.account = ? AND inbound.chat = api_requests.chat
    AND inbound.message_id = api_requests.id
WHERE api_requests.chat = ? AND api_requests.created_at >= coalesce(
    (SELECT created_at FROM api_requests WHERE id = ?), 0)
    AND coalesce(inbound.state, '') NOT IN ('refused', 'expired', 'failed', 'dead')
ORDER BY api_requests.created_at DESC"""
"""What was asked in a conversation from a request on and did not end in an error, the latest first. What stands in
for the database in an outage need not have that request; all that it has came since."""

ADD_API_ANSWER: Final = """
INSERT INTO api_answers (id, answer, answered_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"""
"""Note the answer to a request; the first one stands."""

GET_API_ANSWER: Final = "SELECT answer FROM api_answers WHERE id = ?"
"""The answer to a request."""

OLD_API_REQUESTS: Final = """
SELECT id, chat FROM api_requests WHERE created_at < ? ORDER BY created_at LIMIT ? OFFSET ?"""
"""The oldest requests from before an instant, but for so many."""

REMOVE_API_REQUEST: Final = "DELETE FROM api_requests WHERE id = ?"
"""Forget a request."""

REMOVE_OLD_API_ANSWERS: Final = """
DELETE FROM api_answers WHERE id IN (SELECT id FROM api_answers WHERE answered_at < ? LIMIT ?)"""
"""Forget answers from before an instant."""

SESSIONS_OF_CHAT: Final = """
SELECT sessions.id FROM slots JOIN sessions ON sessions.slot_id = slots.id
WHERE slots.platform = ? AND slots.chat = ? AND NOT sessions.pinned AND NOT sessions.starred"""
"""The sessions that were held in a chat, but for those that somebody has marked to be kept."""

ARCHIVE_SESSION: Final = "UPDATE sessions SET archived = 1 WHERE id = ?"
"""Keep a session out of the lists."""

# --- webhooks ------------------------------------------------------------------------------------------

ADD_WEBHOOK_CALL: Final = """
INSERT INTO webhook_calls (hook, mark, delivery, received_at) VALUES (?, ?, ?, ?) ON CONFLICT (hook, mark) DO NOTHING"""
"""Note a request; one that was signed so before is not noted again."""

GET_WEBHOOK_CALL: Final = "SELECT delivery FROM webhook_calls WHERE hook = ? AND mark = ?"
"""Under which id a signed request came first."""

WEBHOOK_CALL_TAKEN: Final = "SELECT 1 FROM webhook_calls WHERE hook = ? AND delivery = ? AND taken = 1"
"""Whether what came under an id is in the inbox."""

TAKE_WEBHOOK_CALL: Final = "UPDATE webhook_calls SET taken = 1 WHERE hook = ? AND mark = ?"
"""A request is in the inbox."""

REMOVE_OLD_WEBHOOK_CALLS: Final = """
DELETE FROM webhook_calls WHERE (hook, mark) IN (
    SELECT hook, mark FROM webhook_calls WHERE received_at < ? LIMIT ?)"""
"""Forget requests from before an instant."""

# --- messages that are sent ----------------------------------------------------------------------------

SENT_UNDER_KEY: Final = "SELECT platform, text FROM outbox WHERE key = ?"
"""What was put in the outbox under a key."""
