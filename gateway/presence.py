"""Presence: while an answer is being worked on, people see that somebody is typing."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gateway.budget import FloodBudget
from gateway.constants import TYPING_DELAY_SECONDS, TYPING_STOP_SECONDS
from gateway.courier import Connection
from gateway.ports import DeliveryError, RetryLaterError, Target

log = logging.getLogger(__name__)


class Typing:
    """Shows in one chat that an answer is being written, until some of it can be seen or it is over. Use as an async
    context manager.

    It is the least that there is to say: it waits for nothing, and where the platform wants to be left alone it is left
    out. `visible` says whether people see some of the answer already.
    """

    def __init__(
        self,
        budget: FloodBudget,
        connection: Callable[[], Connection | None],
        target: Target,
        visible: Callable[[], bool],
    ) -> None:
        self._budget = budget
        self._connection = connection
        self._target = target
        self._visible = visible
        self._beginning: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        connection = self._connection()
        if connection is not None and connection.adapter.capabilities.typing:
            self._beginning = asyncio.get_running_loop().call_later(TYPING_DELAY_SECONDS, self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=TYPING_STOP_SECONDS)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"typing {self._target.chat_id}")

    async def _run(self) -> None:
        while not self._visible():
            connection = self._connection()
            try:
                if connection is not None and connection.usable:
                    await self._show(connection)
            except DeliveryError as error:
                log.debug("typing could not be shown: %s", error)
            except Exception:
                log.exception("the adapter of %s failed to show that an answer is being written", self._target.platform)
                return
            await asyncio.sleep(connection.adapter.capabilities.typing_seconds if connection is not None else 1.0)

    async def _show(self, connection: Connection) -> None:
        target = self._target
        key = (str(target.platform), target.account, target.chat_id)
        if self._budget.held(key) > 0 or self._budget.is_busy(key):
            return
        try:
            await connection.adapter.typing(target)
        except RetryLaterError as error:
            if error.retry_after is not None:
                await self._budget.hold(connection.adapter, key, error.retry_after)
