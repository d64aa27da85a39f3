"""Updates as they came: kept once, in order and with their position; gone in the commit that says what they are."""

import asyncio
import logging
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from config import Home, Platform
from gateway import retention as retention_module
from gateway import updates as updates_module
from gateway.cli.reports import _status_lines
from gateway.doctor.storage import database as examine_database
from gateway.host import Host, HostServices
from gateway.ports import (
    AdapterHost,
    AdapterState,
    Cursor,
    HttpHandler,
    InboundMessage,
    NotStoredError,
    RawUpdate,
    StorageBusyError,
)
from gateway.retention import SET_ASIDE_KEPT, Retention
from gateway.storage.errors import StorageError
from gateway.updates import InvalidUpdateError
from tests.support.fakes import ALICE, START, Core, ManualClock, configure, core

PLACE = ("telegram", "default")
FEW = [RawUpdate("10", '{"n":1}'), RawUpdate("9", '{"n":2}'), RawUpdate("11", '{"n":3}')]


class Seat:
    """What a host reports to."""

    platform = Platform.TELEGRAM
    is_operator = True

    def __init__(self) -> None:
        self.reports: list[tuple[AdapterState, str | None, datetime | None]] = []
        self.handlers: list[HttpHandler] = []

    def report(self, state: AdapterState, reason: str | None, next_try: datetime | None) -> None:
        self.reports.append((state, reason, next_try))

    def serve_http(self, handler: HttpHandler) -> None:
        self.handlers.append(handler)


def host_of(gateway: Core, seat: Seat | None = None) -> AdapterHost:
    services = HostServices(
        clock=gateway.clock,
        inbox=lambda: gateway.inbox,
        corrections=lambda: gateway.corrections,
        updates=lambda: gateway.updates,
        banner=tuple,
        commands=tuple,
        serve=lambda _service, _handler: None,
        on_connected=lambda _platform, _account: None,
    )
    return Host(seat or Seat(), services)


async def ids(host: AdapterHost) -> list[str]:
    return [update.id for update in await host.kept()]


async def test_updates_are_kept_in_their_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates_module, "PAGE", 2)
    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        assert await host.cursor("offset") is None
        await host.keep(FEW, Cursor("offset", "12"))
        await host.keep([RawUpdate("9", "another"), RawUpdate("2", "{}")])
        assert await host.kept() == [*FEW, RawUpdate("2", "{}")]
        assert await host.cursor("offset") == "12"
        await host.keep((), Cursor("offset", "13"))
        assert await host.cursor("offset") == "13"
        assert await gateway.updates.kept("slack", "default") == []
    async with core(tmp_path) as gateway:
        assert await ids(host_of(gateway)) == ["10", "9", "11", "2"]


async def test_positions_are_listed_by_what_their_names_begin_with(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        for name, value in (("channel:1", "5"), ("channel:2", "6"), ("channels", "7"), ("dm:1", "8")):
            await host.keep((), Cursor(name, value))
        assert await host.cursors("channel:") == {"channel:1": "5", "channel:2": "6"}
        assert await host.cursors("dm:") == {"dm:1": "8"}
        assert await host.cursors("none:") == {}
        assert await gateway.updates.cursors("slack", "default", "dm:") == {}


async def test_a_batch_is_kept_whole_with_its_position_or_not_at_all(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        with pytest.raises(InvalidUpdateError):
            await host.keep([*FEW, RawUpdate("", "{}")], Cursor("offset", "12"))
        gateway.database.fail(StorageError("not now"), StorageBusyError("full"))
        for _ in range(2):
            with pytest.raises(NotStoredError):
                await host.keep(FEW, Cursor("offset", "12"))
        assert await ids(host) == []
        assert await host.cursor("offset") is None


async def test_the_order_holds_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with core(tmp_path, clock=clock) as gateway:
        host = host_of(gateway)
        await host.keep(FEW[:1])
        clock.advance(-3600)
        await host.keep(FEW[1:])
        assert await host.kept() == FEW


async def test_what_is_settled_is_gone_and_what_is_set_aside_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        await host.keep(FEW)
        await host.settle("9")
        await host.settle("never")
        with caplog.at_level(logging.ERROR):
            await host.settle("10", "no such field \ud800")
            await host.settle("never", "unknown")
        assert [record.getMessage() for record in caplog.records] == [
            "update 10 of telegram was set aside: no such field �"
        ]
        assert await ids(host) == ["11"]
        assert await gateway.updates.counts() == {"kept": 1, "set_aside": 1}
        assert gateway.counters["updates.set_aside"] == 1
        await host.keep(FEW[:1])
        assert await ids(host) == ["11"], "it would be set aside again and again"


@pytest.mark.parametrize("what", ["taken", "ignored", "refused", "a copy"])
async def test_the_message_takes_its_update_along(tmp_path: Path, what: str) -> None:
    async with core(tmp_path, config=configure()) as gateway:
        host = host_of(gateway)
        if what == "a copy":
            await gateway.say("hello", "m")
        await host.keep(FEW)
        text = "" if what == "refused" else "hello"
        message = InboundMessage(ALICE, "m", text, addressed=what != "ignored", update_id="9")
        accepted = await host.accept(message)
        assert accepted.duplicate == (what == "a copy")
        assert await ids(host) == ["10", "11"]


async def test_a_message_that_is_not_stored_leaves_its_update(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        await host.keep(FEW)
        gateway.database.fail(StorageError("not now"))
        with pytest.raises(NotStoredError, match="operator"):
            await host.accept(InboundMessage(ALICE, "m", "hello", update_id="9"))
        assert await ids(host) == ["10", "9", "11"]
        for call in (host.settle("9"), host.amend(InboundMessage(ALICE, "m", "x")), host.move_chat("1", "2")):
            gateway.database.fail(StorageError("not now"))
            with pytest.raises(NotStoredError):
                await call
        assert await ids(host) == ["10", "9", "11"]


async def test_the_state_and_the_requests_reach_the_pool(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        seat = Seat()
        host = host_of(gateway, seat)
        host.set_state(AdapterState.CONNECTING, "no route", next_try=START)
        host.set_state(AdapterState.CONNECTED)
        assert seat.reports == [
            (AdapterState.CONNECTING, "no route", START),
            (AdapterState.CONNECTED, None, None),
        ]


async def test_what_was_set_aside_goes_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, counters = ManualClock(), Counter[str]()
    async with core(tmp_path, clock=clock) as gateway:
        sweep = Retention(gateway.database, configure(), clock, counters, pause=0.0).sweep
        host = host_of(gateway)
        for number in range(6):
            await host.keep([RawUpdate(str(number), "{}")])
            if number != 5:
                await host.settle(str(number), "odd")
            clock.advance(60)
        await sweep()
        assert await gateway.updates.counts() == {"kept": 1, "set_aside": 5}
        monkeypatch.setattr(retention_module, "MAX_SET_ASIDE", 3)
        await sweep()
        left = await gateway.rows("SELECT id FROM updates ORDER BY id")
        assert [row["id"] for row in left] == ["2", "3", "4", "5"]
        clock.advance((SET_ASIDE_KEPT - timedelta(minutes=3)).total_seconds())
        await sweep()
        left = await gateway.rows("SELECT id FROM updates ORDER BY id")
        assert [row["id"] for row in left] == ["3", "4", "5"]
        clock.advance(SET_ASIDE_KEPT.total_seconds())
        await sweep()
        assert await gateway.updates.counts() == {"kept": 1, "set_aside": 0}, "what is kept waits for its adapter"
        assert counters["retention.updates"] == 5


async def test_the_doctor_names_what_was_set_aside(tmp_path: Path) -> None:
    home = Home(tmp_path)

    def findings() -> list[str]:
        return [finding.what for finding in examine_database(home, START) if finding.subject == "updates"]

    async with core(tmp_path) as gateway:
        host = host_of(gateway)
        await host.keep([RawUpdate(str(number), "{}") for number in range(5)])
        assert await asyncio.to_thread(findings) == []
        for number in range(5):
            await host.settle(str(number), f"odd {number}")
    (what,) = findings()
    assert what.startswith("5 updates")
    assert what.count("telegram ") == 3
    assert what.endswith("and others")


def test_status_tells_of_what_was_set_aside_and_of_the_next_try() -> None:
    adapters = {
        "slack": {"state": "connected", "reason": None, "since": START.isoformat(), "next_try": None},
        "telegram": {"state": "failed", "reason": "wrong token", "since": START.isoformat(), "next_try": None},
        "discord": {
            "state": "connecting",
            "reason": "no route",
            "since": START.isoformat(),
            "next_try": START.isoformat(),
        },
    }
    found = {"running": True, "started_at": START.isoformat(), "adapters": adapters}
    lines = [f"{name} {value}" for name, value, _style in _status_lines(found | {"updates": {"set_aside": 2}})]
    assert "Platforms slack connected" in lines
    assert any(line.endswith(": wrong token; not tried again until that is mended") for line in lines)
    assert any("connecting" in line and line.endswith(": no route; tried again in 1 s") for line in lines)
    assert any(line.startswith("Updates 2 set aside") for line in lines)
    names = [name for name, _value, _style in _status_lines(found | {"updates": {"set_aside": 0}})]
    assert "Updates" not in names


async def test_another_account_begins_with_nothing_of_the_one_before(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        updates = gateway.updates
        await updates.identify(*PLACE, "1")
        await updates.keep(*PLACE, FEW, Cursor("updates", "12"))
        await gateway.say("hello")
        await gateway.settled()
        await gateway.execute("UPDATE outbox SET final = 0")  # an answer that grows
        await updates.identify(*PLACE, "1")
        assert await updates.cursor(*PLACE, "updates") == "12"
        await updates.identify(*PLACE, "2")
        assert await updates.cursor(*PLACE, "updates") is None
        assert await updates.kept(*PLACE) == []
        assert [tuple(row) for row in await gateway.rows("SELECT parts, message_id, repeated FROM outbox")] == [
            ("[]", None, 1)
        ]
        await gateway.say("hello")  # the same id, of another message
        await gateway.settled()
        assert await gateway.ends() == {"hello@1": "answered", "hello": "answered"}
