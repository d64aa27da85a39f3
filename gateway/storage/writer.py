"""The one writer of the database: a thread that owns its connection and lets queued jobs share commits."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal, TypeAlias, TypeVar

from gateway.constants import SQLITE_BUSY_SECONDS, WRITER_BATCH_LIMIT, WRITER_QUEUE_LIMIT
from gateway.metrics.meters import COMMIT_BOUNDS, Histogram
from gateway.ports import StorageBusyError
from gateway.storage.errors import StorageClosedError, StorageError
from gateway.storage.failover import Failover
from gateway.storage.faults import is_outage
from gateway.storage.probe import Probe, no_probe
from gateway.storage.state import StorageState
from gateway.storage.words import define_words

log = logging.getLogger(__name__)

T = TypeVar("T")
Job: TypeAlias = Callable[[sqlite3.Connection], T]
"""Runs on the writer's thread inside a transaction. It may run twice: its only effect is on the connection."""

_Queued: TypeAlias = tuple[Job[Any], "asyncio.Future[Any]"]
_Outcome: TypeAlias = tuple["asyncio.Future[Any]", Any, Exception | None]


WRITER_CACHE_KIBIBYTES: Final = 64 * 1024
"""The most memory that the writer keeps pages in: the indexes of 100,000 sessions fit. A small database takes less."""

CHECKPOINT_PAGES: Final = 4000
"""The write-ahead log is put into the database when it has so many pages, 16 MB: a page that changes with every turn
is then written back once for many turns."""


def connect(
    path: Path, synchronous: Literal["full", "normal"] = "full", patience: float | None = None
) -> sqlite3.Connection:
    """A connection that may write; transactions are explicit. `patience` is for how many seconds it waits for a lock.

    Raises `sqlite3.Error`.
    """
    seconds = SQLITE_BUSY_SECONDS if patience is None else patience
    connection = sqlite3.connect(
        path, timeout=seconds, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.row_factory = sqlite3.Row
        define_words(connection)
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


@dataclass(frozen=True, slots=True)
class _Maintenance:
    """A function for the time between two transactions."""

    function: Job[Any]

    def __call__(self, connection: sqlite3.Connection) -> Any:  # noqa: ANN401 - what the function returns
        return self.function(connection)


class Writer:
    """Runs jobs in the order they were submitted; a caller resumes once its own job is durable.

    Whatever has queued up shares one transaction. A job that fails takes nothing with it: the others are run
    again without it. While the database cannot be used, jobs run on its shadow, and what they change goes to the spool.
    """

    def __init__(
        self, failover: Failover, probe: Probe = no_probe, *, on_recovered: Callable[[], None] = lambda: None
    ) -> None:
        """`on_recovered` is called on the loop each time that the database is in use again."""
        self._failover = failover
        self._probe = probe
        self._on_recovered = on_recovered
        self._loop = asyncio.get_running_loop()
        self._submitted: list[_Queued] = []
        self._unsettled = 0
        self._closed = False
        self.commits = Histogram(COMMIT_BOUNDS)
        """How many seconds transactions took, from their beginning until they were durable."""
        self._queue: SimpleQueue[list[_Queued] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Jobs that are not durable yet."""
        return self._unsettled

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that nothing more is taken."""
        return self._unsettled >= WRITER_QUEUE_LIMIT

    @property
    def is_alive(self) -> bool:
        """Whether jobs are still run."""
        return self._thread.is_alive()

    @property
    def state(self) -> StorageState:
        """Where data goes at present."""
        return self._failover.state

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

    def maintain(self, function: Job[T]) -> "asyncio.Future[T]":
        """Queue a function that runs between two transactions, outside of any: `VACUUM`, say, or a checkpoint.

        Everything else waits for it. The future raises `StorageError`, also while the database is out of use.
        """
        return self.submit(_Maintenance(function))

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

    def fall_back(self, error: sqlite3.Error) -> "asyncio.Future[None]":
        """A reader has met this error: leave the database, if that is what it tells of."""

        def job(_connection: sqlite3.Connection) -> None:
            if self.state.mode == "sqlite":
                raise error

        return self.submit(job)

    # The rest runs on the writer's thread.

    def _run(self) -> None:
        try:
            while (jobs := self._next_jobs()) is not None:
                for batch in _batches(jobs):
                    outcomes = self._do(batch)
                    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                        self._loop.call_soon_threadsafe(self._settle, outcomes)
                self._recover()
        finally:
            self._closed = True
            self._failover.close()

    def _next_jobs(self) -> list[_Queued] | None:
        """What has been submitted; nothing if it is time to look after the database; None at the end."""
        try:
            jobs = self._queue.get(timeout=self._failover.pause)
        except Empty:
            return []
        while jobs is not None and len(jobs) < WRITER_BATCH_LIMIT and not self._queue.empty():
            more = self._queue.get()
            if more is None:
                self._queue.put(None)
                break
            jobs += more
        return jobs

    def _recover(self) -> None:
        try:
            recovered = self._failover.recover()
        except Exception:
            log.exception("the return to the database failed; it is tried again")
            return
        if recovered:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._on_recovered)

    def _do(self, batch: Sequence[_Queued]) -> list[_Outcome]:
        """The outcomes of the jobs. Whatever goes wrong, each has one, and the thread lives on."""
        try:
            if isinstance(batch[0][0], _Maintenance):
                return [self._maintain(*batch[0])]
            return self._commit(batch)
        except Exception as error:
            log.exception("the database's writer failed in itself")
            with suppress(Exception):
                self._failover.roll_back()
            return [(future, None, _as_storage_error(error)) for _job, future in batch]

    def _commit(self, batch: Sequence[_Queued], *, guarded: bool = False) -> list[_Outcome]:
        """Run the jobs in one transaction.

        If one fails, everything is rolled back and the jobs are run again, each under a savepoint of its own.
        If it is the transaction that fails, or the spool, each job gets one of its own, and stands or falls by
        itself: one that only reads needs no room on the disk. If it is the database, they are run again on its shadow.
        """
        failover, began = self._failover, time.perf_counter()
        try:
            failover.begin()
            run = self._guarded if guarded else self._plainly
            outcomes = [run(job, future) for job, future in batch]
            self._probe("writer.before-commit")
            failover.commit()
            self.commits.observe(time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - the jobs' owners get it
            failover.roll_back()
            if failover.fall_back(error):
                return self._commit(batch)
            unwritable = isinstance(error, OSError)
            if len(batch) == 1 or (is_outage(error) and not unwritable):
                return [(future, None, _as_storage_error(error)) for _job, future in batch]
            if not guarded and not unwritable:
                return self._commit(batch, guarded=True)
            return [outcome for item in batch for outcome in self._commit([item])]
        self._probe("writer.after-commit")
        return outcomes

    def _maintain(self, function: Job[Any], future: "asyncio.Future[Any]") -> _Outcome:
        try:
            if self.state.mode != "sqlite":
                raise StorageError("the database is out of use at present")
            return future, function(self._failover.connection), None
        except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
            self._failover.roll_back()
            return future, None, _as_storage_error(error)

    def _plainly(self, job: Job[Any], future: "asyncio.Future[Any]") -> _Outcome:
        outcome = future, job(self._failover.connection), None
        self._failover.mark()
        return outcome

    def _guarded(self, job: Job[Any], future: "asyncio.Future[Any]") -> _Outcome:
        """Run a job so that its failure undoes it alone. Raises what it raised if the transaction is gone."""
        connection = self._failover.connection
        connection.execute("SAVEPOINT job")
        try:
            result = job(connection)
        except Exception as error:
            if is_outage(error) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            self._failover.unmark()
            return future, None, _as_storage_error(error)
        connection.execute("RELEASE job")
        self._failover.mark()
        return future, result, None


def _batches(jobs: list[_Queued]) -> Iterator[list[_Queued]]:
    """The jobs in order, as many together as may share a commit; maintenance is alone."""
    batch: list[_Queued] = []
    for item in jobs:
        alone = isinstance(item[0], _Maintenance)
        if batch and (alone or len(batch) == WRITER_BATCH_LIMIT):
            yield batch
            batch = []
        batch.append(item)
        if alone:
            yield batch
            batch = []
    if batch:
        yield batch


def _as_storage_error(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        storage_error = StorageError(f"the database reports: {error}")
    elif isinstance(error, OSError):
        storage_error = StorageError(f"it cannot be stored: {error}; make room on the disk, or mend it")
    else:
        return error
    storage_error.__cause__ = error
    return storage_error
