"""The removal of sessions, or of their oldest turns, inside a transaction: a job of the writer does a bounded part.

The same functions work on a copy of the database.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from gateway.session.errors import UnknownSession
from gateway.storage import memory_queries, mirror_queries, upkeep
from gateway.storage.codec import to_micros
from gateway.storage.errors import StorageError

T = TypeVar("T")
P = ParamSpec("P")

MessageKey: TypeAlias = tuple[str, str, str, str]
"""Platform, account, chat and the platform's own id: what a message that came in is known by, in every copy."""

PAGE: Final = 250
"""Rows that one job removes or looks at: a few milliseconds, so that a turn never waits long behind it."""


class RemovalRefusedError(Exception):
    """The session stays; `str()` says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """A session that is being removed: the slots that it was in, and when, its turns, what people wrote in it, and the
    provisional sessions that joined it; `messages` came in for it, from `chats`, as far as they are known still."""

    session_id: str
    slots: tuple[int, ...]
    platform: str | None
    since: int
    until: int
    turns: tuple[str, ...]
    texts: frozenset[str]
    joined: tuple[str, ...] = ()
    messages: frozenset[MessageKey] = frozenset()
    chats: frozenset[str] = frozenset()

    @property
    def ids(self) -> tuple[str, ...]:
        """The names under which it was kept."""
        return (self.session_id, *self.joined)

    def said(self, text: str | None) -> bool:
        """Whether somebody wrote just this in it."""
        return text is not None and text.strip() in self.texts

    def said_in(self, payload: str | None) -> bool:
        """Whether what came from a platform, in JSON, has one of its texts in it."""
        try:
            return payload is not None and any(map(self.said, _strings(json.loads(payload))))
        except (ValueError, RecursionError):
            return False


def on_file(
    function: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **named: P.kwargs
) -> Callable[[sqlite3.Connection], T]:
    """A job of the writer that calls a function with these arguments after the connection.

    The job raises `StorageError` while the database on disk is out of use: nothing is removed then.
    """

    def job(connection: sqlite3.Connection) -> T:
        if not connection.execute(upkeep.DATABASES).fetchone()[2]:
            raise StorageError("the database is out of use at present; nothing is removed until it is back")
        return function(connection, *arguments, **named)

    return job


def doom(connection: sqlite3.Connection, session_id: str, now: datetime, *, force: bool) -> Doomed:
    """Take a session out of use, so that nothing is added to it while it is removed.

    `force` also takes one that is pinned or starred, or whose replies are still on their way. Raises `UnknownSession`
    and `RemovalRefusedError`.
    """
    row = connection.execute(upkeep.SESSION_TO_REMOVE, (session_id,)).fetchone()
    if row is None:
        raise UnknownSession(session_id)
    mark = "pinned" if row["pinned"] else "starred" if row["starred"] else None
    _check(connection, session_id, mark=mark, force=force)
    at = to_micros(now)
    connection.execute(upkeep.CLOSE_SESSION, (at, session_id))
    connection.execute(upkeep.EMPTY_SLOT, (session_id,))
    return _describe(connection, session_id, row, at)


def unknown(session_id: str) -> Doomed:
    """What is known of a session that is not in the store any more."""
    return Doomed(session_id, (), None, 0, 0, (), frozenset())


def find_doomed(connection: sqlite3.Connection, session_id: str) -> Doomed | None:
    """The same of a session in a copy, where nothing has to be guarded; None if it is not in it."""
    row = connection.execute(upkeep.SESSION_TO_REMOVE, (session_id,)).fetchone()
    if row is None:
        return None
    return _describe(connection, session_id, row, row["ended_at"] or 2**63 - 1)


def _describe(connection: sqlite3.Connection, session_id: str, row: sqlite3.Row, until: int) -> Doomed:
    slots = tuple(found[0] for found in connection.execute(upkeep.SLOTS_OF_SESSION, (session_id,)))
    turns = tuple(found[0] for found in connection.execute(upkeep.TURNS_OF_SESSION, (session_id,)))
    texts = frozenset(found[0].strip() for found in connection.execute(upkeep.USER_TEXTS, (session_id,)))
    joined = tuple(found[0] for found in connection.execute(upkeep.JOINED_SESSIONS, (session_id,)))
    messages = frozenset(
        (found[0], found[1], found[2], found[3])
        for found in connection.execute(upkeep.MESSAGES_OF_SESSION, (session_id,))
    )
    chats = {found[0] for slot in slots for found in connection.execute(upkeep.CHAT_OF_SLOT, (slot,))}
    chats |= {chat for _platform, _account, chat, _number in messages}
    until = row["ended_at"] or until
    since = row["created_at"]
    return Doomed(
        session_id, slots, row["platform"], since, until, turns, texts - {""}, joined, messages, frozenset(chats)
    )


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - whatever JSON holds
    """Every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _check(connection: sqlite3.Connection, session_id: str, *, mark: str | None, force: bool) -> None:
    if connection.execute(upkeep.OPEN_TURN_OF_SESSION, (session_id,)).fetchone() is not None:
        raise RemovalRefusedError(
            f"a turn is running in session {session_id}; send /stop there, or wait until it has ended"
        )
    if force:
        return
    if mark is not None:
        raise RemovalRefusedError(f"session {session_id} is {mark}; --force deletes it all the same")
    (open_deliveries,) = connection.execute(upkeep.COUNT_OPEN_DELIVERIES, (session_id,)).fetchone()
    if open_deliveries:
        raise RemovalRefusedError(
            f"{open_deliveries} of the replies of session {session_id} have not been delivered yet; wait for them, or"
            " delete it with --force, and they are dropped"
        )


def remove_messages(connection: sqlite3.Connection, session_id: str, limit: int = PAGE) -> int:
    """Remove the first so many messages of a session, from the search index too; how many there were."""
    (bound,) = connection.execute(upkeep.MESSAGE_BOUND, (session_id, limit)).fetchone()
    return 0 if bound is None else _remove_up_to(connection, session_id, bound)


def remove_old_turns(connection: sqlite3.Connection, session_id: str, before: int, limit: int = PAGE) -> int:
    """Remove the first turns of a transcript, whole ones that ended before an instant, and never the newest.

    Stops at the first boundary of turns after so many messages. The session's counters stay. How many messages
    were removed.
    """
    bound = _boundary(connection.execute(upkeep.OUTLINE, (session_id,)), before, limit)
    return 0 if bound is None else _remove_up_to(connection, session_id, bound)


def _boundary(outline: Iterable[sqlite3.Row], before: int, limit: int) -> int | None:
    """The last message of the turns to be removed, None if none is. Reads no further than it must."""
    bound = last_id = None
    turn_id = role = None
    for count, row in enumerate(outline):
        same = row["turn_id"] == turn_id
        if last_id is not None and (not same or (turn_id is None and row["role"] == "user" and role != "user")):
            bound = last_id
            if count >= limit:
                break
        if row["created_at"] >= before:
            break
        last_id, turn_id, role = row["id"], row["turn_id"], row["role"]
    return bound


def _remove_up_to(connection: sqlite3.Connection, session_id: str, bound: int) -> int:
    connection.execute(mirror_queries.MARK_CUT, (session_id,))
    connection.execute(upkeep.UNINDEX_FIRST, (session_id, bound))
    return connection.execute(upkeep.REMOVE_FIRST, (session_id, bound)).rowcount


def forget_messages_of_turns(connection: sqlite3.Connection, turns: Iterable[str]) -> int:
    """Keep of what came in for these turns the platform's ids only; how many messages that were.

    What programs asked and were answered by them goes, too.
    """
    number = 0
    for turn in turns:
        connection.execute(upkeep.REMOVE_REQUESTS_OF_TURN, (turn,))
        connection.execute(upkeep.REMOVE_ANSWERS_OF_TURN, (turn,))
        number += connection.execute(upkeep.FORGET_INBOUND_OF_TURN, (turn,)).rowcount
    return number


def forget_messages_without_turn(connection: sqlite3.Connection, doomed: Doomed, after: int) -> int | None:
    """The same, on the next page after this message, for commands and what was refused while the session was there, and
    for messages of turns of which there is no record any more.

    Where the page ends; None at the end of the table.
    """
    (bound, _since) = connection.execute(upkeep.INBOUND_PAGE, (after, PAGE)).fetchone()
    for slot_id in doomed.slots if bound is not None else ():
        values = (after, bound, slot_id, doomed.since, doomed.until)
        connection.execute(upkeep.REMOVE_REQUESTS_OF_SLOT, values)
        connection.execute(upkeep.REMOVE_ANSWERS_OF_SLOT, values)
        connection.execute(upkeep.FORGET_INBOUND_OF_SLOT, values)
    return None if bound is None else int(bound)


def remove_deliveries(connection: sqlite3.Connection, session_id: str, after: int) -> int | None:
    """Remove what went out for a session, on the next page after this delivery.

    Where the page ends; None at the end of the table.
    """
    (bound, _since) = connection.execute(upkeep.OUTBOX_PAGE, (after, PAGE)).fetchone()
    if bound is not None:
        connection.execute(upkeep.REMOVE_DELIVERIES, (after, bound, session_id))
    return None if bound is None else int(bound)


def remove_record(connection: sqlite3.Connection, session_id: str) -> bool:
    """Remove a session whose messages are gone, its turns, and what names it; False if it was gone.

    Raises `RemovalRefusedError` if it has been taken up again meanwhile.
    """
    row = connection.execute(upkeep.SESSION_TO_REMOVE, (session_id,)).fetchone()
    if row is None:
        return False
    if row["ended_at"] is None:
        raise RemovalRefusedError(f"session {session_id} was taken up again while it was being deleted")
    for statement in (
        upkeep.EMPTY_SLOT,
        upkeep.FORGET_IN_SLOT,
        upkeep.FORGET_PREDECESSOR,
        upkeep.FORGET_SUCCESSOR,
        upkeep.REMOVE_STEPS,
        upkeep.REMOVE_TURNS,
        upkeep.REMOVE_CUTS,
        memory_queries.FORGET_TURNS,
        memory_queries.FORGET_SESSION,
        upkeep.REMOVE_SESSION,
    ):
        connection.execute(statement, (session_id,))
    return True


def forget_mirror(connection: sqlite3.Connection, session_id: str) -> None:
    """The mirror has nothing to do for a session of which nothing is to be left."""
    connection.execute(mirror_queries.DROP_MARK, (session_id,))


def remove_orphan_slots(connection: sqlite3.Connection, slots: Iterable[int]) -> None:
    """Remove slots to which nothing refers any more."""
    connection.executemany(upkeep.REMOVE_ORPHAN_SLOT, [(slot_id,) for slot_id in slots])


def remove_messages_of_ended(connection: sqlite3.Connection, session_id: str) -> int:
    """`remove_messages` of a session that has not been taken up again."""
    row = connection.execute(upkeep.SESSION_TO_REMOVE, (session_id,)).fetchone()
    return 0 if row is None or row["ended_at"] is None else remove_messages(connection, session_id)


def remove_whole(connection: sqlite3.Connection, session_id: str) -> bool:
    """Remove everything of a session from a copy of the database, in one go; False if it is not in it."""
    doomed = find_doomed(connection, session_id)
    if doomed is None:
        return False
    connection.execute(upkeep.CLOSE_SESSION, (doomed.since, session_id))
    while remove_messages(connection, session_id):
        pass
    forget_messages_of_turns(connection, doomed.turns)
    connection.executemany(upkeep.FORGET_ALL_OF_TURN, [(turn,) for turn in doomed.turns])
    after: int | None = 0
    while after is not None:
        after = forget_messages_without_turn(connection, doomed, after)
    after = 0
    while after is not None:
        after = remove_deliveries(connection, session_id, after)
    remove_record(connection, session_id)
    forget_mirror(connection, session_id)
    remove_orphan_slots(connection, doomed.slots)
    return True


def remove_traces(connection: sqlite3.Connection, doomed: Doomed) -> None:
    """Remove from a copy of the database, in one go, all that it has of a session: also what waited there, or was being
    answered, when the copy was made."""
    for session_id in doomed.ids:
        remove_whole(connection, session_id)
    connection.executemany(upkeep.FORGET_ALL_OF_TURN, [(turn,) for turn in doomed.turns])
    connection.executemany(upkeep.FORGET_MESSAGE, doomed.messages)
    for chat in doomed.chats:
        waiting = connection.execute(upkeep.WAITING_TEXTS, (chat,)).fetchall()
        connection.executemany(upkeep.FORGET_WAITING, [(row["id"],) for row in waiting if doomed.said(row["text"])])
    updates = connection.execute(upkeep.WAITING_UPDATES).fetchall()
    gone = [tuple(row)[:3] for row in updates if doomed.said_in(row["payload"])]
    connection.executemany(upkeep.REMOVE_UPDATE, gone)
