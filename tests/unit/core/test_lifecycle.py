"""Sessions whose time has come are ended while nobody writes, in their own lane."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config import Home
from gateway.daemon import Daemon
from gateway.lifecycle import ExpiryWatcher
from gateway.ports import InboundMessage
from gateway.session.key import SlotIdentity
from gateway.storage.errors import StorageError
from tests.support.fakes import ALICE, BOB, FakeAdapter, FakeAgent, ManualClock, Pause, configure, core

IDLE = configure(sessions={"reset": {"mode": "idle", "idle_minutes": 10}}, inbox={"expire_hours": 0})


async def test_quiet_sessions_end_and_busy_ones_do_not(tmp_path: Path) -> None:
    clock, pause, adapter = ManualClock(), Pause(after="done"), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause), adapter, config=IDLE, clock=clock) as gateway:
        watcher = ExpiryWatcher(gateway.store, gateway.lanes, lambda: 60.0, gateway.counters)
        await gateway.say("busy")
        await pause.reached.wait()
        await gateway.say("quiet", source=BOB)
        while (await gateway.ends())["quiet"] != "answered":
            await asyncio.sleep(0.001)
        assert await watcher.sweep() == 0
        clock.advance(3600)
        assert await watcher.sweep() == 1
        assert await watcher.sweep() == 0
        pause.go.set()
        await gateway.settled()
        assert len(await gateway.rows("SELECT * FROM sessions WHERE ended_at IS NOT NULL")) == 1
        await gateway.say("again", source=BOB)
        await gateway.settled()
        assert any("new conversation" in text for text in adapter.texts("2"))
        assert not any("new conversation" in text for text in adapter.texts("1"))


async def test_a_message_that_came_in_time_finds_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on its way to the database while the watcher finds that the time is over by now."""
    clock, adapter = ManualClock(), FakeAdapter()
    async with core(tmp_path, adapter=adapter, config=IDLE, clock=clock) as gateway:
        watcher = ExpiryWatcher(gateway.store, gateway.lanes, lambda: 60.0, gateway.counters)
        await gateway.say("1")
        await gateway.settled()

        async def due() -> AsyncIterator[SlotIdentity]:
            yield gateway.store.identity(ALICE)

        monkeypatch.setattr(gateway.store, "due_slots", due)
        clock.advance(600)
        accepting = gateway.inbox.accept(InboundMessage(ALICE, "2", "2"), operator=True)
        clock.advance(1)
        assert await watcher.sweep() == 0
        await accepting
        await gateway.settled()
        assert adapter.texts() == ["re: 1", "re: 2"]
        assert len(await gateway.rows("SELECT * FROM sessions")) == 1


async def test_background_work_keeps_a_session_from_the_watcher_and_from_its_next_message(tmp_path: Path) -> None:
    clock, working = ManualClock(), [True]
    asked: list[str] = []

    def has_active_processes(key: str) -> bool:
        asked.append(key)
        return working[0]

    async with core(tmp_path, config=IDLE, clock=clock, has_active_processes=has_active_processes) as gateway:
        watcher = ExpiryWatcher(gateway.store, gateway.lanes, lambda: 60.0, gateway.counters)
        await gateway.say("1")
        await gateway.settled()
        clock.advance(3600)
        assert await watcher.sweep() == 0
        await gateway.say("2")
        await gateway.settled()
        assert len(await gateway.rows("SELECT * FROM sessions")) == 1
        assert set(asked) == {gateway.store.identity(ALICE).key}
        clock.advance(3600)
        working[0] = False
        assert await watcher.sweep() == 1


async def test_the_daemon_asks_for_background_work(tmp_path: Path) -> None:
    asked: list[str] = []

    def has_active_processes(key: str) -> bool:
        asked.append(key)
        return False

    home = Home(tmp_path / "home")
    config = configure(
        sessions={"reset": {"mode": "idle", "idle_minutes": 10}},
        agents={"a": {"type": "echo"}},
        http={"enabled": False},
    )
    daemon = Daemon(config, home, local_only=True, has_active_processes=has_active_processes)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    assert daemon._parts is not None
    entry = await daemon._parts.store.get_or_create_session(ALICE)
    daemon.stop()
    await running
    assert asked == [entry.session_key]


async def test_one_session_that_cannot_be_ended_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    async with core(tmp_path, config=IDLE, clock=clock) as gateway:
        await gateway.say("1")
        await gateway.say("2", source=BOB)
        await gateway.settled()
        clock.advance(3600)
        real, broken = gateway.store.expire_session, gateway.store.identity(ALICE)

        async def expire(identity: SlotIdentity) -> str | None:
            if identity == broken:
                raise StorageError("the disk is full")
            return await real(identity)

        monkeypatch.setattr(gateway.store, "expire_session", expire)
        watcher = ExpiryWatcher(gateway.store, gateway.lanes, lambda: 60.0, gateway.counters)
        assert await watcher.sweep() == 1
        assert gateway.counters["lifecycle.errors"] == 1


async def test_the_watcher_goes_on_after_an_error_and_ends_with_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    async with core(tmp_path, config=IDLE, clock=clock) as gateway:
        await gateway.say("1")
        await gateway.settled()
        clock.advance(3600)
        counters: Counter[str] = Counter()
        watcher = ExpiryWatcher(gateway.store, gateway.lanes, lambda: 0.001, counters)
        real = gateway.store.due_slots
        monkeypatch.setattr(gateway.store, "due_slots", lambda: real() if counters["lifecycle.errors"] else None)
        watching = asyncio.create_task(watcher.run())
        async with asyncio.timeout(5):
            while not counters["sessions.expired"]:
                await asyncio.sleep(0.001)
        await gateway.say("2")
        await gateway.settled()
        clock.advance(3600)
        await gateway.lanes.drain()
        await asyncio.wait_for(watching, 5)
