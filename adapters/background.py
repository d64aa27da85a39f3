"""Calls to a platform that nobody waits for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

log = logging.getLogger(__name__)

BACKGROUND_LIMIT: Final = 100
"""Calls under way at once; beyond it the newest is not begun."""


class Background:
    """Calls that end with the connection."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Coroutine[Any, Any, None], name: str) -> bool:
        """Make a call, unless too many are under way; whether it was begun."""
        if len(self._tasks) >= BACKGROUND_LIMIT:
            call.close()
            log.warning("too much is under way: %s is left out", name)
            return False
        task = asyncio.create_task(self._watched(call, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    async def _watched(call: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await call
        except Exception:
            log.exception("%s failed", name)
