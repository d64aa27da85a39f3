"""The metrics of a gateway that runs: each moves with its event, they take a key, and nobody is in them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.daemon import Daemon
from gateway.metrics import report
from gateway.ports import (
    AdapterHost,
    AdapterState,
    AgentError,
    InboundMessage,
    OutcomeUnknownError,
    RetryLaterError,
    UndeliverableError,
)
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import writer as writer_module
from gateway.storage.errors import StorageError
from tests.support.api import ApiGateway, api_gateway, ask
from tests.support.fakes import PLAIN, FakeAdapter, FakeAgent, Pause, fails, says
from tests.support.scraped import Scraped
from tests.unit.storage.test_failover import held

TELEGRAM = {"platform": "telegram"}
FAKE = {"agent": "fake"}


class Puppet(FakeAdapter):
    """A platform whose people write when the test says so."""

    host: AdapterHost

    def __call__(self, _config: PlatformConfig, host: AdapterHost) -> "Puppet":
        self.host = host
        return self

    async def run(self) -> None:
        self.host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()


@dataclass
class Monitored:
    """A gateway with a platform, an agent and a monitor."""

    gateway: ApiGateway
    platform: Puppet
    agent: FakeAgent
    number: int = field(default=0)

    async def say(self, text: str, *, user: str = "4711", chat: str = "1", number: str | None = None) -> None:
        self.number += 1
        source = SessionSource(
            Platform.TELEGRAM, chat_id=chat, chat_type="dm", user_id=user, user_name=f"name of {user}"
        )
        await self.platform.host.accept(InboundMessage(source, number or f"message-{self.number}", text))

    async def scrape(self) -> Scraped:
        async with self.gateway.session.get("/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return Scraped(await response.text())

    async def until(self, value: float, name: str, **labels: str) -> Scraped:
        """What is told once this is so."""
        async with asyncio.timeout(20):
            while (found := await self.scrape()).value(name, **labels) != value:
                await asyncio.sleep(0.01)
            return found

    async def ready(self) -> tuple[int, dict[str, Any]]:
        return await self.gateway.get("/ready")


@contextlib.asynccontextmanager
async def monitored(
    home: Home, port: int, *scripts: Any, platform: Puppet | None = None, **config: Any
) -> AsyncIterator[Monitored]:
    platform, agent = platform or Puppet(PLAIN), FakeAgent(*scripts)
    values: dict[str, Any] = {
        "platforms": {"telegram": {"token": "t", "allowed_users": ["4711"]}},
        "turns": {"retry_seconds": 0.01, "retry_max_seconds": 0.02, "attempts": 2},
        "delivery": {"retry_seconds": 0.01, "retry_max_seconds": 0.02, "attempts": 2, "expire_hours": 0},
    }
    adapters = {"telegram": platform}
    async with api_gateway(home, port, given={"fake": agent}, adapters=adapters, **(values | config)) as gateway:
        it = Monitored(gateway, platform, agent)
        await it.until(1, "adapter_state", platform="telegram", state="connected")
        yield it


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


# --- each moves with its event -----------------------------------------------------------------------------


async def test_a_message_that_is_answered(home: Home, port: int) -> None:
    async with monitored(home, port) as it:
        before = await it.scrape()
        assert before.value("turns_total", outcome="answered", **FAKE) == 0
        await it.say("hello")
        after = await it.until(1, "deliveries_total", outcome="sent", **TELEGRAM)
        assert after.value("inbound_messages_total", outcome="accepted", **TELEGRAM) == 1
        assert after.value("turns_total", outcome="answered", **FAKE) == 1
        assert after.value("first_text_seconds_count") == after.value("turn_seconds_count") == 1
        assert 0 < after.value("first_text_seconds_sum") <= after.value("turn_seconds_sum") < 20
        assert after.value("tokens_total", kind="output", **FAKE) == 2
        assert after.value("storage_commit_seconds_count") > before.value("storage_commit_seconds_count")
        assert after.value("storage_commit_seconds_sum") > before.value("storage_commit_seconds_sum")
        assert after.value("sessions", state="live") == before.value("sessions", state="live") + 1
        assert after.value("ready") == 1
        assert after.value("degraded") == 0
        assert after.value("storage_mode", mode="sqlite") == 1


async def test_a_message_that_comes_twice_one_of_a_stranger_and_one_that_is_too_long(home: Home, port: int) -> None:
    async with monitored(home, port, inbox={"max_message_chars": 100}, access={"dm": "allowlist"}) as it:
        await it.say("hello", number="same")
        await it.say("hello", number="same")
        await it.say("hello", user="99", chat="2")
        await it.say("x" * 101)
        found = await it.until(1, "inbound_messages_total", outcome="refused", **TELEGRAM)
        outcomes = {"accepted": 1, "duplicate": 1, "ignored": 1, "not_stored": 0}
        for outcome, number in outcomes.items():
            assert found.value("inbound_messages_total", outcome=outcome, **TELEGRAM) == number
        assert found.value("denials_total", reason="stranger") == 1
        assert found.value("unanswered_messages", state="refused") == 1


async def test_a_turn_that_fails_one_that_is_dead_and_the_retry_before(home: Home, port: int) -> None:
    final = fails(AgentError("no such model", retryable=False))
    again = fails(AgentError("busy", retryable=True))
    async with monitored(home, port, final, again, again, fails(RuntimeError("a fault"))) as it:
        await it.say("one")
        failed = await it.until(1, "turns_total", outcome="failed", **FAKE)
        assert failed.value("turn_seconds_count") == 1
        assert failed.value("first_text_seconds_count") == 0
        assert failed.value("unanswered_messages", state="failed") == 1
        await it.say("two")
        dead = await it.until(1, "turns_total", outcome="dead", **FAKE)
        assert dead.value("turn_retries_total") == 1
        assert dead.value("errors_total", part="turns.agent") == 0
        await it.say("three")
        await it.until(1, "errors_total", part="turns.agent")


async def test_what_runs_what_waits_and_what_is_stopped(home: Home, port: int) -> None:
    pause = Pause("so far")
    async with monitored(home, port, pause) as it:
        await it.say("one")
        await pause.reached.wait()
        await it.say("two")
        found = await it.until(1, "messages_waiting")
        assert found.value("turns_open", state="running") == 1
        assert found.value("unanswered_messages", state="running") == 1
        await it.say("/stop")
        stopped = await it.until(1, "turns_total", outcome="stopped", **FAKE)
        assert stopped.value("first_text_seconds_count") >= 1
        await it.until(1, "turns_total", outcome="answered", **FAKE)
        await it.until(0, "turns_open", state="running")


async def test_deliveries_that_are_put_off_repeated_given_up_and_wait(home: Home, port: int) -> None:
    platform = Puppet(PLAIN)
    async with monitored(home, port, platform=platform) as it:
        platform.fail("send", RetryLaterError("flood", 0.0))
        await it.say("one")
        found = await it.until(1, "deliveries_total", outcome="sent", **TELEGRAM)
        assert found.value("delivery_retries_total", **TELEGRAM) == 1
        platform.fail("send", OutcomeUnknownError("the connection broke"))
        await it.say("two")
        found = await it.until(2, "deliveries_total", outcome="sent", **TELEGRAM)
        assert found.value("delivery_repeats_total") == 1
        assert found.value("outbox_deliveries", state="repeated") == 1
        platform.fail("send", UndeliverableError("blocked"))
        await it.say("three")
        found = await it.until(1, "deliveries_total", outcome="dead", **TELEGRAM)
        assert found.value("outbox_deliveries", state="dead") == 1
        platform.fail("send", RuntimeError("a mistake"))
        await it.say("four")
        found = await it.until(1, "errors_total", part="outbox.adapter")
        platform.host.set_state(AdapterState.CONNECTING)
        await it.say("five")
        await it.until(1, "outbox_deliveries", state="pending")


async def test_a_connection_that_is_worse_and_one_that_is_lost(home: Home, port: int) -> None:
    async with monitored(home, port) as it:
        assert await it.ready() == (200, {"status": "ready", "reasons": [], "degraded": []})
        it.platform.host.set_state(AdapterState.DEGRADED, "slow")
        found = await it.until(1, "adapter_state", state="degraded", **TELEGRAM)
        assert found.value("adapter_state", state="connected", **TELEGRAM) == 0
        assert (found.value("ready"), found.value("degraded")) == (1, 1)
        assert await it.ready() == (200, {"status": "ready", "reasons": [], "degraded": ["telegram is degraded: slow"]})
        it.platform.host.set_state(AdapterState.FAILED, "gone")
        found = await it.until(1, "adapter_state", state="failed", **TELEGRAM)
        assert found.value("ready") == 0
        status, told = await it.ready()
        assert (status, told["reasons"]) == (503, ["telegram is failed: gone"])


async def test_the_metrics_are_there_while_the_database_is_not(
    home: Home, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writer_module, failover_module):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(failover_module, "RETRY_MAX_SECONDS", 0.05)
    async with monitored(home, port) as it:
        with held(home.database):
            await it.say("hello")
            found = await it.until(1, "storage_mode", mode="spool")
            assert found.value("storage_mode", mode="sqlite") == 0
            assert (found.value("ready"), found.value("degraded")) == (1, 1)
            with pytest.raises(KeyError):
                found.value("outbox_deliveries", state="dead")  # nobody knows how many there were before
            (_, told) = await it.ready()
            assert "the database is out of use" in told["degraded"][0]
        found = await it.until(1, "storage_mode", mode="sqlite")
        assert found.value("storage_recoveries_total") >= 1
        assert (await it.until(0, "degraded")).value("outbox_deliveries", state="dead") == 0


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_database_that_does_not_tell_leaves_the_rest_to_be_told(
    home: Home, port: int, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    async def counts(_database: object) -> dict[str, dict[str, int | None]]:
        if hangs:
            await asyncio.Event().wait()
        raise StorageError("the database reports: disk I/O error")

    async with monitored(home, port) as it:
        monkeypatch.setattr(report, "READ_SECONDS", 0.05)
        monkeypatch.setattr(report, "counts", counts)
        found = await it.scrape()
        assert found.value("ready") == 1
        assert "hermes_gateway_unanswered_messages" not in found.families
        assert found.value("updates_set_aside") == 0


class Late(FakeAgent):
    """An agent that cannot be started until it may."""

    may_start = False

    async def start(self) -> None:
        if not self.may_start:
            raise AgentError("no key of the provider")


async def test_an_agent_that_does_not_start_is_a_reason(home: Home, port: int) -> None:
    agent = Late()
    async with api_gateway(home, port, given={"late": agent}) as gateway:
        status, told = await gateway.get("/ready")
        assert status == 503
        assert "the agent late is not started: the log and `hermes-gateway doctor` say why" in told["reasons"]
        agent.may_start = True
        assert (await gateway.post("/v1/chat/completions", ask("hello", "late")))[0] == 200
        assert (await gateway.get("/ready"))[0] == 200


async def test_before_and_after_it_is_neither_ready_nor_measured(home: Home) -> None:
    daemon = Daemon(GatewayConfig(), home)
    assert daemon._readiness() == (False, {"reasons": ["the gateway is starting or stopping"]})


async def test_many_monitors_ask_at_once(home: Home, port: int) -> None:
    async with monitored(home, port) as it:
        found = await asyncio.gather(*(it.scrape() for _ in range(20)))
        assert {each.value("ready") for each in found} == {1}


async def test_the_loop_is_looked_at(home: Home, port: int) -> None:
    async with monitored(home, port) as it:
        async with asyncio.timeout(20):
            while (await it.scrape()).value("loop_lag_seconds_count") < 1:
                await asyncio.sleep(0.05)


# --- who may read them, and who is in them -----------------------------------------------------------------


async def test_it_takes_a_key_for_reading(home: Home, port: int) -> None:
    async with monitored(home, port) as it:
        keys = {}
        for scope in ("read", "chat", "send", "admin"):
            _, keys[scope] = await it.gateway.daemon._parts.http.keys.create(scope, [scope])  # type: ignore[union-attr]
        statuses = {"read": 200, "chat": 403, "send": 403, "admin": 200}
        async with aiohttp.ClientSession(it.gateway.url) as session:
            for scope, status in statuses.items():
                async with session.get("/metrics", headers={"Authorization": f"Bearer {keys[scope]}"}) as response:
                    assert (scope, response.status) == (scope, status)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Forwarded-For": "127.0.0.1"}):
                async with session.get("/metrics", headers=headers) as response:
                    assert response.status == 401
                    assert "hermes_gateway_" not in await response.text()


async def test_nobody_is_in_them_and_more_people_make_no_more_of_them(home: Home, port: int) -> None:
    people = [f"person-{number}" for number in range(30)]
    platforms = {"telegram": {"token": "token-of-the-test", "allowed_users": ["4711", *people]}}
    async with monitored(home, port, says("a secret answer"), platforms=platforms) as it:
        await it.say("hello")
        await it.say("hello", user="stranger-1", chat="chat-of-a-stranger")
        first = await it.until(1, "turns_total", outcome="answered", **FAKE)
        for number, person in enumerate(people):
            await it.say(f"words-{number}", user=person, chat=f"chat-{number}")
        await it.say("hello", user="stranger-2", chat="chat-of-another")
        last = await it.until(1 + len(people), "turns_total", outcome="answered", **FAKE)
        assert last.series == first.series
        for text in ("4711", "person-", "chat-", "words", "secret", "stranger-", "message-", "token-of", "name of"):
            assert text not in last.text
