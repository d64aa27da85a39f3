"""What goes wrong in an outage itself: rows that cannot be read, a second outage, a salvage that fails."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.search import SearchIndexer
from gateway.storage import failover as failover_module
from gateway.storage import queries, salvage
from gateway.storage import shadow as shadow_module
from gateway.storage import writer as writer_module
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.salvage import set_aside
from gateway.storage.shadow import check_known
from gateway.storage.spool import find_spools
from tests.unit.storage.test_failover import ANN, BEN, back, held, opened, rows, said, texts, until

NOW: Final = to_micros(datetime.now(UTC))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@contextmanager
def away(path: Path) -> Iterator[None]:
    """The database cannot be read: something else stands in its place."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def change(sql: str, *values: object) -> Callable[[sqlite3.Connection], int]:
    return lambda connection: connection.execute(sql, values).rowcount


async def slot_of(database: Database, session_id: str) -> int:
    found = await database.read("SELECT slot_id FROM sessions WHERE id = ?", (session_id,))
    return int(found[0][0])


async def add_turn(database: Database, turn_id: str, message_id: str, session_id: str) -> None:
    """An open turn with its message."""
    slot = await slot_of(database, session_id)
    values = ("telegram", "default", "1", message_id, slot, "{}", "text", None, NOW, "running", None, None, None)
    await database.write(change(queries.ADD_INBOUND, *values))
    await database.write(change("UPDATE inbound SET turn_id = ? WHERE message_id = ?", turn_id, message_id))
    await database.write(change(queries.ADD_TURN, turn_id, slot, session_id, "echo", NOW))


async def all_rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await database.read(sql)]


async def test_a_failed_job_takes_nothing_that_it_had_read_along(path: Path) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))

        def reads_and_fails(connection: sqlite3.Connection) -> None:
            connection.execute(queries.LOAD_MESSAGES, (entry.session_id,)).fetchall()
            raise ZeroDivisionError

        with held(path):
            await store.get_or_create_session(BEN)
            with pytest.raises(ZeroDivisionError):
                await database.write(reads_and_fails)
            assert texts(await store.load_transcript(entry.session_id)) == ["one"]
            await store.rewrite_transcript(entry.session_id, said("new"))
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["new"]


async def test_a_damaged_value_does_not_stop_the_writer(path: Path) -> None:
    async with opened(path) as (_database, store):
        await store.get_or_create_session(ANN)
    with closing(sqlite3.connect(path)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'sessions'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        loose = sql.replace("STRICT", "")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'sessions'", (loose,))
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET message_count = 'x'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'sessions'", (sql,))
        connection.commit()
    async with opened(path) as (database, store):
        with held(path):
            async with asyncio.timeout(5):
                await store.get_or_create_session(BEN)
        assert database.writer.is_alive


async def test_a_spool_that_cannot_be_read_does_not_stop_the_writer(path: Path) -> None:
    async with opened(path) as (database, store):
        (path.parent / "sessions" / "spool-20200101T000000000000Z-aa.jsonl").mkdir()
        with held(path):
            async with asyncio.timeout(5):
                await store.get_or_create_session(BEN)
            assert database.state.mode == "spool"
        assert database.writer.is_alive


async def test_a_salvage_that_fails_makes_no_empty_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
    set_aside(path, datetime.now(UTC))

    def full(*_args: object, **_options: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(salvage, "salvage", full)
        async with opened(path) as (database, store):
            assert database.state.mode == "spool"
            provisional = await store.get_or_create_session(ANN)
            await store.append_turn(provisional.session_id, said("two"))
        assert not path.exists()
    async with opened(path) as (_database, store):
        assert (await store.get_or_create_session(ANN)).session_id == entry.session_id
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]


async def test_a_database_that_is_away_is_waited_for(path: Path) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        with held(path):
            await store.append_turn(entry.session_id, said("one"))
            aside = path.with_name("aside")
            path.rename(aside)
            await asyncio.sleep(0.3)  # a look that had begun before has given up
        await asyncio.sleep(0.2)
        assert database.state.mode == "spool"
        assert not path.exists()
        aside.rename(path)
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]


async def test_what_is_hidden_is_not_taken_for_absent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", entry.session_id)
        await database.write(change(queries.ADD_STEP, "T0", "calls", "{}"))
        with held(path), monkeypatch.context() as patch:
            patch.setattr(shadow_module, "_open", lambda _path: None)
            await database.writer.fall_back(io_error())
            assert database.state.mode == "spool"

            def end(connection: sqlite3.Connection) -> None:
                check_known(connection, connection.execute(queries.END_TURN, (None, NOW, "T0")).rowcount, "the turn")

            with pytest.raises(StorageError, match="tried again"):
                await database.write(end)
            await database.write(change(queries.ADD_STEP, "T0", "result", "{}"))
        await back(database)
        assert await all_rows(database, "SELECT kind FROM turn_steps ORDER BY seq") == [("calls",), ("result",)]
        await database.write(end)


async def test_outages_of_two_kinds_after_each_other(path: Path) -> None:
    """First it cannot be read, then not be written: a turn of each time meets that of before."""
    async with opened(path) as (database, store):
        real = await store.get_or_create_session(ANN)
        await add_turn(database, "T0", "m1", real.session_id)
    with away(path):
        async with opened(path) as (database, store):
            provisional = await store.get_or_create_session(ANN)
            await add_turn(database, "T1", "m2", provisional.session_id)
    with held(path):
        async with opened(path) as (database, _store):
            assert [row["id"] for row in await database.read(queries.OPEN_TURNS)] == ["T0"]
            assert [row["id"] for row in await database.read(queries.PUT_BACK_TURNS)] == ["T1"]
            await database.write(change(queries.END_TURN, None, NOW, "T0"))
    async with opened(path) as (database, _store):
        assert database.state.mode == "sqlite"
        turns = await all_rows(database, "SELECT id, state FROM turns ORDER BY id")
        assert turns == [("T0", "done"), ("T1", "put_back")]
        assert [row["id"] for row in await database.read(queries.PUT_BACK_TURNS)] == ["T1"]


async def test_a_spool_that_is_merged_and_still_there_before_the_next_outage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as (_database, store):
        await store.get_or_create_session(BEN)
        real = await store.get_or_create_session(ANN)
    with away(path):
        async with opened(path) as (_database, store):
            provisional = await store.get_or_create_session(ANN)
            await store.append_turn(provisional.session_id, said("one"))
    with monkeypatch.context() as patch:
        patch.setattr(failover_module, "retire", lambda _path: None)
        async with opened(path) as (_database, store):
            assert texts(await store.load_transcript(real.session_id)) == ["one"]
    with away(path):
        async with opened(path) as (database, store):
            again = await store.get_or_create_session(ANN)
            assert again.session_id == provisional.session_id
            await store.append_turn(again.session_id, said("two"))
            await add_turn(database, "T1", "m9", again.session_id)
    async with opened(path) as (database, store):
        assert texts(await store.load_transcript(real.session_id)) == ["one", "two"]
        assert texts(await store.load_transcript(provisional.session_id)) == ["one", "two"], "it is the same one now"
        assert [row["message_id"] for row in await database.read(queries.INBOUND_OF_TURN, ("T1",))] == ["m9"]
        assert (await store.get_or_create_session(ANN)).session_id == real.session_id
    assert find_spools(path.parent / "sessions") == []
    assert rows(path, "PRAGMA foreign_key_check") == []


async def test_an_index_that_breaks_is_made_anew(path: Path) -> None:
    """The file's structure is sound, so a check finds nothing, and each batch of the search index fails."""
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("hello world"))
        await SearchIndexer(database).catch_up()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE messages_search_data SET block = x'ff00ff00ff' WHERE id = 10")
        connection.commit()
    async with opened(path) as (database, store):
        indexer = SearchIndexer(database)
        for number in range(4):
            await store.append_turn(entry.session_id, said(f"more {number}"))
            with suppress(StorageError):
                await indexer.catch_up()
            await until(lambda: database.state.mode == "sqlite")
        assert database.state.recovered <= 3
        assert texts(await store.load_transcript(entry.session_id))[-1] == "more 3"


async def test_a_database_that_stays_locked_is_not_taken_up_again_in_between(path: Path) -> None:
    """Nothing has changed in the outage, so there is no spool whose merge would meet the lock."""
    async with opened(path) as (_database, store):
        await store.get_or_create_session(ANN)
    with held(path):
        async with opened(path) as (database, _store):
            await database.write(change("SELECT 1"))
            since = database.state.since
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert len(await database.read(queries.GET_TURN, ("T0",))) == 0
                await database.write(change("SELECT 1"))
            assert (database.state.mode, database.state.since, database.state.recovered) == ("spool", since, 0)
            assert find_spools(path.parent / "sessions") == []
