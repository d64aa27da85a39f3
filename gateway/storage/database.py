"""The database as the rest of the gateway sees it: one writer, a few readers, opened and closed together."""

import asyncio
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import aiosqlite

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.storage.errors import StorageError
from gateway.storage.migrate import migrate
from gateway.storage.writer import Job, Probe, Writer, connect, no_probe

T = TypeVar("T")
READERS = 2


class Database:
    """Reads come from `read`, in one hop a page; every write is a job for `write`."""

    def __init__(self, path: Path, writer: Writer, readers: Iterable[aiosqlite.Connection]) -> None:
        self.path = path
        self.writer = writer
        self._readers = list(readers)
        self._turn = itertools.cycle(self._readers)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, synchronous: Literal["full", "normal"] = "full", probe: Probe = no_probe
    ) -> "AsyncIterator[Database]":
        """Open or create the database and migrate it. Raises `StorageError` and its kinds."""
        connection = await asyncio.to_thread(_prepare, path, synchronous)
        writer = Writer(connection, probe)
        readers: list[aiosqlite.Connection] = []
        try:
            while len(readers) < READERS:
                readers.append(await open_reader(path))
            yield cls(path, writer, readers)
        finally:
            for reader in readers:
                await reader.close()
            await writer.close()

    def write(self, job: Job[T]) -> "asyncio.Future[T]":
        """Queue a job for the writer at once; await the future for durability. See `Writer.submit`."""
        return self.writer.submit(job)

    async def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query, in one hop. Raises `StorageError`."""
        try:
            return list(await next(self._turn).execute_fetchall(sql, tuple(parameters)))
        except sqlite3.Error as error:
            raise StorageError(f"the database reports: {error}") from error


async def open_reader(path: Path) -> aiosqlite.Connection:
    """A connection that cannot write."""
    address = f"file:{quote(str(path))}?mode=ro"
    reader = await aiosqlite.connect(address, uri=True, timeout=SQLITE_BUSY_SECONDS)
    reader.row_factory = sqlite3.Row
    await reader.execute("PRAGMA query_only = ON")
    return reader


def _prepare(path: Path, synchronous: Literal["full", "normal"]) -> sqlite3.Connection:
    """Connect and migrate; the file is readable by its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        connection = connect(path, synchronous)
    except sqlite3.Error as error:
        raise StorageError(f"cannot open {path}: {error}; `hermes-gateway doctor` says more") from error
    try:
        migrate(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StorageError(f"cannot read {path}: {error}; `hermes-gateway doctor` says more") from error
    except StorageError:
        connection.close()
        raise
    return connection
