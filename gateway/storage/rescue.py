"""Finds the rows of the gateway's tables in the pages of a damaged database: by its trees, then by their shape."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.storage.errors import NewerDatabaseError
from gateway.storage.migrate import migrations
from gateway.storage.pages import (
    INDEX_KINDS,
    TABLE_KINDS,
    TABLE_LEAF,
    FaultError,
    PageFile,
    Value,
    Walk,
)

_TABLES: Final = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
_COLUMNS: Final = 'SELECT name, type, "notnull", pk, dflt_value FROM pragma_table_info(?) ORDER BY cid'
_INDEXES: Final = "SELECT name FROM pragma_index_list(?) ORDER BY name"
_INDEX_COLUMNS: Final = "SELECT name FROM pragma_index_info(?) ORDER BY seqno"
_SCHEMA: Final = "SELECT name, rootpage, sql FROM sqlite_schema"

SEQUENCE: Final = "sqlite_sequence"
SCHEMA_ROOT: Final = 1

_Class: TypeAlias = type

_TYPES: Final[Mapping[str, tuple[_Class, ...]]] = {
    "INTEGER": (int,),
    "INT": (int,),
    "REAL": (float, int),
    "TEXT": (str,),
    "BLOB": (bytes,),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the schema has it. A row may end before one that is not `required`, or that has a `default`."""

    name: str
    type: str
    required: bool
    default: bool = False
    classes: tuple[_Class, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", _TYPES.get(self.type, (object,)))

    def takes(self, value: Value) -> bool:
        """Whether the column may hold this; NULL is not asked about."""
        return value is None or isinstance(value, self.classes)


@dataclass(frozen=True, slots=True)
class Index:
    """An index: its name, and the columns that an entry begins with; the row's number ends it."""

    name: str
    columns: tuple[str, ...]
    described: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table: its columns in the order in which rows hold them. `number` names the one that is the row's number."""

    name: str
    columns: tuple[Column, ...]
    number: str | None
    has_rowid: bool
    indexes: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of one version of the schema, and where a database made by it alone has their trees."""

    version: int
    tables: tuple[Table, ...]
    roots: Mapping[str, int]
    schema: frozenset[tuple[Value, Value]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was found. `whole` is False where some of its content is lost or changed."""

    rowid: int
    values: Mapping[str, Value]
    whole: bool


def layout_of(version: int) -> Layout:
    """The layout of a version of the schema."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for number, sql in migrations():
            if number <= version:
                connection.executescript(sql)
        schema = connection.execute(_SCHEMA).fetchall()
        ours = [
            (name, bool(without))
            for name, without in connection.execute(_TABLES)
            if not name.startswith("sqlite_") and not _is_shadow(name, schema)
        ]
        tables = tuple(_table(connection, name, without_rowid=without) for name, without in ours)
    return Layout(
        version,
        tables,
        {name: root for name, root, _ in schema if root},
        frozenset((name, sql) for name, _, sql in schema),
    )


def _is_shadow(name: str, schema: Sequence[tuple[str, int, str | None]]) -> bool:
    """Whether a table belongs to a virtual one, such as the search index, or is one."""
    return any(
        (sql or "").upper().startswith("CREATE VIRTUAL TABLE") and (name == virtual or name.startswith(f"{virtual}_"))
        for virtual, _, sql in schema
    )


def _table(connection: sqlite3.Connection, name: str, *, without_rowid: bool) -> Table:
    described = connection.execute(_COLUMNS, (name,)).fetchall()
    keys = [row for row in described if row[3]]
    is_number = not without_rowid and len(keys) == 1 and keys[0][1].upper() == "INTEGER"
    if without_rowid:
        described = [*sorted(keys, key=lambda row: row[3]), *(row for row in described if not row[3])]
    columns = tuple(
        Column(column, kind.upper(), bool(required) or (bool(key) and not is_number), default is not None)
        for column, kind, required, key, default in described
    )
    by_name = {column.name: column for column in columns}
    indexes = []
    for (index,) in connection.execute(_INDEXES, (name,)).fetchall():
        parts = tuple(part for (part,) in connection.execute(_INDEX_COLUMNS, (index,)))
        indexes.append(Index(index, parts, tuple(by_name[part] for part in parts)))
    return Table(name, columns, keys[0][0] if is_number else None, not without_rowid, tuple(indexes))


class Rescue:
    """The rows that can be found in a damaged file. Tables have to be read before what is left over is.

    `faults` tells what was wrong, `progress` how much is read, from 0 to 1. Raises `NewerDatabaseError` if a newer
    version of the program wrote the file.
    """

    def __init__(self, pages: PageFile, progress: Callable[[float], None] = lambda _share: None) -> None:
        self._pages = pages
        self._faults: list[str] = []
        self._claimed: set[int] = set()
        self.layout, self._roots = self._find_layout()
        self._progress = progress
        self._read = 0
        self._in_other_trees = self._other_trees()
        self._to_read = self._count_to_read()
        self._indexes = [index for table in self.layout.tables for index in table.indexes]

    @property
    def faults(self) -> Sequence[str]:
        """What was wrong, in the order in which it was met."""
        return list(dict.fromkeys(self._faults))

    def rows(self, table: Table) -> Iterator[Row]:
        """The rows that the table's tree leads to."""
        root = self._roots.get(table.name)
        if root is None:
            self._faults.append(f"where {table.name} begins is lost")
            return
        walk = Walk(faults=self._faults, on_page=self._page_read)
        for cell in self._pages.walk(root, TABLE_KINDS if table.has_rowid else INDEX_KINDS, walk):
            try:
                row = _row(table, cell.rowid, cell.values, whole=cell.complete)
            except FaultError:
                self._faults.append(f"page {cell.page} has something that is no row of {table.name}")
                continue
            self._claimed.add(cell.page)
            yield row
        self._claimed |= walk.overflow

    def left_over(self) -> Iterator[tuple[Table, Row]]:
        """Rows on pages that no tree leads to any more; none if no tree was broken, for then they were deleted.

        To be read after every table. A row goes to the one table that it has the shape of.
        """
        if not self._faults:
            return
        known = self._claimed | self._in_other_trees | self._pages.free_pages()
        for number in range(1, self._pages.count + 1):
            kind = self._pages.kind(number)
            if number in known or kind not in (TABLE_LEAF, *INDEX_KINDS):
                continue
            for cell in self._pages.cells(number, Walk(faults=self._faults)):
                fitting = [
                    table
                    for table in self.layout.tables
                    if table.has_rowid is (kind == TABLE_LEAF) and _has_shape(table, cell.values, whole=cell.complete)
                ]
                if kind != TABLE_LEAF and any(_is_entry(index, cell.values) for index in self._indexes):
                    continue
                if len(fitting) == 1:
                    yield fitting[0], _row(fitting[0], cell.rowid, cell.values, whole=cell.complete)

    def entries(self, index: Index, walk: Walk) -> Iterator[tuple[int, Mapping[str, Value]]]:
        """What an index says of each row, after the row's number; what is wrong with the index is noted in `walk`."""
        root = self._roots.get(index.name)
        if root is None:
            walk.faults.append(f"where {index.name} begins is lost")
            return
        walk.on_page = self._page_read
        for cell in self._pages.walk(root, INDEX_KINDS, walk):
            if cell.complete and _is_entry(index, cell.values):
                number = cell.values[-1]
                assert isinstance(number, int)
                yield number, dict(zip(index.columns, cell.values, strict=False))
            else:
                walk.faults.append(f"{index.name} has an entry that is none")

    def last_numbers(self) -> dict[str, int]:
        """The highest number that each table has ever given to a row, as far as that can be read."""
        root = self._roots.get(SEQUENCE)
        if root is None:
            return {}
        found: dict[str, int] = {}
        for cell in self._pages.walk(root, TABLE_KINDS, Walk(faults=self._faults)):
            match cell.values:
                case [str(name), int(number)] if number < 1 << 62:
                    found[name] = number
        return found

    # --- how much there is ---------------------------------------------------------------------------------

    def _page_read(self) -> None:
        self._read += 1
        self._progress(min(1.0, self._read / self._to_read))

    def _count_to_read(self) -> int:
        """The pages of the trees that are read: those of tables, and those of their indexes."""
        tables = [(each.name, TABLE_KINDS if each.has_rowid else INDEX_KINDS) for each in self.layout.tables]
        indexes = [(index.name, INDEX_KINDS) for table in self.layout.tables for index in table.indexes]
        roots = [(self._roots[name], kinds) for name, kinds in (*tables, *indexes) if name in self._roots]
        return max(1, sum(1 for root, kinds in roots for _ in self._pages.tree(root, kinds, Walk())))

    def _other_trees(self) -> set[int]:
        """The pages that are no table's of ours: those of indexes, of the search index, and of SQLite's own tables."""
        ours = {table.name for table in self.layout.tables}
        pages: set[int] = set()
        for name, root in self._roots.items():
            if name not in ours:
                kinds = TABLE_KINDS if self._pages.kind(root) in TABLE_KINDS else INDEX_KINDS
                pages.update(number for number, _kind in self._pages.tree(root, kinds, Walk()))
        return pages

    # --- the schema ----------------------------------------------------------------------------------------

    def _find_layout(self) -> tuple[Layout, dict[str, int]]:
        """The schema's version and where its trees are, by the file; by a new database where the file has lost it."""
        named, newest = self._pages.user_version, migrations()[-1][0]
        roots: dict[str, int] = {}
        schema: set[tuple[Value, Value]] = set()
        if self._pages.count:
            for cell in self._pages.walk(SCHEMA_ROOT, TABLE_KINDS, Walk(faults=self._faults)):
                match cell.values:
                    case [str(), str(name), str(), int(root), (str() | None) as sql]:
                        schema.add((name, sql))
                        if root:
                            roots[name] = root
        layouts = [layout_of(number) for number, _ in migrations()]
        best = max(layouts, key=lambda each: (-len(each.schema ^ schema), each.version == named))
        if named > newest and schema - best.schema and not self._faults:
            raise NewerDatabaseError(
                f"the damaged database was written by a newer version (schema {named}; this version knows {newest}): "
                "install the newer version"
            )
        if not schema:
            best = next((each for each in layouts if each.version == named), layouts[-1])
        return best, {**best.roots, **roots}


def _row(table: Table, rowid: int, values: Sequence[Value], *, whole: bool) -> Row:
    """The values by name. Raises `FaultError` where they cannot be of this table."""
    absent = table.columns[len(values) :]
    if len(values) > len(table.columns) or any(column.required and not column.default for column in absent):
        raise FaultError
    named: dict[str, Value] = {}
    for column, value in zip(table.columns, values, strict=False):
        if value is not None and not isinstance(value, column.classes):
            raise FaultError
        named[column.name] = value
    if table.number is not None and table.number in named:
        named[table.number] = rowid
    return Row(rowid, named, whole)


def _is_entry(index: Index, values: Sequence[Value]) -> bool:
    """Whether these may be an entry of this index: its columns' values, and the number of a row."""
    if len(values) != len(index.columns) + 1 or not isinstance(values[-1], int):
        return False
    return all(column.takes(value) for column, value in zip(index.described, values, strict=False))


def _has_shape(table: Table, values: Sequence[Value], *, whole: bool) -> bool:
    """Whether a row of this table may look like this; the row's number is kept as NULL."""
    if len(values) != len(table.columns):
        return False
    for column, value in zip(table.columns, values, strict=True):
        if column.name == table.number:
            if value is not None:
                return False
        elif (value is None and column.required and whole) or not column.takes(value):
            return False
    return True
