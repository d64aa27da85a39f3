"""The record of what is to be remembered, inside a transaction: turns are added, captured, and settled or released.

The turns of a session have generations, counted from 1. Those that wait make segments: turns in a row of one owner.
Everything here runs as, or within, a job of the database writer, and has no effect but on the connection.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from gateway.session.errors import UnknownSession
from gateway.storage import memory_queries
from gateway.storage.codec import clean_text, to_micros

NOBODY: Final = ""
"""How it is stored that the next turns of a session are nobody's."""

MAX_SEGMENT_TURNS: Final = 200
"""Turns that are captured at once; the rest of a longer segment follows."""

REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Segment:
    """Turns in a row of one owner, in one slot, that wait: their generations, and the last row of them."""

    session_id: str
    first: int
    last: int
    owner: str | None
    row_id: int
    begun: bool
    slot_id: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far the memory has got with a session. `agent` is whose the next turns are."""

    generation: int
    committed: int
    segments: tuple[Segment, ...]
    agent: str | None


def note_turn(connection: sqlite3.Connection, turn_id: str, owner: str, messages: int) -> None:
    """A turn, whose messages were the last to be stored, is to be remembered."""
    newest = connection.execute(memory_queries.NEWEST_MESSAGE).fetchone()
    if newest is None or newest["turn_id"] != turn_id:
        return
    session_id, last = newest["session_id"], newest["id"]
    connection.execute(memory_queries.ADD_TURN, (session_id, owner, last - messages + 1, last))
    connection.execute(memory_queries.FOLLOW_AGENT, (owner, session_id))


def mark(connection: sqlite3.Connection, session_id: str, agent: str | None) -> int:
    """A turn has been completed; its generation. It belongs to this agent, or to whom the session's turns belong now.

    Raises `UnknownSession`.
    """
    owner = agent or snapshot(connection, session_id).agent
    try:
        connection.execute(memory_queries.ADD_TURN, (session_id, owner, 0, 0))
    except sqlite3.IntegrityError as error:
        raise UnknownSession(session_id) from error
    if agent:
        connection.execute(memory_queries.FOLLOW_AGENT, (agent, session_id))
    return snapshot(connection, session_id).generation


def register(connection: sqlite3.Connection, session_id: str, agent: str | None) -> None:
    """The next turns of a session are this agent's, or nobody's; those that wait stay whose they are.

    Raises `UnknownSession`.
    """
    try:
        connection.execute(memory_queries.REGISTER, (session_id, agent or NOBODY))
    except sqlite3.IntegrityError as error:
        raise UnknownSession(session_id) from error


def is_known(connection: sqlite3.Connection, session_id: str) -> bool:
    """Whether anything of a session was marked or registered."""
    return any(
        connection.execute(query, (session_id,)).fetchone() is not None
        for query in (memory_queries.GET, memory_queries.WAITING)
    )


def snapshot(connection: sqlite3.Connection, session_id: str) -> Snapshot:
    """How far the memory has got with a session."""
    row = connection.execute(memory_queries.GET, (session_id,)).fetchone()
    rows = connection.execute(memory_queries.WAITING, (session_id,)).fetchall()
    committed = 0 if row is None else int(row["committed"])
    agent = None if row is None else row["agent"]
    if agent is None:
        agent = next((each["owner"] for each in reversed(rows) if each["owner"]), None)
    segments = tuple(_segments(session_id, committed, rows))
    return Snapshot(committed + len(rows), committed, segments, agent or None)


def _segments(session_id: str, committed: int, rows: Sequence[sqlite3.Row]) -> Iterator[Segment]:
    """The turns that wait, in segments. What was handed over without a known outcome stays a segment of its own."""
    first = committed + 1
    placed = zip(rows, _slots(rows), strict=True)
    for (owner, begun, slot), group in groupby(placed, key=lambda each: (each[0]["owner"], each[0]["begun"], each[1])):
        members = [row for row, _slot in group]
        last = first + len(members) - 1
        yield Segment(session_id, first, last, owner, members[-1]["id"], bool(begun), slot)
        first = last + 1


def _slots(rows: Sequence[sqlite3.Row]) -> Iterator[int | None]:
    """Where each turn took place; one whose messages are gone, or stand behind a summary, where those around it did."""
    known = next((row["slot_id"] for row in rows if row["slot_id"] is not None), None)
    for row in rows:
        known = known if row["slot_id"] is None else row["slot_id"]
        yield known


def capture(connection: sqlite3.Connection, session_id: str, agent: str | None) -> Segment | None:
    """Hand over the earliest segment: its owner's, else the given agent's, else the session's; None if there is none.

    `begun` of what is returned says that it was handed over before.
    """
    known = snapshot(connection, session_id)
    if not known.segments:
        return None
    first = known.segments[0]
    owner = first.owner or agent or known.agent
    if not owner:
        return None
    last, row_id = first.last, first.row_id
    if not first.begun and last - first.first >= MAX_SEGMENT_TURNS:
        last = first.first + MAX_SEGMENT_TURNS - 1
        rows = connection.execute(memory_queries.WAITING, (session_id,)).fetchmany(MAX_SEGMENT_TURNS)
        row_id = rows[-1]["id"]
    connection.execute(memory_queries.CAPTURE, (owner, session_id, row_id))
    return Segment(session_id, first.first, last, owner, row_id, first.begun, first.slot_id)


def settle(connection: sqlite3.Connection, segment: Segment) -> bool:
    """A segment was taken; False if nothing waits for it any more."""
    agent = snapshot(connection, segment.session_id).agent
    taken = connection.execute(memory_queries.SETTLE, (segment.session_id, segment.row_id)).rowcount
    if taken:
        connection.execute(memory_queries.COMMITTED, (segment.session_id, taken, agent))
    return bool(taken)


def put_off(
    connection: sqlite3.Connection, segment: Segment, reason: str, not_before: datetime, *, untaken: bool
) -> None:
    """A segment was not taken, or, if not `untaken`, it is not known whether it was. It is tried again later."""
    if connection.execute(memory_queries.WAITING, (segment.session_id,)).fetchone() is None:
        return  # the session was deleted meanwhile
    if untaken:
        connection.execute(memory_queries.RELEASE, (segment.session_id, segment.row_id))
    values = (segment.session_id, to_micros(not_before), clean_text(reason)[:REASON_CHARS])
    connection.execute(memory_queries.FAILED, values)


def failures(connection: sqlite3.Connection, session_id: str) -> int:
    """How many tries in a row have failed."""
    row = connection.execute(memory_queries.GET, (session_id,)).fetchone()
    return 0 if row is None else int(row["failures"])


def forget(connection: sqlite3.Connection, session_id: str) -> None:
    """Nothing of a session is to be remembered any more."""
    connection.execute(memory_queries.FORGET_TURNS, (session_id,))
    connection.execute(memory_queries.FORGET_SESSION, (session_id,))
