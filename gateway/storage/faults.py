"""What an error says: whether the database, its disk or its lock is at fault, or only what was asked of it."""

import errno
import sqlite3
from typing import Final

DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""The file is no database, or its pages contradict each other (https://www.sqlite.org/rescode.html)."""

OUTAGE: Final = DAMAGE | {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}
"""The same statement may go through later, or on another file."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The disk is full, or the user's share of it."""

PRIMARY_CODE: Final = 0xFF
"""An extended result code holds its primary one in the lowest byte."""


def is_outage(error: BaseException) -> bool:
    """Whether an error tells of storage that cannot be used at present, rather than of a faulty request."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) in OUTAGE
    return isinstance(error, OSError)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the database file itself is broken."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in DAMAGE


def is_held(error: BaseException) -> bool:
    """Whether an error says that somebody else has the database to himself."""
    held = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return isinstance(error, sqlite3.Error) and _primary_code(error) in held


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk has no room left."""
    if isinstance(error, sqlite3.Error):
        return _primary_code(error) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in NO_SPACE


def _primary_code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & PRIMARY_CODE
