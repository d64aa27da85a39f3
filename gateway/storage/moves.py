"""Moves what the database has of a chat to the id that the chat has from now on."""

import logging
import sqlite3
from dataclasses import dataclass
from typing import Final

from gateway.storage import inbound_queries, queries
from gateway.storage.codec import key_part

log = logging.getLogger(__name__)

REPLACED: Final = ("session_switch", "switch")
"""Why and how a session without messages ended whose slot another one takes."""

CHAT_IN_KEY: Final = 4
"""The place of the chat among the parts of a session key."""


@dataclass(frozen=True, slots=True)
class Move:
    """A chat of a platform that has the id `new` from an instant on, in microseconds since 1970 UTC."""

    platform: str
    account: str
    old: str
    new: str
    at: int


def current_chat(connection: sqlite3.Connection, platform: str, chat: str) -> str:
    """The id that a chat has now: what it was given, unless it has moved."""
    row = connection.execute(inbound_queries.MOVED_TO, (platform, chat)).fetchone()
    return chat if row is None else str(row[0])


def move_chat(connection: sqlite3.Connection, move: Move) -> list[sqlite3.Row]:
    """Move a chat's slots with their sessions and all that is open there; the slots that moved, as they were.

    A slot that there is under the new id gives way if it has neither messages nor anything open; else the one under
    the old id stays as it is. The ids by which messages are known as copies stay too: the two chats may number their
    messages alike. To move a chat twice is to move it once.
    """
    if move.old == move.new:
        return []
    connection.execute(inbound_queries.FORGET_MOVE, (move.platform, move.new))
    values = (move.platform, move.old, move.new, move.account, move.at)
    connection.execute(inbound_queries.NOTE_MOVE, values)
    connection.execute(inbound_queries.LENGTHEN_MOVES, (move.new, move.platform, move.old))
    slots = connection.execute(inbound_queries.SLOTS_OF_CHAT, (move.platform, move.old)).fetchall()
    moved = [slot for slot in slots if _move_slot(connection, slot, move)]
    for slot in slots:
        owners = (_owner(slot, move.new), _owner(slot, move.old))
        connection.execute(inbound_queries.RENAME_OWNER, owners)
    _move_deliveries(connection, move)
    return moved


def _move_slot(connection: sqlite3.Connection, slot: sqlite3.Row, move: Move) -> bool:
    """Move one slot; whether that could be."""
    number = slot["id"]
    parts = (slot["agent"], slot["platform"], slot["chat_type"], move.new, slot["thread"], slot["participant"])
    found = connection.execute(queries.FIND_SLOT, parts).fetchone()
    if found is None:
        connection.execute(inbound_queries.MOVE_SLOT, (move.new, _rekeyed(slot["key"], move.new), number))
    else:
        other = connection.execute(queries.GET_SLOT, (found[0],)).fetchone()
        if _has_content(connection, other):
            log.warning(
                "the chat of %s has moved to one that has a conversation already: the earlier one stays as it is",
                slot["key"],
            )
            return False
        _take_in(connection, slot, other, move)
        number = other["id"]
    connection.execute(inbound_queries.READDRESS_INBOUND, (move.new, number))
    connection.execute(inbound_queries.READDRESS_SESSIONS, (move.new, number, move.old))
    return True


def _has_content(connection: sqlite3.Connection, slot: sqlite3.Row) -> bool:
    values = (slot["session_id"], slot["previous_session_id"], slot["id"])
    return connection.execute(inbound_queries.SLOT_HAS_CONTENT, values).fetchone() is not None


def _take_in(connection: sqlite3.Connection, slot: sqlite3.Row, other: sqlite3.Row, move: Move) -> None:
    """Give an empty slot all that another one has."""
    if other["session_id"] is not None:
        connection.execute(queries.END_SESSION, (move.at, *REPLACED, other["session_id"]))
    connection.execute(inbound_queries.CLEAR_SLOT, (slot["id"],))
    sessions = (slot["session_id"], slot["previous_session_id"])
    connection.execute(inbound_queries.FILL_SLOT, (*sessions, other["id"]))
    for statement in (
        inbound_queries.MOVE_SESSIONS,
        inbound_queries.MOVE_TURNS,
        inbound_queries.MOVE_PUT_BACK,
        inbound_queries.MOVE_OPEN_INBOUND,
        inbound_queries.MOVE_EDITS,
    ):
        connection.execute(statement, (other["id"], slot["id"]))


def _move_deliveries(connection: sqlite3.Connection, move: Move) -> None:
    place = (move.platform, move.account, move.old)
    for statement in (inbound_queries.MOVE_DELIVERIES, inbound_queries.MOVE_GROWING, inbound_queries.MOVE_HOLDS):
        connection.execute(statement, (move.new, *place))
    connection.execute(inbound_queries.DROP_HOLD, place)


def _rekeyed(key: str, chat: str) -> str:
    """A session key with another chat; its first four parts and the chat are always there."""
    parts = key.split(":")
    parts[CHAT_IN_KEY] = key_part(chat)
    return ":".join(parts)


def _owner(slot: sqlite3.Row, chat: str) -> str:
    """Whose the sessions of a slot are that is no one person's, see `gateway.session.records.owner_of`."""
    return f"{slot['platform']}:{slot['chat_type']}:{chat}:{slot['thread']}"
