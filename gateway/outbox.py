"""The outbox: what is to be sent, durable, in order per chat, each message once or marked."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias, TypeVar

from config import GatewayConfig, LiveConfig, Platform
from gateway.clock import call_at
from gateway.constants import DELIVERY_CALL_SECONDS, OUTBOX_ERROR_PAUSE_SECONDS
from gateway.delivery import delivery_from_row, start_next, start_sending
from gateway.ports import (
    Adapter,
    AdapterState,
    Clock,
    Delivery,
    DeliveryError,
    Found,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from gateway.storage import queries
from gateway.storage.codec import clean_text, from_micros, to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe
from gateway.storage.shadow import check_known

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_DOUBLINGS: Final = 30
"""A wait doubles no more often than this; it is far beyond any limit by then, and a float holds it."""

ChatKey: TypeAlias = tuple[str, str, str]
"""Platform, account and chat: deliveries are in order within one."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An adapter as the outbox sees it: how it stands, and what it can do."""

    adapter: Adapter
    state: AdapterState

    @property
    def usable(self) -> bool:
        """Whether deliveries may be sent."""
        return self.state in (AdapterState.CONNECTED, AdapterState.DEGRADED)


@dataclass(slots=True)
class _Chat:
    """A chat that something waits for, and the task that works on it, if any.

    `offered` is set by what comes in while the task looks for more. A chat is `parked` while it has to wait; if it
    waits for its platform's connection it is `offline`, and a connection that comes up while it tries sets `retry`.
    """

    key: ChatKey
    offered: bool = False
    task: asyncio.Task[None] | None = None
    parked: asyncio.TimerHandle | None = None
    offline: bool = False
    retry: bool = False


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is to be done now about a delivery; `search`: it may have been shown already.

    `attempts` counts earlier ones. `started`: it is noted already that it is being sent.
    """

    delivery: Delivery
    adapter: Adapter
    attempts: int
    search: bool
    started: bool = False


class _Postponed(Exception):  # noqa: N818 - control flow between a delivery and its chat
    """A chat has to wait; None: until the platform is connected."""

    def __init__(self, until: datetime | None) -> None:
        super().__init__()
        self.until = until


class Outbox:
    """Sends what is in the outbox, in order within a chat. Chats do not wait for each other, nor do platforms.

    The database is the queue: memory holds the chats that something waits for, not what waits.
    """

    def __init__(
        self,
        database: Database,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        connection: Callable[[Platform, str], Connection | None],
        counters: Counter[str],
        *,
        probe: Probe = no_probe,
    ) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._connection = connection
        self._counters = counters
        self._probe = probe
        self._chats: dict[ChatKey, _Chat] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._awaited: dict[int, asyncio.Future[str | None]] = {}
        """Deliveries whose first send someone waits for."""
        self._unrecorded: dict[int, Delivery] = {}
        """Deliveries that were shown while the database could not say so yet."""
        self._due: dict[int, float] = {}
        """Deliveries that are put off, and until when by the monotonic clock."""
        self._unsure: set[int] = set()
        """Complete deliveries of which nobody knows whether their last edit was shown."""

    async def run(self, ready: asyncio.Event) -> None:
        """Take up what an earlier process left, then serve until `stop`; owns every task of the outbox."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._recover()
                ready.set()
                await self._stopping.wait()
            finally:
                self._leave()

    def stop(self) -> None:
        """End `run`; what was not sent stays in the outbox."""
        self._stopping.set()

    async def drain(self) -> None:
        """Wait until nothing is being sent: what remains waits for a platform or for its time."""
        while tasks := [chat.task for chat in self._chats.values() if chat.task is not None]:
            await asyncio.wait(tasks)

    async def settled(self, platform: Platform, account: str) -> None:
        """Wait until nothing is being sent there."""
        there = (str(platform), account)
        while tasks := [chat.task for key, chat in self._chats.items() if key[:2] == there and chat.task is not None]:
            await asyncio.wait(tasks)

    def offer(self, target: Target) -> None:
        """Something for this place has been committed: send it in its turn. Returns at once."""
        chat = self._chat((str(target.platform), target.account, target.chat_id))
        chat.offered = True
        self._start(chat)

    def first_sent(self, delivery_id: int, target: Target) -> "asyncio.Future[str | None]":
        """Offer a delivery, and get the platform's id of it once its first send is recorded, None if it is given up.

        Whoever stops waiting cancels the future.
        """
        sent: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._awaited[delivery_id] = sent
        sent.add_done_callback(lambda _sent: self._awaited.pop(delivery_id, None))
        self.offer(target)
        return sent

    def wake(self, platform: Platform, account: str) -> None:
        """The platform is connected: go on with the chats that wait for it."""
        for chat in self._chats.values():
            if chat.key[:2] == (str(platform), account):
                chat.retry = True
                if chat.offline:
                    self._unpark(chat)

    async def _recover(self) -> None:
        self._unsure.update(row["id"] for row in await self._database.read(queries.OPEN_EDITS))
        await self.take_up()

    async def take_up(self) -> None:
        """Send what lies in the database and is not known here: what an earlier process left, or an outage hid.

        Raises `StorageError`.
        """
        try:
            await self._execute(queries.COMPLETE_ORPHANS, ())
        except StorageError as error:
            log.warning("replies whose turn is gone stay incomplete until something can be stored again: %s", error)
        for platform, account, chat in await self._database.read(queries.OPEN_CHATS):
            try:
                Platform(platform)
            except ValueError:
                log.warning("messages for %s wait until an adapter for it is installed again", platform)
                continue
            self._start(self._chat((platform, account, chat)))

    def _leave(self) -> None:
        self._stopping.set()
        for chat in self._chats.values():
            if chat.parked is not None:
                chat.parked.cancel()
            if chat.task is not None:
                chat.task.cancel()

    # --- one chat --------------------------------------------------------------------------------------------

    def _chat(self, key: ChatKey) -> _Chat:
        return self._chats.setdefault(key, _Chat(key))

    def _start(self, chat: _Chat) -> None:
        if chat.task is None and chat.parked is None and self._tasks and not self._stopping.is_set():
            chat.task = self._tasks.create_task(self._work(chat), name=f"outbox {':'.join(chat.key)}")

    async def _work(self, chat: _Chat) -> None:
        """Send what waits. Finding nothing and leaving is one step without an await."""
        try:
            while True:
                chat.offered = chat.retry = False
                try:
                    if await self._send_next(chat.key) or chat.offered:
                        continue
                except _Postponed as postponed:
                    if postponed.until is None and chat.retry:
                        continue
                    self._park(chat, postponed.until)
                    return
                except Exception:
                    log.exception("the outbox failed in the gateway itself at %s; it is tried again", chat.key)
                    self._counters["outbox.errors"] += 1
                    self._park(chat, self._after(OUTBOX_ERROR_PAUSE_SECONDS))
                    return
                del self._chats[chat.key]
                return
        finally:
            chat.task = None

    def _park(self, chat: _Chat, until: datetime | None) -> None:
        """Leave the chat until then, with no task. A chat that waits for its platform looks again by itself too."""
        chat.offline = until is None
        until = self._after(self._config.current.delivery.retry_max_seconds) if until is None else until
        chat.parked = call_at(self._clock, until, lambda: self._unpark(chat))

    def _unpark(self, chat: _Chat) -> None:
        if chat.parked is not None:
            chat.parked.cancel()
            chat.parked = None
        chat.offline = False
        self._start(chat)

    # --- one delivery ----------------------------------------------------------------------------------------

    async def _send_next(self, key: ChatKey) -> bool:
        """Go one step with what is first in this chat; False if nothing waits. Raises `_Postponed`."""
        connection = self._connection(Platform(key[0]), key[1])
        usable = connection is not None and connection.usable
        row, started = await self._database.write(lambda connection: start_next(connection, key, usable=usable))
        if row is None:
            return False
        if started is not None and connection is not None:
            attempt = _Attempt(started, connection.adapter, row["attempts"], search=False, started=True)
            shown = await self._try(attempt)
        else:
            shown = self._unrecorded.get(row["id"]) or await self._try(self._attempt(row))
        return shown is None or await self._record(shown, key)

    def _attempt(self, row: sqlite3.Row) -> _Attempt:
        """What to do about this delivery. Raises `_Postponed`."""
        if row["not_before"] is not None and (seconds := self._seconds_to_wait(row)) > 0:
            raise _Postponed(self._after(seconds))
        self._due.pop(row["id"], None)
        delivery = delivery_from_row(row)
        connection = self._connection(delivery.target.platform, delivery.target.account)
        if connection is None or not connection.usable:
            raise _Postponed(None)
        return _Attempt(delivery, connection.adapter, row["attempts"], search=row["state"] == "sending")

    async def _try(self, attempt: _Attempt) -> Delivery | None:
        """The delivery as it was shown; None if that did not come about, and it is not to wait. Raises `_Postponed`."""
        try:
            shown = await self._show(attempt)
        except NotConnectedError as error:
            # Nothing left this process: that was no attempt.
            raise await self._postpone(attempt, None, error, counted=-_counted(attempt)) from error
        except RetryLaterError as error:
            await self._back_off(attempt, error, error.retry_after)
        except UndeliverableError as error:
            await self._refused(attempt, str(error))
        except DeliveryError as error:
            await self._ambiguous(attempt, error)
        else:
            if shown is not None:
                self._unrecorded[shown.id] = shown
            return shown
        return None

    async def _show(self, attempt: _Attempt) -> Delivery | None:
        """Show the delivery, by an edit if the platform has a first version. Returns it as it was shown, None if
        that is still to be edited."""
        delivery, adapter = attempt.delivery, attempt.adapter
        if delivery.message_id is not None:
            delivery = await self._marked_if_unsure(attempt)
            await self._call(attempt, adapter.edit(delivery))
            self._probe("outbox.edited")
        elif not attempt.search:
            delivery = await self._send(attempt, repeated=False)
        else:
            outcome = await self._search(attempt)
            if not isinstance(outcome, Found):
                delivery = await self._send(attempt, repeated=outcome is SearchOutcome.UNKNOWN)
            else:
                delivery = replace(delivery, message_id=outcome.message_id)
                if adapter.capabilities.edit:
                    # It was shown in some version: from now on it is edited.
                    await self._execute(queries.LINK_DELIVERY, (delivery.message_id, delivery.id))
                    return None
        return delivery

    async def _marked_if_unsure(self, attempt: _Attempt) -> Delivery:
        """An edit shows everything to a client that has nothing yet: where that may be a repeat, it says so."""
        delivery = attempt.delivery
        if delivery.id not in self._unsure or attempt.adapter.capabilities.keeps_messages or delivery.repeated:
            return delivery
        if await self._search(attempt) is not SearchOutcome.UNKNOWN:
            return delivery
        await self._execute(queries.MARK_DELIVERY, (delivery.id,))
        self._counters["outbox.repeated"] += 1
        return replace(delivery, repeated=True)

    async def _search(self, attempt: _Attempt) -> Found | SearchOutcome:
        """Was it shown? A search that fails is made again later; one that goes on failing leaves it unknown."""
        if not attempt.adapter.capabilities.find:
            return SearchOutcome.UNKNOWN
        try:
            return await self._call(attempt, attempt.adapter.find(attempt.delivery))
        except NotConnectedError:
            raise _Postponed(None) from None
        except DeliveryError as error:
            asked = error.retry_after if isinstance(error, RetryLaterError) else None
            if asked is None and attempt.attempts + 1 >= self._config.current.delivery.attempts:
                return SearchOutcome.UNKNOWN
            seconds, counted = self._pause(attempt, asked), int(asked is None)
            raise await self._postpone(attempt, seconds, error, counted=counted, sending=attempt.search) from error

    async def _send(self, attempt: _Attempt, *, repeated: bool) -> Delivery:
        delivery = attempt.delivery
        if not attempt.started:
            delivery = await self._database.write(
                lambda connection: start_sending(connection, attempt.delivery.id, repeated=repeated)
            )
        self._probe("outbox.sending")
        if delivery.repeated and not attempt.delivery.repeated:
            self._counters["outbox.repeated"] += 1
        message_id = await self._call(attempt, attempt.adapter.send(delivery))
        self._probe("outbox.shown")
        return replace(delivery, message_id=message_id)

    async def _call(self, attempt: _Attempt, call: Awaitable[T]) -> T:
        """One call of an adapter. It ends, and with a result or a `DeliveryError`, whatever the adapter does."""
        try:
            async with asyncio.timeout(DELIVERY_CALL_SECONDS):
                return await call
        except DeliveryError:
            raise
        except TimeoutError as error:
            raise OutcomeUnknownError(f"no answer within {DELIVERY_CALL_SECONDS:g} seconds") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise OutcomeUnknownError("the adapter gave up its own call") from error
        except Exception as error:
            platform, delivery_id = attempt.delivery.target.platform, attempt.delivery.id
            log.exception("the adapter of %s failed on delivery %d", platform, delivery_id)
            self._counters["outbox.adapter_errors"] += 1
            raise OutcomeUnknownError(f"{type(error).__name__}: {error}") from error

    async def _record(self, shown: Delivery, key: ChatKey) -> bool:
        """Note what was shown; it waits again if it has become complete meanwhile. Whether anything waits."""
        values = (shown.message_id, to_micros(self._clock.now()), int(shown.final), shown.id)

        def job(connection: sqlite3.Connection) -> bool:
            noted = connection.execute(queries.SENT_DELIVERY, values).fetchone()
            check_known(connection, noted, "the delivery")
            return connection.execute(queries.NEXT_DELIVERY, key).fetchone() is not None

        more = await self._database.write(job)
        self._probe("outbox.recorded")
        self._unrecorded.pop(shown.id, None)
        self._unsure.discard(shown.id)
        self._tell(shown.id, shown.message_id)
        return more

    def _tell(self, delivery_id: int, message_id: str | None) -> None:
        sent = self._awaited.get(delivery_id)
        if sent is not None and not sent.done():
            sent.set_result(message_id)

    async def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(job)

    # --- when it did not go through ---------------------------------------------------------------------------

    async def _back_off(self, attempt: _Attempt, error: DeliveryError, asked: float | None) -> None:
        """Nothing was shown. What the platform asks us to wait is no failed attempt."""
        if asked is not None:
            raise await self._postpone(attempt, asked, error, counted=-_counted(attempt)) from error
        if attempt.attempts + 1 < self._config.current.delivery.attempts:
            seconds = self._pause(attempt, None)
            raise await self._postpone(attempt, seconds, error, counted=1 - _counted(attempt)) from error
        await self._give_up(attempt, str(error))

    async def _refused(self, attempt: _Attempt, reason: str) -> None:
        """For good. What cannot be edited any more, because somebody deleted it, say, may still be sent anew."""
        if attempt.delivery.message_id is None:
            await self._give_up(attempt, reason)
            return
        log.info("delivery %d cannot be edited (%s); it is sent anew", attempt.delivery.id, reason)
        await self._execute(queries.RESEND_DELIVERY, (attempt.delivery.id,))
        if not attempt.delivery.repeated:
            self._counters["outbox.repeated"] += 1

    async def _ambiguous(self, attempt: _Attempt, error: DeliveryError) -> None:
        """Nobody knows whether it was shown: it stays `sending`, so that it is searched for first."""
        if attempt.delivery.message_id is not None:
            self._unsure.add(attempt.delivery.id)
            await self._back_off(attempt, error, None)
        elif attempt.attempts + 1 < self._config.current.delivery.attempts:
            log.warning("delivery %d: outcome unknown (%s)", attempt.delivery.id, error)
            seconds = self._pause(attempt, None)
            raise await self._postpone(attempt, seconds, error, counted=0, sending=True) from error
        else:
            await self._give_up(attempt, str(error))

    def _seconds_to_wait(self, row: sqlite3.Row) -> float:
        """How long a delivery is put off still. The machine's clock may be put back meanwhile: a wait of this process
        lasts no longer for that, one that an earlier process noted no longer than the longest between two attempts."""
        left = (from_micros(row["not_before"]) - self._clock.now()).total_seconds()
        longest = self._config.current.delivery.retry_max_seconds
        due = self._due.setdefault(row["id"], self._clock.monotonic() + min(left, longest))
        return min(left, due - self._clock.monotonic())

    def _after(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)

    def _pause(self, attempt: _Attempt, asked: float | None) -> float:
        """Seconds until the next attempt: what the platform asks for, else twice as long each time."""
        if asked is not None:
            return asked
        policy = self._config.current.delivery
        return min(policy.retry_seconds * 2.0 ** min(attempt.attempts, MAX_DOUBLINGS), policy.retry_max_seconds)

    async def _postpone(
        self, attempt: _Attempt, seconds: float | None, error: DeliveryError, *, counted: int, sending: bool = False
    ) -> _Postponed:
        """Put it off, durably; None: until the platform is connected. Raise what it returns.

        `counted` is added to its attempts; `sending`: it may have been shown.
        """
        until = None if seconds is None else self._after(seconds)
        not_before = None if until is None else to_micros(until)
        state = "sending" if sending else "pending"
        values = (state, not_before, clean_text(str(error)), counted, attempt.delivery.id)
        await self._execute(queries.POSTPONE_DELIVERY, values)
        if seconds is not None:
            self._due[attempt.delivery.id] = self._clock.monotonic() + seconds
        return _Postponed(until)

    async def _give_up(self, attempt: _Attempt, reason: str) -> None:
        reason = clean_text(reason)
        log.error("delivery %d to %s was given up: %s", attempt.delivery.id, attempt.delivery.target.platform, reason)
        self._counters["outbox.dead"] += 1
        await self._execute(queries.KILL_DELIVERY, (reason, to_micros(self._clock.now()), attempt.delivery.id))
        self._unsure.discard(attempt.delivery.id)
        self._tell(attempt.delivery.id, None)


def _counted(attempt: _Attempt) -> int:
    """What has been added to the attempts already: the start of a send is counted when it is made, an edit is not."""
    return int(attempt.delivery.message_id is None)
