"""What is done about a damaged database: it is set aside whole, and what can be read of it goes into a new one."""

import functools
import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.storage.codec import to_micros
from gateway.storage.errors import NewerDatabaseError, StorageError
from gateway.storage.mending import mend_references, mended_values, rebuilt
from gateway.storage.migrate import migrations
from gateway.storage.pages import PageFile, Value, Walk
from gateway.storage.rescue import Rescue, Row, Table
from gateway.storage.words import define_words

SIDE_FILES: Final = ("-wal", "-shm")
"""What SQLite keeps beside a database, by the end of its name (https://www.sqlite.org/tempfiles.html)."""

PARTIAL: Final = ".salvaged"
"""The end of the name of a new database until it is whole."""

MARKER: Final = ".salvaging"
"""The end of the name of a file that names the set-aside database from which a new one is to be made."""

NUMBER_GAP: Final = 10_000
"""Numbers that are left out where the highest one ever given is lost: none may be given twice."""

MAX_NUMBER_GAP: Final = 100_000_000
"""A number that is further than this above all that were found is damaged itself."""

MAX_REASONS: Final = 20
"""Reasons and faults that a report has at most of each kind."""

NUMBERS_A_WORD: Final = 1024
"""How many rows' presence one whole number keeps: rows are numbered one after another, with a few gaps."""

_ORDER: Final = ("slots", "sessions", "messages", "turns", "turn_steps", "inbound", "outbox", "cursors", "meta")
_NOT_COPIED: Final[Mapping[str, frozenset[str]]] = {"meta": frozenset({"search_cursor"})}
"""Rows that are true of the old database alone, by their first column: the search index is made anew."""

_RELAXED: Final[Mapping[str, Mapping[str, Value]]] = {
    "slots": {"session_id": None},
    "messages": {"key": None},
    "turns": {"state": "done"},
}
"""What a row gives up where it cannot be stored beside another one."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of one table's rows. Mended rows are among those copied."""

    table: str
    copied: int
    lost: int
    mended: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What became of a damaged database. `source` is where it lies now; `faults` is what was wrong with it."""

    source: Path
    tables: tuple[TableReport, ...]
    faults: tuple[str, ...]

    @property
    def copied(self) -> int:
        """Rows that were rescued, those that had to be mended among them."""
        return sum(table.copied for table in self.tables)

    @property
    def lost(self) -> int:
        """Rows that are known to have been there and could not be read."""
        return sum(table.lost for table in self.tables)

    @property
    def mended(self) -> int:
        """Rows of which a part was lost."""
        return sum(table.mended for table in self.tables)

    def __str__(self) -> str:
        if not self.copied:
            return f"nothing could be read of the damaged database {self.source}"
        return (
            f"{self.copied} rows were rescued, {self.mended} of them in part; {self.lost} are known to be lost; "
            f"the damaged database is kept as {self.source}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a log or for JSON."""
        return {
            "source": str(self.source),
            "copied": self.copied,
            "lost": self.lost,
            "mended": self.mended,
            "tables": [
                {
                    "table": each.table,
                    "copied": each.copied,
                    "lost": each.lost,
                    "mended": each.mended,
                    "reasons": list(each.reasons),
                }
                for each in self.tables
            ],
            "faults": list(self.faults),
        }


# --- files -----------------------------------------------------------------------------------------------


def set_aside(path: Path, now: datetime) -> Path:
    """Move a damaged database whole, its log with it, to a name that tells when; returns that name.

    No connection to it may be open. Nothing is overwritten. Where the process dies meanwhile, `unfinished` knows.
    Raises `StorageError`.
    """
    aside = _free_name(path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"))
    try:
        _write_synced(_marker(path), json.dumps({"aside": aside.name}))
        path.rename(aside)  # the database first: while its log is still here, `unfinished` moves it after
        _move_side_files(path, aside)
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"cannot set the damaged {path} aside: {error.strerror}; check the disk") from error
    return aside


def unfinished(path: Path) -> Path | None:
    """The damaged database that was set aside and whose salvage has not ended; None if there is none.

    To be asked under the home's lock and before the database is opened: an open would make an empty one.
    """
    if path.exists():
        return None
    try:
        name = str(json.loads(_marker(path).read_text("utf-8"))["aside"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    aside = path.with_name(Path(name).name)
    return aside if aside.is_file() else None


def set_aside_databases(path: Path) -> list[Path]:
    """The damaged databases that lie beside this one, the newest first."""
    found = (entry for entry in path.parent.glob(f"{path.name}.damaged-*") if not entry.name.endswith(SIDE_FILES))
    return sorted(found, reverse=True)


def replace_damaged(
    path: Path, now: datetime, progress: Callable[[float], None] = lambda _share: None
) -> SalvageReport:
    """Set the database aside and put one in its place that holds what can be read of it.

    `progress` is told again and again how much of it has been read, from 0 to 1.

    A salvage that was begun and not ended is ended instead. Where the process dies meanwhile, the next call does it
    again from the same file. Raises `StorageError`; the damaged database is where it was, or aside. One that a newer
    version wrote is where it was.
    """
    aside = unfinished(path)
    if aside is None:
        aside = set_aside(path, now)
    else:
        _move_side_files(path, aside)
    partial = path.with_name(path.name + PARTIAL)
    try:
        for name in (partial, *_beside(partial), partial.with_name(f"{partial.name}-journal")):
            name.unlink(missing_ok=True)
        try:
            report = salvage(aside, partial, now=now, progress=progress)
        except NewerDatabaseError:
            _put_back(aside, path)
            raise
        partial.rename(path)
        _sync_directory(path.parent)
        _marker(path).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot put a new database at {path}: {error.strerror}; check the disk") from error
    return report


def _put_back(aside: Path, path: Path) -> None:
    """Undo `set_aside`: a database that this version must not touch belongs to the one that can."""
    _move_side_files(aside, path)
    aside.rename(path)
    _sync_directory(path.parent)
    _marker(path).unlink(missing_ok=True)


def _free_name(wanted: Path) -> Path:
    name, number = wanted, 1
    while any(other.exists() for other in (name, *_beside(name))):
        number += 1
        name = wanted.with_name(f"{wanted.name}-{number}")
    return name


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in SIDE_FILES]


def _move_side_files(path: Path, aside: Path) -> None:
    for source, target in zip(_beside(path), _beside(aside), strict=True):
        if source.exists() and not target.exists():
            source.rename(target)


def _marker(path: Path) -> Path:
    return path.with_name(path.name + MARKER)


def _write_synced(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- rows ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """Counts per table, while they grow."""

    copied: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def lose(self, table: str, number: int, why: str) -> None:
        self.lost[table] += number
        self.reasons[table][f"lost: {why}"] += number

    def drop(self, table: str, number: int, why: str) -> None:
        """Lose what had been copied already."""
        self.copied[table] -= number
        self.lose(table, number, why)

    def mend(self, table: str, number: int, why: str) -> None:
        self.mended[table] += number
        self.reasons[table][f"mended: {why}"] += number

    def report(self, table: str) -> TableReport:
        reasons = tuple(f"{number} {why}" for why, number in self.reasons[table].most_common(MAX_REASONS))
        return TableReport(table, self.copied[table], self.lost[table], self.mended[table], reasons)


def salvage(
    damaged: Path,
    fresh: Path,
    *,
    now: datetime | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> SalvageReport:
    """Make the new database `fresh` of all that can be read of `damaged`, which is not changed.

    `progress` is told again and again how much has been read, from 0 to 1. `now` is the time that a row gets whose own
    is lost. Raises `StorageError`: `fresh` exists, the damaged file cannot be opened or was written by a newer version,
    or there is no room for a new one.
    """
    if fresh.exists():
        raise StorageError(f"{fresh} exists already; salvage makes a new file: name another one")
    try:
        with PageFile(damaged) as pages, closing(_create(fresh)) as connection:
            return _Salvage(Rescue(pages, progress), connection, damaged, now or datetime.now(UTC)).run(fresh)
    except sqlite3.Error as error:
        fresh.unlink(missing_ok=True)
        raise StorageError(f"cannot write {fresh}: {error}; check the disk") from error
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageError(f"cannot salvage {damaged}: {error.strerror}; check the disk") from error
    except StorageError:
        fresh.unlink(missing_ok=True)
        raise


def _create(fresh: Path) -> sqlite3.Connection:
    """A database that nobody reads until it is whole: its journal is kept in memory, and it is synced at the end."""
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(fresh, isolation_level=None, cached_statements=256)
    define_words(connection)
    connection.execute("PRAGMA journal_mode = MEMORY")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


@functools.cache
def _insertion(table: str, names: tuple[str, ...]) -> str:
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    return f'INSERT INTO "{table}" ({columns}) VALUES ({marks})'  # noqa: S608 - names of our own schema


class _Salvage:
    """One salvage: what is rescued, into the database behind `connection`."""

    def __init__(self, rescue: Rescue, connection: sqlite3.Connection, source: Path, now: datetime) -> None:
        self._rescue = rescue
        self._connection = connection
        self._source = source
        self._now = to_micros(now)
        self._tally = _Tally()
        names = {name: number for number, name in enumerate(_ORDER)}
        self._tables = sorted(rescue.layout.tables, key=lambda table: names.get(table.name, len(names)))

    def run(self, fresh: Path) -> SalvageReport:
        self._migrate(rescued=True)
        connection = self._connection
        connection.execute("BEGIN")
        for table in self._tables:
            for row in self._rescue.rows(table):
                self._keep(table, row)
        for table, row in self._rescue.left_over():
            self._keep(table, row, again=True)
        highest = {table.name: self._complete(table) for table in self._tables if table.has_rowid}
        self._number(highest)
        mend_references(connection, self._tally.mend, self._tally.drop)
        self._drop_loose()
        connection.execute("COMMIT")
        self._migrate(rescued=False)
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        reports = tuple(self._tally.report(table.name) for table in self._tables)
        return SalvageReport(self._source, reports, tuple(self._rescue.faults[:MAX_REASONS]))

    def _migrate(self, *, rescued: bool) -> None:
        """Make the schema that the rows were written for, or, when they are in, bring it to the newest."""
        version = self._rescue.layout.version
        for number, sql in migrations():
            if (number <= version) is rescued:
                self._connection.executescript(f"BEGIN;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")

    def _keep(self, table: Table, row: Row, *, again: bool = False) -> None:
        """Store a row; one found `again` is one that is there already."""
        first = row.values.get(table.columns[0].name)
        if first in _NOT_COPIED.get(table.name, ()):
            return
        values = mended_values(table, row.values, now=self._now, whole=row.whole)
        if values is None:
            self._tally.lose(table.name, 1, "the content is damaged")
            return
        changed = not row.whole or values is not row.values
        try:
            self._insert(table, row.rowid, values)
        except sqlite3.IntegrityError as error:
            if again and self._is_there(table, row.rowid, values):
                return
            relaxed = {**values, **_RELAXED.get(table.name, {})}
            try:
                self._insert(table, row.rowid, relaxed)
            except sqlite3.Error:
                self._tally.lose(table.name, 1, f"it cannot stand beside another row ({error})")
                return
            changed = True
        except (sqlite3.DataError, OverflowError, ValueError):
            self._tally.lose(table.name, 1, "its content fits no column")
            return
        self._tally.copied[table.name] += 1
        if changed:
            self._tally.mend(table.name, 1, "a part of the row was damaged")

    def _insert(self, table: Table, rowid: int, values: Mapping[str, Value]) -> None:
        if table.has_rowid and table.number is None:
            values = {"rowid": rowid, **values}
        self._connection.execute(_insertion(table.name, tuple(values)), tuple(values.values()))

    def _is_there(self, table: Table, rowid: int, values: Mapping[str, Value]) -> bool:
        if table.has_rowid:
            return self._has(table, rowid)
        keys = [column.name for column in table.columns if column.required]
        condition = " AND ".join(f'"{name}" = ?' for name in keys)
        query = f'SELECT 1 FROM "{table.name}" WHERE {condition}'  # noqa: S608 - names of our own schema
        return self._connection.execute(query, [values[name] for name in keys]).fetchone() is not None

    def _has(self, table: Table, rowid: int) -> bool:
        query = f'SELECT 1 FROM "{table.name}" WHERE rowid = ?'  # noqa: S608 - names of our own schema
        return self._connection.execute(query, (rowid,)).fetchone() is not None

    def _numbers(self, table: Table) -> dict[int, int]:
        """The rows that there are, as bits: a statement for each entry of each index would take most of the time."""
        present: dict[int, int] = defaultdict(int)
        query = f'SELECT rowid FROM "{table.name}"'  # noqa: S608 - names of our own schema
        for (number,) in self._connection.execute(query):
            present[number // NUMBERS_A_WORD] |= 1 << number % NUMBERS_A_WORD
        return dict(present)

    def _complete(self, table: Table) -> int:
        """Look in the indexes for rows that were not found, and make again what they tell enough of.

        Returns the highest row number that any index knows.
        """
        present = self._numbers(table)
        missing: dict[int, dict[str, Value]] = {}
        sources: dict[int, set[str]] = defaultdict(set)
        highest = 0
        broken: set[str] = set()
        for index in table.indexes:
            walk = Walk()
            for number, values in self._rescue.entries(index, walk):
                highest = max(highest, number)
                if not present.get(number // NUMBERS_A_WORD, 0) >> number % NUMBERS_A_WORD & 1:
                    missing.setdefault(number, {}).update(values)
                    sources[number].add(index.name)
            if walk.faults:
                broken.add(index.name)
        for number, values in missing.items():
            if table.number is not None:
                values[table.number] = number
            row = rebuilt(table.name, values, frozenset(sources[number] | broken), self._now)
            try:
                if row is not None:
                    self._insert(table, number, row)
            except sqlite3.IntegrityError:
                continue  # it is there, and the number in the index is wrong
            if row is None:
                self._tally.lose(table.name, 1, "its page is damaged")
            else:
                self._tally.copied[table.name] += 1
                self._tally.mend(table.name, 1, "made again from what the indexes say")
        return highest

    def _number(self, highest: Mapping[str, int]) -> None:
        """Have no number given twice, though rows with the highest ones may be lost."""
        known = self._rescue.last_numbers()
        connection = self._connection
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'"
        ).fetchall():
            query = f'SELECT coalesce(max(rowid), 0) FROM "{name}"'  # noqa: S608 - names of our own schema
            (present,) = connection.execute(query).fetchone()
            limit = present + MAX_NUMBER_GAP
            told = [number for number in (highest.get(name, 0), known.get(name, 0)) if number <= limit]
            last = max(present, *told, 0)
            if self._rescue.faults and known.get(name) not in told:
                last += NUMBER_GAP
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last))

    def _drop_loose(self) -> None:
        """Drop rows that still refer to something that is lost; the mending leaves none of any table it knows."""
        for table, rowid in list(self._loose()):
            self._connection.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))  # noqa: S608
            self._tally.drop(table, 1, "it referred to a row that is lost")

    def _loose(self) -> Iterator[tuple[str, int]]:
        for table, rowid, *_ in self._connection.execute("PRAGMA foreign_key_check"):
            if rowid is not None:
                yield table, rowid
