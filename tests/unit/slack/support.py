"""An adapter that runs against the loopback server, and what its tests need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from adapters.base import AdapterState, Delivery, Target
from adapters.slack import SlackAdapter
from adapters.slack.constants import Timing
from adapters.testing.slack import Channel, Message, SlackServer
from config import Platform
from config.platforms import SlackConfig
from tests.support.platform_host import FakeHost
from tests.support.slack import TIMING


def config(server: SlackServer, **settings: Any) -> SlackConfig:
    """The section of the app on this server."""
    section = {"bot_token": server.bot.token, "app_token": server.app.token, "api_base_url": server.api_url}
    return SlackConfig.model_validate(section | settings)


def built(server: SlackServer, host: FakeHost, *, timing: Timing = TIMING, **settings: Any) -> SlackAdapter:
    """An adapter for the server's first bot."""
    return SlackAdapter(config(server, **settings), host, timing=timing, jitter=lambda: 0.0)


@asynccontextmanager
async def running(adapter: SlackAdapter, host: FakeHost) -> AsyncIterator[SlackAdapter]:
    """The adapter while it runs, from the moment in which it is connected."""
    task = asyncio.create_task(adapter.run())
    try:
        connected = asyncio.create_task(host.until(lambda: host.state is AdapterState.CONNECTED))
        await asyncio.wait({task, connected}, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if task.done():
            await task
        yield adapter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def delivery(channel: Channel, text: str, adapter: SlackAdapter, **fields: Any) -> Delivery:
    """The first part of a text, as the core hands it to the adapter."""
    part = fields.get("part", 0)
    composed = adapter.composer().update(text, final=True, shown=0)
    thread: Message | None = fields.pop("thread", None)
    target = Target(Platform.SLACK, fields.pop("chat_id", channel.id), None if thread is None else thread.ts)
    content = fields.pop("content") if "content" in fields else composed.parts[part]
    return Delivery(fields.pop("id", 1), target, "reply", text, content=content, **fields)
