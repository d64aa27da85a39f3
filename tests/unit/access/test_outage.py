"""People while the database is out of use: who is let in stays so, decisions are merged, nobody is guessed at."""

from pathlib import Path

import pytest

from config import GatewayConfig, Platform
from gateway.access import Gate, Member, People, Role, Sender, Verdict
from gateway.access.door import Door
from gateway.admissions import Admissions
from gateway.pairing import Pairing
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from tests.support.fakes import START, ManualClock
from tests.support.faults import LockHolder
from tests.support.letting_in import CODE
from tests.unit.storage.test_failover import back, rows

CONFIG = GatewayConfig()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


def sender(person: str) -> Sender:
    return Sender(SessionSource(Platform.TELEGRAM, person, user_id=person))


async def asks(database: Database, pairing: Pairing, person: str) -> str:
    code, *_ = await database.write(lambda connection: pairing.request(connection, sender(person), "default", START))
    found = CODE.search(code.text)
    assert found is not None
    return found[0]


async def test_people_are_let_in_and_out_during_an_outage(tmp_path: Path) -> None:
    path, pairing = tmp_path / "gateway.db", Pairing(CONFIG, b"secret")
    holder = LockHolder(path)
    async with Database.open(path) as database:
        people = await People.loaded(database)
        admissions = Admissions(database, pairing, people, ManualClock())
        await admissions.approve(await asks(database, pairing, "1"), "terminal")
        waiting = await asks(database, pairing, "2")
        assert holder.hold()
        await admissions.revoke("telegram:1", "terminal")
        await admissions.approve(waiting, "terminal", Role.ADMIN)
        await asks(database, pairing, "3")
        assert database.state.mode == "spool"
        listing = await admissions.listing()
        assert [str(one.member) for one in listing.people] == ["telegram:2"]
        assert [str(one.member) for one in listing.requests] == ["telegram:3"]
        assert rows(path, "SELECT person FROM people") == [("1",)]
        holder.release()
        await back(database)
        assert (await admissions.listing()).to_dict() == listing.to_dict()
        events = rows(path, "SELECT event, person FROM audit ORDER BY id")
        assert events == [
            ("asked", "1"),
            ("let in", "1"),
            ("asked", "2"),
            ("revoked", "1"),
            ("let in", "2"),
            ("asked", "3"),
        ]
        assert list((tmp_path / "sessions").glob("*rejected*")) == []
        again = await People.loaded(database)
        assert (list(again), again.complete) == ([Member("telegram", "2")], True)


async def test_who_may_have_been_let_in_is_not_taken_for_a_stranger(tmp_path: Path) -> None:
    path, pairing = tmp_path / "gateway.db", Pairing(CONFIG, b"secret")
    async with Database.open(path) as database:
        admissions = Admissions(database, pairing, People(), ManualClock())
        await admissions.approve(await asks(database, pairing, "1"), "terminal")
    holder = LockHolder(path, whole=True)
    assert holder.hold()
    async with Database.open(path) as database:
        people = await People.loaded(database)
        door = Door(CONFIG, ManualClock(), gate=Gate(CONFIG, people), pairing=pairing)
        assert not people.complete
        with pytest.raises(StorageError, match="who was let in"):
            door.rule(sender("1"))
        assert not door.gate.bars(sender("1"))
        bot = Sender(SessionSource(Platform.TELEGRAM, "1", user_id="1"), addressed=False)
        assert door.rule(bot).verdict is Verdict.IGNORE
        changed: list[bool] = []
        admissions = Admissions(database, pairing, people, ManualClock(), on_change=lambda: changed.append(True))
        holder.release()
        await back(database)
        await admissions.take_up()
        assert changed == [True]
        assert door.rule(sender("1")).verdict is Verdict.ALLOW
        assert door.rule(sender("2")).verdict is Verdict.PAIR
