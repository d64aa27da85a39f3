"""The JSONL mirror: the files equal the transcripts, whatever is said, cut, crashed, purged, or wrong with the disk."""

import asyncio
import errno
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from config import Home
from gateway.cli import reports
from gateway.daemon import Daemon
from gateway.erasure import EraseError, Eraser
from gateway.mirror import JsonlMirror
from gateway.retention import Retention
from gateway.search import SearchIndexer
from gateway.session import SessionStore, jsonl, undo_last
from gateway.session.jsonl import append_lines, ends_of, mirror_line, read_transcript
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.probe import Probe, no_probe
from tests.support.fakes import configure
from tests.support.stores import ANSWER, START, USER, HandClock, dm, resets


class CrashError(Exception):
    """The process ends here, as far as the code under test can tell."""


class House:
    """A home with a store in it and its mirror."""

    def __init__(self, home: Home, database: Database, clock: HandClock, probe: Probe) -> None:
        self.home = home
        self.database = database
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self.store = SessionStore(database, resets(), clock=clock)
        self.mirror = self.mirrored(probe=probe)

    def mirrored(self, *, enabled: bool = True, batch: int = 4, probe: Probe = no_probe) -> JsonlMirror:
        return JsonlMirror(
            self.database,
            self.home.sessions_dir,
            self.clock,
            self.counters,
            enabled=enabled,
            batch=batch,
            seconds=0.01,
            probe=probe,
        )

    async def say(self, *texts: str, chat: str = "9") -> str:
        return await self.store.record_turn(dm(chat), [{"role": "user", "content": text} for text in texts])

    def path(self, session_id: str) -> Path:
        return self.home.sessions_dir / f"{session_id}.jsonl"

    def lines(self, session_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path(session_id).read_text("utf-8").splitlines()]

    def texts(self, session_id: str) -> list[str]:
        return [line["content"] for line in self.lines(session_id)]

    async def numbers(self, session_id: str) -> list[int]:
        rows = await self.database.read("SELECT id FROM messages WHERE session_id = ? ORDER BY id", (session_id,))
        return [row[0] for row in rows]

    async def meta(self, like: str = "mirror%") -> list[tuple[str, str]]:
        rows = await self.database.read("SELECT name, value FROM meta WHERE name LIKE ? ORDER BY name", (like,))
        return [(row[0], row[1]) for row in rows]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.home.sessions_dir.iterdir() if not path.name.startswith("."))


@asynccontextmanager
async def opened(path: Path, probe: Probe = no_probe) -> AsyncIterator[House]:
    home = Home(path)
    async with Database.open(home.database, synchronous="normal", reserve_bytes=0) as database:
        yield House(home, database, HandClock(), probe)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


def at(step: str) -> Probe:
    def probe(name: str) -> None:
        if name == step:
            raise CrashError

    return probe


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


# --- lines ---------------------------------------------------------------------------------------------------


async def test_a_line_is_the_message_with_its_time_and_number(house: House) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "arguments": "{}"}]}
    entry = await house.store.get_or_create_session(dm())
    await house.store.append_turn(entry.session_id, [{"role": "user", "content": "Grüße 👋\n"}, call])
    assert await house.mirror.catch_up() == 2
    text = house.path(entry.session_id).read_text("utf-8")
    first, second = text.splitlines()
    assert first.startswith('{"role": "user", "content": "Grüße 👋\\n", ')
    stamp = {"timestamp": START.isoformat()}
    assert json.loads(first) == {"role": "user", "content": "Grüße 👋\n", "id": 1, **stamp}
    assert json.loads(second) == {**call, "id": 2, **stamp}
    assert text.endswith("\n")
    assert house.path(entry.session_id).stat().st_mode & 0o777 == 0o600


def test_keys_of_a_message_that_are_named_like_the_mirrors_own() -> None:
    line = mirror_line({"role": "user", "content": "x", "id": "m1", "timestamp": 3, "original": 4}, 7, START)
    told = json.loads(line)
    assert (told["id"], told["timestamp"]) == (7, START.isoformat())
    assert told["original"] == {"id": "m1", "timestamp": 3, "original": 4}


def test_a_lone_surrogate_is_escaped() -> None:
    line = mirror_line({"role": "user", "content": [{"type": "text", "text": "a\ud800b"}]}, 1, START)
    assert json.loads(line.decode("utf-8"))["content"][0]["text"] == "a\ud800b"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (None, None, 0, False)),
        (b'{"id": 1}\n', (1, 1, 10, False)),
        (b'{"id": 1}\n{"id": 2}\n', (1, 2, 20, False)),
        (b'{"id": 1}\n{"id": 2', (1, 1, 10, True)),
        (b'{"id": 1', (None, None, 0, True)),
        (b"\0\0\0", (None, None, 0, True)),
        (b'{"id": 1}\n\0\0\0\n', (1, None, 14, False)),
        (b'{"id": true}\n', (None, None, 13, False)),
        (b"hello\n", (None, None, 6, False)),
        (b'{"id": 1, "x": "' + b"y" * 9000 + b'"}\n', (1, 1, 9019, False)),
        (b'{"id": 1}\n{"id": 2, "x": "' + b"y" * 9000 + b'"}\n', (1, 2, 9029, False)),
        (b'{"id": 1}\n{"id": 2}\n' + b"y" * 9000, (1, 2, 20, True)),
    ],
)
def test_the_ends_of_a_file(tmp_path: Path, content: bytes, expected: tuple[object, ...]) -> None:
    path = tmp_path / "a.jsonl"
    assert ends_of(path) is None
    path.write_bytes(content)
    ends = ends_of(path)
    assert ends is not None
    assert (ends.first, ends.last, ends.length, ends.torn) == expected


# --- following -----------------------------------------------------------------------------------------------


async def test_what_was_said_before_it_was_switched_on_is_written_too(house: House) -> None:
    first = await house.say(*(f"m{number}" for number in range(10)))
    second = await house.say("other", chat="8")
    await house.mirror.catch_up()
    assert house.texts(first) == [f"m{number}" for number in range(10)]
    assert house.texts(second) == ["other"]
    assert [line["id"] for line in house.lines(first)] == await house.numbers(first)
    assert await house.meta() == [("mirror_cursor", "11")]
    assert await house.mirror.catch_up() == 0


async def test_a_line_that_is_there_is_not_written_twice(house: House) -> None:
    session_id = await house.say("one", "two")
    await house.mirror.catch_up()
    await house.database.write(
        lambda connection: connection.execute("UPDATE meta SET value = '0' WHERE name = 'mirror_cursor'").rowcount
    )
    again = house.mirrored()
    await house.say("three")
    await again.catch_up()
    assert house.texts(session_id) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "step", ["mirror.files-written", "mirror.verified", "mirror.file-written", "mirror.file-ready"]
)
async def test_a_crash_between_the_files_and_the_cursor(tmp_path: Path, step: str) -> None:
    async with opened(tmp_path, at(step)) as house:
        session_id = await house.say("one", "two")
        if step == "mirror.files-written":
            await house.mirrored().catch_up()
            house.mirror._verified = 0
            house.mirror._cursor = 2
            await house.say("three")
        with pytest.raises(CrashError):
            await house.mirror.catch_up()
        assert ("mirror_cursor", "3") not in await house.meta()
    async with opened(tmp_path) as house:
        await house.say("four")
        await house.mirror.catch_up()
        assert house.texts(session_id) == [line["content"] for line in await house.store.load_transcript(session_id)]
        assert house.names() == [f"{session_id}.jsonl"]


async def test_a_cut_between_the_files_and_the_cursor_is_seen(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        session_id = await house.say("one")
        await house.mirror.catch_up()
        await house.say("two", "three")
        broken = house.mirrored(probe=at("mirror.files-written"))
        broken._verified, broken._cursor = 0, 1
        with pytest.raises(CrashError):
            await broken.catch_up()
        assert house.texts(session_id) == ["one", "two", "three"]
        await undo_last(house.store, session_id)
        await house.mirrored().catch_up()
        assert house.texts(session_id) == ["one", "two"]
        assert house.names() == [f"{session_id}.jsonl"]


@pytest.mark.parametrize("rest", [b'{"role": "user", "cont', b"\0\0\0\0"])
async def test_a_torn_last_line_is_repaired(house: House, rest: bytes) -> None:
    session_id = await house.say("one", "two")
    await house.mirror.catch_up()
    with house.path(session_id).open("ab") as file:
        file.write(rest)
    await house.say("three")
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["one", "two", "three"]
    with house.path(session_id).open("ab") as file:
        file.write(rest)
    await house.mirrored().catch_up()
    assert house.texts(session_id) == ["one", "two", "three"]
    assert house.names() == [f"{session_id}.jsonl"]


@pytest.mark.parametrize("late", [False, True], ids=["mirrored before", "cut before it is mirrored"])
async def test_cuts_and_rewrites(house: House, late: bool) -> None:
    session_id = await house.say("one", "two", "three")
    if not late:
        await house.mirror.catch_up()
    await undo_last(house.store, session_id)
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["one", "two"]
    await house.store.rewrite_transcript(session_id, [USER, ANSWER])
    await house.say("more")
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["hello", "hi", "more"]
    await house.store.rewrite_transcript(session_id, [])
    await house.mirror.catch_up()
    assert not house.path(session_id).exists()
    await house.say("again")
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["again"]
    assert house.names() == [f"{session_id}.jsonl"]
    assert [name for name, _value in await house.meta()] == ["mirror_cursor"]


async def test_a_cut_while_the_file_is_written_anew_is_not_missed(house: House) -> None:
    session_id = await house.say("one", "two", "three")
    await house.mirror.catch_up()
    await undo_last(house.store, session_id)
    ready = asyncio.Event()
    real = jsonl.replace_file
    loop = asyncio.get_running_loop()
    cut: list[Any] = []

    def replace_file(path: Path, *, keep: bool) -> Path | None:
        if not cut:
            cut.append(asyncio.run_coroutine_threadsafe(undo_last(house.store, session_id), loop).result())
            loop.call_soon_threadsafe(ready.set)
        return real(path, keep=keep)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.mirror.replace_file", replace_file)
        await house.mirror.catch_up()
    assert ready.is_set()
    assert house.texts(session_id) == ["one", "two"]
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["one"]


async def test_a_file_that_was_removed_or_changed_by_hand_is_made_again(house: House) -> None:
    gone, changed, other = await house.say("a", "b", chat="1"), await house.say("c", chat="2"), await house.say("d")
    await house.mirror.catch_up()
    house.path(gone).unlink()
    house.path(changed).write_text('{"role": "user", "content": "old"}\n')
    await house.say("e", chat="1")
    await house.say("f", chat="2")
    await house.mirror.catch_up()
    assert (house.texts(gone), house.texts(changed), house.texts(other)) == (["a", "b", "e"], ["c", "f"], ["d"])
    kept = house.home.sessions_dir / f"{changed}.kept-1"
    assert kept.read_text() == '{"role": "user", "content": "old"}\n'
    house.path(gone).unlink()
    await house.mirrored().catch_up()
    assert house.texts(gone) == ["a", "b", "e"]


async def test_switched_off_it_leaves_the_files_and_forgets(house: House) -> None:
    session_id = await house.say("one", "two")
    await house.mirror.catch_up()
    off = house.mirrored(enabled=False)
    await off.run()
    assert await off.catch_up() == 0
    assert await off.status() is None
    await undo_last(house.store, session_id)
    assert await house.meta() == []
    assert house.texts(session_id) == ["one", "two"]
    await house.say("three")
    await house.mirrored().catch_up()
    assert house.texts(session_id) == ["one", "three"]


async def test_sessions_of_the_database_are_never_read_from_their_files(house: House) -> None:
    session_id = await house.say("one")
    await house.mirror.catch_up()
    house.path(session_id).write_text('{"role": "user", "content": "changed"}\n')
    assert await house.store.load_transcript(session_id) == [{"role": "user", "content": "one"}]


async def test_ten_thousand_messages_quickly(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        mirror = house.mirrored(batch=250)
        await mirror.catch_up()
        ids = [
            await house.store.record_turn(dm(str(chat)), [USER, ANSWER] * 50) for chat in range(20) for _ in range(5)
        ]
        began = time.process_time()
        assert await mirror.catch_up() == 10_000
        assert time.process_time() - began < 5
        for session_id in set(ids):
            assert [line["id"] for line in house.lines(session_id)] == await house.numbers(session_id)


async def test_the_loop_goes_on_meanwhile(house: House) -> None:
    session_id = await house.store.record_turn(dm(), [USER, ANSWER] * 2000)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - before)

    watching = asyncio.create_task(watch())
    await house.mirrored(batch=250).catch_up()
    watching.cancel()
    assert longest < 0.5
    assert len(house.lines(session_id)) == 4000


# --- what is removed -----------------------------------------------------------------------------------------


async def test_a_deleted_session_leaves_no_file(house: House) -> None:
    doomed, kept = await house.say("secret", chat="1"), await house.say("stays", chat="2")
    await house.mirror.catch_up()
    await Eraser(house.database, house.home, house.clock).erase(doomed)
    await house.mirror.catch_up()
    assert house.names() == [f"{kept}.jsonl"]
    assert await house.meta() == [("mirror_cursor", "2")]


@pytest.mark.parametrize("step", ["mirror.files-written", "mirror.file-written"])
async def test_a_purge_while_the_mirror_writes(house: House, step: str) -> None:
    """The file is written from rows that were read before the purge; it is removed in the end all the same."""
    other = await house.say("stays", chat="2")
    await house.mirror.catch_up()
    doomed = await house.say("secret", chat="1")
    waits, goes_on = asyncio.Event(), asyncio.Event()
    mirror = house.mirrored()
    real = mirror._write

    async def write(job: Any) -> Any:
        if house.path(doomed).exists() and not goes_on.is_set():
            waits.set()
            await goes_on.wait()
        return await real(job)

    if step == "mirror.files-written":
        mirror._verified, mirror._cursor = 0, 1
    mirror._write = write  # type: ignore[method-assign]
    working = asyncio.create_task(mirror.catch_up())
    await waits.wait()
    await Eraser(house.database, house.home, house.clock).erase(doomed, purge=True)
    goes_on.set()
    await working
    assert house.names() == [f"{other}.jsonl"]
    assert await house.meta("mirror:%") == []
    await house.mirror.catch_up()
    assert house.names() == [f"{other}.jsonl"]


async def test_what_is_kept_beside_is_purged_with_its_session(house: House) -> None:
    session_id = await house.say("secret")
    house.path(session_id).write_text('{"role": "user", "content": "secret, too"}\n')
    await house.mirror.catch_up()
    assert house.names() == [f"{session_id}.jsonl", f"{session_id}.kept-1"]
    await Eraser(house.database, house.home, house.clock).erase(session_id, purge=True)
    assert house.names() == []


async def test_old_turns_that_retention_takes_go_from_the_file(house: House) -> None:
    session_id = await house.store.record_turn(dm(), [USER, ANSWER])
    await house.mirror.catch_up()
    house.clock.advance(days=3)
    await house.store.append_turn(session_id, [{"role": "user", "content": "new"}])
    config = resets("none")
    config = config.model_copy(update={"storage": config.storage.model_copy(update={"retention_days": 1})})
    await Retention(house.database, config, house.clock, house.counters, (house.home.sessions_dir,), pause=0).sweep()
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["new"]
    assert house.names() == [f"{session_id}.jsonl"]


# --- what goes wrong -----------------------------------------------------------------------------------------


async def test_a_full_disk_makes_it_fall_behind_and_say_so(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = await house.say("one")
    await house.mirror.catch_up()
    full = True
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if full and Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".jsonl":
            if len(data) > 10:
                return real(descriptor, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr("gateway.session.jsonl.os.write", write)
    running = asyncio.create_task(house.mirror.run())
    await house.say("two", "three")
    await until(lambda: house.counters["mirror.errors"] >= 2)
    assert await house.store.load_transcript(session_id) != []
    assert house.texts(session_id) == ["one"], "what was half written was taken back"
    status = await house.mirror.status()
    assert status is not None
    assert (status["behind"], status["since"]) == (2, START.isoformat())
    assert "No space left" in status["error"]
    assert sum("falls behind" in record.message for record in caplog.records) == 1
    full = False
    await until(lambda: house.texts(session_id) == ["one", "two", "three"])
    await until(lambda: house.mirror._error is None)
    assert (await house.mirror.status()) == {"behind": 0, "error": None, "since": None, "failed": {}}
    running.cancel()


async def test_a_file_that_cannot_be_written_keeps_no_other_waiting(house: House) -> None:
    bad, good = await house.say("bad", chat="1"), await house.say("good", chat="2")
    house.path(bad).mkdir()
    await house.mirror.catch_up()
    assert house.texts(good) == ["good"]
    await house.say("more", chat="1")
    await house.say("more", chat="2")
    await house.mirror.catch_up()
    assert house.texts(good) == ["good", "more"]
    status = await house.mirror.status()
    assert status is not None
    assert status["failed"] == {bad: "Is a directory"}
    assert house.counters["mirror.errors"] > 0
    house.path(bad).rmdir()
    await house.mirror.catch_up()
    assert house.texts(bad) == ["bad", "more"]
    status = await house.mirror.status()
    assert status is not None
    assert status["failed"] == {}


async def test_the_folder_is_made_again(house: House) -> None:
    session_id = await house.say("one")
    await house.mirror.catch_up()
    house.path(session_id).unlink()
    (house.home.sessions_dir / ".reserve").unlink(missing_ok=True)
    house.home.sessions_dir.rmdir()
    await house.say("two")
    await house.mirror.catch_up()
    assert house.texts(session_id) == ["one", "two"]


async def test_a_cancelled_pass_is_taken_up_by_the_next(house: House) -> None:
    session_id = await house.store.record_turn(dm(), [USER, ANSWER] * 40)
    for _ in range(20):
        working = asyncio.create_task(house.mirror.catch_up())
        await asyncio.sleep(0.001)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    await house.mirror.catch_up()
    assert [line["id"] for line in house.lines(session_id)] == await house.numbers(session_id)
    assert house.names() == [f"{session_id}.jsonl"]


def test_no_line_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    append_lines(path, [b'{"id": 1}\n'], 0)

    def write(descriptor: int, data: Any) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("gateway.session.jsonl.os.write", write)
    with pytest.raises(OSError, match="broken"):
        append_lines(path, [b'{"id": 2}\n'], 10)
    assert path.read_bytes() == b'{"id": 1}\n'


# --- outages -------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


@asynccontextmanager
async def outage(path: Path, *databases: Database) -> AsyncIterator[None]:
    with closing(sqlite3.connect(path / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for database in databases:
            await database.write(lambda connection: connection.execute("UPDATE slots SET key = key").rowcount)
            assert database.state.mode == "spool"
        yield
        other.execute("ROLLBACK")


@pytest.mark.usefixtures("quick")
async def test_it_waits_while_the_database_is_out_of_use(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db") as opened_database:
        house = House(Home(tmp_path), opened_database, HandClock(), no_probe)
        session_id = await house.say("one", "two")
        await house.mirror.catch_up()
        async with outage(tmp_path, opened_database):
            await undo_last(house.store, session_id)
            await house.say("three")
            assert await house.mirror.catch_up() == 0
            assert house.texts(session_id) == ["one", "two"]
            status = await house.mirror.status()
            assert status is not None
            assert status["behind"] is None
        await until(lambda: opened_database.state.mode == "sqlite")
        await until(lambda: house.mirror._seen == 1)
        await house.mirror.catch_up()
        assert house.texts(session_id) == ["one", "three"]
        assert house.names() == [f"{session_id}.jsonl"]


@pytest.mark.usefixtures("quick")
async def test_nothing_that_follows_the_database_works_on_a_stand_in(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db") as database:
        house = House(Home(tmp_path), database, HandClock(), no_probe)
        session_id = await house.say("one", "two")
        config = resets("none")
        config = config.model_copy(update={"storage": config.storage.model_copy(update={"retention_days": 1})})
        indexer = SearchIndexer(database)
        retention = Retention(database, config, house.clock, house.counters, pause=0)
        eraser = Eraser(database, house.home, house.clock)
        house.clock.advance(days=9)
        async with outage(tmp_path, database):
            await house.say("three")
            assert await indexer.catch_up() == 0
            await retention.sweep()
            for purge in (False, True):
                with pytest.raises(EraseError, match="out of use at present, so nothing can be deleted"):
                    await eraser.erase(session_id, purge=purge)
            assert await house.store.load_transcript(session_id) != []
        await until(lambda: database.state.mode == "sqlite")
        await until(lambda: house.mirror._seen == 1)
        assert await indexer.catch_up() == 1
        assert await indexer.behind() == 0
        await eraser.erase(session_id, purge=True)
        assert read_transcript(house.path(session_id)) == []


# --- in the daemon -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switched_on", [True, False])
async def test_the_daemon_keeps_the_mirror_that_is_configured(tmp_path: Path, switched_on: bool) -> None:
    home = Home(tmp_path / "home")
    config = configure(agents={"a": {"type": "echo"}}, http={"enabled": False}, storage={"jsonl_mirror": switched_on})
    daemon = Daemon(config, home, local_only=True)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    assert daemon._parts is not None
    session_id = await daemon._parts.store.record_turn(dm(), [USER, ANSWER])
    status = await daemon.status()
    assert (status["mirror"] is not None) is switched_on
    daemon.stop()
    await running
    path = home.sessions_dir / f"{session_id}.jsonl"
    assert [message["content"] for message in read_transcript(path)] == (["hello", "hi"] if switched_on else [])


@pytest.mark.parametrize(
    ("state", "line", "style"),
    [
        ({}, "up to date", ""),
        ({"behind": 1200}, "1,200 messages behind", ""),
        ({"behind": None}, "waits for the database", ""),
        ({"behind": 3, "error": "No space left on device"}, "3 messages behind; No space left on device", "yellow"),
        (
            {"failed": {"1": "Is a directory"}},
            "up to date; 1 files cannot be written, 1.jsonl among them: Is a directory",
            "yellow",
        ),
    ],
)
def test_how_the_status_tells_of_it(state: dict[str, Any], line: str, style: str) -> None:
    found = {"behind": 0, "error": None, "since": None, "failed": {}} | state
    assert reports._mirror(found) == (line, style)
