"""How SQLite carries out each statement: none reads the whole of a table that grows; and each is used."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from gateway.storage import (
    access_queries,
    api_queries,
    import_queries,
    inbound_queries,
    memory_queries,
    mirror_queries,
    outbox_queries,
    queries,
    session_queries,
    tool_queries,
    upkeep,
)
from gateway.storage.migrate import migrate
from gateway.storage.words import define_words

ROOT = Path(__file__).resolve().parents[3]

NOT_STORED = frozenset({"CONSTANT", "json_each", "pragma_table_info"})
"""What a plan may call a scan that reads no table."""

WHOLE_TABLE: Mapping[str, str] = {
    "SEND_ANEW": "once, when the token of another account is put in",
    "GET_HOLDS": "it holds what is to be waited for now, and what has passed is dropped",
    "DROP_HOLDS": "the same; platforms that ask for time are rare",
    "FORGET_OLD_TRIES": "it holds who gave a wrong code in the last hour",
    "API_KEYS": "it holds what an operator made by hand",
    "AUDIT": "it stops at as many rows as are to be shown",
    "REMOVE_ORPHAN_SLOT": "a purge tidies up once; it rewrites the whole file besides",
    "WAITING_UPDATES": "the same, in a copy; it holds what an adapter has not handed on yet",
}
"""Statements that may read all of a table, each with the reason."""

WHOLE_INDEX: Mapping[str, str] = {
    "COUNT_WAITING": "all that waits to be remembered, which is little, and only where conversations are",
    "COUNT_SESSIONS": "all there are, in the narrowest index",
    "TWO_SESSIONS": "it stops at the second row",
}
"""Statements that may read all of an index that has every row of its table, each with the reason."""


def source(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text("utf-8")


def public_names(module: ModuleType) -> list[str]:
    return re.findall(r"^([A-Z][A-Z0-9_]*): Final", source(module), re.MULTILINE)


def statements() -> Iterator[tuple[str, str]]:
    modules = (queries, access_queries, inbound_queries, outbox_queries, session_queries, tool_queries, upkeep)
    for module in (*modules, api_queries, import_queries, mirror_queries, memory_queries):
        for name in public_names(module):
            value = getattr(module, name)
            if isinstance(value, str):
                yield name, value


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        migrate(opened, path)
        define_words(opened)
        opened.execute("PRAGMA foreign_keys = ON")
        yield opened


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps that SQLite takes, whatever the parameters are."""
    for count in range(40):
        try:
            return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * count)]
        except sqlite3.ProgrammingError:
            continue
    raise AssertionError(sql)


def whole_indexes(connection: sqlite3.Connection) -> set[str]:
    """Indexes without a condition: they have as many entries as their table has rows."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
    return {name for name, sql in rows if sql is None or " WHERE " not in sql}


def scans(connection: sqlite3.Connection, sql: str) -> tuple[list[str], list[str]]:
    """The tables (or what they are called there), and the whole indexes, that a statement reads from end to end."""
    tables, indexes, whole = [], [], whole_indexes(connection)
    for step in plan(connection, sql):
        found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?(?: VIRTUAL TABLE INDEX (.*))?", step)
        if found is None or found[1] in NOT_STORED:
            continue
        if found[2] in whole:
            indexes.append(found[2])
        elif found[2] is None and (found[3] is None or "M" not in found[3]):
            tables.append(found[1])
    return tables, indexes


@pytest.mark.parametrize(("name", "sql"), list(statements()), ids=lambda value: value if value.isupper() else "")
def test_no_statement_reads_a_growing_table_from_end_to_end(
    connection: sqlite3.Connection, name: str, sql: str
) -> None:
    tables, indexes = scans(connection, sql)
    assert bool(tables) == (name in WHOLE_TABLE), f"{name} reads all of {tables}: {plan(connection, sql)}"
    assert bool(indexes) == (name in WHOLE_INDEX), f"{name} reads all of {indexes}: {plan(connection, sql)}"


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("SELECT * FROM inbound WHERE state = 'pending'", "inbound"),
        ("SELECT * FROM sessions ORDER BY updated_at", "sessions"),
        ("UPDATE outbox SET final = 1 WHERE session_id = ?", "outbox"),
        ("SELECT 1 FROM slots JOIN turns ON turns.state = slots.key", "turns"),
        ("DELETE FROM slots WHERE id = ?", "inbound"),
        ("SELECT * FROM inbound AS alias WHERE alias.state = 'pending'", "alias"),
        ("SELECT content FROM messages_search WHERE content = ?", "messages_search"),
    ],
)
def test_a_scan_is_seen(connection: sqlite3.Connection, sql: str, table: str) -> None:
    assert table in scans(connection, sql)[0]


def test_a_scan_of_a_whole_index_is_seen(connection: sqlite3.Connection) -> None:
    assert scans(connection, "SELECT count(*) FROM turns")[1]
    assert scans(connection, "SELECT id FROM turns WHERE state IN ('running', 'waiting')") == ([], [])


def test_every_statement_is_used() -> None:
    text = "\n".join(
        path.read_text("utf-8") for folder in ("gateway", "adapters") for path in (ROOT / folder).rglob("*.py")
    )
    unused = [
        name
        for module in (
            queries,
            access_queries,
            api_queries,
            inbound_queries,
            memory_queries,
            outbox_queries,
            session_queries,
            tool_queries,
            upkeep,
            mirror_queries,
        )
        for name in public_names(module)
        if not re.search(rf"\b(?:\w*queries|upkeep)\.{name}\b", text) and source(module).count(f"{{{name}}}") == 0
    ]
    assert unused == []
