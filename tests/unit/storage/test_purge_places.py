"""A purge reaches every place of the home in which a database was put aside: its bytes are looked for in all."""

import asyncio
import shutil
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.erasure import EraseError, Eraser
from gateway.storage.backup import make_backup, unpack
from gateway.storage.checks import newest_schema
from gateway.storage.database import Database
from gateway.storage.migrate import migrations
from gateway.storage.restore import STAGED, apply_staged, stage
from tests.unit.storage.test_erasure import MARK, House

SIDES = ("", "-wal", "-shm")


def copy_open(home: Home, target: Path) -> None:
    """The files of a database that is in use, as they are: what was said last stands in its log alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for end in SIDES:
        shutil.copy(home.database.with_name(home.database.name + end), target.with_name(target.name + end))


def break_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:4096] = b"\xff" * 4096
    path.write_bytes(data)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").ensure()


async def test_every_database_that_was_put_aside(home: Home) -> None:
    async with Database.open(home.database) as database:
        house = House(home, database)
        other = await house.live_through("other", chat="8")
        session_id = await house.live_through(MARK)
        root = home.path
        for name in (
            "replaced-20260101T000000Z/gateway.db",
            "replaced-20260101T000000Z-2/gateway.db.damaged-20251231T000000Z",
            "gateway.db.damaged-20260102T000000Z",
            "gateway.db.found-20260103T000000Z",
            "gateway.db.salvaged",
            "gateway.db.put-back",
        ):
            copy_open(home, root / name)
        for damaged in root.rglob("*.damaged-*Z"):
            break_pages(damaged)
        # Only its log tells of the session.
        copy_open(home, root / "gateway.db.damaged-20260104T000000Z")
        (root / "gateway.db.damaged-20260104T000000Z").write_bytes(b"")
        for number, name in enumerate(("gateway.db.moved-20260105T000000Z", "replaced-20260106T000000Z/gateway.db")):
            copy_open(home, root / name)
            (root / name).unlink()
            assert not (root / name).exists(), number
        assert len(house.holding(MARK)) > 8
        erased = await house.eraser.erase(session_id, purge=True)
        assert house.holding(MARK) == []
        assert house.holding(session_id) == []
        assert not erased.unread
        assert await house.found("other") == {other}
    assert (root / "gateway.db.found-20260103T000000Z").exists(), "one that is whole is kept, without the session"


@pytest.mark.parametrize("schema", [1, 9])
async def test_what_an_earlier_version_has_copied(home: Home, tmp_path: Path, schema: int) -> None:
    earlier = Home(tmp_path / "earlier").ensure()
    async with Database.open(home.database) as database:
        house = House(home, database)
        session_id = await house.live_through(MARK)
        with closing(sqlite3.connect(earlier.database, isolation_level=None)) as old:
            for _number, sql in migrations()[:schema]:
                old.executescript(sql)
            old.execute(f"PRAGMA user_version = {schema}")
            for each in (session_id, "other"):
                place = "INSERT INTO slots (agent, platform, chat_type, chat, thread, participant, key)"
                old.execute(f"{place} VALUES ('a', 'telegram', 'dm', ?, '', '', '')", (each,))
                old.execute(
                    "INSERT INTO sessions (id, slot_id, owner, chat_type, created_at, updated_at)"
                    " VALUES (?, last_insert_rowid(), 'o', 'dm', 1, 1)",
                    (each,),
                )
                text = MARK if each == session_id else each
                message = "INSERT INTO messages (session_id, role, content, created_at) VALUES (?, 'user', ?, 1)"
                old.execute(message, (each, text))
        copy, backup = home.path / f"gateway.db.schema{schema}.bak", home.path / "old.tar"
        shutil.copy(earlier.database, copy)
        make_backup(earlier, backup, house.clock.now())
        erased = await house.eraser.erase(session_id, purge=True)
        assert (erased.removed, erased.unread) == ((), ())
        assert house.holding(MARK) == house.holding(session_id) == []
    unpack(backup, (inside := Home(tmp_path / "inside").ensure()).path, newest_schema=newest_schema())
    for path in (copy, inside.database):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT id FROM sessions").fetchall() == [("other",)]
            assert connection.execute("SELECT content FROM messages").fetchall() == [("other",)]


async def test_a_backup_that_waits_to_take_effect(home: Home, tmp_path: Path) -> None:
    async with Database.open(home.database) as database:
        house = House(home, database)
        other = await house.live_through("other", chat="8")
        session_id = await house.live_through(MARK)
        (home.sessions_dir / f"{session_id}.jsonl").write_text(MARK)
        (home.media_dir / session_id).mkdir(parents=True)
        (home.media_dir / session_id / "picture.png").write_text(MARK)
        backup = tmp_path / "outside.tar"
        make_backup(home, backup, house.clock.now())
        folder = home.path / ".restore-0-x"
        folder.mkdir()
        unpack(backup, folder, newest_schema=newest_schema())
        stage(home, folder)
        assert any(name.startswith(f"{STAGED}/") for name in house.holding(MARK))
        await house.eraser.erase(session_id, purge=True)
        assert house.holding(MARK) == []
    assert apply_staged(home, house.clock.now()) is not None
    async with Database.open(home.database) as database:
        house = House(home, database)
        assert await house.found("other") == {other}
        assert house.holding(MARK) == []


KILLED_WHILE_PACKING = """
import os, signal, sys
from pathlib import Path
from config import GatewayConfig, Home
from gateway import leftovers
from gateway.session import removal

leftovers.make_backup = lambda *_args, **_more: os.kill(os.getpid(), signal.SIGKILL)
leftovers.clean(Home(Path(sys.argv[1])), removal.unknown("0" * 32))
"""


async def test_what_a_purge_that_was_killed_has_unpacked(home: Home) -> None:
    async with Database.open(home.database) as database:
        house = House(home, database)
        session_id = await house.live_through(MARK)
        (home.path / "kept").mkdir()
        for number, how in enumerate(("the next start", "the next purge")):
            for place in (home.path, home.path / "kept"):
                make_backup(home, place / f"{number}.tar.gz", house.clock.now())
                killed = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", KILLED_WHILE_PACKING, home.path, cwd=Path(__file__).parents[3]
                )
                assert await killed.wait() == -signal.SIGKILL
            assert any(".purge-" in name for name in house.holding(MARK)), how
            if number == 0:
                await house.eraser.tidy()
            else:
                await house.eraser.erase(session_id, purge=True)
            assert not list(home.path.rglob(".purge-*")), how
        assert house.holding(MARK) == []


async def test_what_a_purge_that_lives_has_unpacked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    packing, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        packing.set()
        assert go_on.wait(20)
        return make_backup(*args)

    async with Database.open(home.database) as database:
        house = House(home, database)
        session_id = await house.live_through(MARK)
        make_backup(home, home.path / "one.tar", house.clock.now())
        monkeypatch.setattr("gateway.leftovers.make_backup", slow)
        purge = asyncio.create_task(house.eraser.erase(session_id, purge=True))
        try:
            assert await asyncio.to_thread(packing.wait, 20)
            await house.eraser.tidy()
            assert list(home.path.glob(".purge-*/home/gateway.db"))
            with pytest.raises(EraseError, match="another purge is at work"):
                await Eraser(database, home, house.clock).erase(session_id, purge=True)
            assert list(home.path.glob(".purge-*/home/gateway.db"))
        finally:
            go_on.set()
        assert (await purge).rewritten == ("one.tar",)
        assert house.holding(MARK) == []
        assert not list(home.path.rglob(".purge-*"))


async def test_the_daemon_removes_it_at_its_start(home: Home) -> None:
    (left := home.path / ".purge-x").mkdir()
    (left / "gateway.db").write_text(MARK)
    ready = asyncio.Event()
    daemon = Daemon(GatewayConfig(agent="echo"), home, local_only=True)
    running = asyncio.create_task(daemon.run(ready.set))
    async with asyncio.timeout(20):
        await ready.wait()
        while left.exists():
            await asyncio.sleep(0.01)
        daemon.stop()
        await running
