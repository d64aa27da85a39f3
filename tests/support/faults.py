"""Faults of storage that a test makes happen to a database in use."""

import asyncio
import random
import sqlite3
from contextlib import suppress
from pathlib import Path


class LockHolder:
    """Another process, as far as SQLite can tell: it takes the database to itself for a while, again and again.

    `whole`: others cannot even read it, where it can be had like that; else they cannot write.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self._path = path
        self._whole = whole
        self._connection: sqlite3.Connection | None = None
        self.times = 0

    @property
    def holds(self) -> bool:
        return self._connection is not None

    def hold(self) -> bool:
        """Take it; False if somebody else has it just now."""
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        try:
            if self._whole:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("BEGIN EXCLUSIVE")
            else:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            connection.close()
            return False
        self._connection = connection
        self.times += 1
        return True

    def release(self) -> None:
        """Give it back."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self._connection.close()
            self._connection = None

    async def come_and_go(self, chance: random.Random, longest: float) -> None:
        """Hold and release at random until cancelled."""
        try:
            while True:
                await asyncio.sleep(chance.uniform(0, longest))
                if self._path.exists() and self.hold():
                    await asyncio.sleep(chance.uniform(0, longest))
                    self.release()
        finally:
            self.release()
