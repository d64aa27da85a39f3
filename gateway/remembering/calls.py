"""Calls of a memory provider, each with a limit: whatever it does, the conversation goes on."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from typing import TypeVar

from gateway.constants import MEMORY_ABANDONED_LIMIT, MEMORY_CANCEL_GRACE_SECONDS
from gateway.ports import RememberError
from gateway.remembering.commits import OutcomeUnknownError

log = logging.getLogger(__name__)

T = TypeVar("T")


class BoundedCalls:
    """Runs calls in tasks of their own. What does not end in time is cancelled; if that is ignored, it is let go."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._abandoned: set[asyncio.Task[object]] = set()

    async def run(self, call: Awaitable[T], seconds: float, what: str) -> T:
        """The call's result. Raises what it raises, `OutcomeUnknownError` where it did not end in time or gave itself
        up, and `RememberError` while too many that were let go of still run: then it was not begun."""
        if len(self._abandoned) >= MEMORY_ABANDONED_LIMIT:
            _drop(call)
            raise RememberError("its calls hang and do not end when they are cancelled; restart the gateway")
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                self._counters["memory.timeouts"] += 1
                raise OutcomeUnknownError(f"{what} took longer than {seconds:g} seconds")
        finally:
            await self._end(task, what)
        if task.cancelled():
            raise OutcomeUnknownError(f"{what} gave itself up")
        return task.result()

    async def _end(self, task: "asyncio.Future[T]", what: str) -> None:
        if task.done():
            return
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=MEMORY_CANCEL_GRACE_SECONDS)
        finally:
            if not task.done():
                log.error("%s does not end when it is cancelled; the gateway goes on without it", what)
                self._counters["memory.abandoned"] += 1
            assert isinstance(task, asyncio.Task)
            self._abandoned.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


def _drop(call: Awaitable[object]) -> None:
    """Let go of a coroutine that is not to be run."""
    if asyncio.iscoroutine(call):
        call.close()
