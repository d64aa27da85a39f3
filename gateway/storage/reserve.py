"""A small file that keeps space on the disk, so that a full one can still take what is under way."""

import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 1024 * 1024
"""Room for some hundred turns of a spool, which is time for an operator to act on the warning."""

NAME: Final = ".reserve"


class Reserve:
    """The file is there, with its space allocated, until it is released."""

    def __init__(self, directory: Path, size: int = RESERVE_BYTES) -> None:
        self._path = directory / NAME
        self._size = size

    @property
    def held(self) -> bool:
        """Whether there is space to be released."""
        try:
            return self._path.stat().st_size >= self._size
        except OSError:
            return False

    def hold(self) -> bool:
        """Allocate the space, unless it is held already or none is wanted; False if there is not so much.

        A file that is half there, of a process that died meanwhile, is made whole.
        """
        if self._size == 0 or self.held:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            _allocate(descriptor, self._size)
            os.fsync(descriptor)
        except OSError:
            self.release()
            return False
        finally:
            os.close(descriptor)
        return True

    def release(self) -> bool:
        """Give the space back to the disk; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def _allocate(descriptor: int, size: int) -> None:
    """Take the space for good: a file that is merely long takes none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(64 * 1024)
    while os.fstat(descriptor).st_size < size:
        os.write(descriptor, block)
