"""Looks how late the event loop is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.metrics.meters import Histogram

LOOK_SECONDS: Final = 0.5
"""How often: what holds up the loop for longer than that is always seen, and a look costs microseconds."""


@asynccontextmanager
async def watch_loop(lag: Histogram, seconds: float = LOOK_SECONDS) -> AsyncIterator[None]:
    """Observe again and again, while the context lasts, how late this loop comes to a timer."""
    watching = asyncio.create_task(_watch(lag, seconds), name="loop lag")
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(lag: Histogram, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        lag.observe(max(0.0, loop.time() - due))
