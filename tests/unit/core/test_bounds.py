"""What memory holds: nothing for a conversation that rests, and no more than its bound where something is stuck."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Sized
from pathlib import Path

import pytest

from config import EchoAgentConfig, Home, Platform
from gateway.agents.echo import EchoAgent
from gateway.clock import SystemClock
from gateway.ports import (
    AdapterState,
    AgentEnvironment,
    AgentEvent,
    AgentTurn,
    Capabilities,
    Done,
    StorageBusyError,
    Text,
)
from gateway.session.store import HINTS
from gateway.source import SessionSource
from tests.support.fakes import ALICE, BOB, Core, FakeAdapter, FakeAgent, Pause, configure, core

SLOTS = 5_000
BURST = 500


def person(number: int) -> SessionSource:
    return SessionSource(Platform.TELEGRAM, chat_id=str(number), user_id=str(number), user_name=f"Person {number}")


class Forgetful(FakeAdapter):
    """A platform that keeps nothing of what it has shown, so that what is left in memory is the gateway's."""

    shown = 0

    async def send(self, delivery: object) -> str:
        self.shown += 1
        return str(self.shown)


def held(gateway: Core) -> dict[str, int]:
    """How much is kept for single slots, chats, deliveries and turns."""
    lanes, outbox, runner = gateway.lanes, gateway.outbox, gateway.runner
    kept: dict[str, Sized] = {
        "lanes": lanes._lanes,
        "chats": outbox._chats,
        "awaited": outbox._awaited,
        "unrecorded": outbox._courier._unrecorded,
        "unsure": outbox._courier._unsure,
        "abandoned": runner._abandoned,
    }
    return {name: len(things) for name, things in kept.items() if things} | (
        {"waiting": lanes._waiting} if lanes._waiting else {}
    )


def ours() -> Counter[str]:
    """Living objects of the gateway's own classes, by class."""
    gc.collect()
    kinds = (type(one) for one in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("gateway."))


async def test_thousands_of_conversations_leave_nothing_in_memory(tmp_path: Path) -> None:
    adapter = Forgetful(Capabilities())
    agent = EchoAgent(EchoAgentConfig(), AgentEnvironment("echo", Home(tmp_path), SystemClock()))
    async with core(tmp_path, agent, adapter) as gateway:

        async def burst(first: int, size: int) -> None:
            await asyncio.gather(*(gateway.say("hello", source=person(first + one)) for one in range(size)))
            await gateway.settled()
            assert held(gateway) == {}

        # The caches of the store are full by then; they hold so many, and no more.
        assert SLOTS - BURST > HINTS
        for first in range(0, SLOTS - BURST, BURST):
            await burst(first, BURST)
        before = ours()
        await burst(SLOTS - BURST, BURST)
        after = ours()
        assert adapter.shown == SLOTS
        grown = {kind: after[kind] - before[kind] for kind in after if after[kind] - before[kind] > BURST // 10}
        assert grown == {}


async def test_growing_replies_leave_nothing_in_memory(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        for number in range(50):
            await gateway.say("hello", source=person(number))
        await gateway.settled()
        assert held(gateway) == {}


async def test_what_waits_for_a_platform_that_is_away_is_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    adapter = Forgetful(Capabilities())
    async with core(tmp_path, adapter=adapter, state=AdapterState.CONNECTING) as gateway:
        for number in range(200):
            await gateway.say(f"ALICE {number}")
        await gateway.settled()
        assert held(gateway) == {"chats": 1}
        (waiting,) = await gateway.rows("SELECT count(*) FROM outbox WHERE state = 'pending'")
        assert waiting[0] == 200
        gateway.connections.state = AdapterState.CONNECTED
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert adapter.shown == 200
        assert held(gateway) == {}


async def test_beyond_the_bound_of_all_lanes_only_commands_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lanes.WAITING_LIMIT", 3)
    pause = Pause(after="done")
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("runs")
        await pause.reached.wait()
        for text in "123":
            await gateway.say(text)
        with pytest.raises(StorageBusyError, match="later"):
            await gateway.say("4", source=BOB)
        await gateway.say("/stop")
        await gateway.settled()
        assert held(gateway) == {}
        await gateway.say("4", source=BOB)
        await gateway.settled()
        assert await gateway.ends() == dict.fromkeys(["runs", "1", "2", "3", "/stop", "4"], "answered")


async def test_an_answer_without_end_is_cut_and_kept_as_far_as_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.attempt.MAX_ANSWER_CHARS", 100)

    async def endless(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for _ in range(10_000):
            yield Text("on and ")
        yield Done()

    adapter = FakeAdapter(Capabilities())
    async with core(tmp_path, FakeAgent(endless), adapter) as gateway:
        await gateway.say("1")
        await gateway.settled()
        assert await gateway.ends() == {"1": "failed"}
        assert len(adapter.texts()[0]) <= 110
        assert "beyond 100 characters" in adapter.texts()[-1]


async def test_an_agent_that_never_ends_is_asked_no_more_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.turns.ABANDONED_LIMIT", 2)
    deaf = [Pause(deaf=True) for _ in range(2)]
    agent, adapter = FakeAgent(*deaf), FakeAdapter(Capabilities())
    async with core(tmp_path, agent, adapter, config=configure(turns={"attempts": 1})) as gateway:
        for number, pause in enumerate(deaf):
            await gateway.say(f"hangs {number}")
            await pause.reached.wait()
            await gateway.say("/stop", f"stop {number}")
            await gateway.settled()
        assert held(gateway)["abandoned"] == 1
        await gateway.say("next")
        await gateway.settled()
        assert len(agent.turns) == 2
        assert "start the gateway anew" in adapter.texts()[-1]
        for pause in deaf:
            pause.go.set()
            await pause.ended.wait()
        await asyncio.sleep(0)
        await gateway.say("again", source=ALICE)
        await gateway.settled()
        assert adapter.texts()[-1] == "re: again"
        assert held(gateway) == {}
