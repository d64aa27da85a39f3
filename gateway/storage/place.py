"""Whether the database's file is still where it was opened, and what is done where it is not.

A program that has a file open keeps it, under whatever name or none at all: what it writes then is durable in a file
that the next start does not find. So the place is looked at while the database is in use, and what is open is put back.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from gateway.storage.salvage import SIDE_FILES
from gateway.storage.spool import sync_directory

PARTIAL: Final = ".put-back"
"""The end of the name of a database that is put back until it is whole."""

MOVED: Final = ".moved-"
"""Stands in the names of what SQLite had kept beside a database that was taken away."""

FOUND: Final = ".found-"
"""Stands in the name of a file that was found in the place of the database."""

Identity: TypeAlias = tuple[int, int]
"""Device and number of a file, which it keeps under every name."""


@dataclass(frozen=True, slots=True)
class Place:
    """What stands under the names of a database and of its write-ahead log."""

    database: Identity | None
    log: Identity | None


def look(path: Path) -> Place:
    """What is there now. Raises OSError where that cannot be told."""
    return Place(_identity(path), _identity(_log_of(path)))


def what_is_wrong(opened: Place, path: Path) -> str | None:
    """What has become of the files that were opened, None if they are there or that cannot be told."""
    try:
        now = look(path)
    except OSError:
        return None
    if now.database is None:
        return "the database's file was moved or deleted while it was in use"
    if now.database != opened.database:
        return "the database's file was replaced by another one while it was in use"
    if opened.log is not None and now.log != opened.log:
        return "the database's write-ahead log was moved, deleted or replaced while it was in use"
    return None


def put_back(connection: sqlite3.Connection, path: Path, opened: Place, now: datetime) -> list[Path]:
    """Write all that the open database holds to its place, as a new file; what stood there is moved aside and returned.

    The connection goes on with the file that it has; open the new one, and close it. Raises `sqlite3.Error` and
    OSError; then what stands in the place is as it was, or moved aside.
    """
    partial = path.with_name(path.name + PARTIAL)
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(partial)) as copy:
            connection.backup(copy)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        aside = _make_way(path, opened, now)
        partial.rename(path)
        sync_directory(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return aside


def _make_way(path: Path, opened: Place, now: datetime) -> list[Path]:
    """Move what stands in the place aside: another database with its log, and what is left of the one that was there.

    A log never gets the name that belongs to another database: SQLite would take it for that one's.
    """
    stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    moved, found = (path.with_name(f"{path.name}{kind}{stamp}") for kind in (MOVED, FOUND))
    is_own_log = opened.log is not None and _identity(_log_of(path)) == opened.log
    beside = found if path.exists() and not is_own_log else moved
    aside = [(path, found)] if path.exists() else []
    aside += [(path.with_name(path.name + end), beside.with_name(beside.name + end)) for end in SIDE_FILES]
    done = []
    for source, target in aside:
        if source.exists():
            target = _free(target)
            source.rename(target)
            done.append(target)
    return done


def _free(wanted: Path) -> Path:
    name, number = wanted, 1
    while name.exists():
        number += 1
        name = wanted.with_name(f"{number}-{wanted.name}")
    return name


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _identity(path: Path) -> Identity | None:
    """Never opens the file: to close it again would drop SQLite's locks on it
    (https://www.sqlite.org/howtocorrupt.html, 2.2)."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
