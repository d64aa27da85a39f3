"""A start with many open turns, while another process holds the database's lock: it is out of use once, not again and
again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from config import Platform
from gateway.ports import AgentEvent, AgentTurn, Done
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from tests.support.fakes import FakeAgent, core
from tests.unit.storage.test_failover import held

PEOPLE: Final = 30


async def test_it_takes_up_every_turn_in_one_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (writer_module, failover_module):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.0)
    monkeypatch.setattr(failover_module, "RETRY_PATIENCE_SECONDS", 0.005)

    async def hang(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        await asyncio.Event().wait()
        yield Done()

    async with core(tmp_path, FakeAgent(*[hang] * PEOPLE)) as gateway:
        for number in range(PEOPLE):
            await gateway.say("hello", source=SessionSource(Platform.TELEGRAM, str(number), user_id=str(number)))
        await gateway.die()
    with held(tmp_path / "gateway.db"):
        async with asyncio.timeout(20), core(tmp_path, FakeAgent()) as gateway:
            await gateway.settled()
            assert gateway.database.state.mode == "spool"
            outages = [record for record in caplog.records if "is out of use" in record.message]
            assert len(outages) == 1
    async with core(tmp_path, FakeAgent()) as gateway:
        await gateway.settled()
        states = await gateway.rows("SELECT state, count(*) FROM inbound GROUP BY state")
        assert [tuple(row) for row in states] == [("answered", PEOPLE)]
