"""The adapters, side by side: one that fails disturbs no other, and says how it stands; agents are started once."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.connections import AdapterPool
from gateway.host import HostServices
from gateway.ports import (
    Accepted,
    AccountError,
    AdapterHost,
    AdapterState,
    AgentError,
    HttpRequest,
    HttpResponse,
    InboundMessage,
    InboundState,
)
from gateway.roster import AgentRoster
from tests.support.fakes import ALICE, START, FakeAdapter, FakeAgent, ManualClock


class Scripted(FakeAdapter):
    """Its runs end as they are told; when there is no more to tell, one stays connected."""

    ends: ClassVar["deque[BaseException | None]"] = deque()

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__()
        self.host = host
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.ends:
            end = self.ends.popleft()
            if end is not None:
                raise end
            return
        self.host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()


class EntryPoint:
    def __init__(self, name: str, loads: Any) -> None:
        self.name = name
        self._loads = loads

    def load(self) -> Any:
        if isinstance(self._loads, Exception):
            raise self._loads
        return self._loads


class FakeInbox:
    def __init__(self) -> None:
        self.accepted: list[tuple[str, bool]] = []

    async def accept(self, message: InboundMessage, *, operator: bool) -> Accepted:
        self.accepted.append((message.text, operator))
        return Accepted(1, InboundState.PENDING)


class Rig:
    def __init__(self, pool: AdapterPool, inbox: FakeInbox, woken: list[str], counters: Counter[str]) -> None:
        self.pool, self.inbox, self.woken, self.counters = pool, inbox, woken, counters
        self.running: asyncio.Task[None] | None = None

    def start(self, *ends: BaseException | None) -> None:
        """Run the adapters; the next runs end like this."""
        Scripted.ends.extend(ends)
        self.running = asyncio.create_task(self.pool.run())

    def adapter(self, platform: Platform) -> Scripted:
        connection = self.pool.find(platform, "default")
        assert connection is not None
        assert isinstance(connection.adapter, Scripted)
        return connection.adapter

    async def until(self, platform: str, state: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while self.pool.states[platform]["state"] != state:
                await asyncio.sleep(0.001)
        return self.pool.states[platform]


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    loads: dict[str, Any] = getattr(request, "param", {"telegram": Scripted, "slack": Scripted})
    monkeypatch.setattr("gateway.connections.ADAPTER_RESTART_SECONDS", 0.002)

    def entry_points(*, group: str, name: str) -> list[EntryPoint]:
        assert group == "hermes_gateway.adapters"
        return [EntryPoint(name, loads[name])] if name in loads else []

    monkeypatch.setattr("gateway.connections.entry_points", entry_points)
    monkeypatch.setattr(Scripted, "ends", deque())
    inbox, woken, counters = FakeInbox(), list[str](), Counter[str]()
    services = HostServices(
        clock=ManualClock(),
        inbox=lambda: inbox,  # type: ignore[arg-type,return-value]
        corrections=lambda: pytest.fail("nothing is corrected"),
        updates=lambda: pytest.fail("nothing is kept"),
        banner=lambda: ("hello",),
        commands=lambda: [("help", "Help")],
        serve=lambda _service, _handler: None,
        on_connected=lambda platform, _account: woken.append(str(platform)),
    )
    pool = AdapterPool(GatewayConfig(), [Platform.TELEGRAM, Platform.SLACK], services, counters)
    pool.load()
    built = Rig(pool, inbox, woken, counters)
    yield built
    assert built.running is not None
    built.running.cancel()
    await asyncio.gather(built.running, return_exceptions=True)
    assert all(state["state"] in ("stopped", "failed") for state in pool.states.values())


async def test_adapters_come_up_and_wake_their_deliveries(rig: Rig) -> None:
    rig.start()
    for platform in ("telegram", "slack"):
        await rig.until(platform, "connected")
    assert sorted(rig.woken) == ["slack", "telegram"]
    assert set(rig.pool.connected()) == {"slack", "telegram"}
    connection = rig.pool.find(Platform.SLACK, "default")
    assert connection is not None
    assert connection.usable
    assert rig.pool.find(Platform.SLACK, "second") is None
    assert rig.pool.find(Platform.DISCORD, "default") is None


@pytest.mark.parametrize("end", [RuntimeError("a mistake"), None, asyncio.CancelledError()])
async def test_an_adapter_that_ends_is_started_again(rig: Rig, end: BaseException | None) -> None:
    rig.start(end, end)
    await rig.until("telegram", "connected")
    await rig.until("slack", "connected")
    assert rig.adapter(Platform.TELEGRAM).runs + rig.adapter(Platform.SLACK).runs == 4
    assert rig.pool.states["telegram"]["next_try"] is None


async def test_a_failed_adapter_says_why_and_when_it_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.connections.ADAPTER_RESTART_SECONDS", 60.0)
    rig.start(RuntimeError("a mistake"))
    state = await rig.until("telegram", "failed")
    assert state["reason"] == "RuntimeError: a mistake"
    assert state["next_try"] > state["since"]
    assert not rig.pool.find(Platform.TELEGRAM, "default").usable  # type: ignore[union-attr]
    await rig.until("slack", "connected")


async def test_an_account_that_is_refused_waits_for_its_operator(rig: Rig) -> None:
    rig.start(AccountError("platforms.telegram.token is not a token"))
    state = await rig.until("telegram", "failed")
    await rig.until("slack", "connected")
    adapter = rig.adapter(Platform.TELEGRAM)
    assert (state["reason"], state["next_try"]) == ("platforms.telegram.token is not a token", None)
    await asyncio.sleep(0.05)
    assert (adapter.runs, rig.counters["adapters.refused"]) == (1, 1)
    Scripted.ends.append(AccountError("still not"))
    rig.pool.try_again()
    while rig.pool.states["telegram"]["reason"] != "still not":
        await asyncio.sleep(0.001)
    assert adapter.runs == 2
    rig.pool.try_again()
    await rig.until("telegram", "connected")
    assert rig.pool.states["telegram"]["reason"] is None
    assert rig.adapter(Platform.SLACK).runs == 1


async def test_a_mend_that_came_before_the_refusal_is_none(rig: Rig) -> None:
    rig.pool.try_again()
    rig.start(AccountError("no"))
    await rig.until("telegram", "failed")
    await asyncio.sleep(0.02)
    assert rig.adapter(Platform.TELEGRAM).runs == 1


@pytest.mark.parametrize(("chance", "waits"), [(0.0, [1, 2, 4]), (1.0, [2, 4, 8])])
async def test_the_wait_before_the_next_try_grows_and_depends_on_chance(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, chance: float, waits: list[int]
) -> None:
    monkeypatch.setattr(rig.pool, "_chance", lambda: chance)
    seen: list[int] = []
    set_state = rig.pool.set_state

    def spy(entry: Any, state: AdapterState, reason: str | None, next_try: datetime | None = None) -> None:
        if next_try is not None and entry.platform == Platform.TELEGRAM:
            seen.append((next_try - START) // timedelta(milliseconds=1))
        set_state(entry, state, reason, next_try)

    monkeypatch.setattr(rig.pool, "set_state", spy)
    monkeypatch.setattr(rig.adapter(Platform.SLACK), "run", asyncio.Event().wait)
    rig.start(*(RuntimeError("a mistake") for _ in waits))
    await rig.until("telegram", "connected")
    assert seen == waits


async def test_an_adapter_says_itself_when_it_tries_again(rig: Rig) -> None:
    rig.start()
    await rig.until("telegram", "connected")
    host = rig.adapter(Platform.TELEGRAM).host
    host.set_state(AdapterState.CONNECTING, "no route", next_try=START)
    state = rig.pool.states["telegram"]
    assert (state["state"], state["reason"], state["next_try"]) == ("connecting", "no route", START.isoformat())
    host.set_state(AdapterState.CONNECTED)
    assert rig.pool.states["telegram"]["next_try"] is None


async def test_requests_go_to_the_adapter_that_takes_them(rig: Rig) -> None:
    async def answer(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200)

    assert rig.pool.http_handler("telegram") is None, "it is on its way"
    for name in ("discord", "nonsense"):
        with pytest.raises(KeyError):
            rig.pool.http_handler(name)
    rig.adapter(Platform.TELEGRAM).host.handle_http(answer)
    assert rig.pool.http_handler("telegram") is answer
    rig.start()
    await rig.until("telegram", "connected")
    await rig.until("slack", "connected")
    assert rig.pool.http_handler("telegram") is answer
    with pytest.raises(KeyError):
        rig.pool.http_handler("slack")


@pytest.mark.parametrize("rig", [{"slack": Scripted, "telegram": KeyError("x")}, {"slack": Scripted}], indirect=True)
async def test_an_adapter_that_cannot_be_built_is_failed_and_disturbs_no_other(rig: Rig) -> None:
    rig.start()
    await rig.until("slack", "connected")
    state = rig.pool.states["telegram"]
    assert state["state"] == "failed"
    assert "KeyError" in state["reason"] or "install" in state["reason"]
    assert rig.pool.find(Platform.TELEGRAM, "default") is None


async def test_what_an_adapter_accepts_goes_to_the_inbox(rig: Rig) -> None:
    rig.start()
    await rig.until("telegram", "connected")
    host = rig.adapter(Platform.TELEGRAM).host
    await host.accept(InboundMessage(ALICE, "m", "hello"))
    assert rig.inbox.accepted == [("hello", False)]
    assert (list(host.banner), list(host.commands)) == (["hello"], [("help", "Help")])


# --- agents --------------------------------------------------------------------------------------------


class Starting(FakeAgent):
    """Counts, and waits to be let go on."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.started = self.closed = 0
        self.go = asyncio.Event()
        self.error = error

    async def start(self) -> None:
        self.started += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.closed += 1


def roster(home: Home, **agents: Starting) -> AgentRoster:
    return AgentRoster(GatewayConfig(), home, ManualClock(), agents)


async def test_an_agent_is_started_once_and_keeps_no_other_one_waiting(home: Home) -> None:
    slow, quick = Starting(), Starting()
    quick.go.set()
    agents = roster(home, slow=slow, quick=quick)
    waiting = [asyncio.ensure_future(agents.get("slow")) for _ in range(3)]
    assert await asyncio.wait_for(agents.get("quick"), 5) == ("quick", quick)
    slow.go.set()
    await asyncio.gather(*waiting)
    assert slow.started == 1
    await agents.close()
    assert (slow.closed, quick.closed) == (1, 1)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_an_agent_that_did_not_come_up_is_closed_and_may_be_tried_again(home: Home, cancelled: bool) -> None:
    agent = Starting(AgentError("no model file"))
    agents = roster(home, agent=agent)
    starting = asyncio.ensure_future(agents.get("agent"))
    await asyncio.sleep(0)
    if cancelled:
        starting.cancel()
    agent.go.set()
    with pytest.raises(asyncio.CancelledError if cancelled else AgentError):
        await starting
    assert agent.closed == 1
    agent.error = None
    assert await agents.get("agent") == ("agent", agent)


async def test_an_agent_that_is_gone_gives_its_turns_to_the_default_one(home: Home) -> None:
    agent = Starting()
    agent.go.set()
    agents = roster(home, only=agent)
    assert agents.default == "only"
    assert await agents.get("gone") == ("only", agent)
    assert agents.timeout("gone") == agents.timeout("only")
