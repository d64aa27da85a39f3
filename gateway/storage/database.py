"""The database as the rest of the gateway sees it: one writer, a few readers, opened and closed together."""

import asyncio
import errno
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import aiosqlite

from gateway.clock import SystemClock
from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.ports import Clock
from gateway.storage.errors import MigrationError, StorageError, UnreadableNowError
from gateway.storage.failover import Failover
from gateway.storage.faults import is_outage
from gateway.storage.migrate import migrate
from gateway.storage.probe import Probe, no_probe
from gateway.storage.reserve import RESERVE_BYTES, Reserve
from gateway.storage.state import StorageState
from gateway.storage.words import NAME, TRUST_VIEWS, apart_stored
from gateway.storage.writer import Job, Writer, connect

T = TypeVar("T")
READERS: Final = 2


class Database:
    """Reads come from `read`, in one hop a page; every write is a job for `write`.

    While the file cannot be used, both go on with what is known of it and the spool; `state` says so.
    """

    def __init__(self, path: Path, failover: Failover, probe: Probe) -> None:
        self.path = path
        self.writer = Writer(failover, probe, on_recovered=self._recovered)
        self._readers: list[aiosqlite.Connection] = []
        self._readers_of = 0
        self._stale: list[aiosqlite.Connection] = []
        self._next = itertools.count()
        self._opening = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        synchronous: Literal["full", "normal"] = "full",
        clock: Clock | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        probe: Probe = no_probe,
    ) -> "AsyncIterator[Database]":
        """Open or create the database and migrate it. `reserve_bytes` are kept on the disk for when it is full.

        A database that cannot be used at present is opened all the same: see `state`. Raises `StorageError` and its
        kinds for one that this version must not touch, and where there is no folder to write to.
        """
        reserve = Reserve(path.parent / "sessions", reserve_bytes)
        failover = Failover(path, partial(_prepare, path, synchronous), clock or SystemClock(), reserve, probe)
        try:
            await asyncio.to_thread(failover.open)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot open {path}: {error}; `hermes-gateway doctor` says more") from error
        database = cls(path, failover, probe)
        try:
            yield database
        finally:
            await database._close()

    @property
    def state(self) -> StorageState:
        """Whether data goes to the database, to the spool, or nowhere; since when, and why."""
        return self.writer.state

    def on_recovered(self, listener: Callable[[], None]) -> None:
        """Have a function called on the loop each time that the database is in use again after an outage."""
        self._listeners.append(listener)

    def write(self, job: Job[T]) -> "asyncio.Future[T]":
        """Queue a job for the writer at once; await the future for durability. See `Writer.submit`."""
        return self.writer.submit(job)

    def maintain(self, function: Job[T]) -> "asyncio.Future[T]":
        """Queue a function that runs outside of any transaction; everything else waits. See `Writer.maintain`."""
        return self.writer.maintain(function)

    async def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query, in one hop. Raises `StorageError`."""
        values = tuple(parameters)
        if self.state.mode == "sqlite":
            try:
                reader = await self._reader()
                return list(await reader.execute_fetchall(sql, values))
            except sqlite3.Error as error:
                if not is_outage(error) or error.sqlite_errorcode == sqlite3.SQLITE_READONLY:
                    # A reader that is asked to write says that it is for reading; nothing is wrong with the file.
                    raise StorageError(f"the database reports: {error}") from error
                await self.writer.fall_back(error)
        return await self.write(lambda connection: connection.execute(sql, values).fetchall())

    async def read_file(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query as the file has them, also while it is out of use, as far as it can be read then.

        For what the stand-in of an outage does not hold, such as the search index. Raises `StorageError`.
        """
        if self.state.mode == "sqlite":
            return await self.read(sql, parameters)
        try:
            reader = await open_reader(self.path)
            try:
                return list(await reader.execute_fetchall(sql, tuple(parameters)))
            finally:
                await reader.close()
        except sqlite3.Error as error:
            raise StorageError(
                f"the database cannot be read at present ({error}); try again once it is back"
            ) from error

    async def read_all(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query; in an outage those of the stand-in, and then those of the file, which may be the same.

        For what has its end, which the stand-in does not hold. Raises `UnreadableNowError` where the file cannot be
        read, and `StorageError`.
        """
        rows = await self.read(sql, parameters)
        if self.state.mode == "sqlite":
            return rows
        if not self.state.complete:
            raise UnreadableNowError("what was before the outage of the database cannot be read at present")
        return [*rows, *await self.read_file(sql, parameters)]

    async def _reader(self) -> aiosqlite.Connection:
        while not self._readers or self._readers_of != self.state.recovered:
            async with self._opening:
                if not self._readers or self._readers_of != self.state.recovered:
                    await self._open_readers()
        return self._readers[next(self._next) % len(self._readers)]

    async def _open_readers(self) -> None:
        """Those from before an outage look at a file that may have been replaced: they are closed first."""
        self._stale, self._readers = self._stale + self._readers, []
        while self._stale:
            await self._stale.pop().close()
        known = self.state.recovered
        opened: list[aiosqlite.Connection] = []
        try:
            while len(opened) < READERS:
                opened.append(await open_reader(self.path))
        finally:
            if len(opened) == READERS and known == self.state.recovered:
                self._readers, self._readers_of = opened, known
            else:
                self._stale += opened

    def _recovered(self) -> None:
        for listener in self._listeners:
            listener()

    async def _close(self) -> None:
        for reader in (*self._readers, *self._stale):
            await reader.close()
        await self.writer.close()


async def open_reader(path: Path) -> aiosqlite.Connection:
    """A connection that cannot write. Raises `sqlite3.Error`."""
    address = f"file:{quote(str(path))}?mode=ro"
    reader = await aiosqlite.connect(address, uri=True, timeout=SQLITE_BUSY_SECONDS)
    reader.row_factory = sqlite3.Row
    try:
        await reader.execute("PRAGMA query_only = ON")
        await reader.execute(TRUST_VIEWS)
        await reader.create_function(NAME, 1, apart_stored, deterministic=True)
    except BaseException:
        # Its thread would go on without an owner, and keep the process from ending.
        reader.stop()
        raise
    return reader


def _prepare(
    path: Path, synchronous: Literal["full", "normal"], patience: float | None, create: bool
) -> sqlite3.Connection:
    """Connect and migrate; the file is readable by its owner alone.

    Raises `sqlite3.Error`, OSError, and `StorageError` for a database that this version cannot bring up to date.
    """
    if not path.exists():
        if not create:
            raise FileNotFoundError(errno.ENOENT, "the database is not where it was", str(path))
        # Never opened by hand while SQLite has it open: closing it would drop SQLite's locks
        # (https://www.sqlite.org/howtocorrupt.html, 2.2).
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = connect(path, synchronous, patience)
    try:
        migrate(connection, path)
    except MigrationError as error:
        connection.close()
        if error.__cause__ is not None and is_outage(error.__cause__):
            raise error.__cause__ from None
        raise
    except BaseException:
        connection.close()
        raise
    return connection
