"""One slow or failing platform, agent or account costs the others nothing, and gets nothing of theirs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from config import Platform
from gateway.clock import SystemClock
from gateway.ports import Agent, AgentEvent, AgentTurn, Capabilities, Delivery, Done, Text
from gateway.source import SessionSource
from tests.support.fakes import (
    ALICE,
    EDITS,
    Call,
    Core,
    FakeAdapter,
    FakeAgent,
    FakeRoster,
    Fault,
    configure,
    core,
    echo,
)

SECONDS = 5.0
"""A conversation takes some hundredths of this."""


def at(platform: Platform, chat: str) -> SessionSource:
    return SessionSource(platform, chat_id=chat, user_id=chat)


async def hang(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
    """Says nothing, and never ends."""
    await asyncio.Event().wait()
    yield Done()


class TwoAgents(FakeRoster):
    """Each turn is for the next agent of a list of names."""

    def __init__(self, agents: dict[str, Agent]) -> None:
        super().__init__(next(iter(agents.values())))
        self.agents = agents

    def choose(self, name: str) -> None:
        self.default = name
        self.agent = self.agents[name]


async def answered(gateway: Core, adapter: FakeAdapter, texts: list[str]) -> None:
    async with asyncio.timeout(SECONDS):
        while sorted(adapter.texts()) != sorted(texts):
            await asyncio.sleep(0.001)
        ends: dict[str, str] = {}
        while {ends.get(text.removeprefix("re: ")) for text in texts} != {"answered"}:
            ends = await gateway.ends()


async def test_a_platform_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """Its calls never end: first messages, edits of growing replies, searches."""
    never = asyncio.Event()
    stuck, quick = FakeAdapter(EDITS), FakeAdapter(EDITS)
    calls: tuple[Call, ...] = ("send", "edit", "find")
    for kind in calls:
        stuck.faults[kind].extend([Fault(until=never)] * 500)

    async def grows(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for piece in ("one", " two", " three"):
            yield Text(piece)
            await asyncio.sleep(0)
        yield Done()

    agent = FakeAgent(*[grows] * 50)
    config = configure(turns={"max_concurrent": 4})
    adapters = {"telegram": stuck, "discord": quick}
    async with core(tmp_path, agent, config=config, adapters=adapters, clock=SystemClock()) as gateway:
        for number in range(50):
            await gateway.say(f"stuck {number}", source=at(Platform.TELEGRAM, str(number)))
        async with asyncio.timeout(SECONDS):
            while len(stuck.calls) < 50:
                await asyncio.sleep(0.001)
        texts = [f"quick {number}" for number in range(10)]
        for number, text in enumerate(texts):
            await gateway.say(text, source=at(Platform.DISCORD, str(number)))
        await answered(gateway, quick, [f"re: {text}" for text in texts])
        assert not stuck.screen


async def test_an_agent_that_hangs_takes_no_other_agents_places(tmp_path: Path) -> None:
    adapter = FakeAdapter(Capabilities())
    config = configure(turns={"max_concurrent": 2})
    async with core(tmp_path, adapter=adapter, config=config) as gateway:
        roster = TwoAgents({"hangs": FakeAgent(*[hang] * 20), "works": FakeAgent(*[echo] * 20)})
        gateway.runner._roster = roster
        gateway.runner._workshop = replace(gateway.runner._workshop, roster=roster)
        roster.choose("hangs")
        for number in range(10):
            await gateway.say(f"hung {number}", source=at(Platform.TELEGRAM, f"h{number}"))
        while gateway.lanes.counts["running"] < 10:
            await asyncio.sleep(0.001)
        roster.choose("works")
        texts = [f"works {number}" for number in range(5)]
        for number, text in enumerate(texts):
            await gateway.say(text, source=at(Platform.TELEGRAM, f"w{number}"))
        await answered(gateway, adapter, [f"re: {text}" for text in texts])


async def test_a_turns_replies_go_to_the_account_that_asked(tmp_path: Path) -> None:
    """Two accounts are in one chat: they share its session, and each answers what was said to it."""
    adapter = FakeAdapter(Capabilities())
    config = configure(busy="steer")
    async with core(tmp_path, FakeAgent(steering=True), adapter, config=config) as gateway:
        for number in range(6):
            await gateway.say(str(number), account=f"bot{number % 2}")
        await gateway.say("/status", account="bot1")
        await gateway.settled()
        assert len(await gateway.rows("SELECT * FROM sessions")) == 1
    asked = {str(number): f"bot{number % 2}" for number in range(6)} | {"/status": "bot1"}
    sent: list[Delivery] = adapter.of("send")
    assert {answer for delivery in sent for answer in delivery.answers} == set(asked)
    for delivery in sent:
        assert {asked[answer] for answer in delivery.answers} == {delivery.target.account}


async def test_a_turn_absorbs_nothing_that_was_said_to_another_account(tmp_path: Path) -> None:
    adapter, reached, go = FakeAdapter(Capabilities()), asyncio.Event(), asyncio.Event()

    async def steered(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        reached.set()
        await go.wait()
        yield Text(f"re: 1 and {len(await turn.take_steering())} more")
        yield Done()

    async with core(tmp_path, FakeAgent(steered, steering=True), adapter, config=configure(busy="steer")) as gateway:
        await gateway.say("1", account="bot1")
        await reached.wait()
        await gateway.say("2", account="bot2")
        go.set()
        await gateway.settled()
    sent = [(one.target.account, one.text, one.answers) for one in adapter.of("send")]
    assert sent == [("bot1", "re: 1 and 0 more", ("1",)), ("bot2", "re: 2", ("2",))]


async def test_replies_after_a_restart_go_to_the_account_that_asked(tmp_path: Path) -> None:
    adapter = FakeAdapter(Capabilities())
    async with core(tmp_path, FakeAgent(hang), adapter) as gateway:
        await gateway.say("1", account="bot1")
        await gateway.say("2", account="bot2")
        while gateway.lanes.counts["running"] < 1:
            await asyncio.sleep(0.001)
        await gateway.die()
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        await gateway.settled()
        assert [(one.target.account, one.answers) for one in adapter.of("send")] == [("bot1", ("1",)), ("bot2", ("2",))]
        assert await gateway.transcript(ALICE) != []
