"""The database's file is taken away while it is in use, and nothing reports an error: it is noticed, and put back."""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.storage import failover as failover_module
from gateway.storage import place
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from gateway.storage.spool import find_spools
from tests.unit.storage.test_failover import ANN, BEN, back, mode_of, opened, rows, said, texts, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)
    monkeypatch.setattr(failover_module, "PLACE_SECONDS", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def delete(path: Path) -> None:
    for name in (path, path.with_name("gateway.db-wal"), path.with_name("gateway.db-shm")):
        name.unlink()


def delete_the_file_alone(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def delete_the_log(path: Path) -> None:
    path.with_name("gateway.db-wal").unlink()


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        migrate(connection, other)
        connection.execute("INSERT INTO meta (name, value) VALUES ('whose', 'another')")
        connection.commit()
    other.rename(path)


async def put_back(database: Database) -> None:
    await until(lambda: database.state.recovered > 0)


TAKEN_AWAY = [delete, delete_the_file_alone, move, delete_the_log, replace]


@pytest.mark.parametrize("take_away", TAKEN_AWAY)
async def test_everything_is_in_its_place_again(
    path: Path, take_away: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]
        take_away(path)
        await put_back(database)  # also while nobody writes
        assert mode_of(database) == "sqlite"
        assert "was" in (database.state.last_outage.reason if database.state.last_outage else "")
        assert [record for record in caplog.records if record.levelno == logging.CRITICAL]
        await store.append_turn(entry.session_id, said("two"))
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
        with closing(sqlite3.connect(path)) as connection:  # as the next start would find it if this one dies now
            assert connection.execute("SELECT count(*) FROM messages").fetchone() == (4,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.state.recovered == 1
    async with opened(path) as (_database, store):
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_is_written_in_between_is_not_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        monkeypatch.setattr(failover_module, "PLACE_SECONDS", 0.5)
        await store.append_turn(entry.session_id, said("one"))
        delete(path)
        await store.append_turn(entry.session_id, said("two"))
        await put_back(database)
        assert rows(path, "SELECT count(*) FROM messages") == [(4,)]


async def test_another_database_in_its_place_is_kept(path: Path) -> None:
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        replace(path)
        await put_back(database)
        assert (await store.get_or_create_session(ANN)).session_id == entry.session_id
    (found,) = (each for each in path.parent.glob("gateway.db.found-*") if not each.name.endswith(("-wal", "-shm")))
    assert rows(found, "SELECT value FROM meta WHERE name = 'whose'") == [("another",)]
    assert rows(found, "SELECT count(*) FROM sessions") == [(0,)]


async def test_a_file_that_is_moved_can_be_opened_with_its_log(path: Path) -> None:
    """Whoever moves it back to the name that its log has got finds all that it held."""
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        move(path)
        await put_back(database)
        (log,) = path.parent.glob("gateway.db.moved-*-wal")
        copy = path.with_name("copy.db")
        shutil.copy(path.with_name("elsewhere.db"), copy)
        shutil.copy(log, copy.with_name("copy.db-wal"))
        assert rows(copy, "SELECT count(*) FROM messages") == [(2,)]


async def test_people_talk_on_where_it_cannot_be_put_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_values: object) -> list[Path]:
        raise OSError(28, "No space left on device")

    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        with monkeypatch.context() as patch:
            patch.setattr(place, "put_back", full)
            delete(path)
            await until(lambda: mode_of(database) == "spool")
            assert "moved or deleted" in (database.state.reason or "")
            assert texts(await store.load_transcript(entry.session_id)) == ["one"]
            await store.append_turn(entry.session_id, said("two"))
            other = await store.get_or_create_session(BEN)
            assert (await store.get_or_create_session(ANN)).session_id == entry.session_id
            assert not path.exists()
            assert len(find_spools(path.parent / "sessions")) == 1
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
    async with opened(path) as (_database, store):
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]
        assert (await store.get_or_create_session(BEN)).session_id == other.session_id
    assert find_spools(path.parent / "sessions") == []


async def test_an_outage_of_another_kind_does_not_let_go_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted, and before that is noticed something else goes wrong."""
    monkeypatch.setattr(failover_module, "PLACE_SECONDS", 60.0)
    async with opened(path) as (database, store):
        entry = await store.get_or_create_session(ANN)
        await store.append_turn(entry.session_id, said("one"))
        delete(path)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        await database.writer.fall_back(error)
        await store.append_turn(entry.session_id, said("two"))
        await back(database)
        assert texts(await store.load_transcript(entry.session_id)) == ["one", "two"]


async def test_it_is_put_back_at_the_end_if_not_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover_module, "PLACE_SECONDS", 60.0)
    async with opened(path) as (_database, store):
        entry = await store.get_or_create_session(ANN)
        delete(path)
        await store.append_turn(entry.session_id, said("one"))
    async with opened(path) as (_database, store):
        assert texts(await store.load_transcript(entry.session_id)) == ["one"]


def test_a_folder_that_cannot_be_looked_at_says_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    opened_at = place.look(path)

    def refuse(_path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert place.what_is_wrong(opened_at, path) is None
