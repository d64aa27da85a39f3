"""The fallback: what happens while the database cannot be used is kept in the spool, and merged in order and once."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig, Platform
from gateway.ports import StorageBusyError
from gateway.session import SessionSource, SessionStore
from gateway.storage import failover as failover_module
from gateway.storage import reserve as reserve_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.faults import is_damage, is_outage
from gateway.storage.salvage import set_aside_databases
from gateway.storage.spool import find_spools, read_records
from gateway.storage.trial import is_broken

ANN = SessionSource(Platform.TELEGRAM, chat_id="1", user_id="1", user_name="Ann")
BEN = SessionSource(Platform.TELEGRAM, chat_id="2", user_id="2", user_name="Ben")
GROUP = SessionSource(Platform.TELEGRAM, chat_id="-5", chat_type="group", user_id="1")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is held is noticed at once, and the database tried again soon."""
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[Database, SessionStore]]:
    async with Database.open(path) as database:
        yield database, SessionStore(database, GatewayConfig())


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process has the database to itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def back(database: Database) -> None:
    await until(lambda: database.state.mode == "sqlite")


def mode_of(database: Database) -> str:
    return database.state.mode


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": f"re: {text}"}]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "user"]


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_people_go_on_while_the_database_is_locked(path: Path) -> None:
    async with opened(path) as (database, store):
        before = await store.get_or_create_session(ANN)
        await store.append_turn(before.session_id, said("one"))
        with held(path):
            entry = await store.get_or_create_session(ANN)
            assert entry.session_id == before.session_id
            await store.append_turn(entry.session_id, said("two"))
            other = await store.get_or_create_session(BEN)
            await store.append_turn(other.session_id, said("hello"))
            assert database.state.mode == "spool"
            assert database.state.reason == "database is locked"
            assert database.state.since is not None
            assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
            assert (await store.get_session(entry.session_id)).message_count == 4
            assert len(find_spools(path.parent / "sessions")) == 1
            assert rows(path, "SELECT count(*) FROM messages") == [(2,)]
        await back(database)
        assert database.state.last_outage is not None
        assert database.state.last_outage.records == 4
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
        assert texts(await store.load_transcript(other.session_id)) == ["hello"]
        assert find_spools(path.parent / "sessions") == []
        await store.append_turn(entry.session_id, said("three"))
    assert rows(path, "SELECT id FROM messages ORDER BY id") == [(number,) for number in range(1, 9)]
    assert rows(path, "SELECT message_count FROM sessions ORDER BY created_at") == [(6,), (2,)]


async def test_an_outage_may_outlast_the_process(path: Path) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
    with held(path):
        for text in ("two", "three"):
            async with opened(path) as (database, store):
                assert (await store.get_or_create_session(ANN)).session_id == entry.session_id
                await store.append_turn(entry.session_id, said(text))
                assert database.state.mode == "spool"
        assert len(find_spools(path.parent / "sessions")) == 1, "the second process goes on with the spool of the first"
    async with opened(path) as (database, store):
        assert database.state.mode == "sqlite"
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two", "three"]
        assert (await store.get_session(entry.session_id)).message_count == 6
    assert find_spools(path.parent / "sessions") == []


async def test_a_spool_is_merged_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
    with held(path):
        async with opened(path) as (_database, store):
            await store.append_turn(entry.session_id, said("one"))
    (spool,) = find_spools(path.parent / "sessions")
    content = spool.read_bytes()
    for _ in range(2):
        # As after a crash between the merge's commit and the removal of the file.
        spool.write_bytes(content)
        async with opened(path) as (_database, store):
            assert texts(await store.load_transcript(entry.session_id)) == ["one"]
            await store.append_turn(entry.session_id, [])
    assert rows(path, "SELECT message_count FROM sessions") == [(2,)]


async def test_a_provisional_session_joins_the_live_one(path: Path) -> None:
    async with opened(path) as (_database, store):
        real = await store.get_or_create_session(ANN)
        await store.append_turn(real.session_id, said("one"))
        group = await store.get_or_create_session(GROUP)
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    async with opened(path) as (database, store):
        assert database.state.mode == "spool"
        provisional = await store.get_or_create_session(ANN)
        assert provisional.session_id != real.session_id
        await store.append_turn(provisional.session_id, said("two"))
        await store.update_session(provisional.session_id, input_tokens=7, estimated_cost_usd=0.5)
        await store.get_or_create_session(BEN)
        path.rmdir()
        aside.rename(path)
        await back(database)
        live = await store.get_or_create_session(ANN)
        assert live.session_id == real.session_id
        assert texts(await store.load_transcript(real.session_id)) == ["one", "two"]
        assert (live.message_count, live.input_tokens, live.estimated_cost_usd) == (4, 7, 0.5)
        # A turn that began during the outage ends after it.
        await store.append_turn(provisional.session_id, said("three"))
        await store.update_session(provisional.session_id, input_tokens=1)
        assert texts(await store.load_transcript(real.session_id)) == ["one", "two", "three"]
        assert (await store.get_session(real.session_id)).input_tokens == 8
        stub = await store.get_session(provisional.session_id)
        assert (stub.end_reason, stub.successor_id, stub.message_count) == ("session_joined", real.session_id, 0)
        assert (await store.get_or_create_session(GROUP)).session_id == group.session_id
    assert rows(path, "SELECT count(*) FROM slots") == [(3,)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, "SELECT count(*) FROM sessions WHERE ended_at IS NULL") == [(3,)]


async def test_a_reset_in_an_outage_ends_the_real_session(path: Path) -> None:
    async with opened(path) as (_database, store):
        real = await store.get_or_create_session(ANN)
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    async with opened(path) as (database, store):
        provisional = await store.get_or_create_session(ANN)
        await store.append_turn(provisional.session_id, said("old"))
        fresh = await store.reset_session(provisional.session_key)
        assert fresh is not None
        path.rmdir()
        aside.rename(path)
        await back(database)
        assert (await store.get_or_create_session(ANN)).session_id == fresh.session_id
        ended = await store.get_session(real.session_id)
        assert (ended.end_reason, ended.successor_id) == ("session_reset", fresh.session_id)
        assert (await store.get_session(fresh.session_id)).predecessor_id == real.session_id
        assert texts(await store.load_transcript(real.session_id)) == ["old"]


async def test_nothing_is_taken_while_nothing_can_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)

        write = os.write

        def full(descriptor: int, data: bytes) -> int:
            if b'"crc"' in bytes(data):
                raise OSError(28, "No space left on device")
            return write(descriptor, data)

        with held(path):
            await store.append_turn(entry.session_id, said("one"))
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", full)
                patch.setattr(reserve_module, "_allocate", lambda *_values: full(0, b'"crc"'))
                with pytest.raises(StorageError, match="No space left"):
                    await store.append_turn(entry.session_id, said("lost, and said so"))
                assert database.state.mode == "none"
                await until(lambda: not (path.parent / "sessions" / ".reserve").exists())  # each try makes it anew
                assert texts(await store.load_transcript(entry.session_id)) == ["one"]
            await store.append_turn(entry.session_id, said("two"))
            assert mode_of(database) == "spool"
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
        assert (path.parent / "sessions" / ".reserve").exists()


async def test_the_reserve_is_used_when_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reserve = path.parent / "sessions" / ".reserve"
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if b'"crc"' in bytes(data) and reserve.exists():
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        with held(path):
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", full)
                await store.append_turn(entry.session_id, said("one"))
            assert database.state.mode == "spool"
            assert "the reserve is used up" in caplog.text
        await back(database)
        assert reserve.exists()
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]


async def test_a_bad_job_fails_alone_in_an_outage_too(path: Path) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        with held(path):
            await store.get_or_create_session(ANN)
            results = await asyncio.gather(
                store.append_turn(entry.session_id, said("one")),
                database.write(lambda _connection: 1 // 0),
                store.append_turn(entry.session_id, said("two")),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [type(None), ZeroDivisionError, type(None)]
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]


async def test_a_damaged_line_is_left_out_and_the_file_kept(path: Path) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
    with held(path):
        async with opened(path) as (_database, store):
            for text in ("one", "two", "three"):
                await store.append_turn(entry.session_id, said(text))
    (spool,) = find_spools(path.parent / "sessions")
    lines = spool.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"two", b"twO")
    spool.write_bytes(b"".join(lines))
    async with opened(path) as (_database, store):
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "three"]
    assert find_spools(path.parent / "sessions") == []
    assert [file.name for file in (path.parent / "sessions").glob("damaged-*")] == [f"damaged-{spool.name}"]


@pytest.mark.parametrize("cut", [1, 10, 100])
async def test_a_last_line_that_was_cut_short_does_not_count(path: Path, cut: int) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
    with held(path):
        async with opened(path) as (_database, store):
            await store.append_turn(entry.session_id, said("one"))
            await store.append_turn(entry.session_id, said("two"))
        (spool,) = find_spools(path.parent / "sessions")
        os.truncate(spool, spool.stat().st_size - cut)
        async with opened(path) as (_database, store):
            assert texts(await store.load_transcript(entry.session_id)) == ["one"]
            await store.append_turn(entry.session_id, said("three"))
    async with opened(path) as (_database, store):
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "three"]
    assert not list((path.parent / "sessions").glob("damaged-*"))


async def test_each_line_of_a_spool_tells_what_changed(path: Path) -> None:
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
        with held(path):
            await store.append_turn(entry.session_id, said("héllo"))
            (spool,) = find_spools(path.parent / "sessions")
            assert spool.stat().st_mode & 0o777 == 0o600
            head, line = (json.loads(text) for text in spool.read_text("utf-8").splitlines())
            assert head["reason"] == "database is locked"
            assert line["seq"] == 1
            kinds = [(event["kind"], event["op"], event["row"]["id"]) for event in line["events"]]
            assert kinds == [("session", "put", entry.session_id), ("transcript", "put", 1), ("transcript", "put", 2)]
            assert line["events"][1]["row"]["content"] == "héllo"
            assert [record.seq for record in read_records(spool)] == [1]


async def test_what_an_error_tells_of() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(sqlite3.OperationalError) as syntax:
            connection.execute("SELEC 1")
        assert not is_outage(syntax.value)
        connection.execute("CREATE TABLE t (x UNIQUE)")
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError) as taken:
            connection.execute("INSERT INTO t VALUES (1)")
        assert not is_outage(taken.value)
    assert is_outage(OSError(5, "Input/output error"))
    assert not is_damage(OSError(5, "Input/output error"))
    assert not is_outage(StorageBusyError("full"))


async def test_spools_of_another_version_are_left_alone(path: Path) -> None:
    folder = path.parent / "sessions"
    folder.mkdir()
    strange = folder / "spool-20990101T000000000000Z-00.jsonl"
    strange.write_text('{"spool": "00", "format": 99}\n')
    async with opened(path) as (database, store):
        await store.get_or_create_session(ANN)
        assert database.state.mode == "sqlite"
    assert strange.exists()


async def test_files_are_read_for_sessions_that_the_database_does_not_know(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = path.parent / "sessions"
    folder.mkdir()
    lines = ['{"role": "user", "content": "hi"}', "", '{"role": "assist', '{"role": "user", "content": "x"}', "[1]"]
    (folder / "20250101_000000_deadbeef.jsonl").write_text("\n".join(lines) + '\n{"role": "user", "content": "ok"}\n')
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
        (folder / f"{entry.session_id}.jsonl").write_text(lines[0])
        assert texts(await store.load_transcript("20250101_000000_deadbeef")) == ["hi", "x", "ok"]
        assert [record.getMessage().split(" is ")[0] for record in caplog.records] == [
            "20250101_000000_deadbeef.jsonl, line 3",
            "20250101_000000_deadbeef.jsonl, line 5",
        ]
        assert await store.load_transcript(entry.session_id) == [], "the database knows better"
        assert await store.load_transcript("../20250101_000000_deadbeef") == []
        with held(path):
            await store.append_turn(entry.session_id, [])
            assert texts(await store.load_transcript("20250101_000000_deadbeef")) == ["hi", "x", "ok"]


async def test_what_is_no_database_is_set_aside_whole(path: Path) -> None:
    garbage = b"not a database, but somebody's only copy of something" * 100
    path.write_bytes(garbage)
    async with opened(path) as (database, store):
        assert database.state.mode == "spool"
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]
        (aside,) = path.parent.glob("gateway.db.damaged-*")
        assert aside.read_bytes() == garbage
    assert rows(path, "SELECT count(*) FROM messages") == [(2,)]


async def test_a_database_that_breaks_while_it_is_used(path: Path) -> None:
    async with opened(path) as (_database, store):
        ann = await store.get_or_create_session(ANN)
        for number in range(200):
            await store.append_turn(ann.session_id, said(f"{number} " + "x" * 500))
        ben = await store.get_or_create_session(BEN)
        await store.append_turn(ben.session_id, said("hello"))
    broken_page = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'sessions_latest'")[0][0]
    with path.open("r+b") as file:
        size = 4096
        file.seek((broken_page - 1) * size)
        file.write(b"\xff" * size)
    async with opened(path) as (database, store):
        assert (await store.get_or_create_session(ANN)).session_id == ann.session_id
        await store.append_turn(ann.session_id, said("on"))
        assert database.state.mode == "spool"
        assert "malformed" in str(database.state.reason)
        await back(database)
        assert texts(await store.load_transcript(ann.session_id))[-2:] == ["199 " + "x" * 500, "on"]
        assert texts(await store.load_transcript(ben.session_id)) == ["hello"]
        assert len(set_aside_databases(path)) == 1
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT message_count FROM sessions ORDER BY created_at") == [(402,), (2,)]


async def test_a_database_that_is_held_is_not_taken_for_broken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was said to be damaged, and another program has it to itself while that is looked into."""
    monkeypatch.setattr("gateway.storage.trial.SQLITE_BUSY_SECONDS", 0.02)
    async with opened(path) as (_database, store):
        session_id = (await store.get_or_create_session(ANN)).session_id
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("COMMIT")
        with pytest.raises(StorageError, match="locked"):
            is_broken(path)
        async with opened(path) as (database, store):
            database.writer._failover._damaged = True
            looked = 0

            def look(path: Path) -> bool:
                nonlocal looked
                looked += 1
                return is_broken(path)

            monkeypatch.setattr(failover_module, "is_broken", look)
            await until(lambda: looked > 1)
            assert not list(path.parent.glob("gateway.db.damaged-*"))
            other.close()
            await back(database)
            assert (await store.get_or_create_session(ANN)).session_id == session_id
        assert not list(path.parent.glob("gateway.db.damaged-*"))
