"""What an operator wants to know of a database before any other statement: whose it is, and whether it is whole."""

import sqlite3
from pathlib import Path
from typing import Final

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.storage import inbound_queries
from gateway.storage.errors import StorageError
from gateway.storage.faults import is_held
from gateway.storage.migrate import migrations

SCHEMA_VERSION: Final = "PRAGMA user_version"
"""The number of the last migration that the database has seen."""

QUICK_CHECK: Final = "PRAGMA quick_check(10)"
"""Read every page and say what is wrong, at most ten faults; "ok" where there is none."""

FOREIGN_KEY_CHECK: Final = "PRAGMA foreign_key_check"
"""Rows that refer to one that is not there."""

NEWEST_INSTANT: Final = """
SELECT max(instant) FROM (
    SELECT max(received_at) AS instant FROM inbound
    UNION ALL SELECT max(created_at) FROM messages
    UNION ALL SELECT max(updated_at) FROM sessions
)"""
"""The latest time that anything was written, in microseconds since 1970 UTC."""

PROBE_SEARCH: Final = "CREATE VIRTUAL TABLE probe USING fts5 (text)"
"""Fails where this SQLite was built without full-text search."""


def newest_schema() -> int:
    """The schema that this version of the program works with."""
    return migrations()[-1][0]


def has_full_text_search() -> bool:
    """Whether this Python's SQLite can search texts, which the gateway needs."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(PROBE_SEARCH)
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def open_to_check(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises `StorageError`."""
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=SQLITE_BUSY_SECONDS)
    except sqlite3.Error as error:
        raise StorageError(f"cannot open {path}: {error}") from error


def schema_of(connection: sqlite3.Connection) -> int:
    """The database's schema, 0 for an empty one. Raises `StorageError`."""
    try:
        (version,) = connection.execute(SCHEMA_VERSION).fetchone()
    except sqlite3.Error as error:
        raise StorageError(f"the database reports: {error}") from error
    return int(version)


def faults_in(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the database's structure, empty if nothing is. Reads the whole file.

    Raises `StorageError` where another program holds the database: then nothing is known of it.
    """
    try:
        found = [str(row[0]) for row in connection.execute(QUICK_CHECK)]
        loose = [f"{row[0]} row {row[1]} refers to a row of {row[2]} that is missing" for row in _loose(connection)]
    except sqlite3.Error as error:
        if is_held(error):
            raise StorageError(f"the database reports: {error}") from error
        return [str(error)]
    return [text for text in found if text != "ok"] + loose


def _loose(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    return [(row[0], row[1], row[2]) for row in connection.execute(FOREIGN_KEY_CHECK).fetchmany(10)]


def updates_set_aside(connection: sqlite3.Connection, limit: int) -> tuple[int, list[str]]:
    """How many updates were set aside, and the newest of them in words. Raises `StorageError`."""
    try:
        _kept, number = connection.execute(inbound_queries.COUNT_UPDATES).fetchone()
        rows = connection.execute(inbound_queries.UPDATES_SET_ASIDE, (limit,)).fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"the database reports: {error}") from error
    return int(number), [f"{platform} {update_id} ({problem})" for platform, _account, update_id, problem, _at in rows]


def newest_instant(connection: sqlite3.Connection) -> int | None:
    """When anything was last written, in microseconds since 1970 UTC. Raises `StorageError`."""
    try:
        (instant,) = connection.execute(NEWEST_INSTANT).fetchone()
    except sqlite3.Error as error:
        raise StorageError(f"the database reports: {error}") from error
    return None if instant is None else int(instant)
