"""A reply that grows while the agent writes it: its first text is a message, the rest are edits."""

import asyncio
import contextlib
import functools
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from gateway.constants import CHECKPOINT_SECONDS, FIRST_TEXT_SECONDS, PREVIEW_CLOSE_SECONDS
from gateway.delivery import NewDelivery, add_delivery
from gateway.outbox import Connection, Outbox
from gateway.ports import Clock, Delivery, DeliveryError, RetryLaterError
from gateway.storage import queries
from gateway.storage.codec import clean_text
from gateway.storage.database import Database

log = logging.getLogger(__name__)


class ReplyStream:
    """Shows the newest text of one reply, as fast as the platform allows; older texts that it had no time for are
    skipped. Use as an async context manager; call `close` before the final content is committed.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        connection: Callable[[], Connection | None],
        delivery: NewDelivery,
        text: Callable[[], str],
    ) -> None:
        """`connection` finds the platform's: another adapter may take its place. `delivery` says where the reply goes
        and for which turn; `text` gives the whole text so far."""
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._connection = connection
        self._delivery = delivery
        self._text = text
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._interval: float | None = None
        self._opening: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        connection = self._connection()
        if connection is not None and connection.usable and connection.adapter.capabilities.edit:
            self._interval = connection.adapter.capabilities.edit_interval
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def touch(self) -> None:
        """The text has grown. Returns at once.

        A reply that is complete right after its first text goes out whole, without a preview.
        """
        self._changed.set()
        if self._opening is None and self._interval is not None and self._text():
            start = functools.partial(self._start, self._interval)
            self._opening = asyncio.get_running_loop().call_later(FIRST_TEXT_SECONDS, start)

    async def close(self) -> None:
        """Show nothing more; returns once no edit is under way, or has been for too long."""
        self._closing.set()
        self._changed.set()
        if self._opening is not None:
            self._opening.cancel()
        if self._task is None or self._task.done():
            return
        try:
            await asyncio.wait([self._task], timeout=PREVIEW_CLOSE_SECONDS)
        finally:
            if not self._task.done():
                log.info("a preview of turn %s does not end; its final content goes on", self._delivery.turn_id)
                self._task.cancel()

    def _start(self, interval: float) -> None:
        self._task = asyncio.create_task(self._run(interval), name=f"stream {self._delivery.turn_id}")

    async def _run(self, interval: float) -> None:
        try:
            await self._open(interval)
        except Exception:
            # The final content is sent whatever becomes of its previews.
            log.exception("the preview of a reply failed; its final content is not affected")

    async def _open(self, interval: float) -> None:
        """Send the first text, in its order, unless an earlier attempt of the turn has; then let it grow."""
        first = replace(self._delivery, text=self._text(), final=False)
        now = self._clock.now()
        row = await self._database.write(lambda connection: _growing(connection, first, now))
        if row is None:
            return
        message_id = row["message_id"]
        if message_id is None:
            message_id = await self._first_sent(row["id"])
        if message_id is not None:
            await self._grow(interval, row["id"], str(message_id), row["text"])

    async def _first_sent(self, delivery_id: int) -> str | None:
        """The platform's id of the first message; None if it was given up, or the reply is complete before that."""
        sent = self._outbox.first_sent(delivery_id, self._delivery.target)
        closing: asyncio.Future[Any] = asyncio.ensure_future(self._closing.wait())
        waited: list[asyncio.Future[Any]] = [sent, closing]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return sent.result() if sent.done() else None
        finally:
            closing.cancel()
            sent.cancel()

    async def _grow(self, interval: float, delivery_id: int, message_id: str, shown: str) -> None:
        noted, noted_at = shown, self._clock.monotonic()
        # A turn that runs again starts from nothing; what people see does not shrink meanwhile.
        floor = len(shown)
        while not self._closing.is_set():
            text = self._text()
            if text != shown and len(text) >= floor:
                pause = await self._edit(delivery_id, message_id, text)
                shown = text
                await self._rest(max(interval, pause))
            else:
                await self._await_change(None if noted == shown else CHECKPOINT_SECONDS)
            if noted != shown and self._clock.monotonic() - noted_at >= CHECKPOINT_SECONDS:
                await self._note(delivery_id, shown)
                noted, noted_at = shown, self._clock.monotonic()

    async def _await_change(self, seconds: float | None) -> None:
        """Wait until the text may have grown, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def _edit(self, delivery_id: int, message_id: str, text: str) -> float:
        """One edit; how many seconds the platform wants to be left alone."""
        connection = self._connection()
        if connection is None or not connection.usable:
            return 1.0
        delivery = Delivery(
            id=delivery_id,
            target=self._delivery.target,
            kind=self._delivery.kind,
            text=text,
            final=False,
            message_id=message_id,
            session_id=self._delivery.session_id,
            turn_id=self._delivery.turn_id,
        )
        try:
            await connection.adapter.edit(delivery)
        except RetryLaterError as error:
            return error.retry_after or 1.0
        except DeliveryError as error:
            log.info("a preview of delivery %d was not shown: %s", delivery_id, error)
            return 1.0
        return 0.0

    async def _note(self, delivery_id: int, text: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(queries.CHECKPOINT_DELIVERY, (clean_text(text), delivery_id))

        await self._database.write(job)

    async def _rest(self, seconds: float) -> None:
        """Leave the platform alone, but no longer than the reply grows."""
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([closing], timeout=seconds)
        finally:
            closing.cancel()


def _growing(connection: sqlite3.Connection, first: NewDelivery, now: datetime) -> sqlite3.Row | None:
    """The growing reply of an open turn, begun with this text if there is none yet; None if the turn has ended."""
    if connection.execute(queries.TURN_IS_OPEN, (first.turn_id,)).fetchone() is None:
        return None
    row: sqlite3.Row | None = connection.execute(queries.STREAM_OF_TURN, (first.turn_id,)).fetchone()
    if row is None:
        delivery_id = add_delivery(connection, first, now)
        row = connection.execute(queries.GET_DELIVERY, (delivery_id,)).fetchone()
    return row
