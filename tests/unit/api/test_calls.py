"""What was posted is known again: after another id, after a restart, in an outage of the database, and for long."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from config import GatewayConfig, LiveConfig, Platform
from gateway.access import Gate, Member, People, Role
from gateway.api.calls import CALLS_KEPT, PAGE, Calls, Known
from gateway.api.errors import ApiError
from gateway.api.webhooks import Webhooks
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.database import Database
from tests.support.fakes import ManualClock
from tests.support.faults import LockHolder
from tests.unit.storage.test_failover import back, rows


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)


async def test_a_call_is_known_by_what_it_is_signed_with_and_by_its_id(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "gateway.db") as database:
        calls = Calls(database, ManualClock())
        assert await calls.note("a", "m1", "d1") is Known.NEW
        assert await calls.note("a", "m1", "d1") is Known.NEW, "it is not in the inbox yet"
        await calls.take("a", "m1")
    async with Database.open(tmp_path / "gateway.db") as database:
        calls = Calls(database, ManualClock())
        assert await calls.note("a", "m1", "d1") is Known.TAKEN
        assert await calls.note("a", "m1", "d2") is Known.REPLAYED
        assert await calls.note("a", "m2", "d1") is Known.TAKEN
        assert await calls.note("a", "m2", "d2") is Known.REPLAYED
        assert await calls.note("b", "m1", "d2") is Known.NEW


async def test_what_is_old_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Database.open(tmp_path / "gateway.db") as database:
        calls = Calls(database, clock)
        for number in range(PAGE + 1):
            await calls.note("a", f"m{number}", f"d{number}")
        clock.advance(CALLS_KEPT / timedelta(seconds=1))
        await calls.note("a", "new", "d")
        await calls.forget_old()
        ((left,),) = await database.read("SELECT count(*) FROM webhook_calls")
        assert left == PAGE + 2
        clock.advance(1)
        await calls.forget_old()
        assert [row["mark"] for row in await database.read("SELECT mark FROM webhook_calls")] == ["new"]


@pytest.mark.usefixtures("quick")
async def test_what_came_before_an_outage_is_known_in_it_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    holder = LockHolder(path)
    async with Database.open(path) as database:
        calls = Calls(database, ManualClock())
        await calls.note("a", "m1", "d1")
        await calls.take("a", "m1")
        assert holder.hold()
        assert await calls.note("a", "m1", "d2") is Known.REPLAYED
        assert database.state.mode == "spool"
        assert await calls.note("a", "m1", "d1") is Known.TAKEN
        assert await calls.note("a", "m3", "d1") is Known.TAKEN
        assert await calls.note("a", "m2", "d3") is Known.NEW
        await calls.take("a", "m2")
        assert await calls.note("a", "m2", "d4") is Known.REPLAYED
        holder.release()
        await back(database)
        assert await calls.note("a", "m2", "d3") is Known.TAKEN
        assert await calls.note("a", "m1", "d1") is Known.TAKEN
        assert await calls.note("a", "m1", "d2") is Known.REPLAYED
        assert rows(path, "SELECT mark, delivery, taken FROM webhook_calls ORDER BY mark") == [
            ("m1", "d1", 1),
            ("m2", "d3", 1),
            ("m3", "d1", 0),
        ]
    assert list((tmp_path / "sessions").glob("*rejected*")) == []


async def test_a_webhook_whose_secret_could_not_be_read_lets_nobody_in() -> None:
    hook: Mapping[str, str] = {"prompt": "x", "secret_file": "nowhere"}
    config = LiveConfig(GatewayConfig.model_validate({"webhooks": {"a": hook}}))
    people = People()
    webhooks = Webhooks(cast("Calls", None), config, ManualClock(), people, Gate(config, people))
    with pytest.raises(ApiError) as caught:
        await webhooks.take("a", config.current.webhooks["a"], {}, b"{}")
    assert caught.value.code == "no_secret"


def test_a_webhook_is_let_in_where_its_answers_go_and_for_as_long_as_it_is_configured() -> None:
    hooks = {
        "own": {"prompt": "x", "signature": "none"},
        "ops": {"prompt": "x", "signature": "none", "target": "telegram:7", "role": "user"},
    }
    config = LiveConfig(GatewayConfig.model_validate({"webhooks": hooks}))
    people = People()
    people.lend({Member("api_server", "laptop"): Role.USER}, by="keys")
    Webhooks(cast("Calls", None), config, ManualClock(), people, Gate(config, people))
    places = [("webhook", "own"), ("telegram", "ops"), ("slack", "ops"), ("webhook", "ops")]
    sources = [SessionSource(Platform(platform), "7", user_id=f"webhook:{name}") for platform, name in places]
    assert [people.role(source) for source in sources] == [Role.GUEST, Role.USER, None, None]
    config.replace(GatewayConfig.model_validate({"webhooks": {"own": hooks["own"]}}))
    assert [people.role(source) for source in sources] == [Role.GUEST, None, None, None]
    assert people.role(SessionSource(Platform.API_SERVER, "laptop", user_id="laptop")) is Role.USER
