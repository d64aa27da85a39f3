"""Upgrades that something comes in the way of: a gateway that still runs, a database that is held."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.storage import migrate as migrate_module
from gateway.storage.database import Database
from gateway.storage.migrate import migrations
from gateway.storage.salvage import set_aside_databases
from tests.unit.storage.test_failover import ANN, back, held, opened, path, quick, rows, said, texts, until

__all__ = ["path", "quick"]


async def test_a_process_keeps_the_schema_that_it_knows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever upgrades puts the files of the next version there while the gateway still runs. What that knows of the
    database is what it began with, also where an outage has it open the database anew."""
    number, _sql = migrations()[-1]
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        folder = tmp_path / "next" / "migrations"
        folder.mkdir(parents=True)
        for known, sql in migrations():
            (folder / f"{known:04}_known.sql").write_text(sql, "utf-8")
        (folder / f"{number + 1:04}_next.sql").write_text("ALTER TABLE messages RENAME COLUMN data TO more;", "utf-8")
        monkeypatch.setattr(migrate_module, "files", lambda _package: folder.parent)
        with held(path):
            await store.append_turn(entry.session_id, said("one"))
            assert database.state.mode == "spool"
        await back(database)
        await store.append_turn(entry.session_id, [*said("two"), {"role": "tool", "content": "", "name": "x"}])
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
    assert rows(path, "PRAGMA user_version") == [(number,)]


async def test_a_newer_database_that_comes_back_says_so(path: Path) -> None:
    """Nobody could look which version wrote it while it was held; what status says of an outage is why it lasts."""
    async with Database.open(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 99")
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with opened(path) as (database, store):
            assert (database.state.mode, database.state.reason) == ("spool", "database is locked")
            entry = await store.get_or_create_session(ANN)
            other.close()
            await until(lambda: "newer version" in (database.state.reason or ""))
            await store.append_turn(entry.session_id, said("one"))
            assert database.state.mode == "spool"
    assert rows(path, "PRAGMA user_version") == [(99,)]


@pytest.mark.parametrize("schema", [5, len(migrations())], ids=["upgraded", "as it is"])
async def test_a_table_whose_first_page_is_damaged_is_left_for_the_spool(path: Path, schema: int) -> None:
    """People are heard while what can be read is rescued, also where it is an upgrade that meets the damage."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, sql in migrations()[:schema]:
            connection.executescript(f"{sql}; PRAGMA user_version = {number};")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sessions'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * 2000)
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        assert database.state.mode == "spool"
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]
    assert set_aside_databases(path) != []
