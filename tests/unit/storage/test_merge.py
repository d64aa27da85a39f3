"""Merging a spool: which of two turns of a slot goes first, what each keeps, and what a refused record leaves."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.storage import queries
from gateway.storage.database import Database
from gateway.storage.merge import Merge, Notes
from gateway.storage.migrate import migrate
from gateway.storage.spool import Record
from tests.unit.storage.test_failover import ANN, BEN, back, opened, path, quick
from tests.unit.storage.test_failover_twice import NOW, add_turn, all_rows, away, change

__all__ = ["path", "quick"]


async def add_steps(database: Database, turn_id: str, *kinds: str) -> None:
    for kind in kinds:
        await database.write(change(queries.ADD_STEP, turn_id, kind, f'{{"of": "{turn_id}"}}'))


async def journal(database: Database, turn_id: str) -> list[str]:
    return [row["kind"] for row in await database.read(queries.STEPS, (turn_id,))]


async def turns_of(database: Database) -> list[tuple[Any, ...]]:
    return await all_rows(database, "SELECT id, state FROM turns ORDER BY id")


async def test_a_turn_that_the_outage_hid_waits_and_nobody_waits_for_it(path: Path) -> None:
    """The turn that runs stays open, the database is used again while it does, and the hidden one keeps its journal."""
    async with opened(path) as (database, store):
        real = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", real.session_id)
        await add_steps(database, "T0", "calls", "started", "result")
    with ExitStack() as hidden:
        hidden.enter_context(away(path))
        async with opened(path) as (database, store):
            provisional = await store.get_or_create_session(ANN)
            await add_turn(database, "T1", "m2", provisional.session_id)
            await add_steps(database, "T1", "calls")
            hidden.close()
            await back(database)
            assert await turns_of(database) == [("T0", "put_back"), ("T1", "running")]
            assert (await journal(database, "T0"), await journal(database, "T1")) == (
                ["calls", "started", "result"],
                ["calls"],
            )
            (waiting,) = await database.read(queries.PUT_BACK_TURNS)
            assert (waiting["id"], waiting["slot_chat"]) == ("T0", "1")
            assert await all_rows(database, "SELECT state, turn_id FROM inbound ORDER BY message_id") == [
                ("running", "T0"),
                ("running", "T1"),
            ]
            await database.write(change(queries.END_TURN, None, NOW, "T1"))
            await database.write(change(queries.REOPEN_TURN, "T0"))
            assert [row["id"] for row in await database.read(queries.OPEN_TURNS)] == ["T0"]


async def test_after_a_restart_the_earlier_turn_goes_first_and_the_later_one_keeps_its_journal(path: Path) -> None:
    async with opened(path) as (database, store):
        real = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", real.session_id)
        await add_steps(database, "T0", "calls")
    with away(path):
        async with opened(path) as (database, store):
            provisional = await store.get_or_create_session(ANN)
            await add_turn(database, "T1", "m2", provisional.session_id)
            await add_steps(database, "T1", "calls", "started")
    async with opened(path) as (database, _store):
        assert await turns_of(database) == [("T0", "running"), ("T1", "put_back")]
        assert await journal(database, "T1") == ["calls", "started"]
        assert [row["id"] for row in await database.read(queries.PUT_BACK_TURNS)] == ["T1"]


async def test_one_conversation_with_two_turns_holds_up_no_other(path: Path) -> None:
    async with opened(path) as (database, store):
        real = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", real.session_id)
    with ExitStack() as hidden:
        hidden.enter_context(away(path))
        async with opened(path) as (database, store):
            provisional = await store.get_or_create_session(ANN)
            await add_turn(database, "T1", "m2", provisional.session_id)
            other = await store.get_or_create_session(BEN)
            await store.append_turn(other.session_id, [{"role": "user", "content": "hello"}])
            hidden.close()
            await back(database)
            assert [message["content"] for message in await store.load_transcript(other.session_id)] == ["hello"]
            assert [row["id"] for row in await database.read(queries.OPEN_TURNS)] == ["T1"]


async def test_what_an_ended_turn_leaves_without_an_end_waits_again(path: Path) -> None:
    """A turn whose messages could not be read was ended as one that has none; they come to light with the merge."""
    async with opened(path) as (database, store):
        real = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", real.session_id)
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        turn = dict(connection.execute("SELECT * FROM turns").fetchone())
        ended = turn | {"state": "done", "ended_at": NOW}
        merge = Merge(connection)
        merge.apply([Record(1, [{"op": "put", "table": "turns", "row": ended}])], refuse)
        merge.finish()
        assert tuple(connection.execute("SELECT state, turn_id FROM inbound").fetchone()) == ("pending", None)


# --- records that the database does not take ---------------------------------------------------------------


def refuse(record: Record, error: Exception) -> None:
    raise AssertionError(f"record {record.seq} was not to be refused: {error}")


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened_:
        opened_.row_factory = sqlite3.Row
        migrate(opened_, path)
        opened_.execute("BEGIN")
        yield opened_


def slot(number: int, chat: str) -> dict[str, Any]:
    parts = dict.fromkeys(("agent", "platform", "chat_type", "thread", "participant"), "")
    return {"id": number, **parts, "chat": chat, "key": chat, "session_id": None, "previous_session_id": None}


def turn(turn_id: str, slot_id: int) -> dict[str, Any]:
    return {
        "id": turn_id,
        "slot_id": slot_id,
        "session_id": "s",
        "agent": "echo",
        "state": "running",
        "reason": None,
        "attempts": 1,
        "not_before": None,
        "started_at": NOW,
        "ended_at": None,
    }


def put(table: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"op": "put", "table": table, "row": row}


BAD = put("messages", {"id": 1, "session_id": None, "role": None, "created_at": None})


def test_a_refused_record_leaves_nothing_in_memory_either(connection: sqlite3.Connection) -> None:
    refused: list[int] = []
    note: Callable[[Record, Exception], None] = lambda record, _error: refused.append(record.seq)  # noqa: E731
    merge = Merge(connection)
    records = [
        Record(1, [put("slots", slot(1, "here"))]),
        Record(2, [put("slots", slot(70, "there")), put("turns", turn("T2", 70)), BAD]),
        Record(3, [put("turns", turn("T1", 1)), put("turns", turn("T1", 1) | {"state": "waiting"})]),
        Record(4, [put("turns", turn("T1", 1) | {"state": "done", "ended_at": NOW}), BAD]),
    ]
    assert merge.apply(records, note) == 4
    merge.finish()
    assert refused == [2, 4]
    assert [row["chat"] for row in connection.execute("SELECT chat FROM slots")] == ["here"]
    assert [tuple(row) for row in connection.execute("SELECT id, state FROM turns")] == [("T1", "waiting")]


def test_notes_are_undone_to_the_last_time_that_they_were_kept() -> None:
    notes = Notes[str, int]()
    notes["kept"] = 1
    notes.keep()
    notes["kept"] = 2
    notes["new"] = 3
    notes["new"] = 4
    notes.undo()
    assert notes == {"kept": 1}
    notes.undo()
    assert notes == {"kept": 1}
