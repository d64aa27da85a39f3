"""Waiting for something to happen at a loopback server."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Wakes those who wait for something to happen."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def note(self) -> None:
        """Something has happened."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def next(self) -> None:
        """Return at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until(self, condition: Callable[[], T], timeout: float, tell: Callable[[], str]) -> T:
        """Wait until a condition holds, and return its value. Raises TimeoutError with what `tell` says."""
        try:
            async with asyncio.timeout(timeout):
                while not (value := condition()):
                    await self.next()
        except TimeoutError:
            raise TimeoutError(f"it did not come to be within {timeout} s; {tell()}") from None
        return value
