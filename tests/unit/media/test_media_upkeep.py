"""Files go when their time is over, and with their session; nothing else does."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from config import GatewayConfig, Home
from gateway.erasure import EraseError, Eraser
from gateway.media.files import session_folders
from gateway.retention import Retention
from gateway.session import SessionStore
from gateway.storage.database import Database
from tests.support.stores import HandClock, dm
from tests.unit.media.support import OTHER, PNG, SESSION

DAY = timedelta(days=1)


class House:
    """A home, its database, and a clock."""

    def __init__(self, home: Home, database: Database) -> None:
        self.home, self.database, self.clock = home, database, HandClock()
        self.counters: Counter[str] = Counter()

    @property
    def media(self) -> Path:
        return self.home.media_dir

    def put(self, name: str, age: timedelta = timedelta()) -> Path:
        path = self.media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
        at = (self.clock.now() - age).timestamp()
        os.utime(path, (at, at))
        return path

    def names(self) -> set[str]:
        return {str(path.relative_to(self.media)) for path in self.media.rglob("*")}

    async def sweep(self, **media: int) -> None:
        config = GatewayConfig.model_validate({"media": media})
        retention = Retention(
            self.database, config, self.clock, self.counters, session_folders(self.media), media=self.media, pause=0
        )
        await retention.sweep()

    async def say(self, chat: str) -> str:
        store = SessionStore(self.database, GatewayConfig(), clock=self.clock)
        return await store.record_turn(dm(chat), [{"role": "user", "content": "hello"}])

    async def run(self, sql: str, *values: object) -> None:
        await self.database.write(lambda connection: connection.execute(sql, values).rowcount)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    home = Home(tmp_path / "home").ensure()
    async with Database.open(home.database, synchronous="normal") as database:
        yield House(home, database)


async def test_old_files_go_and_empty_folders_with_them(house: House) -> None:
    house.put(f"in/{SESSION}/old.png", 31 * DAY)
    house.put(f"in/{OTHER}/old.png", 31 * DAY)
    house.put(f"in/{OTHER}/new.png", 29 * DAY)
    house.put("own.png", 500 * DAY)
    await house.sweep(retention_days=30)
    assert house.names() == {"in", f"in/{OTHER}", f"in/{OTHER}/new.png", "own.png"}
    assert house.counters["retention.files"] == 2


async def test_nought_keeps_what_came_in(house: House) -> None:
    kept = house.put(f"in/{SESSION}/old.png", 5000 * DAY)
    gone = house.put(f"out/{SESSION}/old.png", 31 * DAY)
    house.put(f"out/{SESSION}/new.png", 29 * DAY)
    await house.sweep(retention_days=0)
    assert kept.exists()
    assert not gone.exists()
    assert f"out/{SESSION}/new.png" in house.names()


async def test_what_never_came_in_whole_goes(house: House) -> None:
    house.put(f"in/{SESSION}/.x.partial", 2 * DAY)
    house.put(f"in/{SESSION}/.y.partial", DAY / 2)
    await house.sweep(retention_days=0)
    assert house.names() == {"in", f"in/{SESSION}", f"in/{SESSION}/.y.partial"}


async def test_links_are_not_followed(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(PNG)
    os.utime(outside / "precious", (0, 0))
    house.put(f"in/{SESSION}/new.png")
    (house.media / "in" / OTHER).symlink_to(outside)
    (house.media / "in" / SESSION / "folder").symlink_to(outside)
    await house.sweep(retention_days=1)
    assert (outside / "precious").exists()


async def test_a_session_takes_its_files_along(house: House) -> None:
    gone, stays = await house.say("1"), await house.say("2")
    for session_id in (gone, stays):
        house.put(f"in/{session_id}/a.png")
        house.put(f"out/{session_id}/b.png")
    erased = await Eraser(house.database, house.home, house.clock).erase(gone)
    assert erased.known
    assert house.names() == {
        "in", "out", f"in/{stays}", f"out/{stays}", f"in/{stays}/a.png", f"out/{stays}/b.png",
    }  # fmt: skip


async def test_a_purge_says_what_it_removed(house: House) -> None:
    gone = await house.say("1")
    house.put(f"in/{gone}/a.png")
    erased = await Eraser(house.database, house.home, house.clock).erase(gone, purge=True)
    assert f"media/in/{gone}" in erased.removed
    assert house.names() == {"in"}


async def test_the_files_of_its_provisional_time_go_too(house: House) -> None:
    gone, provisional = await house.say("1"), await house.say("2")
    await house.run(
        "UPDATE sessions SET ended_at = updated_at, end_reason = 'session_joined', successor_id = ? WHERE id = ?",
        gone, provisional,
    )  # fmt: skip
    house.put(f"in/{provisional}/a.png")
    await Eraser(house.database, house.home, house.clock).erase(gone)
    assert house.names() == {"in"}


async def test_a_file_that_stays_keeps_its_session(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = await house.say("1")
    house.put(f"in/{kept}/a.png")

    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "a.png")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.erasure.remove_session_files", refuse)
        with pytest.raises(EraseError, match=r"a\.png cannot be changed"):
            await Eraser(house.database, house.home, house.clock).erase(kept)
    assert (await Eraser(house.database, house.home, house.clock).erase(kept)).messages == 1
    assert house.names() == {"in"}
