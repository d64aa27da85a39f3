"""Every operation on a session is done whole or not at all, whichever row it fails at."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest

from gateway.ids import Ids
from gateway.search import SearchIndexer
from gateway.session import Scope, SessionStore, SlotIdentity, changes, cuts
from gateway.session.cuts import Beginning
from gateway.session.messages import rewrite
from gateway.session.removal import remove_whole
from gateway.storage.errors import StorageError
from tests.support.stores import ANSWER, HandClock, dm, resets

TABLES: Final = ("sessions", "slots", "messages", "cuts")
SUMMARY: Final = {"role": "assistant", "content": "a summary"}
MOST_ROWS: Final = 60
"""More rows than any of these operations changes."""


class Room:
    """A chat with two sessions, the second of them live, and what happens in it."""

    def __init__(self, store: SessionStore, clock: HandClock) -> None:
        self.store = store
        self.clock = clock
        self.database = store._database
        self.identity: SlotIdentity = store.identity(dm())
        self.scope = Scope.of(self.identity, dm())
        self.left: int | None = None
        """Rows that may still be changed; the next one fails then."""
        self.sessions: list[str] = []

    async def prepare(self) -> None:
        for _ in range(2):
            self.clock.advance(seconds=1)
            entry = await self.store.get_or_create_session(dm(), force_new=True)
            self.sessions.append(entry.session_id)
            for turn in range(5):
                await self.store.append_turn(entry.session_id, [{"role": "user", "content": f"q{turn}"}, ANSWER])
        await SearchIndexer(self.database).catch_up()

        def traps(connection: sqlite3.Connection) -> None:
            connection.create_function("fails_here", 0, self._fails)
            for table in TABLES:
                for event in ("INSERT", "UPDATE", "DELETE"):
                    connection.execute(
                        f"CREATE TEMP TRIGGER trap_{table}_{event} BEFORE {event} ON main.{table} WHEN fails_here()"
                        " BEGIN SELECT RAISE(FAIL, 'the process dies here'); END"
                    )

        await self.database.write(traps)

    def _fails(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0

    async def picture(self) -> list[object]:
        """All that is stored of the sessions, and what a search finds."""
        rows: list[object] = []
        for table in TABLES:
            rows += [tuple(row) for row in await self.database.read(f"SELECT * FROM {table} ORDER BY rowid")]
        for word in ("q0", "q4", "hi", "summary"):
            sql = "SELECT rowid FROM messages_search WHERE messages_search MATCH ? ORDER BY rowid"
            rows += [(word, *row) for row in await self.database.read(sql, (word,))]
        return rows


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    clock = HandClock()
    async with SessionStore.open(tmp_path, resets("none"), clock=clock) as store:
        it = Room(store, clock)
        await it.prepare()
        yield it


Operation = Callable[[Room, sqlite3.Connection], object]


def beginning(connection: sqlite3.Connection, session_id: str) -> Beginning:
    rows = connection.execute("SELECT id FROM messages WHERE session_id = ? ORDER BY id LIMIT 6", (session_id,))
    return Beginning(rows.fetchall()[-1]["id"], 6)


def summarised(room: Room, connection: sqlite3.Connection) -> None:
    live = room.sessions[1]
    cuts.summarise(connection, live, beginning(connection, live), SUMMARY, room.clock.now())


OPERATIONS: Final[dict[str, tuple[Operation | None, Operation]]] = {
    "undo": (None, lambda it, c: cuts.cut_turns(c, it.sessions[1], 2, it.clock.now())),
    "retry": (None, lambda it, c: cuts.take_for_repeat(c, it.sessions[1], it.clock.now(), it.clock.now())),
    "redo": (
        lambda it, c: cuts.cut_turns(c, it.sessions[1], 2, it.clock.now()),
        lambda it, c: cuts.put_back(c, it.sessions[1], it.clock.now()),
    ),
    "truncate": (None, lambda it, c: cuts.truncate(c, it.sessions[1], it.clock.now(), keep_last=3)),
    "summarise": (None, summarised),
    "take apart": (summarised, lambda it, c: cuts.take_apart(c, it.sessions[1], it.clock.now())),
    "fork": (None, lambda it, c: changes.fork(c, it.identity, it.scope, it.sessions[0], Ids(), it.clock.now())),
    "resume": (None, lambda it, c: changes.resume(c, it.identity, it.scope, it.sessions[0], it.clock.now())),
    "archive": (None, lambda it, c: changes.archive(c, it.scope, it.sessions[1], it.clock.now())),
    "pin": (None, lambda it, c: changes.pin(c, it.scope, it.sessions[1], on=True)),
    "star": (None, lambda it, c: changes.star(c, it.scope, it.sessions[1], on=True)),
    "agent": (None, lambda it, c: changes.choose_agent(c, it.scope, it.sessions[1], "other")),
    "remove": (None, lambda it, c: remove_whole(c, it.sessions[0])),
    "rename": (None, lambda it, c: changes.rename(c, it.scope, it.sessions[1], "Name")),
    "project": (None, lambda it, c: changes.put_into_project(c, it.scope, it.sessions[1], "Name")),
    "rename project": (
        lambda it, c: [changes.put_into_project(c, it.scope, each, "Name") for each in it.sessions],
        lambda it, c: changes.rename_project(c, it.scope, "name", "Other"),
    ),
    "rewrite": (None, lambda it, c: rewrite(c, it.sessions[1], [ANSWER] * 5, it.clock.now())),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_that_fails_at_any_row_has_changed_nothing(room: Room, name: str) -> None:
    before, operation = OPERATIONS[name]
    if before is not None:
        await room.database.write(lambda connection: before(room, connection) and None)
    untouched = await room.picture()
    for rows in range(MOST_ROWS):
        room.left = rows
        try:
            await room.database.write(lambda connection: operation(room, connection) and None)
        except StorageError:
            room.left = None
            assert await room.picture() == untouched, f"it failed at row {rows + 1}"
        else:
            room.left = None
            break
    else:
        raise AssertionError("it has no end")
    assert rows >= 1, "it was never made to fail"
    assert await room.picture() != untouched
    assert await room.database.read("PRAGMA foreign_key_check") == []
    assert [tuple(row) for row in await room.database.read("PRAGMA integrity_check")] == [("ok",)]
