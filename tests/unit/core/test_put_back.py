"""A turn that an outage had hidden, and that found another one in its place: it goes on after that, where it stood."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import AgentTurn
from gateway.storage import queries
from gateway.turns import OUTCOME_UNKNOWN
from tests.support.fakes import Core, FakeAgent, Pause, core
from tests.unit.core.test_turns import Bench


async def begin_a_call(folder: Path, agent: FakeAgent, bench: Bench) -> None:
    """The program dies in the middle of a call that must not be made twice."""
    bench.go.clear()
    async with core(folder, agent, tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        await gateway.die()
    bench.go.set()


def put_back(folder: Path, state: str = "put_back") -> None:
    """As a merge leaves a turn that another one goes before."""
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        connection.execute("UPDATE turns SET state = ?, not_before = NULL WHERE state <> 'done'", (state,))
        connection.commit()


async def show(gateway: Core) -> None:
    """The outage that had hidden a turn is over."""
    await gateway.database.write(
        lambda connection: connection.execute("UPDATE turns SET state = 'put_back' WHERE state = 'hidden'").rowcount
    )


async def assert_gone_on(gateway: Core, bench: Bench) -> None:
    assert bench.ran == ["a", "b"], "a call was made twice, or was not told as unknown"
    assert ("tool", OUTCOME_UNKNOWN) in await gateway.transcript()
    assert not await gateway.rows("SELECT * FROM turn_steps")
    assert not await gateway.rows("SELECT * FROM turns WHERE state <> 'done'")


async def test_it_goes_on_at_the_next_start(tmp_path: Path) -> None:
    bench = Bench()
    agent = FakeAgent(bench.script, bench.script)
    await begin_a_call(tmp_path, agent, bench)
    put_back(tmp_path)
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.settled()
        await assert_gone_on(gateway, bench)
        assert await gateway.ends() == {"hello": "answered"}


@pytest.mark.parametrize("times", [1, 3])
async def test_it_goes_on_once_after_the_turn_that_runs(tmp_path: Path, times: int) -> None:
    bench, pause = Bench(), Pause(after="first")
    agent = FakeAgent(bench.script, pause, bench.script)
    await begin_a_call(tmp_path, agent, bench)
    put_back(tmp_path, "hidden")
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("second")
        await pause.reached.wait()
        await show(gateway)
        for _ in range(times):
            await gateway.lanes.take_up()
        await gateway.say("third")
        assert [what(turn) for turn in agent.turns] == ["hello", "second"]
        pause.go.set()
        await gateway.settled()
        await assert_gone_on(gateway, bench)
        assert [what(turn) for turn in agent.turns] == ["hello", "second", "hello", "third"]
        assert set((await gateway.ends()).values()) == {"answered"}


async def test_it_waits_for_the_end_of_another_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    agent = FakeAgent(bench.script, bench.script)
    await begin_a_call(tmp_path, agent, bench)
    put_back(tmp_path, "hidden")
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await show(gateway)
        read = gateway.database.read

        async def hidden(sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
            return [] if sql == queries.GET_TURN else await read(sql, values)

        with monkeypatch.context() as outage:
            outage.setattr(gateway.database, "read", hidden)
            await gateway.lanes.take_up()
            await gateway.settled()
        assert [what(turn) for turn in agent.turns] == ["hello"]
        await gateway.lanes.take_up()
        await gateway.settled()
        await assert_gone_on(gateway, bench)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_stop_before_it_goes_on_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench, pause = Bench(), Pause(after="first")
    agent = FakeAgent(bench.script, pause, bench.script)
    await begin_a_call(tmp_path, agent, bench)
    put_back(tmp_path, "hidden")
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("second")
        await pause.reached.wait()
        await show(gateway)
        await gateway.lanes.take_up()
        draining = asyncio.create_task(gateway.lanes.drain())
        await asyncio.sleep(0)
        pause.go.set()
        await draining
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.settled()
        await assert_gone_on(gateway, bench)


def what(turn: AgentTurn) -> str:
    return str(turn.inputs[0]["content"])
