"""The roster when its configuration changes: new agents stand ready before old ones leave, and those leave in peace."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from config import AgentConfig, GatewayConfig, Home, LiveConfig
from gateway.ports import AgentError, Clock
from gateway.roster import AgentRefusedError, AgentRoster
from tests.support.fakes import FakeAgent, ManualClock


class Tracked(FakeAgent):
    """Notes what happens to it; the delay of its section names it."""

    def __init__(self, name: str, config: AgentConfig) -> None:
        super().__init__()
        self.label = f"{name}{getattr(config, 'delay_ms', '')}"
        self.started = self.closed = 0
        self.error: Exception | None = None
        self.go: asyncio.Event | None = None
        self.clings = False

    async def start(self) -> None:
        self.started += 1
        if self.go is not None:
            await self.go.wait()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        if self.clings:
            await asyncio.Event().wait()
        self.closed += 1


class Rig:
    """A roster whose agents are tracked, in order of making; `errors` are what starts end with, by label."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch, **agents: Mapping[str, Any]) -> None:
        self.made: list[Tracked] = []
        self.errors: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        monkeypatch.setattr("gateway.roster.create_agent", self._create)
        self.live = LiveConfig(self.config(None, **agents))
        self.roster = AgentRoster(self.live, home, ManualClock())

    @staticmethod
    def config(default: str | None = None, **agents: Mapping[str, Any]) -> GatewayConfig:
        return GatewayConfig.model_validate(
            {"agent": default, "agents": {name: {"type": "echo", **keys} for name, keys in agents.items()}}
        )

    def _create(self, name: str, config: AgentConfig, _home: Home, _clock: Clock, **_lent: object) -> Tracked:
        agent = Tracked(name, config)
        agent.error, agent.go = self.errors.get(agent.label), self.gates.get(agent.label)
        self.made.append(agent)
        return agent

    def of(self, label: str) -> Tracked:
        (agent,) = [agent for agent in self.made if agent.label == label]
        return agent

    @property
    def alive(self) -> list[str]:
        return [agent.label for agent in self.made if agent.started and not agent.closed]

    async def change(self, config: GatewayConfig) -> None:
        change = await self.roster.prepare(config)
        self.live.replace(config)
        self.roster.take_over(change)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_only_what_changed_is_started_anew(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(home, monkeypatch, a={}, b={})
    await rig.roster.get("a")
    await rig.roster.get("b")
    await rig.change(rig.config(a={"delay_ms": 1}, b={}))
    assert rig.alive == ["b0", "a1"]
    assert (await rig.roster.get("a"))[1] is rig.of("a1")
    await rig.roster.close()
    assert rig.alive == []
    assert [agent.closed for agent in rig.made] == [1, 1, 1]


async def test_a_turn_keeps_the_agent_that_it_has(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(home, monkeypatch, a={})
    async with rig.roster.use("a") as (_, first), rig.roster.use("a") as (_, second):
        assert first is second is rig.of("a0")
        await rig.change(rig.config(a={"delay_ms": 1}))
        async with rig.roster.use("a") as (_, other):
            assert other is rig.of("a1")
        assert rig.alive == ["a0", "a1"]
    await asyncio.sleep(0)
    assert rig.alive == ["a1"]
    await rig.roster.close()


async def test_an_agent_in_use_is_closed_at_the_end_of_all(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(home, monkeypatch, a={})
    async with rig.roster.use("a"):
        await rig.change(rig.config(b={}))
        await rig.roster.close()
        assert rig.alive == []
    await asyncio.sleep(0)
    assert [agent.closed for agent in rig.made] == [1, 1]


async def test_agents_that_never_close_are_let_go_of_together(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.roster.AGENT_CLOSE_SECONDS", 0.2)
    rig = Rig(home, monkeypatch, **{name: {} for name in "abcdefghijklm"})
    for name in rig.live.current.agents:
        await rig.roster.get(name)
    for agent in rig.made[:-1]:
        agent.clings = True
    await rig.change(rig.config(b={}, m={}))
    async with asyncio.timeout(2):
        await rig.roster.close()
    assert rig.of("m0").closed == 1


@pytest.mark.parametrize("error", [AgentError("no such model"), RuntimeError("a mistake")])
async def test_an_agent_that_does_not_start_refuses_all(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    rig = Rig(home, monkeypatch, a={})
    await rig.roster.get("a")
    rig.errors["c0"] = error
    with pytest.raises(AgentRefusedError, match="agents.c: .*" + str(error)):
        await rig.roster.prepare(rig.config(a={"delay_ms": 1}, c={}))
    assert rig.alive == ["a0"]
    assert (await rig.roster.get("a"))[1] is rig.of("a0")


async def test_an_agent_that_hangs_at_its_start_refuses_all_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.roster.AGENT_START_SECONDS", 0.01)
    rig = Rig(home, monkeypatch, a={})
    rig.gates["c0"] = asyncio.Event()
    with pytest.raises(AgentRefusedError, match=r"agents.c: .* not ready within 0\.01 seconds"):
        await asyncio.wait_for(rig.roster.prepare(rig.config(a={}, c={})), 5)
    assert rig.alive == []


async def test_a_reload_that_is_cancelled_leaves_nothing_behind(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(home, monkeypatch, a={})
    rig.gates["c0"] = asyncio.Event()
    preparing = asyncio.create_task(rig.roster.prepare(rig.config(a={"delay_ms": 1}, c={})))
    while len(rig.made) < 2:
        await asyncio.sleep(0)
    preparing.cancel()
    await asyncio.gather(preparing, return_exceptions=True)
    assert rig.alive == []


async def test_a_new_default_agent_stands_ready(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(home, monkeypatch, a={}, b={})
    await rig.roster.get("a")
    await rig.change(rig.config("b", a={}, b={}))
    assert rig.roster.default == "b"
    assert rig.alive == ["a0", "b0"]
    await rig.change(rig.config("echo", a={}, b={}))
    assert rig.alive == ["a0", "b0", "echo0"]
    await rig.roster.close()


async def test_an_agent_that_starts_while_its_section_changes_starts_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(home, monkeypatch, a={}, b={})
    rig.gates["b0"] = asyncio.Event()
    waiting = asyncio.create_task(rig.roster.get("b"))
    while not rig.made:
        await asyncio.sleep(0)
    rig.live.replace(rig.config(a={}, b={"delay_ms": 7}))
    rig.gates["b0"].set()
    assert (await asyncio.wait_for(waiting, 5))[1] is rig.of("b7")
    assert rig.alive == ["b7"]
    await rig.roster.close()


async def test_a_turn_of_an_agent_that_is_removed_goes_to_the_default_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(home, monkeypatch, a={}, b={})
    await rig.roster.get("b")
    await rig.change(rig.config(a={}))
    assert rig.alive == []
    async with rig.roster.use("b") as (name, agent):
        assert (name, agent) == ("a", rig.of("a0"))
    await rig.roster.close()


async def test_given_agents_stay_whatever_the_configuration_says(home: Home) -> None:
    given = FakeAgent()
    live = LiveConfig(GatewayConfig())
    roster = AgentRoster(live, home, ManualClock(), {"mine": given})
    await roster.get("mine")
    config = Rig.config(mine={"delay_ms": 3})
    change = await roster.prepare(config)
    live.replace(config)
    roster.take_over(change)
    assert await roster.get("mine") == ("mine", given)
