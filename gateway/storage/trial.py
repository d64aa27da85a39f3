"""Short work on a database before it is used again: whether it is broken, whether it can be written, and its log."""

import sqlite3
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.storage import queries, upkeep
from gateway.storage.checks import faults_in
from gateway.storage.codec import to_micros


def is_broken(path: Path) -> bool:
    """Whether a database cannot be opened, or has pages that cannot be right. Reads the whole file.

    Raises `StorageError` where another program holds it: it is not to be taken away from that one.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=SQLITE_BUSY_SECONDS)
    except sqlite3.Error:
        return True
    try:
        return bool(faults_in(connection))
    finally:
        connection.close()


def try_to_write(connection: sqlite3.Connection, now: datetime) -> None:
    """One small commit: a database that opens is back only if it can be written too. Raises `sqlite3.Error`.

    Without it, one that another process has locked would be taken up and left again with each job, and each of these
    would wait for the lock and for a new shadow.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(queries.NOTE_RETURN, (str(to_micros(now)),))
        connection.execute("COMMIT")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def empty_log(connection: sqlite3.Connection) -> None:
    """Put the write-ahead log into the database and give its space back to the disk, as far as that can be done.

    A commit that the disk had no room for leaves a log that takes all the room there was.
    """
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    try:
        connection.execute(upkeep.WAIT_FOR_NOBODY)
        with suppress(sqlite3.Error):
            connection.execute(upkeep.EMPTY_LOG).fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
