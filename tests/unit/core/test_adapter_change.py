"""Adapters when the configuration changes: only those are touched whose own settings changed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from config import GatewayConfig, LiveConfig, Platform, PlatformConfig
from gateway.connections import AdapterPool, AdapterRefusedError
from gateway.host import HostServices
from gateway.ports import AdapterHost, AdapterState, HttpRequest, HttpResponse
from tests.support.fakes import FakeAdapter, ManualClock


class Plain(FakeAdapter):
    """Connects at once. Its token names it."""

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__()
        self.token = config.token.get_secret_value() if config.token else ""
        self.host = host
        self.events: list[str] = []
        self.stubborn: asyncio.Event | None = None

    async def run(self) -> None:
        self.events.append("start")
        self.host.set_state(AdapterState.CONNECTED)
        try:
            await asyncio.Event().wait()
        finally:
            if self.stubborn is not None:
                await self.stubborn.wait()
            self.events.append("stop")


class Rig:
    def __init__(self, given: Mapping[str, Callable[[PlatformConfig, AdapterHost], Plain]]) -> None:
        self.live = LiveConfig(configured(telegram="1", slack="s"))
        self.counters: Counter[str] = Counter()
        self.settled = asyncio.Event()
        self.settled.set()
        services = HostServices(
            clock=ManualClock(),
            inbox=lambda: pytest.fail("nothing comes in"),
            corrections=lambda: pytest.fail("nothing is corrected"),
            updates=lambda: pytest.fail("nothing is kept"),
            banner=tuple,
            commands=tuple,
            serve=lambda _service, _handler: None,
            on_connected=lambda _platform, _account: None,
            settled=self._settled,
        )
        self.pool = AdapterPool(self.live, self.live.current.enabled_platforms[1:], services, self.counters, given)

    async def _settled(self, _platform: Platform, _account: str) -> None:
        await self.settled.wait()

    def adapter(self, platform: Platform) -> Plain:
        connection = self.pool.find(platform, "default")
        assert connection is not None
        assert isinstance(connection.adapter, Plain)
        return connection.adapter

    def usable(self, platform: Platform) -> bool:
        connection = self.pool.find(platform, "default")
        return connection is not None and connection.usable

    async def change(self, config: GatewayConfig) -> None:
        change = await self.pool.prepare(config, config.enabled_platforms[1:])
        self.live.replace(config)
        self.pool.take_over(change)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)


def configured(**tokens: str | Mapping[str, Any]) -> GatewayConfig:
    """Platforms by name, each with its token, or its whole section."""
    sections = {name: {"token": keys} if isinstance(keys, str) else dict(keys) for name, keys in tokens.items()}
    if "slack" in sections:
        token = sections["slack"].pop("token")
        sections["slack"].update(bot_token=token, app_token=token)
    return GatewayConfig.model_validate({"platforms": sections})


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    built = Rig({"telegram": Plain, "slack": Plain, "discord": Plain})
    built.pool.load()
    running = asyncio.create_task(built.pool.run())
    await built.until(lambda: built.usable(Platform.TELEGRAM) and built.usable(Platform.SLACK))
    yield built
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_changed_adapter_is_replaced_and_its_neighbour_is_not(rig: Rig) -> None:
    old, neighbour = rig.adapter(Platform.TELEGRAM), rig.adapter(Platform.SLACK)
    await rig.change(configured(telegram="2", slack="s"))
    await rig.until(lambda: rig.usable(Platform.TELEGRAM))
    new = rig.adapter(Platform.TELEGRAM)
    assert (old.token, old.events, new.token, new.events) == ("1", ["start", "stop"], "2", ["start"])
    assert rig.adapter(Platform.SLACK) is neighbour
    assert neighbour.events == ["start"]


async def test_the_new_one_starts_when_the_old_one_is_through_with_everything(rig: Rig) -> None:
    old = rig.adapter(Platform.TELEGRAM)
    old.stubborn = asyncio.Event()
    rig.settled.clear()
    await rig.change(configured(telegram="2", slack="s"))
    await asyncio.sleep(0.01)
    new = rig.adapter(Platform.TELEGRAM)
    assert not rig.usable(Platform.TELEGRAM)  # so deliveries wait
    assert old.events == ["start"]  # so what is on its way goes through
    rig.settled.set()
    await asyncio.sleep(0.01)
    assert new.events == []
    old.stubborn.set()
    await rig.until(lambda: new.events == ["start"])


async def test_one_that_does_not_end_is_left_behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.connections.ADAPTER_STOP_SECONDS", 0.01)
    monkeypatch.setattr("gateway.connections.ADAPTER_HANDOVER_SECONDS", 0.01)
    old = rig.adapter(Platform.TELEGRAM)
    old.stubborn = asyncio.Event()
    rig.settled.clear()
    await rig.change(configured(telegram="2", slack="s"))
    await rig.until(lambda: rig.usable(Platform.TELEGRAM))
    assert rig.counters["adapters.abandoned"] == 1
    old.stubborn.set()


async def test_platforms_come_and_go(rig: Rig) -> None:
    gone = rig.adapter(Platform.SLACK)
    await rig.change(configured(telegram="1", discord="d"))
    assert rig.pool.find(Platform.SLACK, "default") is None
    await rig.until(lambda: rig.usable(Platform.DISCORD))
    await rig.until(lambda: gone.events == ["start", "stop"])
    assert set(rig.pool.states) == {"telegram", "discord"}
    await rig.change(configured(telegram={"token": "1", "enabled": False}, slack="s"))
    await rig.until(lambda: rig.usable(Platform.SLACK))
    assert set(rig.pool.states) == {"slack"}


async def test_what_the_core_reads_restarts_no_adapter(rig: Rig) -> None:
    adapters = [rig.adapter(platform) for platform in (Platform.TELEGRAM, Platform.SLACK)]
    changed = {"token": "1", "enabled": True, "allowed_users": ["a"], "home_channel": {"chat_id": "1"}}
    await rig.change(configured(telegram=changed, slack="s"))
    await asyncio.sleep(0.01)
    assert [adapter.events for adapter in adapters] == [["start"], ["start"]]
    assert rig.adapter(Platform.TELEGRAM) is adapters[0]


async def test_changes_in_quick_succession_end_with_the_last(rig: Rig) -> None:
    first = rig.adapter(Platform.TELEGRAM)
    first.stubborn = asyncio.Event()
    for token in ("2", "3", None, "4"):
        await rig.change(configured(slack="s", **({"telegram": token} if token else {})))
    await asyncio.sleep(0.01)
    assert not rig.usable(Platform.TELEGRAM)  # while the first one has not ended
    first.stubborn.set()
    await rig.until(lambda: rig.usable(Platform.TELEGRAM))
    assert rig.adapter(Platform.TELEGRAM).token == "4"
    await asyncio.sleep(0.01)
    assert rig.adapter(Platform.TELEGRAM).events == ["start"]


async def test_an_adapter_that_cannot_be_built_refuses_all() -> None:
    def refuse(config: PlatformConfig, host: AdapterHost) -> Plain:
        if config.token and config.token.get_secret_value() == "bad":
            raise ValueError("no such server")
        return Plain(config, host)

    rig = Rig({"telegram": refuse, "slack": Plain})
    rig.pool.load()
    before = rig.adapter(Platform.TELEGRAM)
    with pytest.raises(AdapterRefusedError, match=r"platforms\.telegram: .*no such server"):
        await rig.change(configured(telegram="bad", slack="s"))
    with pytest.raises(AdapterRefusedError, match=r"platforms\.irc: no adapter for irc is installed"):
        await rig.change(configured(telegram="1", slack="s", irc={}))
    assert rig.adapter(Platform.TELEGRAM) is before
    assert rig.live.current == configured(telegram="1", slack="s")


async def test_requests_go_to_the_adapter_that_took_over(rig: Rig) -> None:
    async def answer(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200)

    async def another(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(201)

    rig.adapter(Platform.TELEGRAM).host.handle_http(answer)
    await rig.change(configured(telegram="2", slack="s"))
    assert rig.pool.http_handler("telegram") is None, "the new one has not said yet"
    rig.adapter(Platform.TELEGRAM).host.handle_http(another)
    assert rig.pool.http_handler("telegram") is another
    await rig.change(configured(slack="s"))
    with pytest.raises(KeyError):
        rig.pool.http_handler("telegram")
