"""How fast requests follow each other: Discord counts those of all kinds together, and bans who goes on beyond it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import aiohttp

from adapters.base import Rate
from adapters.connection import Sleep


class Pace:
    """Lets no more requests begin than a rate allows, in their order. `monotonic` gives seconds."""

    def __init__(self, rate: Rate, monotonic: Callable[[], float], sleep: Sleep) -> None:
        self._seconds = rate.seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._begun: deque[float] = deque(maxlen=rate.messages)
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Wait until one more request may begin, which then counts."""
        async with self._turn:
            if len(self._begun) == self._begun.maxlen:
                left = self._begun[0] + self._seconds - self._monotonic()
                if left > 0:
                    await self._sleep(left)
            self._begun.append(self._monotonic())

    def trace(self) -> aiohttp.TraceConfig:
        """What makes each request of an HTTP session wait for its turn, repetitions too."""

        async def begins(_session: aiohttp.ClientSession, _context: object, _request: Any) -> None:  # noqa: ANN401
            await self.wait()

        config = aiohttp.TraceConfig()
        config.on_request_start.append(begins)
        return config
