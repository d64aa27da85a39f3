"""Cuts inside a transaction: the end or the beginning of a transcript is taken off, kept, and put back. What stands for
a beginning that was taken off may be a summary of it.

A turn that is taken off is taken off whole, where it is known which messages are its own.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.session.errors import NothingToRedo, NothingToRetry, NotSummarised, RetriedAlready, TranscriptChanged
from gateway.session.messages import message_row, require
from gateway.session.text import Content, joined_content
from gateway.storage import mirror_queries, queries, session_queries, upkeep
from gateway.storage.codec import decode_message, dump, to_micros

_END: Final = 2**63 - 1
_ROW: Final = ("id", "turn_id", "key", "role", "content", "data", "created_at")


@dataclass(frozen=True, slots=True)
class Cut:
    """What was taken off a transcript: the user's message that it began with, how many messages, how many turns."""

    message: Mapping[str, Any]
    removed: int
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """What is to be said to the agent once more: the content, files and all, as the transcript had it.

    `turn_id` is the turn that is repeated, where it is known. Of one that was given up there is no content; `given_up`
    then has the text of each of its messages, and what belongs to it as `gateway.inbound.Extra` writes that.
    """

    turn_id: str | None
    content: Content = ""
    removed: int = 0
    given_up: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Beginning:
    """The part of a transcript that a summary is to stand for: the number of its last message, and how many it has."""

    last_id: int
    count: int


def cut_turns(connection: sqlite3.Connection, session_id: str, number: int, now: datetime) -> Cut | None:
    """Take the last so many turns off a transcript, or as many as there are; None if there is none.

    A turn begins with a message of the user. Raises `UnknownSession`.
    """
    session_id = require(connection, session_id)
    first_id, turns, message_id = _END, 0, _END
    while turns < number and (row := _user_row(connection, session_id, first_id)) is not None:
        first_id, message_id, turns = _first_of_turn(connection, session_id, row), row["id"], turns + 1
    if not turns:
        return None
    rows = _take_off(connection, session_id, first_id, _END, now)
    message = next(_message(row) for row in rows if row["id"] == message_id)
    return Cut(message, len(rows), turns)


def take_for_repeat(connection: sqlite3.Connection, session_id: str, asked_at: datetime, now: datetime) -> Repeat:
    """Take the last turn off a transcript, to be said again; its files are in the content.

    A turn that the gateway gave up is in no transcript: then nothing is taken off. Raises `UnknownSession`,
    `NothingToRetry`, and `RetriedAlready` if the turn is itself a repetition that was answered after `asked_at`.
    """
    session_id = require(connection, session_id)
    row = _user_row(connection, session_id, _END)
    turn_id = row["turn_id"] if row is not None else None
    given_up = _given_up(connection, session_id, turn_id)
    if given_up is not None:
        return given_up
    if row is None:
        raise NothingToRetry
    if turn_id is not None and row["created_at"] > to_micros(asked_at) and _is_repeat(connection, turn_id):
        raise RetriedAlready
    rows = _take_off(connection, session_id, _first_of_turn(connection, session_id, row), _END, now)
    said = [_message(each).get("content") for each in rows if each["role"] == "user"]
    return Repeat(turn_id, joined_content(said), len(rows))


def truncate(
    connection: sqlite3.Connection,
    session_id: str,
    now: datetime,
    *,
    keep_first: int | None = None,
    keep_last: int | None = None,
) -> int:
    """Keep the first, or the last, so many messages of a transcript; how many were taken off.

    One of the two has to be given. Raises `UnknownSession`, and ValueError for what is no number of messages.
    """
    number = keep_last if keep_first is None else keep_first
    if number is None or (keep_first is not None and keep_last is not None) or number < 0:
        raise ValueError("say how many messages are kept, as keep_first or as keep_last, from 0")
    session_id = require(connection, session_id)
    statement = session_queries.NTH_LAST_MESSAGE if keep_first is None else session_queries.NTH_MESSAGE
    row = connection.execute(statement, (session_id, number)).fetchone()
    if row is None:
        return 0
    first_id, last_id = (0, row["id"]) if keep_first is None else (row["id"], _END)
    return len(_take_off(connection, session_id, first_id, last_id, now))


def put_back(connection: sqlite3.Connection, session_id: str, now: datetime) -> int:
    """Put back what was taken off a transcript last; how many messages.

    Raises `UnknownSession`, and `NothingToRedo` if nothing was, if something was said since, or while the database is
    out of use.
    """
    session_id = require(connection, session_id)
    cut = connection.execute(session_queries.LATEST_CUT, (session_id,)).fetchone()
    if cut is None or not _on_disk(connection) or (cut["tail"] and cut["last_id"] != _last_id(connection, session_id)):
        raise NothingToRedo
    return _restore(connection, session_id, cut, now)


def summarise(
    connection: sqlite3.Connection, session_id: str, beginning: Beginning, summary: Mapping[str, Any], now: datetime
) -> None:
    """Let one message stand for the beginning of a transcript, which is kept as long as the session.

    Raises `UnknownSession`, `TranscriptChanged` if that beginning is another one by now, or if the database is out of
    use, and `InvalidMessage`.
    """
    session_id = require(connection, session_id)
    row = message_row(summary)
    there = connection.execute(session_queries.MESSAGES_BETWEEN, (session_id, 0, beginning.last_id)).fetchall()
    if not _on_disk(connection) or len(there) != beginning.count or there[-1]["id"] != beginning.last_id:
        raise TranscriptChanged(session_id)
    rows = _take_off(connection, session_id, 0, beginning.last_id, now, summary_id=beginning.last_id)
    at, last = to_micros(now), rows[-1]["id"]
    connection.execute(session_queries.PUT_BACK_MESSAGE, (last, session_id, None, None, *row, at))
    connection.execute(session_queries.INDEX_BETWEEN, (session_id, last, last))
    connection.execute(queries.RESIZE_TRANSCRIPT, (1, at, session_id))


def take_apart(connection: sqlite3.Connection, session_id: str, now: datetime) -> int:
    """Put back what the latest summary stands for, in its place; how many messages.

    Raises `UnknownSession`, and `NotSummarised` if no summary stands in the transcript, or while the database is out of
    use.
    """
    session_id = require(connection, session_id)
    cut = connection.execute(session_queries.SUMMARISED_CUT, (session_id,)).fetchone()
    if cut is None or not _on_disk(connection):
        raise NotSummarised
    connection.execute(queries.UNINDEX_MESSAGE, (cut["summary_id"],))
    connection.execute(session_queries.REMOVE_MESSAGE, (cut["summary_id"], session_id))
    connection.execute(queries.RESIZE_TRANSCRIPT, (-1, to_micros(now), session_id))
    return _restore(connection, session_id, cut, now)


def _on_disk(connection: sqlite3.Connection) -> bool:
    """Whether the database is in use, and not what stands in for it in an outage."""
    return bool(connection.execute(upkeep.DATABASES).fetchone()[2])


def _restore(connection: sqlite3.Connection, session_id: str, cut: sqlite3.Row, now: datetime) -> int:
    """Put the messages of a cut back in their places; how many."""
    rows = _kept(cut)
    connection.executemany(session_queries.PUT_BACK_MESSAGE, [(row[0], session_id, *row[1:]) for row in rows])
    connection.execute(session_queries.INDEX_BETWEEN, (session_id, rows[0][0], rows[-1][0]))
    connection.execute(session_queries.REMOVE_CUT, (session_id, cut["first_id"]))
    connection.execute(mirror_queries.MARK_CUT, (session_id,))
    connection.execute(queries.RESIZE_TRANSCRIPT, (len(rows), to_micros(now), session_id))
    return len(rows)


def _user_row(connection: sqlite3.Connection, session_id: str, before: int) -> sqlite3.Row | None:
    """The last message of the user before this one."""
    if before == _END:
        # Also what brings a transcript in where it is not at hand.
        connection.execute(queries.LAST_USER_MESSAGE, (session_id,)).fetchone()
    row: sqlite3.Row | None = connection.execute(session_queries.LAST_USER_BEFORE, (session_id, before)).fetchone()
    return row


def _first_of_turn(connection: sqlite3.Connection, session_id: str, row: sqlite3.Row) -> int:
    """The first message of the turn that a message belongs to; itself, where no turn is known."""
    if row["turn_id"] is None:
        return int(row["id"])
    before = connection.execute(session_queries.BEFORE_TURN, (session_id, row["id"], row["turn_id"])).fetchone()
    after = 0 if before is None else before["id"] + 1
    (first,) = connection.execute(session_queries.MESSAGES_BETWEEN, (session_id, after, row["id"])).fetchmany(1)
    return int(first["id"])


def _take_off(
    connection: sqlite3.Connection,
    session_id: str,
    first_id: int,
    last_id: int,
    now: datetime,
    summary_id: int | None = None,
) -> list[sqlite3.Row]:
    """Take a part off a transcript and keep it; from the search index and the mirror too."""
    rows: list[sqlite3.Row] = connection.execute(
        session_queries.MESSAGES_BETWEEN, (session_id, first_id, last_id)
    ).fetchall()
    connection.execute(mirror_queries.MARK_CUT, (session_id,))
    if last_id == _END:
        connection.execute(queries.UNINDEX_MESSAGES, (session_id, first_id))
        connection.execute(queries.DELETE_MESSAGES, (session_id, first_id))
    else:
        connection.execute(upkeep.UNINDEX_FIRST, (session_id, last_id))
        connection.execute(upkeep.REMOVE_FIRST, (session_id, last_id))
    at = to_micros(now)
    kept = dump([[row[name] for name in _ROW] for row in rows])
    place = (session_id, rows[0]["id"], _last_id(connection, session_id), int(last_id == _END))
    since = None if summary_id is None else rows[0]["created_at"]
    connection.execute(session_queries.ADD_CUT, (*place, len(rows), kept, at, summary_id, since))
    connection.execute(queries.RESIZE_TRANSCRIPT, (-len(rows), at, session_id))
    return rows


def _last_id(connection: sqlite3.Connection, session_id: str) -> int:
    row = connection.execute(session_queries.NTH_LAST_MESSAGE, (session_id, 0)).fetchone()
    return 0 if row is None else int(row["id"])


def _given_up(connection: sqlite3.Connection, session_id: str, turn_id: str | None) -> Repeat | None:
    """The latest turn, if it was given up without a record and not taken back."""
    latest = connection.execute(session_queries.LATEST_TURN, (session_id,)).fetchone()
    if latest is None or latest["id"] == turn_id:
        return None
    found = connection.execute(session_queries.GIVEN_UP_MESSAGES, (latest["id"],)).fetchall()
    if not found:
        return None
    cut = connection.execute(session_queries.LATEST_CUT, (session_id,)).fetchone()
    if cut is not None and any(row[1] == latest["id"] for row in _kept(cut)):
        return None
    return Repeat(latest["id"], given_up=tuple((row["text"], row["extra"]) for row in found))


def _kept(cut: sqlite3.Row) -> list[list[Any]]:
    """The rows of a cut. Raises `NothingToRedo` for one that was damaged."""
    try:
        rows: list[list[Any]] = json.loads(cut["messages"])
        return [row for row in rows if len(row) == len(_ROW)]
    except (ValueError, TypeError) as error:
        raise NothingToRedo from error


def _is_repeat(connection: sqlite3.Connection, turn_id: str) -> bool:
    row = connection.execute(session_queries.EXTRA_OF_TURN, (turn_id,)).fetchone()
    extra = json.loads(row["extra"]) if row is not None and row["extra"] else {}
    return "retry_of" in extra


def _message(row: sqlite3.Row) -> dict[str, Any]:
    return decode_message(row["role"], row["content"], row["data"])
