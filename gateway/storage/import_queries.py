"""The SQL statements by which sessions of another program come in."""

from typing import Final

KNOWN: Final = "SELECT imported, message_count, ended_at, end_reason, slot_id FROM sessions WHERE id = ?"
"""A session as far as an import has to know it; `imported` is null for one that began here."""

ADD_IMPORTED: Final = """
INSERT INTO sessions (
    id, slot_id, owner, platform, chat_type, display_name, origin, model, created_at, updated_at, ended_at, end_reason,
    predecessor_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, last_prompt_tokens,
    estimated_cost_usd, cost_status, pinned, archived, imported, imported_at
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT id FROM sessions WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?
)"""
"""Add a session that has ended, without messages as yet. It follows another one if that is there."""

LINK_IMPORTED: Final = """
UPDATE sessions SET successor_id = ?1
WHERE id = ?2 AND id <> ?1 AND successor_id IS NULL AND ended_at IS NOT NULL AND imported_at IS NOT NULL"""
"""Name the session that came after an imported one that has ended."""

COUNT_IMPORTED: Final = """
UPDATE sessions SET message_count = message_count + ?1, imported = imported + ?1, updated_at = max(updated_at, ?2),
    title = coalesce(title, ?3)
WHERE id = ?4"""
"""Count messages that have come in."""

LAST_MESSAGE: Final = "SELECT role, content, data FROM messages WHERE session_id = ? ORDER BY id DESC LIMIT 1"
"""What was said last."""

OPEN_IMPORTED: Final = "UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE id = ?"
"""A session that has come in whole goes on."""

IMPORTED_AT: Final = "SELECT imported_at FROM sessions WHERE id = ?"
"""When a session came in from another program."""

GIVE_SLOT_A_CHAT: Final = "UPDATE slots SET chat = ?, key = ? WHERE id = ?"
"""The chat that a thread belongs to is known now."""

GIVE_SESSIONS_AN_OWNER: Final = "UPDATE sessions SET owner = ? WHERE slot_id = ? AND owner = ?"
"""The same for those sessions of the slot that are the chat's, not one person's."""
