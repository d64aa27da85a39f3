"""Agents and adapters that fail or hang at their start or stop: the gateway is there without them, and ends in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config import Home
from gateway.daemon import Daemon
from tests.support.fakes import FakeAdapter, FakeAgent, configure

SECONDS = 5.0
"""A start and a stop take some hundredths of this."""


class Clinging(FakeAgent):
    """An agent that never closes."""

    async def close(self) -> None:
        await asyncio.Event().wait()


class Lingering(FakeAdapter):
    """An adapter that never comes to the end of its cleaning up, or, with an error, to a bad one."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.runs = asyncio.Event()
        self.go = asyncio.Event()

    async def run(self) -> None:
        try:
            self.runs.set()
            await super().run()
        finally:
            if self.error is not None and not self.go.is_set():
                raise self.error
            await self.go.wait()


class Stubborn(FakeAgent):
    """An agent whose start ends with an error, or, without one, never."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    async def start(self) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()


@asynccontextmanager
async def running(folder: Path, agent: FakeAgent, adapter: Lingering | None = None) -> AsyncIterator[Daemon]:
    """A gateway with these; its start, its terminal's and its stop are to come to their end."""
    config = configure(
        agents={"mine": {"type": "echo"}},
        platforms={"telegram": {"token": "1:a"}} if adapter is not None else {},
        http={"enabled": False},
        drain_seconds=0.1,
    )
    adapters = {"telegram": lambda _config, _host: adapter or FakeAdapter()}
    daemon = Daemon(config, Home(folder / "home"), agents={"mine": agent}, adapters=adapters)
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    try:
        async with asyncio.timeout(SECONDS):
            while not ready.is_set() or (await daemon.status())["adapters"]["local"]["state"] != "connected":
                assert not task.done(), task.exception()
                await asyncio.sleep(0.001)
        yield daemon
        daemon.stop()
        async with asyncio.timeout(SECONDS):
            await asyncio.shield(task)
    finally:
        if adapter is not None:
            adapter.go.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_agent_that_fails_at_its_start_keeps_no_platform_away(tmp_path: Path) -> None:
    async with running(tmp_path, Stubborn(RuntimeError("a mistake"))) as daemon:
        assert (await daemon.status())["counters"]["agents.start_errors"] == 1


async def test_an_agent_that_hangs_at_its_start_keeps_no_platform_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.roster.AGENT_START_SECONDS", 0.01)
    async with running(tmp_path, Stubborn()) as daemon:
        assert (await daemon.status())["counters"]["agents.start_errors"] == 1


async def test_an_agent_that_never_closes_keeps_no_gateway_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.roster.AGENT_CLOSE_SECONDS", 0.01)
    async with running(tmp_path, Clinging()):
        pass
    assert "the agent mine did not close cleanly" in caplog.text


async def test_an_adapter_that_does_not_end_keeps_no_gateway_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.connections.ADAPTER_STOP_SECONDS", 0.01)
    adapter = Lingering()
    async with running(tmp_path, FakeAgent(), adapter):
        await asyncio.wait_for(adapter.runs.wait(), SECONDS)
    assert "the adapter for telegram does not end when it is cancelled" in caplog.text


async def test_an_adapter_that_fails_at_its_end_is_not_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = Lingering(RuntimeError("a mistake"))
    async with running(tmp_path, FakeAgent(), adapter):
        await asyncio.wait_for(adapter.runs.wait(), SECONDS)
    assert "the adapter for telegram did not end cleanly: RuntimeError: a mistake" in caplog.text
