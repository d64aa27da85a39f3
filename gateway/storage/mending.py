"""Makes rescued rows fit for use: values that damage has changed, and references to rows that are lost."""

# ruff: noqa: S608 - every part of a statement is a constant of this module

import functools
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.ids import is_session_id
from gateway.storage.codec import clean_text
from gateway.storage.pages import Value
from gateway.storage.rescue import Column, Table

LATEST_INSTANT: Final = 253_402_300_800_000_000
"""The end of the year 9999 in microseconds since 1970 UTC: no later time was ever written."""

DAMAGED: Final = "the storage was damaged"
"""The reason that people see of what had to be ended."""

DAMAGE: Final = "damage"
"""Why a session ended whose record is lost."""

JSON_COLUMNS: Final = frozenset(
    {
        ("messages", "data"),
        ("sessions", "origin"),
        ("inbound", "source"),
        ("inbound", "extra"),
        ("outbox", "answers"),
        ("outbox", "parts"),
        ("outbox", "file"),
        ("outbox", "buttons"),
        ("turn_steps", "data"),
        ("cuts", "messages"),
    }
)

STATES: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "inbound": (
        frozenset({"pending", "running", "answered", "merged", "refused", "expired", "failed", "dead", "ignored"}),
        "failed",
    ),
    "turns": (frozenset({"running", "waiting", "put_back", "done"}), "done"),
    "outbox": (frozenset({"pending", "sending", "sent", "dead"}), "dead"),
}
"""The states that a row of a table may have, and the one it gets if its own cannot be read."""

STAND_INS: Final[Mapping[str, Value]] = {"INTEGER": 0, "REAL": 0.0, "TEXT": ""}
"""What a value becomes that has to be there and is not."""

Reasons = Callable[[str], None]


def mended_values(table: Table, values: Mapping[str, Value], *, now: int, whole: bool) -> Mapping[str, Value] | None:
    """The values as the gateway can use them; None if what the row is for is lost. The same where nothing is wrong."""
    changed: dict[str, Value] = {}
    looked_at = _looked_at(table)
    for column in table.columns:
        name = column.name
        value = values.get(name)
        if name not in looked_at:
            # This is asked of each of millions of values, and most are like this.
            kind = type(value)
            if kind is int or (kind is str and value.isascii() and "\0" not in value):  # type: ignore[union-attr, operator]
                continue
        if name in values or not whole:
            mended = _mended(table.name, column, value, now)
            if mended != value or name not in values:
                changed[name] = mended
    if not changed and (table.name != "sessions" or is_session_id(values.get("id"))):
        return values
    mended_row = {**values, **changed}
    if table.name == "messages" and mended_row.get("data") != values.get("data") and mended_row.get("content") is None:
        mended_row["content"] = clean_text(str(values["data"]))
    if table.name == "turn_steps" and mended_row["data"] != values.get("data"):
        return None
    if table.name == "sessions" and not is_session_id(mended_row.get("id")):
        return None  # nobody could open it by that id, its own slot not either
    return mended_row


@functools.cache
def _looked_at(table: Table) -> frozenset[str]:
    """The columns of a table whose values are more than a text or a number."""
    return frozenset(
        column.name
        for column in table.columns
        if column.name == "state" or (table.name, column.name) in JSON_COLUMNS or _is_instant(column.name)
    )


def _mended(table: str, column: Column, value: Value, now: int) -> Value:
    if isinstance(value, str):
        value = clean_text(value)
        if column.name == "state":
            if table in STATES and value not in STATES[table][0]:
                value = STATES[table][1]
        elif (table, column.name) in JSON_COLUMNS and not _is_json(value):
            value = None
    elif isinstance(value, int) and not 0 <= value < LATEST_INSTANT and _is_instant(column.name):
        value = None
    if value is None and column.required:
        if column.name in ("answers", "parts"):
            return "[]"
        return now if _is_instant(column.name) else STAND_INS[column.type]
    return value


def _is_instant(column: str) -> bool:
    return column.endswith("_at") or column == "not_before"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- rows that only an index still tells of ------------------------------------------------------------------


def rebuilt(table: str, values: Mapping[str, Value], indexes: frozenset[str], now: int) -> dict[str, Value] | None:
    """A row made of what the indexes say, None if that is not enough. `indexes` names those that may have the row."""
    match table:
        case "slots":
            parts = ("agent", "platform", "chat_type", "chat", "thread", "participant")
            if any(values.get(part) is None for part in parts):
                return None
            key = values.get("key") or ":".join(str(values[part]) for part in parts if values[part])
            return {**values, "key": key}
        case "sessions":
            if values.get("id") is None or values.get("slot_id") is None:
                return None
            created = values.get("created_at") or now
            end = {"ended_at": created, "end_reason": DAMAGE}
            place = {"owner": "", "chat_type": "dm", "created_at": created, "updated_at": created, **end}
            return {**place, **{name: value for name, value in values.items() if value is not None}}
        case "inbound":
            if any(values.get(part) is None for part in ("platform", "account", "chat", "message_id")):
                return None
            open_or_failed = bool(indexes & {"inbound_open", "inbound_unanswered"})
            end = {"state": "failed" if open_or_failed else "answered", "reason": DAMAGED, "ended_at": now}
            return {**values, "received_at": now, **end}
    return None


# --- references ----------------------------------------------------------------------------------------------

_NO_SLOT: Final = "slot_id NOT IN (SELECT id FROM slots)"
_NO_SESSION: Final = "session_id NOT IN (SELECT id FROM sessions)"

_UNBOUND: Final = """SELECT id FROM sessions WHERE sessions.slot_id = slots.id AND ended_at IS NULL
    AND id NOT IN (SELECT session_id FROM slots WHERE session_id IS NOT NULL)"""

_REFERENCES: Final[Sequence[tuple[str, str, str]]] = (
    (
        "slots",
        "referred to a session that is lost",
        "UPDATE slots SET session_id = NULL WHERE session_id NOT IN (SELECT id FROM sessions)",
    ),
    (
        "slots",
        "referred to an earlier session that is lost",
        "UPDATE slots SET previous_session_id = NULL WHERE previous_session_id NOT IN (SELECT id FROM sessions)",
    ),
    (
        "slots",
        "made for sessions whose own is lost",
        f"""INSERT INTO slots (id, agent, platform, chat_type, chat, thread, participant, key)
        SELECT DISTINCT slot_id, coalesce(agent, ''), coalesce(platform, 'local'), chat_type, 'rescued-' || slot_id,
               '', '', 'rescued:' || slot_id
        FROM sessions WHERE {_NO_SLOT} GROUP BY slot_id""",
    ),
    (
        "slots",
        "made for messages whose session is lost",
        f"""INSERT INTO slots (agent, platform, chat_type, chat, thread, participant, key)
        SELECT '', 'local', 'dm', 'rescued', '', '', 'rescued' WHERE EXISTS (
            SELECT 1 FROM messages WHERE {_NO_SESSION})
        ON CONFLICT DO NOTHING""",
    ),
    (
        "sessions",
        "made for messages whose own is lost",
        f"""INSERT INTO sessions (id, slot_id, owner, chat_type, title, created_at, updated_at, ended_at, end_reason,
                              message_count)
        SELECT session_id, coalesce(
                   (SELECT slot_id FROM turns WHERE turns.session_id = messages.session_id
                    AND slot_id IN (SELECT id FROM slots) LIMIT 1), (SELECT id FROM slots WHERE key = 'rescued')),
               'rescued', 'dm', 'Rescued conversation', min(created_at), max(created_at), max(created_at),
               '{DAMAGE}', count(*)
        FROM messages WHERE {_NO_SESSION} GROUP BY session_id""",
    ),
    (
        "sessions",
        "referred to an earlier one that is lost",
        "UPDATE sessions SET predecessor_id = NULL WHERE predecessor_id NOT IN (SELECT id FROM sessions)",
    ),
    (
        "sessions",
        "referred to a later one that is lost",
        "UPDATE sessions SET successor_id = NULL WHERE successor_id NOT IN (SELECT id FROM sessions)",
    ),
    (
        "sessions",
        "go on, because they are live",
        f"""UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE end_reason = '{DAMAGE}'
        AND id IN (SELECT session_id FROM slots)""",
    ),
    (
        "slots",
        "given back the session that had not ended",
        f"""UPDATE slots SET session_id = ({_UNBOUND} ORDER BY updated_at DESC LIMIT 1)
        WHERE session_id IS NULL AND previous_session_id IS NULL AND EXISTS ({_UNBOUND})""",
    ),
    (
        "turns",
        "ended, because their conversation is lost",
        f"""UPDATE turns SET state = 'done', reason = '{DAMAGED}', ended_at = started_at
        WHERE state IN ('running', 'waiting', 'put_back') AND ({_NO_SLOT} OR {_NO_SESSION}
            OR session_id IN (SELECT id FROM sessions WHERE end_reason = '{DAMAGE}'))""",
    ),
    (
        "inbound",
        "wait again, because the turn that was to answer them is lost",
        """UPDATE inbound SET state = 'pending', turn_id = NULL WHERE state = 'running'
        AND (turn_id IS NULL OR turn_id NOT IN (SELECT id FROM turns WHERE state <> 'done'))""",
    ),
    (
        "inbound",
        "cannot be answered, because their conversation is lost",
        f"""UPDATE inbound SET state = 'failed', reason = '{DAMAGED}', ended_at = received_at, slot_id = NULL
        WHERE state IN ('pending', 'running') AND (slot_id IS NULL OR {_NO_SLOT} OR source IS NULL OR text IS NULL)""",
    ),
    ("inbound", "referred to a conversation that is lost", f"UPDATE inbound SET slot_id = NULL WHERE {_NO_SLOT}"),
)

_DROPS: Final[Sequence[tuple[str, str, str]]] = (
    (
        "turn_steps",
        "belonged to a turn that is lost",
        "DELETE FROM turn_steps WHERE turn_id NOT IN (SELECT id FROM turns)",
    ),
    (
        "turn_steps",
        "belonged to a turn that cannot be kept",
        f"DELETE FROM turn_steps WHERE turn_id IN (SELECT id FROM turns WHERE {_NO_SLOT} OR {_NO_SESSION})",
    ),
    ("turns", "belonged to a conversation that is lost", f"DELETE FROM turns WHERE {_NO_SLOT} OR {_NO_SESSION}"),
)


def mend_references(
    connection: sqlite3.Connection, mended: Callable[[str, int, str], None], lost: Callable[[str, int, str], None]
) -> None:
    """Close every loose reference. `mended` and `lost` are told the table, how many rows, and why."""
    for statements, told in ((_REFERENCES, mended), (_DROPS, lost)):
        for table, why, sql in statements:
            changed = connection.execute(sql).rowcount
            if changed > 0:
                told(table, changed, why)
