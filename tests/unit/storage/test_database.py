"""`Database` and its migrations: what may write, who may read the file, and versions that are not ours."""

import sqlite3
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.storage import migrate as migrate_module
from gateway.storage.database import Database, open_reader
from gateway.storage.errors import MigrationError, NewerDatabaseError, StorageError
from gateway.storage.migrate import migrations
from gateway.storage.writer import connect

PUT = "INSERT INTO meta (name, value) VALUES (?, '')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "gateway.db"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def put(name: str, connection: sqlite3.Connection) -> int:
    return connection.execute(PUT, (name,)).rowcount


async def fill(path: Path) -> None:
    async with Database.open(path) as database:
        await database.write(lambda connection: connection.execute(PUT, ("a",)).rowcount)


def add_migration(monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    known = migrations()
    added = [*known, (known[-1][0] + 1, sql)]
    monkeypatch.setattr(migrate_module, "migrations", lambda: added)


async def test_only_the_owner_may_read_it(path: Path) -> None:
    async with Database.open(path) as database:
        await database.write(lambda connection: connection.execute(PUT, ("a",)).rowcount)
        found = sorted(path.parent.rglob("*"))
        assert {mode(folder) for folder in (path.parent, *found) if folder.is_dir()} == {0o700}
        assert {mode(file) for file in found if file.is_file()} == {0o600}
        names = [file.name for file in found if file.is_file()]
        assert names == ["gateway.db", "gateway.db-shm", "gateway.db-wal", ".reserve"]


async def test_every_writer_syncs_each_commit(path: Path) -> None:
    async with Database.open(path) as database:
        pragmas = await database.write(
            lambda connection: [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        )
        assert pragmas == ["wal", 2, 1, 2000]
    async with Database.open(path, synchronous="normal") as database:
        assert await database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0]) == 1


async def test_readers_cannot_write(path: Path) -> None:
    async with Database.open(path) as database:
        for _ in range(3):
            with pytest.raises(StorageError, match="readonly"):
                await database.read(PUT, ("a",))
            with pytest.raises(StorageError, match="no such table"):
                await database.read("SELECT 1 FROM nowhere")
        reader = await open_reader(path)
        try:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await reader.execute("DROP TABLE meta")
        finally:
            await reader.close()


async def test_reads_see_what_was_written(path: Path) -> None:
    async with Database.open(path) as database:
        for number in range(5):
            await database.write(partial(put, str(number)))
            assert len(await database.read("SELECT name FROM meta")) == number + 1


async def test_strange_paths(tmp_path: Path) -> None:
    await fill(tmp_path / "a%20b?c=d #e" / "gateway.db")
    assert (tmp_path / "a%20b?c=d #e" / "gateway.db").exists()


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(NewerDatabaseError, match="newer version") as refused:
        async with Database.open(path):
            pass
    assert "99" in str(refused.value)
    assert path.read_bytes() == before


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="doctor"):
        async with Database.open(tmp_path / "file" / "gateway.db"):
            pass


async def test_a_backup_is_made_before_a_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path)
    old = version(path)
    assert list(path.parent.glob("gateway.db*")) == [path], "a new database needs no backup"
    add_migration(monkeypatch, "ALTER TABLE meta ADD COLUMN more TEXT; UPDATE meta SET more = 'new';")
    async with Database.open(path) as database:
        assert [tuple(row) for row in await database.read("SELECT name, more FROM meta")] == [("a", "new")]
    backup = path.with_name(f"gateway.db.schema{old}.bak")
    assert (version(path), version(backup), mode(backup)) == (old + 1, old, 0o600)
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT * FROM meta").fetchall() == [("a", "")]
    async with Database.open(path):
        assert sorted(file.name for file in path.parent.glob("*bak*")) == [backup.name]


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path)
    old = version(path)
    with monkeypatch.context() as patch:
        add_migration(patch, "ALTER TABLE meta ADD COLUMN more TEXT; UPDATE nowhere SET x = 1;")
        with pytest.raises(MigrationError, match="nowhere"):
            async with Database.open(path):
                pass
    assert version(path) == old
    async with Database.open(path) as database:
        assert [tuple(row) for row in await database.read("SELECT * FROM meta")] == [("a", "")]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _sql in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_connection_that_cannot_be_set_up_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    file.write_bytes(b"x" * 4096)
    with pytest.raises(sqlite3.DatabaseError):
        connect(file)
