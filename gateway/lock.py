"""The lock of a home: one process at a time may write to its database."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LockHeldError(Exception):
    """Another process holds the home. `pid` and `holder` say which, where it has said so."""

    def __init__(self, path: Path, pid: int | None, holder: str) -> None:
        super().__init__(path, pid, holder)
        self.path = path
        self.pid = pid
        self.holder = holder

    def __str__(self) -> str:
        who = f"{self.holder} (pid {self.pid})" if self.pid is not None else "another process"
        return f"{self.path.parent} is in use by {who}; stop that first, or set another HERMES_GATEWAY_HOME"


@contextmanager
def hold(path: Path, holder: str) -> Iterator[None]:
    """Hold the lock while the context lasts; the system releases it when the process ends, however it ends.

    Raises `LockHeldError`, and OSError where the file cannot be made or its file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeldError(path, *_read(descriptor)) from error
        with suppress(OSError):  # who holds it is for people to read; a full disk keeps nobody from starting
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "holder": holder}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> tuple[int | None, str]:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
        return int(data["pid"]), str(data["holder"])
    except (ValueError, KeyError, TypeError):
        return None, "another process"
