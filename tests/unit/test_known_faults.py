"""Scenarios in which stores of conversations are known to go wrong, each as the person or the operator meets it."""

import ast
import asyncio
import dataclasses
import json
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import Home, Platform
from gateway.ids import Ids
from gateway.mirror import JsonlMirror
from gateway.session import SessionSource, SessionStore, UnknownSession, retry_last, undo_last
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from tests.known_faults import KNOWN_FAULTS, NUMBERED
from tests.support.stores import ANSWER, USER, HandClock, dm, group, resets

NO_IDS = ("../evil", "..", "/etc/passwd", "_index", "Evil", "a-b", "a.b", "", "a/b", "a\0b", "x" * 200)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(tmp_path / "gateway.db", synchronous="normal", reserve_bytes=0) as opened:
        yield opened


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(database: Database, clock: HandClock) -> SessionStore:
    return SessionStore(database, resets(), clock=clock)


async def run(database: Database, sql: str, *values: Any) -> None:
    await database.write(lambda connection: connection.execute(sql, values).rowcount)


async def refuse(database: Database, what: str) -> None:
    """Have a statement fail from now on, as a full table or a broken check would."""
    await run(database, f"CREATE TEMP TRIGGER refuse BEFORE {what} BEGIN SELECT RAISE(FAIL, 'refused here'); END")


def mode_of(database: Database) -> str:
    return database.state.mode


async def allow(database: Database) -> None:
    await run(database, "DROP TRIGGER temp.refuse")


# --- sessions begin and end ------------------------------------------------------------------------------


async def test_an_hour_that_clocks_show_twice_is_counted_by_its_real_minutes(database: Database) -> None:
    clock = HandClock(datetime(2026, 10, 25, 0, 50, tzinfo=UTC))
    store = SessionStore(database, resets(timezone="Europe/Berlin"), clock=clock)
    first = await store.get_or_create_session(dm())
    clock.advance(minutes=50)
    assert (await store.get_or_create_session(dm())).session_id == first.session_id
    clock.advance(minutes=61)
    assert (await store.get_or_create_session(dm())).session_id != first.session_id


async def test_a_session_that_could_not_be_begun_is_not_there_at_all(database: Database, store: SessionStore) -> None:
    await refuse(database, "INSERT ON main.sessions")
    with pytest.raises(StorageError, match="refused here"):
        await store.get_or_create_session(dm())
    with pytest.raises(StorageError, match="refused here"):
        await store.record_turn(dm(), [USER, ANSWER])
    await allow(database)
    assert await store.list_sessions() == []
    entry = await store.get_or_create_session(dm())
    assert [each.session_id for each in await store.list_sessions()] == [entry.session_id]
    assert entry.predecessor_id is None


async def test_whoever_is_given_a_session_can_write_to_it_at_once(store: SessionStore) -> None:
    async def speak(text: str) -> None:
        entry = await store.get_or_create_session(dm())
        await store.append_to_transcript(entry.session_id, {"role": "user", "content": text})

    await asyncio.gather(*(speak(str(number)) for number in range(50)))
    (entry,) = await store.list_sessions()
    messages = await store.load_transcript(entry.session_id)
    assert sorted(int(message["content"]) for message in messages) == list(range(50))
    assert entry.message_count == 50


async def test_a_reset_that_fails_leaves_the_session_live(database: Database, store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    await refuse(database, "INSERT ON main.sessions")
    with pytest.raises(StorageError):
        await store.reset_session(entry.session_key)
    await allow(database)
    assert await store.get_session(entry.session_id) == entry
    assert (await store.get_or_create_session(dm())).session_id == entry.session_id


@pytest.mark.parametrize(
    ("platform", "origin"),
    [
        ("gone", '{"platform": "gone", "chat_id": "1"}'),
        ("telegram", '{"platform": "gone", "chat_id": "1"}'),
        ("telegram", "null"),
        ("telegram", "[1]"),
        ("telegram", "{}"),
        ("telegram", '{"platform": "telegram", "ch'),
        (None, None),
    ],
)
async def test_one_record_that_cannot_be_read_hides_no_other(
    database: Database, store: SessionStore, clock: HandClock, platform: str | None, origin: str | None
) -> None:
    odd = await store.record_turn(dm("1"), [USER])
    clock.advance(minutes=1)
    sound = await store.record_turn(dm("2"), [USER])
    await run(database, "UPDATE sessions SET platform = ?, origin = ? WHERE id = ?", platform, origin, odd)
    assert [entry.session_id for entry in await store.list_sessions()] == [sound, odd]
    assert (await store.get_session(odd)).message_count == 1
    await store.record_turn(dm("3"), [USER])
    rows = await database.read("SELECT platform, origin FROM sessions WHERE id = ?", (odd,))
    assert tuple(rows[0]) == (platform, origin), "what is not understood is left as it is"


async def test_an_absent_chat_stays_absent(database: Database, store: SessionStore) -> None:
    read = SessionSource.from_dict({"platform": "telegram", "chat_id": None, "user_id": "7"}, needs_chat=False)
    assert not read.chat_id
    assert "None" not in json.dumps(read.to_dict())
    entry = await store.get_or_create_session(SessionSource(Platform.TELEGRAM, "", user_id="7"))
    assert "None" not in entry.session_key
    again = await store.get_session(entry.session_id)
    assert again.origin is not None
    assert not again.origin.chat_id


@pytest.mark.parametrize("session_id", NO_IDS)
async def test_what_is_no_id_reaches_nothing(tmp_path: Path, store: SessionStore, session_id: str) -> None:
    (tmp_path / "evil.jsonl").write_text('{"role": "user", "content": "not for you"}\n')
    entry = await store.get_or_create_session(dm())
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert await store.load_transcript(session_id) == []
    for attempt in (
        store.get_session(session_id),
        store.append_to_transcript(session_id, USER),
        store.append_turn(session_id, [USER]),
        store.rewrite_transcript(session_id, [USER]),
        store.cut_last_turn(session_id),
        store.update_session(session_id, input_tokens=1),
        store.switch_session(entry.session_key, session_id),
        store.has_any_sessions(session_id),
    ):
        with pytest.raises(UnknownSession):
            await attempt
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert await store.list_sessions() == [entry]


async def test_the_first_instant_of_the_calendar_is_an_instant(database: Database) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    store = SessionStore(database, resets("none"), clock=HandClock(epoch))
    session_id = await store.record_turn(dm(), [USER])
    entry = await store.get_session(session_id)
    assert (entry.created_at, entry.updated_at) == (epoch, epoch)


async def test_an_id_that_is_taken_already_takes_nothing_over(database: Database, clock: HandClock) -> None:
    """64 random bits are the same twice in one second next to never; then nothing of the first session is lost."""
    drawn = [bytes(8), bytes(8), bytes(7) + b"\1"]
    store = SessionStore(database, resets(), clock=clock, ids=Ids(lambda _number: drawn.pop(0)))
    first = await store.record_turn(dm("1"), [USER, ANSWER])
    with pytest.raises(StorageError, match="UNIQUE"):
        await store.record_turn(dm("2"), [USER])
    (only,) = await store.list_sessions()
    assert (only.session_id, only.message_count, only.origin) == (first, 2, dm("1"))
    assert await store.load_transcript(first) == [USER, ANSWER]
    assert await store.record_turn(dm("2"), [USER]) != first, "the next try goes through"


# --- transcripts -----------------------------------------------------------------------------------------


async def test_a_turn_that_ends_after_an_undo_brings_nothing_back(store: SessionStore) -> None:
    session_id = await store.record_turn(dm(), [USER, ANSWER])
    history = await store.load_transcript(session_id)
    assert len(history) == 2, "the agent has read this, and works"
    await undo_last(store, session_id)
    later = [{"role": "user", "content": "next"}, {"role": "assistant", "content": "done"}]
    await store.append_turn(session_id, later)
    assert await store.load_transcript(session_id) == later
    assert (await store.get_session(session_id)).message_count == 2


@pytest.mark.parametrize("operation", [undo_last, retry_last])
async def test_a_cut_that_fails_changes_nothing(
    database: Database, store: SessionStore, clock: HandClock, operation: Any
) -> None:
    session_id = await store.record_turn(dm(), [USER, ANSWER])
    before = await store.get_session(session_id)
    clock.advance(minutes=3)
    await refuse(database, "UPDATE OF message_count ON main.sessions")
    with pytest.raises(StorageError, match="refused here"):
        await operation(store, session_id)
    await allow(database)
    assert await store.load_transcript(session_id) == [USER, ANSWER]
    assert await store.get_session(session_id) == before


async def test_a_record_that_somebody_holds_is_only_a_picture(store: SessionStore) -> None:
    held = await store.get_or_create_session(dm())
    await store.append_turn(held.session_id, [USER, ANSWER])
    with pytest.raises(dataclasses.FrozenInstanceError):
        held.message_count = 7  # type: ignore[misc]
    for number in range(150):
        await store.get_or_create_session(group(f"-{number}"))
    await store.update_session(held.session_id, input_tokens=3)
    now = await store.get_session(held.session_id)
    assert (held.message_count, now.message_count, now.input_tokens) == (0, 2, 3)


async def test_looking_at_a_list_takes_nothing_from_long_transcripts(store: SessionStore) -> None:
    long = {"role": "user", "content": "x" * 5000, "parts": [{"a": "y" * 2000}]}
    session_id = await store.record_turn(dm(), [long, ANSWER])
    (entry,) = await store.list_sessions()
    assert entry.message_count == 2
    await store.append_turn(session_id, [USER])
    assert await store.load_transcript(session_id) == [long, ANSWER, USER]


# --- files -----------------------------------------------------------------------------------------------


async def test_many_messages_leave_no_temporary_files(tmp_path: Path, store: SessionStore) -> None:
    for _ in range(50):
        await store.record_turn(dm(), [USER, ANSWER])
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names <= {"gateway.db", "gateway.db-wal", "gateway.db-shm", ".reserve"}


async def test_the_fallback_makes_its_folder_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    async with Database.open(tmp_path / "gateway.db", synchronous="normal", reserve_bytes=0) as database:
        store = SessionStore(database, resets())
        shutil.rmtree(tmp_path / "sessions")
        with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            session_id = await store.record_turn(dm(), [USER, ANSWER])
            assert mode_of(database) == "spool"
            other.execute("ROLLBACK")
        async with asyncio.timeout(10):
            while mode_of(database) != "sqlite":
                await asyncio.sleep(0.01)
        assert await store.load_transcript(session_id) == [USER, ANSWER]


async def test_a_reader_that_is_given_up_while_it_opens_leaves_no_thread(tmp_path: Path) -> None:
    """Such a thread keeps the process from ending."""
    async with Database.open(tmp_path / "gateway.db", reserve_bytes=0) as database:
        for _ in range(30):
            reading = asyncio.create_task(database.read("SELECT 1"))
            await asyncio.sleep(0.0005)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert [row[0] for row in await database.read("SELECT 1")] == [1]
    async with asyncio.timeout(10):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


async def test_two_who_write_the_same_files_at_once_do_not_mix(
    tmp_path: Path, database: Database, store: SessionStore, clock: HandClock
) -> None:
    home = Home(tmp_path)
    mirror = JsonlMirror(database, home.sessions_dir, clock, Counter(), enabled=True, batch=3)
    ids = {await store.record_turn(dm(str(number % 4)), [USER, ANSWER] * 5) for number in range(12)}
    stale = home.sessions_dir / f"{min(ids)}.partial"
    stale.write_text("what a process that died has left")
    await asyncio.gather(*(mirror.catch_up() for _ in range(4)))
    for session_id in ids:
        lines = (home.sessions_dir / f"{session_id}.jsonl").read_text().splitlines()
        assert [json.loads(line)["content"] for line in lines] == ["hello", "hi"] * 15
    assert sorted(path.stem for path in home.sessions_dir.glob("2*")) == sorted(ids)


# --- the list of them ------------------------------------------------------------------------------------

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("fault", KNOWN_FAULTS)
def test_each_known_fault_has_its_tests(fault: str) -> None:
    assert KNOWN_FAULTS[fault]
    for named in KNOWN_FAULTS[fault]:
        file, _, name = named.partition("::")
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{file} has no test {name}"


def test_each_number_has_an_entry() -> None:
    numbers = [fault.partition(": ")[0] for fault in KNOWN_FAULTS]
    assert {int(number) for number in numbers if number.isdigit()} == set(range(1, NUMBERED + 1))


def test_each_scenario_of_this_file_is_in_the_list() -> None:
    here = Path(__file__).relative_to(TESTS).as_posix()
    listed = {named for tests in KNOWN_FAULTS.values() for named in tests}
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    names = {getattr(node, "name", "") for node in tree.body} - {
        "test_each_known_fault_has_its_tests",
        "test_each_number_has_an_entry",
        "test_each_scenario_of_this_file_is_in_the_list",
    }
    assert {f"{here}::{name}" for name in names if name.startswith("test_")} <= listed
