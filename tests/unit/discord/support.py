"""An adapter that runs against the loopback server, and what its tests need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from adapters.base import AdapterState, Delivery, Target
from adapters.discord import DiscordAdapter
from adapters.discord.constants import Timing
from adapters.testing.discord import Channel, DiscordServer
from config import Platform
from config.platforms import DiscordConfig
from tests.support.platform_host import FakeHost

QUICK: Final = Timing(
    answer=2.0,
    upload=3.0,
    handshake=2.0,
    guilds=0.05,
    identify=0.01,
    first_wait=0.02,
    longest_wait=0.1,
    acknowledge=0.3,
    thread=1.0,
    patience=0.4,
    lookup=0.3,
    close=0.5,
)
"""As in earnest, but no test waits for seconds."""


def config(server: DiscordServer, **settings: Any) -> DiscordConfig:
    """The section of the server's first bot."""
    return DiscordConfig.model_validate(
        {
            "token": server.bot.token,
            "api_base_url": server.api_url,
            "gateway_url": server.gateway_url,
            **settings,
        }
    )


def adapter(server: DiscordServer, host: FakeHost, timing: Timing = QUICK, **settings: Any) -> DiscordAdapter:
    """The adapter for the server's first bot."""
    return DiscordAdapter(config(server, **settings), host, timing=timing, jitter=lambda: 0.0, pace=None)


@asynccontextmanager
async def running(running_adapter: DiscordAdapter, host: FakeHost) -> AsyncIterator[None]:
    """The adapter while it runs, from the moment in which it is connected and knows what is missing."""
    begun, asked = len(host.states), len(host.asked)
    task = asyncio.create_task(running_adapter.run())
    try:
        connected = asyncio.create_task(
            host.until(lambda: any(each.state is AdapterState.CONNECTED for each in host.states[begun:]))
        )
        await asyncio.wait({task, connected}, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if task.done():
            await task
        await host.until(lambda: host.asked[asked:].count("dm:") == 2)
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def target(channel: Channel) -> Target:
    """The place of a channel, or of a thread."""
    if channel.thread is not None:
        assert channel.parent is not None
        return Target(Platform.DISCORD, str(channel.parent.id), str(channel.id))
    return Target(Platform.DISCORD, str(channel.id))


def delivery(channel: Channel, text: str, made_by: DiscordAdapter, **fields: Any) -> Delivery:
    """The first part of a text, as the core hands it to the adapter."""
    part = fields.get("part", 0)
    composed = made_by.composer().update(text, final=True, shown=0)
    content = fields.pop("content", composed.parts[part] if composed.parts else None)
    return Delivery(fields.pop("id", 1), target(channel), "reply", text, content=content, **fields)
