"""An adapter that runs against the loopback server, and what both need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from adapters.base import (
    AdapterState,
    Delivery,
    Target,
)
from adapters.connection import Sleep
from adapters.telegram import TelegramAdapter
from adapters.telegram.constants import Timing
from adapters.testing.telegram import Chat, TelegramServer
from config import Platform
from config.platforms import TelegramConfig
from tests.support.platform_host import FakeHost

QUICK = Timing(
    poll=2, margin=0.5, answer=0.5, upload=2.0, connect=2.0, first_wait=0.02, longest_wait=0.1, refusal_check=0.02
)
"""As in earnest, but no test waits for seconds."""


def config(server: TelegramServer, **settings: Any) -> TelegramConfig:
    """The section of a bot on this server."""
    return TelegramConfig.model_validate({"token": server.bot.token, "api_base_url": server.base_url, **settings})


def built(
    server: TelegramServer,
    host: FakeHost,
    *,
    timing: Timing = QUICK,
    sleep: Sleep = asyncio.sleep,
    **settings: Any,
) -> TelegramAdapter:
    """An adapter for the server's first bot."""
    return TelegramAdapter(config(server, **settings), host, timing=timing, sleep=sleep, jitter=lambda: 0.0)


@asynccontextmanager
async def running(adapter: TelegramAdapter, host: FakeHost) -> AsyncIterator[TelegramAdapter]:
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


def target(chat: Chat, thread_id: str | None = None) -> Target:
    """The place of a chat."""
    return Target(Platform.TELEGRAM, str(chat.id), thread_id)


def delivery(chat: Chat, text: str, adapter: TelegramAdapter, **fields: Any) -> Delivery:
    """The first part of a text, as the core hands it to the adapter."""
    part = fields.get("part", 0)
    composed = adapter.composer().update(text, final=True, shown=0)
    thread_id = fields.pop("thread_id", None)
    content = fields.pop("content", composed.parts[part] if composed.parts else None)
    return Delivery(fields.pop("id", 1), target(chat, thread_id), "reply", text, content=content, **fields)
