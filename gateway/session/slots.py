"""Slots inside a transaction: found by their identity, or by what that is now, and created."""

import sqlite3
from dataclasses import replace

from gateway.session.errors import AmbiguousSessionKey
from gateway.session.key import SlotIdentity
from gateway.storage import import_queries, queries
from gateway.storage.codec import clean_text
from gateway.storage.moves import current_chat


def present_identity(connection: sqlite3.Connection, identity: SlotIdentity) -> SlotIdentity:
    """The identity that a slot has now: its chat may have got another id."""
    chat = current_chat(connection, identity.platform, identity.chat)
    return identity if chat == identity.chat else replace(identity, chat=chat)


def slot_number(connection: sqlite3.Connection, identity: SlotIdentity) -> int:
    """The slot with this identity, created if need be."""
    row = connection.execute(queries.FIND_SLOT, parts(identity)).fetchone()
    return int(row[0]) if row is not None else _add_slot(connection, identity)


def slot_row(connection: sqlite3.Connection, identity: SlotIdentity) -> sqlite3.Row:
    """The slot with this identity, or with what that is now, created if need be. Its number is another one after an
    outage of the database in which that could not be read, so nothing that lives longer than a commit finds a slot by
    its number."""
    number = slot_number(connection, present_identity(connection, identity))
    row: sqlite3.Row = connection.execute(queries.GET_SLOT, (number,)).fetchone()
    return row


def find_slot(connection: sqlite3.Connection, key: str | SlotIdentity) -> sqlite3.Row | None:
    """The slot with this identity or readable key, if it has or had a session. Raises `AmbiguousSessionKey`."""
    if isinstance(key, SlotIdentity):
        row = connection.execute(queries.FIND_SLOT, parts(present_identity(connection, key))).fetchone()
        slot: sqlite3.Row | None = row and connection.execute(queries.GET_SLOT, tuple(row)).fetchone()
        return slot
    rows = connection.execute(queries.FIND_SLOTS_BY_KEY, (clean_text(key),)).fetchall()
    if len(rows) > 1:
        raise AmbiguousSessionKey(key, [row["session_id"] or row["previous_session_id"] for row in rows])
    return rows[0] if rows else None


def identity_from_row(row: sqlite3.Row) -> SlotIdentity:
    """The identity that a row of `slots` holds."""
    names = ("agent", "platform", "chat_type", "chat", "thread", "participant")
    return SlotIdentity(*(row[name] for name in names))


def has_open_turn(connection: sqlite3.Connection, slot_id: int) -> bool:
    """Whether a turn is running or put off in this slot."""
    return connection.execute(queries.SESSION_HAS_TURN, (slot_id,)).fetchone() is not None


def has_waiting(connection: sqlite3.Connection, slot_id: int) -> bool:
    """Whether a message waits in this slot: when it came in decides in which session its turn is."""
    (waiting,) = connection.execute(queries.COUNT_QUEUED, (slot_id,)).fetchone()
    return bool(waiting)


def parts(identity: SlotIdentity) -> tuple[str, ...]:
    """What a slot is found by."""
    return (
        identity.agent,
        identity.platform,
        identity.chat_type,
        identity.chat,
        identity.thread,
        identity.participant,
    )


def take_waiting(connection: sqlite3.Connection, identity: SlotIdentity) -> int | None:
    """The slot of an imported conversation that knew its thread and not the chat that this belongs to, which it is told
    now; None if none waits for that."""
    if not (identity.thread and identity.chat):
        return None
    waiting = replace(identity, chat="")
    row = connection.execute(queries.FIND_SLOT, parts(waiting)).fetchone()
    if row is None:
        return None
    connection.execute(import_queries.GIVE_SLOT_A_CHAT, (identity.chat, identity.key, row[0]))
    new, old = (f"{each.platform}:{each.chat_type}:{each.chat}:{each.thread}" for each in (identity, waiting))
    connection.execute(import_queries.GIVE_SESSIONS_AN_OWNER, (new, row[0], old))
    return int(row[0])


def _add_slot(connection: sqlite3.Connection, identity: SlotIdentity) -> int:
    waiting = take_waiting(connection, identity)
    if waiting is not None:
        return waiting
    return int(connection.execute(queries.ADD_SLOT, (*parts(identity), identity.key)).lastrowid or 0)
