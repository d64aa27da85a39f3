"""A reply that grows while the agent writes it: its first text is a message, the rest are edits; or it is a preview
that passes by itself, where the platform has those."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.budget import ChatKey
from gateway.constants import AWAY_SECONDS, CHECKPOINT_SECONDS, FIRST_TEXT_SECONDS, PREVIEW_CLOSE_SECONDS
from gateway.delivery import NewDelivery, ShownPart, add_delivery, parts_of
from gateway.outbox import Connection, Outbox
from gateway.ports import Adapter, Clock, Delivery, DeliveryError, OutcomeUnknownError, RetryLaterError
from gateway.shown import Showing
from gateway.storage import outbox_queries, queries
from gateway.storage.codec import clean_text
from gateway.storage.database import Database
from gateway.storage.errors import StorageClosedError

log = logging.getLogger(__name__)


class ReplyStream:
    """Shows the newest text of one reply, as fast as the platform allows; older texts that it had no time for are
    skipped. Call `close` before the final content is committed.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        connection: Callable[[], Connection | None],
        delivery: Callable[[], NewDelivery],
        text: Callable[[], str],
    ) -> None:
        """`connection` finds the platform's: another adapter may take its place. `delivery` says where the reply goes,
        for which turn, and what it answers: messages may join while it grows. `text` gives the whole text so far."""
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._connection = connection
        self._describe = delivery
        self._text = text
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._adapter: Adapter | None = None
        """Through which adapter the reply was shown last."""
        self._opening: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """The text has grown. Returns at once.

        A reply that is complete right after its first text goes out whole, without a preview.
        """
        self._changed.set()
        if self._opening is None and self._interval is not None and self._text().strip():
            self._opening = asyncio.get_running_loop().call_later(FIRST_TEXT_SECONDS, self._start)

    def complete(self) -> None:
        """The text is whole. A preview that has not begun is not worth beginning. Returns at once."""
        if self._opening is not None and self._task is None:
            self._opening.cancel()

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

    @property
    def _delivery(self) -> NewDelivery:
        return self._describe()

    @property
    def _interval(self) -> float | None:
        """How many seconds apart edits are at present, where the platform can be reached and has any."""
        connection = self._connection()
        if connection is None or not connection.usable or not connection.adapter.capabilities.edit:
            return None
        return connection.adapter.capabilities.edit_interval

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"stream {self._delivery.turn_id}")

    async def _run(self) -> None:
        try:
            if not await self._draft():
                await self._open()
        except StorageClosedError:
            log.info("the program stops, and the preview of turn %s with it", self._delivery.turn_id)
        except Exception:
            # The final content is sent whatever becomes of its previews.
            log.exception("the preview of a reply failed; its final content is not affected")

    async def _draft(self) -> bool:
        """Show the text by previews that pass by themselves; False if there are none in this chat, or no more."""
        connection = self._connection()
        if connection is None or not connection.adapter.capabilities.drafts:
            return False
        showing, shown = Showing(connection.adapter, connection.adapter.composer()), ""
        while not self._closing.is_set():
            text = self._text()
            connection = self._connection()
            if text == shown or connection is None or not connection.usable:
                await self._await_change(None if text == shown else AWAY_SECONDS)
                continue
            parts = (await showing.compose(text, final=False, shown=0)).parts
            if len(parts) > 1:
                return False  # a preview is one message: what no longer fits goes on as messages
            if parts:
                draft = self._delivery_of(0, text, parts[0], part=0)
                try:
                    with self._outbox.budget.spare(connection.adapter, self._key, message=False) as free:
                        if free and not await connection.adapter.draft(draft):
                            return False
                except RetryLaterError as error:
                    await self._hold(connection.adapter, error)
                except DeliveryError as error:
                    log.info("a preview of turn %s was not shown: %s", self._delivery.turn_id, error)
            shown = text
            await self._rest(connection.adapter.capabilities.edit_interval)
        return True

    async def _open(self) -> None:
        """Send the first text, in its order, unless an earlier attempt of the turn has; then let it grow."""
        first = replace(self._delivery, text=self._text(), final=False)
        now = self._clock.now()
        row = await self._database.write(lambda connection: _growing(connection, first, now))
        if row is None:
            return
        there: Sequence[ShownPart] | None = parts_of(row["parts"])
        if not there:
            there = await self._shown(row["id"])
        if there:
            await self._grow(row["id"], there, row["text"])

    async def _shown(self, delivery_id: int) -> Sequence[ShownPart] | None:
        """The messages once the platform has all that is to be shown now; None if it was given up, or the reply is
        complete before that."""
        shown = self._outbox.shown(delivery_id, self._delivery.target)
        closing: asyncio.Future[Any] = asyncio.ensure_future(self._closing.wait())
        waited: list[asyncio.Future[Any]] = [shown, closing]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return shown.result() if shown.done() else None
        finally:
            closing.cancel()
            shown.cancel()

    async def _grow(self, delivery_id: int, there: Sequence[ShownPart], shown: str) -> None:
        noted, noted_at = shown, self._clock.monotonic()
        # A turn that runs again starts from nothing; what people see does not shrink meanwhile.
        floor = len(shown)
        while not self._closing.is_set():
            text = self._text()
            if text != shown and len(text) >= floor:
                look = await self._show(delivery_id, there, text)
                if look is None:
                    return
                there = look.there
                shown = text if look.current else shown
                interval = self._interval
                await self._rest(max(AWAY_SECONDS if interval is None else interval, look.pause))
            else:
                await self._await_change(None if noted == shown else CHECKPOINT_SECONDS)
            if noted != shown and self._clock.monotonic() - noted_at >= CHECKPOINT_SECONDS:
                await self._note(delivery_id, shown)
                noted, noted_at = shown, self._clock.monotonic()

    async def _show(self, delivery_id: int, there: Sequence[ShownPart], text: str) -> "_Look | None":
        """Bring what people see one step nearer to a text; None: there is nothing more to show it in."""
        connection = self._connection()
        if connection is None or not connection.usable:
            return _Look(there, pause=AWAY_SECONDS)
        if self._adapter is not connection.adapter:
            # It may be another account, to which nothing belongs that was shown before.
            self._adapter = connection.adapter
            (row,) = await self._database.read(outbox_queries.GET_DELIVERY, (delivery_id,))
            there = parts_of(row["parts"])
        showing = self._outbox.screen.of(delivery_id, connection.adapter)
        parts = (await showing.compose(text, final=False, shown=len(there))).parts
        if len(parts) > len(there):
            more = await self._more(delivery_id, text)
            return None if more is None else _Look(more, current=True)
        stale = showing.first_stale(parts, len(there))
        if stale is None:
            return _Look(there, current=True)
        delivery = self._delivery_of(delivery_id, text, parts[stale], part=stale, there=there[stale])
        pause = await self._edit(connection.adapter, showing, delivery)
        return _Look(there, pause, current=showing.first_stale(parts, len(there)) is None)

    async def _more(self, delivery_id: int, text: str) -> Sequence[ShownPart] | None:
        """The text needs another message; the outbox sends it, in its order and noted."""
        values = (clean_text(text), delivery_id)

        def job(connection: sqlite3.Connection) -> bool:
            return bool(connection.execute(outbox_queries.GROW_DELIVERY, values).rowcount)

        return await self._shown(delivery_id) if await self._database.write(job) else None

    async def _await_change(self, seconds: float | None) -> None:
        """Wait until the text may have grown, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def _edit(self, adapter: Adapter, showing: Showing, delivery: Delivery) -> float:
        """One edit, if there is room for one; how many seconds the platform wants to be left alone."""
        with self._outbox.budget.spare(adapter, self._key) as free:
            if not free:
                return 0.0
            showing.note(delivery.part, None)
            try:
                await adapter.edit(delivery)
            except RetryLaterError as error:
                await self._hold(adapter, error)
                return error.retry_after or 1.0
            except OutcomeUnknownError as error:
                log.info("nobody knows whether a preview of delivery %d was shown: %s", delivery.id, error)
                showing.late = True
                return 1.0
            except DeliveryError as error:
                log.info("a preview of delivery %d was not shown: %s", delivery.id, error)
                return 1.0
            except asyncio.CancelledError:
                showing.late = True
                raise
            showing.note(delivery.part, delivery.content)
        return 0.0

    async def _hold(self, adapter: Adapter, error: RetryLaterError) -> None:
        if error.retry_after is not None:
            await self._outbox.budget.hold(adapter, self._key, error.retry_after)

    @property
    def _key(self) -> ChatKey:
        target = self._delivery.target
        return (str(target.platform), target.account, target.chat_id)

    def _delivery_of(
        self, delivery_id: int, text: str, content: object, *, part: int, there: ShownPart | None = None
    ) -> Delivery:
        delivery = self._delivery
        return Delivery(
            id=delivery_id,
            target=delivery.target,
            kind=delivery.kind,
            text=text,
            final=False,
            message_id=there.message_id if there is not None else None,
            repeated=there is not None and there.repeated,
            session_id=delivery.session_id,
            turn_id=delivery.turn_id,
            answers=delivery.answers,
            content=content,
            part=part,
        )

    async def _note(self, delivery_id: int, text: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(outbox_queries.CHECKPOINT_DELIVERY, (clean_text(text), delivery_id))

        await self._database.write(job)

    async def _rest(self, seconds: float) -> None:
        """Leave the platform alone, but no longer than the reply grows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


@dataclass(frozen=True, slots=True)
class _Look:
    """What people see now: the messages, whether all of the text is in them, and how many seconds the platform wants
    to be left alone."""

    there: Sequence[ShownPart]
    pause: float = 0.0
    current: bool = False


def _growing(connection: sqlite3.Connection, first: NewDelivery, now: datetime) -> sqlite3.Row | None:
    """The growing reply of an open turn, begun with this text if there is none yet; None if the turn has ended."""
    if connection.execute(queries.TURN_IS_OPEN, (first.turn_id,)).fetchone() is None:
        return None
    row: sqlite3.Row | None = connection.execute(outbox_queries.STREAM_OF_TURN, (first.turn_id,)).fetchone()
    if row is None:
        delivery_id = add_delivery(connection, first, now)
        row = connection.execute(outbox_queries.GET_DELIVERY, (delivery_id,)).fetchone()
    return row
