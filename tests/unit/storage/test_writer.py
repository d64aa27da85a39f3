"""`Writer`: order, durability, shared commits, and that a failing job takes nothing with it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.ports import StorageBusyError
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageClosedError, StorageError
from gateway.storage.failover import Failover
from gateway.storage.probe import no_probe
from gateway.storage.reserve import Reserve
from gateway.storage.writer import Writer, connect


class Steps:
    """A probe that counts commits, and can hold the writer before one."""

    def __init__(self) -> None:
        self.commits = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, step: str) -> None:
        if step == "writer.before-commit":
            assert self.hold.wait(10)
        if step == "writer.after-commit":
            self.commits += 1


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
async def database(tmp_path: Path, steps: Steps) -> AsyncIterator[Database]:
    async with Database.open(tmp_path / "gateway.db", probe=steps) as opened:
        yield opened


def put(name: str) -> Callable[[sqlite3.Connection], int]:
    """A job that fails with an IntegrityError if the name is there already."""
    return lambda connection: connection.execute("INSERT INTO meta (name, value) VALUES (?, '')", (name,)).rowcount


def names(path: Path) -> list[str]:
    """What is on disk, by a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM meta ORDER BY name")]


async def test_a_caller_resumes_once_its_job_is_on_disk(database: Database) -> None:
    assert await database.write(put("a")) == 1
    assert names(database.path) == ["a"]


async def test_what_is_submitted_together_shares_a_commit_in_order(database: Database, steps: Steps) -> None:
    ran: list[int] = []

    def note(number: int) -> Callable[[sqlite3.Connection], None]:
        return lambda _connection: ran.append(number)

    futures = [database.write(note(number)) for number in range(100)]
    assert database.writer.queued == 100
    await asyncio.gather(*futures)
    assert ran == list(range(100))
    assert steps.commits == 1
    assert database.writer.queued == 0


async def test_jobs_queue_up_while_the_writer_is_busy(database: Database, steps: Steps) -> None:
    steps.hold.clear()
    first = database.write(put("a"))
    await asyncio.sleep(0.01)
    others = []
    for number in range(20):
        others.append(database.write(put(f"b{number}")))
        await asyncio.sleep(0)
    assert not first.done()
    steps.hold.set()
    await asyncio.gather(first, *others)
    assert steps.commits == 2


async def test_batches_are_bounded(database: Database, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WRITER_BATCH_LIMIT", 10)
    await asyncio.gather(*(database.write(put(f"{number}")) for number in range(25)))
    assert steps.commits == 3
    assert len(names(database.path)) == 25


async def test_a_bad_job_fails_alone(database: Database, steps: Steps) -> None:
    def breaks(connection: sqlite3.Connection) -> None:
        put("half")(connection)
        raise LookupError("mine")

    await database.write(put("there"))
    results = await asyncio.gather(
        database.write(put("a")),
        database.write(put("there")),
        database.write(breaks),
        database.write(put("b")),
        return_exceptions=True,
    )
    assert [result for result in results if not isinstance(result, BaseException)] == [1, 1]
    assert isinstance(results[1], StorageError)
    assert isinstance(results[1].__cause__, sqlite3.IntegrityError)
    assert isinstance(results[2], LookupError)
    assert names(database.path) == ["a", "b", "there"]
    assert steps.commits == 2, "the good ones share one commit all the same"
    assert database.state.mode == "sqlite"


async def test_a_bad_job_alone(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda _connection: 1 // 0)
    with pytest.raises(StorageError, match="no such table"):
        await database.write(lambda connection: connection.execute("SELECT * FROM nowhere").rowcount)
    assert await database.write(put("a")) == 1


async def test_an_error_that_ends_the_transaction_leaves_each_job_to_itself(database: Database, steps: Steps) -> None:
    def aborts(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    results = await asyncio.gather(
        database.write(put("a")), database.write(aborts), database.write(put("b")), return_exceptions=True
    )
    assert [results[0], results[2]] == [1, 1]
    assert isinstance(results[1], StorageError)
    assert names(database.path) == ["a", "b"]
    assert steps.commits == 2


async def test_a_commit_that_fails_leaves_each_job_to_itself(database: Database) -> None:
    def orphan(connection: sqlite3.Connection) -> None:
        parts = ("main", "telegram", "dm", "9", "", "", "k")
        connection.execute(
            "INSERT INTO slots (agent, platform, chat_type, chat, thread, participant, key, session_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'missing')",
            parts,
        )

    results = await asyncio.gather(
        database.write(put("a")), database.write(orphan), database.write(put("b")), return_exceptions=True
    )
    assert [results[0], results[2]] == [1, 1]
    assert isinstance(results[1], StorageError)
    assert names(database.path) == ["a", "b"]


async def test_a_cancelled_waiters_job_still_commits(database: Database, steps: Steps) -> None:
    steps.hold.clear()

    async def wait() -> None:
        await database.write(put("a"))

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    steps.hold.set()
    await database.write(put("b"))
    assert names(database.path) == ["a", "b"]


async def test_a_full_queue_refuses(database: Database, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WRITER_QUEUE_LIMIT", 3)
    steps.hold.clear()
    futures = [database.write(put(name)) for name in "abc"]
    with pytest.raises(StorageBusyError, match="full"):
        database.write(put("d"))
    steps.hold.set()
    await asyncio.gather(*futures)
    await database.write(put("e"))
    assert names(database.path) == ["a", "b", "c", "e"]


async def test_close_finishes_what_is_queued_and_takes_no_more(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db") as database:
        futures = [database.write(put(f"{number}")) for number in range(1500)]
    assert len(names(database.path)) == 1500
    assert await asyncio.gather(*futures) == [1] * 1500
    assert not (tmp_path / "gateway.db-wal").exists(), "everything is in the database file itself"
    with pytest.raises(StorageClosedError):
        database.write(put("late"))
    await database.writer.close()


async def test_a_job_may_run_twice_but_counts_once(database: Database) -> None:
    runs: list[str] = []

    def count(connection: sqlite3.Connection) -> int:
        runs.append("")
        return put("once")(connection)

    await asyncio.gather(database.write(count), database.write(lambda _connection: 1 // 0), return_exceptions=True)
    assert len(runs) == 2
    assert names(database.path) == ["once"]


def test_a_loop_that_is_gone_does_not_take_the_writer_along(tmp_path: Path) -> None:
    steps = Steps()
    steps.hold.clear()
    kept: list[Any] = []
    path = tmp_path / "gateway.db"
    failover = Failover(path, lambda _patience, _create: connect(path), SystemClock(), Reserve(tmp_path), no_probe)
    failover.open()

    async def abandon() -> None:
        writer = Writer(failover, steps)
        kept.append(writer)
        writer.submit(lambda connection: connection.execute("CREATE TABLE meta (name, value)").rowcount)
        await asyncio.sleep(0)
        writer.submit(put("a"))
        await asyncio.sleep(0)

    asyncio.run(abandon())
    steps.hold.set()
    kept[0]._queue.put(None)
    kept[0]._thread.join(10)
    assert names(tmp_path / "gateway.db") == ["a"]
