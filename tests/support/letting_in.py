"""A gateway over one home with a platform in memory, and people who write there."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import hermes_gateway
from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.daemon import Daemon
from gateway.ports import Accepted, AdapterHost, AdapterState, Agent, Capabilities, Clock, InboundMessage, Tool
from gateway.source import SessionSource
from tests.support.fakes import EDITS, FakeAdapter, FakeAgent

STRANGER = SessionSource(Platform.TELEGRAM, chat_id="666", chat_type="dm", user_id="666", user_name="Mallory")
OWNER = SessionSource(Platform.TELEGRAM, chat_id="1", chat_type="dm", user_id="1", user_name="Olga")
GROUP = "-100"
NUMBERS = itertools.count(1)
"""Ids of messages, over all lives of a gateway."""
CODE = re.compile(r"\b[A-HJ-NP-Z2-9]{4}-[A-HJ-NP-Z2-9]{4}\b")


class Network(FakeAdapter):
    """A platform in memory, to which anybody can write."""

    def __init__(self, host: AdapterHost, capabilities: Capabilities) -> None:
        super().__init__(capabilities)
        self.host = host

    async def run(self) -> None:
        self.host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def say(self, text: str, source: SessionSource = STRANGER, **more: Any) -> Accepted:
        """Somebody writes."""
        return await self.host.accept(InboundMessage(source, f"in{next(NUMBERS)}", text, **more))

    async def read(self, chat_id: str, count: int) -> list[str]:
        """What can be read in a chat, once there are so many messages."""
        async with asyncio.timeout(20):
            while len(texts := self.texts(chat_id)) < count:
                await asyncio.sleep(0.01)
        return texts

    async def code(self, chat_id: str, count: int = 1) -> str:
        """The code in the last of so many messages in a chat."""
        found = CODE.search((await self.read(chat_id, count))[-1])
        assert found is not None
        return found[0]


@dataclass
class Gateway:
    """A daemon that runs, its platform, and the command line of the same home."""

    daemon: Daemon
    network: Network
    agent: FakeAgent
    home: Home

    async def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        parts = self.daemon._parts
        assert parts is not None
        return [dict(row) for row in await parts.database.read(sql, values)]

    async def cli(self, *words: str) -> int:
        """Call the command line in a thread; its exit code."""
        return await asyncio.to_thread(hermes_gateway.main, list(words))


def configured(telegram: Mapping[str, Any] | None = None, **sections: Any) -> GatewayConfig:
    """A configuration with one platform and an owner on it."""
    base: dict[str, Any] = {
        "agent": "fake",
        "agents": {"fake": {"type": "echo"}},
        "owners": ["telegram:1"],
        "platforms": {"telegram": {"token": "1:x", **(telegram or {})}},
        "http": {"enabled": False},
        "sessions": {"reset": {"mode": "none"}},
    }
    return GatewayConfig.model_validate(base | sections)


@asynccontextmanager
async def gateway(
    home: Home,
    config: GatewayConfig | None = None,
    agent: FakeAgent | None = None,
    *,
    clock: Clock | None = None,
    tools: tuple[Tool, ...] = (),
    capabilities: Capabilities = EDITS,
    agents: Mapping[str, Agent] | None = None,
) -> AsyncIterator[Gateway]:
    """Run a gateway over this home."""
    made: list[Network] = []

    def make(_config: PlatformConfig, host: AdapterHost) -> Network:
        made.append(Network(host, capabilities))
        return made[-1]

    answering = agent or FakeAgent()
    daemon = Daemon(
        config or configured(),
        home,
        agents={"fake": answering, **(agents or {})},
        adapters={Platform.TELEGRAM: make},
        clock=clock,
        tools=tools,
    )
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    try:
        await asyncio.wait([task, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield Gateway(daemon, made[0], answering, home)
    finally:
        daemon.stop()
        await task
