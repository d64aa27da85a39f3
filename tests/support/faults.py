"""Faults of storage that a test makes happen to a database in use."""

import asyncio
import os
import random
import sqlite3
import subprocess
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


class SmallDisk:
    """A file system of a few hundred kilobytes that a home lies on; mounted on its folder, in memory."""

    def __init__(self, path: Path, kilobytes: int, mount: Path) -> None:
        self.path = path
        self._mount = mount
        self._filler = path / "filler"
        self._call("-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs", path)

    def fill(self, leave: int = 0) -> None:
        """Take all of its space, but for this many kilobytes."""
        with self._filler.open("ab", buffering=0) as file:
            while (free := self.free - leave) > 0:
                try:
                    file.write(bytes(min(free, 64) * 1024))
                except OSError:
                    return

    def make_room(self) -> None:
        """Give back what `fill` has taken."""
        self._filler.unlink(missing_ok=True)

    @property
    def free(self) -> int:
        """Kilobytes that are free."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize // 1024

    def set_read_only(self, *, on: bool) -> None:
        """Let nothing be written to it, or let it again. No file may be open for writing."""
        self._call("-o", f"remount,{'ro' if on else 'rw'}", self.path)

    def remove(self) -> None:
        """Unmount it; what is on it is gone."""
        subprocess.run(["umount", "--lazy", self.path], check=True, capture_output=True)

    def _call(self, *arguments: str | Path) -> None:
        """Raises PermissionError."""
        done = subprocess.run([self._mount, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PermissionError(done.stderr.strip())
