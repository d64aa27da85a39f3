"""Numbered, forward-only migrations: each in a transaction, the database copied aside first."""

import os
import sqlite3
from functools import cache
from importlib.resources import files
from pathlib import Path

from gateway.storage.errors import MigrationError, NewerDatabaseError


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Every migration of this version, as (number, SQL), in order.

    They are read once: an upgrade puts the next version's files there while a process of this one runs, which must not
    take a database to a schema that it does not know.
    """
    folder = files("gateway.storage") / "migrations"
    found = [(int(entry.name[:4]), entry) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return tuple((number, entry.read_text("utf-8")) for number, entry in sorted(found, key=lambda item: item[0]))


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Bring the database to this version's schema; returns the schema's number.

    Raises `NewerDatabaseError` for a database of a newer version, `MigrationError` when a step fails.
    """
    known = migrations()
    newest = known[-1][0]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise NewerDatabaseError(
            f"{path} was written by a newer version (schema {version}; this version knows {newest}): "
            "install the newer version, or put the backup made before the upgrade in its place"
        )
    pending = [(number, sql) for number, sql in known if number > version]
    if pending and version > 0:
        _back_up(connection, path.with_name(f"{path.name}.schema{version}.bak"))
    for number, sql in pending:
        _apply(connection, number, sql)
    return newest


def bring_up(connection: sqlite3.Connection) -> None:
    """Bring a copy of an earlier version's database to this version's schema. Raises `sqlite3.Error`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, sql in migrations():
        if number > version:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    target = sqlite3.connect(partial)
    try:
        connection.backup(target)
    finally:
        target.close()
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(copy)


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    script = f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;"
    try:
        connection.executescript(script)
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise MigrationError(f"migration {number} failed, nothing was changed: {error}") from error
