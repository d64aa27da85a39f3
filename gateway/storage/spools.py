"""The spools of a folder, taken into a database: all of them, in one commit, each line once."""

import logging
import os
import sqlite3
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.storage import queries
from gateway.storage.merge import Merge, describe
from gateway.storage.spool import Record, damaged_lines, find_spools, read_records, spool_id_of, sync_directory

log = logging.getLogger(__name__)


def merge_spools(
    connection: sqlite3.Connection,
    directory: Path,
    *,
    alive: Container[str] = (),
    decided: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Put the spools into the database, the oldest first; those that are done with.

    `alive` and `decided`: see `Merge.finish`. Raises `sqlite3.Error` and OSError; then nothing has changed.
    """
    paths = find_spools(directory)
    done: dict[Path, int] = {}
    if not paths:
        return []
    with _merging(connection):
        merge = Merge(connection)
        for path in paths:
            try:
                name = _name_of(path)
            except ValueError as error:
                log.warning("%s; it is left where it is", error)
                continue
            done[path] = _merge_spool(connection, merge, path, name)
        merge.finish(alive=alive, decided=decided)
    for path, number in done.items():
        if number:
            log.info("%d changes of %s are taken over", number, path.name)
    return list(done)


def merged_up_to(connection: sqlite3.Connection, path: Path) -> int:
    """The last line of a spool that is in the database. Raises OSError, and ValueError for what is no spool."""
    return _merged_up_to(connection, _name_of(path))


def retire(path: Path) -> None:
    """Remove a spool that is merged; one with damaged lines is kept under another name."""
    try:
        if damaged_lines(path):
            kept = path.with_name(f"damaged-{path.name}")
            path.rename(kept)
            log.error("%s has damaged lines; it is kept as %s", path.name, kept.name)
        else:
            path.unlink()
        sync_directory(path.parent)
    except OSError as error:
        log.warning("%s is merged, but cannot be removed: %s", path, error)


def _merge_spool(connection: sqlite3.Connection, merge: Merge, path: Path, name: str) -> int:
    merged = last = _merged_up_to(connection, name)
    merge.learn(record for record in read_records(path) if record.seq <= merged)

    def fresh() -> Iterator[Record]:
        nonlocal last
        for record in read_records(path):
            if record.seq > merged:
                last = record.seq
                yield record

    number = merge.apply(fresh(), lambda record, error: _reject(path, record, error))
    connection.execute(queries.NOTE_MERGED, (name, str(last)))
    return number


def _name_of(path: Path) -> str:
    """The name under which the database remembers a spool."""
    return f"spool:{spool_id_of(path)}"


def _merged_up_to(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute(queries.MERGED_UP_TO, (name,)).fetchone()
    return 0 if row is None else int(row[0])


@contextmanager
def _merging(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, without the checks of references that rows may not stand up to one by one."""
    (checked,) = connection.execute("PRAGMA foreign_keys").fetchone()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute(f"PRAGMA foreign_keys = {checked}")


def _reject(path: Path, record: Record, error: Exception) -> None:
    """Keep a record that the database does not take, for a person to look at. Raises OSError."""
    descriptor = os.open(path.with_name(f"rejected-{path.name}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, (describe(record, error) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
