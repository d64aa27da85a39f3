"""The step from schema 1 to 2, on a database with rows: the copy is made first, nothing is lost, and it is used."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.storage import migrate as migrate_module
from gateway.storage import outbox_queries, queries
from gateway.storage.database import Database
from gateway.storage.migrate import migrate, migrations

ROWS = """
INSERT INTO meta VALUES ('a', 'b');
INSERT INTO slots VALUES (1, 'main', 'local', 'dm', '1', '', '', 'key', 's2', NULL);
INSERT INTO slots VALUES (2, 'main', 'local', 'dm', '2', '', '', 'other', NULL, 's1');
INSERT INTO sessions (id, slot_id, owner, chat_type, created_at, updated_at, ended_at)
    VALUES ('s1', 1, 'o', 'dm', 1, 2, 3);
INSERT INTO sessions (id, slot_id, owner, chat_type, created_at, updated_at, predecessor_id)
    VALUES ('s2', 1, 'o', 'dm', 3, 4, 's1');
UPDATE sessions SET successor_id = 's2' WHERE id = 's1';
INSERT INTO messages (session_id, role, content, created_at) VALUES ('s2', 'user', 'hello', 4);
INSERT INTO turns (id, slot_id, session_id, agent, state, started_at) VALUES ('t1', 1, 's2', 'echo', 'running', 4);
INSERT INTO turn_steps VALUES ('t1', 1, 'calls', '{}');
INSERT INTO inbound (platform, account, chat, message_id, slot_id, received_at, state)
    VALUES ('local', '', '1', 'm1', 1, 4, 'running'), ('local', '', '1', 'm2', 1, 5, 'pending');
INSERT INTO outbox (platform, account, chat, thread, turn_id, kind, text, final, state, created_at)
    VALUES ('local', '', '1', '', 't1', 'reply', 'grows', 0, 'sent', 4),
    ('local', '', '1', '', 't0', 'reply', 'orphan', 0, 'sent', 3),
    ('local', '', '1', '', 't0', 'reply', 'lost', 1, 'dead', 2);
"""
SESSION_COLUMNS = 30
"""Of schema 1."""
TABLES = ("meta", "slots", "sessions", "messages", "turns", "turn_steps", "inbound", "outbox")


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, the columns of schema 1."""
    with closing(sqlite3.connect(path)) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    found["sessions"] = [row[:SESSION_COLUMNS] for row in found["sessions"]]
    found["outbox"] = [row[:19] for row in found["outbox"]]
    found["inbound"] = [row[:14] for row in found["inbound"]]
    return found


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A database of schema 1."""
    path = tmp_path / "gateway.db"
    (number, sql), *_later = migrations()
    assert number == 1
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{sql}; PRAGMA user_version = 1; BEGIN; {ROWS} COMMIT;")
    return path


async def test_nothing_is_lost(first: Path) -> None:
    before = rows(first)
    async with Database.open(first) as database:
        (version,) = (await database.read("PRAGMA user_version"))[0]
        assert version == migrations()[-1][0] >= 2
        assert [row["id"] for row in await database.read(queries.PENDING_INBOUND, (0, 9))] == [2]
        counted = {row["state"]: row["number"] for row in await database.read(outbox_queries.COUNT_OUTBOX)}
        assert counted == {"dead": 1, "repeated": 0}
        assert [row["text"] for row in await database.read(outbox_queries.STREAM_OF_TURN, ("t1",))] == ["grows"]
        await database.write(lambda connection: connection.execute(outbox_queries.COMPLETE_ORPHANS).rowcount)
        assert [row["final"] for row in await database.read("SELECT final FROM outbox ORDER BY id")] == [0, 1, 1]
        assert tuple((await database.read(queries.COUNT_SESSIONS))[0]) == (2, 1)
        assert await database.read("PRAGMA foreign_key_check") == []
    backup = first.with_name("gateway.db.schema1.bak")
    assert rows(backup) == before
    after = rows(first)
    del before["outbox"], after["outbox"]
    assert after == before


def test_the_copy_is_made_before_anything_changes(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = rows(first), []

    def apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
        backup = first.with_name("gateway.db.schema1.bak")
        seen.append((number, rows(backup) == before))

    monkeypatch.setattr(migrate_module, "_apply", apply)
    with closing(sqlite3.connect(first)) as connection:
        migrate(connection, first)
    assert seen[0] == (2, True)


def test_a_new_and_an_upgraded_database_are_the_same(first: Path, tmp_path: Path) -> None:
    schema = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    new = tmp_path / "new.db"
    found = []
    for path in (first, new):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrate(connection, path)
            found.append(connection.execute(schema).fetchall())
    assert found[0] == found[1]
