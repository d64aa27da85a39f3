"""Files of our own below the media folder: written in part, made whole in one step, found again, removed when old."""

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from gateway.constants import MEDIA_KEEP_FREE_BYTES, MEDIA_PARTIAL_KEPT_SECONDS, OUTGOING_PARTIAL_KEPT_SECONDS
from gateway.media.kinds import HEAD_BYTES, FileType, sniff
from gateway.ports import MediaError

INCOMING: Final = "in"
OUTGOING: Final = "out"
"""The folders of what came in and of what went out; in each a session has one of its own, by its id."""

PARTIAL: Final = ".partial"
"""The ending of a file that is not whole yet."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there, whole."""

    path: Path
    type: FileType
    size: int


class DiskError(MediaError):
    """A file could not be written."""

    def __init__(self, error: OSError) -> None:
        full = error.errno in _FULL
        super().__init__("the gateway's disk is full" if full else f"it could not be written ({error.strerror})")


def session_folders(media: Path) -> tuple[Path, Path]:
    """The folders that hold a folder for each session."""
    return media / INCOMING, media / OUTGOING


class PartialFile:
    """A file that is being written beside its place, under a name that nobody else has.

    Its methods block, and may be called from several threads: one that its caller no longer waits for ends before
    the next begins. After `discard` all others fail.
    """

    def __init__(self, stem: Path, random: str) -> None:
        """`stem` is the file's path without its extension."""
        self._stem = stem
        self._path = stem.with_name(f".{stem.name}-{random}{PARTIAL}")
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._discarded = False
        self._head = b""
        self._size = 0

    def open(self) -> None:
        """Create it, if that leaves enough room. Raises `DiskError`."""
        with self._lock, _disk_errors():
            if self._discarded:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            try:
                self._create()
            except FileNotFoundError:
                self._create()  # the folder was empty, and was tidied away in this very moment

    def write(self, data: bytes) -> None:
        """Append. Raises `DiskError`."""
        with self._lock, _disk_errors():
            rest = memoryview(data)
            while rest:
                rest = rest[self._opened().write(rest) :]
            self._head += data[: HEAD_BYTES - len(self._head)]
            self._size += len(data)

    def finish(self, at: float) -> StoredFile:
        """Put it in its place, durably, as of an instant in seconds since 1970. Raises `DiskError`."""
        kind = sniff(self._head)
        place = self._stem.with_name(f"{self._stem.name}.{kind.extension}")
        with self._lock, _disk_errors():
            file = self._opened()
            os.fsync(file.fileno())
            os.utime(file.fileno(), (at, at))
            file.close()
            self._path.replace(place)
        return StoredFile(place, kind, self._size)

    def discard(self) -> None:
        """Leave nothing of it, unless it is in its place."""
        with self._lock, contextlib.suppress(OSError):
            self._discarded = True
            if self._file is not None:
                self._file.close()
            self._path.unlink(missing_ok=True)

    def _opened(self) -> FileIO:
        if self._file is None or self._file.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._file

    def _create(self) -> None:
        self._stem.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(self._stem.parent).free < MEDIA_KEEP_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = FileIO(os.open(self._path, flags, 0o600), "wb")


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(error) from error


def find_stored(stem: Path) -> StoredFile | None:
    """The whole file of this path without an extension, if it is there."""
    try:
        names = [name for name in os.listdir(stem.parent) if name.startswith(f"{stem.name}.")]  # noqa: PTH208 - names
    except OSError:
        return None
    return next((found for name in sorted(names) if (found := look_at(stem.with_name(name))) is not None), None)


def look_at(path: Path) -> StoredFile | None:
    """What a file is; None if it is not there, is empty, or is no file of its own (a link, a folder)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return None
        return StoredFile(path, sniff(os.read(descriptor, HEAD_BYTES)), status.st_size)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_up_to(path: Path, limit: int) -> bytes | None:
    """A file's content; None if it is longer. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        data = file.read(limit + 1)
    return None if len(data) > limit else data


def prune(media: Path, *, now: float, incoming_before: float, outgoing_before: float) -> int:
    """Remove what came in, or went out, before these instants (seconds since 1970), and what was never made whole.

    Folders that are left empty go too. How many files were removed; one that cannot be is left.
    """
    removed = 0
    limits = ((incoming_before, MEDIA_PARTIAL_KEPT_SECONDS), (outgoing_before, OUTGOING_PARTIAL_KEPT_SECONDS))
    for folder, (before, kept) in zip(session_folders(media), limits, strict=True):
        for session in _entries(folder):
            if not session.is_dir(follow_symlinks=False):
                continue
            for entry in _entries(Path(session.path)):
                limit = now - kept if entry.name.endswith(PARTIAL) else before
                removed += _remove_if_older(entry, limit)
            with contextlib.suppress(OSError):
                Path(session.path).rmdir()  # refused where something is in it
    return removed


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError:
        return


def _remove_if_older(entry: "os.DirEntry[str]", limit: float) -> bool:
    try:
        if entry.stat(follow_symlinks=False).st_mtime >= limit or entry.is_dir(follow_symlinks=False):
            return False
        Path(entry.path).unlink()
    except OSError:
        return False
    return True
