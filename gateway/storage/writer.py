"""The one writer of the database: a thread that owns its connection and lets queued jobs share commits."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal, TypeAlias, TypeVar

from gateway.constants import SQLITE_BUSY_SECONDS, WRITER_BATCH_LIMIT, WRITER_QUEUE_LIMIT
from gateway.ports import StorageBusyError
from gateway.storage.errors import StorageClosedError, StorageError

T = TypeVar("T")
Job: TypeAlias = Callable[[sqlite3.Connection], T]
"""Runs on the writer's thread inside a transaction. It may run twice: its only effect is on the connection."""

Probe: TypeAlias = Callable[[str], None]
"""Called at named steps; tests inject one that kills the process there."""

_Queued: TypeAlias = tuple[Job[Any], "asyncio.Future[Any]"]
_Outcome: TypeAlias = tuple["asyncio.Future[Any]", Any, Exception | None]


WRITER_CACHE_KIBIBYTES: Final = 64 * 1024
"""The most memory that the writer keeps pages in: the indexes of 100,000 sessions fit. A small database takes less."""

CHECKPOINT_PAGES: Final = 4000
"""The write-ahead log is put into the database when it has so many pages, 16 MB: a page that changes with every turn
is then written back once for many turns."""

JOBS_OWN_FAULT: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
"""Errors of SQLite that say nothing about the database's health."""


def no_probe(_step: str) -> None:
    """The probe outside tests."""


def connect(path: Path, synchronous: Literal["full", "normal"] = "full") -> sqlite3.Connection:
    """A connection that may write; transactions are explicit. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(
        path, timeout=SQLITE_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIBIBYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Writer:
    """Runs jobs in the order they were submitted; a caller resumes once its own job is durable.

    Whatever has queued up shares one transaction. A job that fails takes nothing with it: the others are run
    again without it.
    """

    def __init__(self, connection: sqlite3.Connection, probe: Probe = no_probe) -> None:
        self._connection = connection
        self._probe = probe
        self._loop = asyncio.get_running_loop()
        self._submitted: list[_Queued] = []
        self._unsettled = 0
        self._closed = False
        self._failure: str | None = None
        self._queue: SimpleQueue[list[_Queued] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Jobs that are not durable yet."""
        return self._unsettled

    @property
    def failure(self) -> str | None:
        """Why the database could not write the last time; None once it has again."""
        return self._failure

    def submit(self, job: Job[T]) -> "asyncio.Future[T]":
        """Queue a job before returning; the future ends when the job is durable, or with the job's error.

        A cancelled waiter does not cancel the job. Raises `StorageBusyError` when the queue is full and
        `StorageClosedError` after `close`.
        """
        if self._closed:
            raise StorageClosedError("the database is closed")
        if self._unsettled >= WRITER_QUEUE_LIMIT:
            raise StorageBusyError("the database cannot keep up: its queue is full")
        future: asyncio.Future[T] = self._loop.create_future()
        self._unsettled += 1
        self._submitted.append((job, future))
        if len(self._submitted) == 1:
            # What one pass of the event loop submits is one batch: one hand-over, one commit, one sync.
            self._loop.call_soon(self._hand_over)
        return future

    async def close(self) -> None:
        """Finish what is queued, checkpoint, and end the thread."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        if self._submitted:
            self._queue.put(self._submitted)
            self._submitted = []

    def _settle(self, outcomes: Sequence[_Outcome]) -> None:
        self._unsettled -= len(outcomes)
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    # The rest runs on the writer's thread.

    def _run(self) -> None:
        try:
            while (jobs := self._next_jobs()) is not None:
                for start in range(0, len(jobs), WRITER_BATCH_LIMIT):
                    outcomes = self._commit(jobs[start : start + WRITER_BATCH_LIMIT])
                    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                        self._loop.call_soon_threadsafe(self._settle, outcomes)
        finally:
            self._closed = True
            self._connection.close()

    def _next_jobs(self) -> list[_Queued] | None:
        jobs = self._queue.get()
        while jobs is not None and len(jobs) < WRITER_BATCH_LIMIT and not self._queue.empty():
            more = self._queue.get()
            if more is None:
                self._queue.put(None)
                break
            jobs += more
        return jobs

    def _commit(self, batch: Sequence[_Queued], *, guarded: bool = False) -> list[_Outcome]:
        """Run the jobs in one transaction.

        If one fails, everything is rolled back and the jobs are run again, each under a savepoint of its own.
        If it is the transaction that fails, each job gets one of its own, and stands or falls by itself.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return self._fail(batch, error)
        try:
            run = self._guarded if guarded else self._plainly
            outcomes = [run(job, future) for job, future in batch]
            self._probe("writer.before-commit")
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the jobs' owners get it
            self._roll_back()
            if len(batch) == 1:
                return self._fail(batch, error)
            if not guarded:
                return self._commit(batch, guarded=True)
            return [outcome for item in batch for outcome in self._commit([item])]
        self._failure = None
        self._probe("writer.after-commit")
        return outcomes

    def _plainly(self, job: Job[Any], future: "asyncio.Future[Any]") -> _Outcome:
        return future, job(self._connection), None

    def _guarded(self, job: Job[Any], future: "asyncio.Future[Any]") -> _Outcome:
        """Run a job so that its failure undoes it alone. Raises what it raised if the transaction is gone."""
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            result = job(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return future, None, _as_storage_error(error)
        connection.execute("RELEASE job")
        return future, result, None

    def _fail(self, batch: Sequence[_Queued], error: Exception) -> list[_Outcome]:
        if isinstance(error, sqlite3.Error) and not isinstance(error, JOBS_OWN_FAULT):
            self._failure = str(error)
        return [(future, None, _as_storage_error(error)) for _job, future in batch]

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _as_storage_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    storage_error = StorageError(f"the database reports: {error}")
    storage_error.__cause__ = error
    return storage_error
