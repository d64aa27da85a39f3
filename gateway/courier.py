"""The courier: brings the delivery that is first in a chat one step further, and settles what goes wrong with that."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from config import LiveConfig, Platform
from gateway.budget import ChatKey, FloodBudget, Priority
from gateway.constants import CALL_OVER_SECONDS, DELIVERY_CALL_SECONDS
from gateway.delivery import (
    NewDelivery,
    ShownPart,
    add_delivery,
    delivery_from_row,
    dump_parts,
    file_of,
    parts_of,
    start_next,
    start_sending,
)
from gateway.errand import Errand, Next, Shown
from gateway.media.words import describe_file
from gateway.metrics.meters import Meters
from gateway.patience import Patience
from gateway.ports import (
    Adapter,
    AdapterState,
    ChatMovedError,
    Clock,
    Delivery,
    DeliveryError,
    Found,
    NotConnectedError,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from gateway.shown import Screen
from gateway.storage import outbox_queries
from gateway.storage.codec import clean_text, from_micros, to_micros
from gateway.storage.database import Database
from gateway.storage.errors import UnreadableNowError
from gateway.storage.probe import Probe
from gateway.storage.shadow import check_known

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """An adapter as the outbox sees it: how it stands, and what it can do."""

    adapter: Adapter
    state: AdapterState

    @property
    def usable(self) -> bool:
        """Whether deliveries may be sent."""
        return self.state in (AdapterState.CONNECTED, AdapterState.DEGRADED)


class Postponed(Exception):  # noqa: N818 - control flow between a delivery and its chat
    """A chat has to wait; None: until the platform is connected."""

    def __init__(self, until: datetime | None) -> None:
        super().__init__()
        self.until = until


Sent: TypeAlias = Callable[[int, Sequence[ShownPart] | None], object]
"""Told of each delivery that was recorded as shown, with its messages; None if it was given up."""


class Courier:
    """Brings deliveries to their platforms. `connection` finds the adapter of a platform and account."""

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        connection: Callable[[Platform, str], Connection | None],
        budget: FloodBudget,
        screen: Screen,
        counters: Counter[str],
        probe: Probe,
        sent: Sent,
        offer: Callable[[Target], object],
        later: Callable[[Coroutine[Any, Any, None]], object],
        meters: Meters,
    ) -> None:
        """`sent` is told what was recorded, `offer` where something else waits, `later` runs what is to be done beside
        everything else."""
        self._database = database
        self._config = config
        self._patience = Patience(config, clock)
        self._clock = clock
        self._connection = connection
        self._budget = budget
        self._screen = screen
        self._counters = counters
        self._probe = probe
        self._sent = sent
        self._offer = offer
        self._later = later
        self._meters = meters
        self._unrecorded: dict[int, Shown] = {}
        """Deliveries that were shown while the database could not say so yet."""
        self._unsure: set[int] = set()
        """Complete deliveries of which nobody knows whether their last edit was shown."""
        self._replaced: set[int] = set()
        """Deliveries of which a message is sent anew because it could be edited no more."""

    async def recall(self) -> None:
        """Take note of the complete deliveries whose last edit has not been recorded. Raises `StorageError`."""
        self._unsure.update(row["id"] for row in await self._database.read(outbox_queries.OPEN_EDITS))

    async def step(self, key: ChatKey) -> bool:
        """Go one step with what is first in this chat; False if nothing waits. Raises `Postponed`."""
        connection = self._connection(Platform(key[0]), key[1])
        if connection is None or not connection.usable:
            row, _ = await self._database.write(
                lambda database: start_next(database, key, self._clock.now(), usable=False)
            )
            return row is not None and await self._shown_already(row, key)
        adapter = connection.adapter
        if not self._budget.limits(adapter, key):
            return await self._go(key, adapter)
        row = next(iter(await self._database.read(outbox_queries.NEXT_DELIVERY, key)), None)
        if row is None:
            return False
        if row["id"] not in self._unrecorded:
            self._check_due(row)
            if (left := self._budget.held(key)) > 0:
                raise Postponed(self._patience.after(left))
        async with self._budget.turn(adapter, key, _priority(row)):
            return await self._go(key, adapter)

    async def _go(self, key: ChatKey, adapter: Adapter) -> bool:
        now = self._clock.now()
        row, started = await self._database.write(lambda database: start_next(database, key, now, usable=True))
        if row is None:
            return False
        if row["id"] in self._unrecorded:
            return await self._record(row["id"], self._unrecorded[row["id"]], key)
        job = await self._job(row, adapter, started=started)
        shown = await self._try(job)
        if shown is None:
            return True
        more = await self._record(job.id, shown, key)
        if shown.final and shown.complete and job.showing.late:
            self._look_again(replace(job, done=shown.done))
        return more

    async def _shown_already(self, row: sqlite3.Row, key: ChatKey) -> bool:
        """Without a connection, what was shown can be recorded still. Raises `Postponed`."""
        shown = self._unrecorded.get(row["id"])
        if shown is None:
            self._check_due(row)
            raise Postponed(None)
        return await self._record(row["id"], shown, key)

    def _check_due(self, row: sqlite3.Row) -> None:
        if (seconds := self._patience.left(row)) > 0:
            raise Postponed(self._patience.after(seconds))

    async def _job(self, row: sqlite3.Row, adapter: Adapter, *, started: bool) -> Errand:
        """What to do about this delivery. Raises `Postponed`."""
        self._check_due(row)
        delivery = delivery_from_row(row)
        done, showing = parts_of(row["parts"]), self._screen.of(delivery.id, adapter)
        file = file_of(row)
        if file is not None and adapter.capabilities.media:
            parts: tuple[Any, ...] = (file,)
        else:
            text = delivery.text if file is None else describe_file(file, operator=adapter.capabilities.operator)
            parts = (await showing.compose(text, final=delivery.final, shown=len(done))).parts
        search = row["state"] == "sending" and not started
        created_at = from_micros(row["created_at"])
        return Errand(delivery, adapter, showing, done, parts, created_at, row["attempts"], search, started)

    async def _try(self, job: Errand) -> Shown | None:
        """Go one step; what is to be recorded, None if nothing is. Raises `Postponed`."""
        call = job.next
        try:
            shown = await self._make(call, job)
        except NotConnectedError as error:
            # Nothing left this process: that was no attempt.
            raise await self._postpone(job, None, error, counted=-_counted(call), sending=job.search) from error
        except RetryLaterError as error:
            await self._back_off(call, job, error, error.retry_after)
        except ChatMovedError:
            await self._execute(outbox_queries.SETTLE_DELIVERY, (job.id,))
            for row in await self._database.read(outbox_queries.GET_DELIVERY, (job.id,)):
                self._offer(delivery_from_row(row).target)
        except UndeliverableError as error:
            await self._refused(call, job, str(error))
        except DeliveryError as error:
            await self._ambiguous(call, job, error)
        else:
            if shown is not None:
                self._unrecorded[job.id] = shown
            return shown
        return None

    async def _make(self, call: Next, job: Errand) -> Shown | None:
        """Make the call, if there is one to be made."""
        match call:
            case Next.SEARCH:
                return await self._resolve(job)
            case Next.EDIT:
                return await self._edit(job)
            case Next.SEND:
                return await self._send(job, unknown=False)
            case Next.DELETE:
                return await self._delete_last(job)
        if not job.parts:
            log.warning("delivery %d has nothing that its platform could show", job.id)
        return Shown(job.done, job.delivery.final, complete=True)

    async def _edit(self, job: Errand) -> Shown | None:
        part = job.stale or 0
        delivery = await self._marked_if_unsure(job, job.of(part))
        job.showing.note(part, None)
        await self._call(job, job.adapter.edit(delivery))
        job.note(part, delivery.content)
        self._probe("outbox.edited")
        more = job.next_part != len(job.parts) or job.stale is not None
        return None if more else Shown(job.done, delivery.final, complete=True)

    async def _resolve(self, job: Errand) -> Shown | None:
        """The last send ended without an answer: was it shown?"""
        outcome = await self._search(job, job.unsent(repeated=False))
        if isinstance(outcome, Found):
            # The mark is for a part that may have been seen before; where it is not known which, for each of them.
            done = (*job.done, ShownPart(outcome.message_id, job.delivery.repeated))
            if job.adapter.capabilities.edit and job.delivery.kind != "file":
                # It was shown in some version: from now on it is edited.
                await self._execute(outbox_queries.LINK_DELIVERY, (dump_parts(done), done[0].message_id, job.id))
                return None
            return Shown(done, job.delivery.final, complete=len(done) >= len(job.parts))
        if job.next_part >= len(job.parts):
            await self._execute(outbox_queries.SETTLE_DELIVERY, (job.id,))
            return None
        return await self._send(job, unknown=outcome is SearchOutcome.UNKNOWN)

    async def _send(self, job: Errand, *, unknown: bool) -> Shown:
        """Send the next part; it is noted before that it is about to be. `unknown`: it may have been seen."""
        repeated = unknown or job.id in self._replaced or (job.next_part == 0 and job.delivery.repeated)
        if not job.started:
            now = self._clock.now()
            await self._database.write(lambda connection: start_sending(connection, job.id, now, repeated=repeated))
        self._probe("outbox.sending")
        if unknown and not job.delivery.repeated:
            self._counters["outbox.repeated"] += 1
        delivery = job.unsent(repeated=repeated)
        message_id = await self._call(job, job.adapter.send(delivery))
        self._probe("outbox.shown")
        job.note(job.next_part, delivery.content)
        self._replaced.discard(job.id)
        done = (*job.done, ShownPart(message_id, repeated))
        return Shown(done, delivery.final, complete=len(done) >= len(job.parts))

    async def _delete_last(self, job: Errand) -> Shown:
        """An answer that was begun anew has become shorter than what people see."""
        await self._call(job, job.adapter.delete(job.of(job.next_part - 1)))
        done = job.done[:-1]
        return Shown(done, job.delivery.final, complete=len(done) <= len(job.parts))

    async def _marked_if_unsure(self, job: Errand, delivery: Delivery) -> Delivery:
        """An edit shows everything to a client that has nothing yet: where that may be a repeat, it says so."""
        if job.id not in self._unsure or job.adapter.capabilities.keeps_messages or delivery.repeated:
            return delivery
        if await self._search(job, delivery) is not SearchOutcome.UNKNOWN:
            return delivery
        await self._execute(outbox_queries.MARK_DELIVERY, (job.id,))
        self._counters["outbox.repeated"] += 1
        return replace(delivery, repeated=True)

    async def _search(self, job: Errand, delivery: Delivery) -> Found | SearchOutcome:
        """Was it shown? A search that fails is made again later; one that goes on failing leaves it unknown."""
        if not job.adapter.capabilities.find:
            return SearchOutcome.UNKNOWN
        try:
            return await self._call(job, job.adapter.find(await self._with_surroundings(delivery)))
        except UnreadableNowError:
            return SearchOutcome.UNKNOWN
        except NotConnectedError:
            raise Postponed(None) from None
        except DeliveryError as error:
            asked = error.retry_after if isinstance(error, RetryLaterError) else None
            if asked is None and job.attempts + 1 >= self._config.current.delivery.attempts:
                return SearchOutcome.UNKNOWN
            seconds, counted = self._patience.pause(job, asked), int(asked is None)
            raise await self._postpone(job, seconds, error, counted=counted, sending=job.search) from error

    async def _with_surroundings(self, delivery: Delivery) -> Delivery:
        """The delivery, with the ids of messages that are known around it."""
        target = delivery.target
        place = (str(target.platform), target.account, target.chat_id)
        sent = await self._database.read_all(outbox_queries.SENT_AROUND, (delivery.id, delivery.id, *place))
        came = await self._database.read_all(outbox_queries.CAME_AROUND, place)
        (own,) = await self._database.read(outbox_queries.GET_DELIVERY, (delivery.id,))
        begun: int = own["started_at"] or own["created_at"]
        over = begun + int(CALL_OVER_SECONDS * 1_000_000)
        known = [(part.message_id, row["sent_at"]) for row in sent for part in parts_of(row["parts"])]
        known += [(row["message_id"], row["received_at"]) for row in came]
        return replace(
            delivery,
            before=tuple(message_id for message_id, at in known if at <= begun),
            others=tuple(message_id for message_id, at in known if at > begun),
            later=tuple(message_id for message_id, at in known if at > over),
        )

    async def _call(self, job: Errand, call: Awaitable[T]) -> T:
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
            log.exception("the adapter of %s failed on delivery %d", job.delivery.target.platform, job.id)
            self._counters["outbox.adapter_errors"] += 1
            raise OutcomeUnknownError(f"{type(error).__name__}: {error}") from error

    async def _record(self, delivery_id: int, shown: Shown, key: ChatKey) -> bool:
        """Note what was shown; it waits again if it has become complete meanwhile. Whether anything waits."""
        first = shown.done[0].message_id if shown.done else None
        state = "sent" if shown.complete else "pending"
        now = to_micros(self._clock.now())
        values = (dump_parts(shown.done), first, now, int(shown.final), state, delivery_id)

        def job(connection: sqlite3.Connection) -> tuple[str, bool]:
            noted = connection.execute(outbox_queries.SENT_DELIVERY, values).fetchone()
            check_known(connection, noted, "the delivery")
            if noted is not None:
                return noted["state"], bool(noted["more"])
            return "sent", connection.execute(outbox_queries.NEXT_DELIVERY, key).fetchone() is not None

        state, more = await self._database.write(job)
        self._probe("outbox.recorded")
        self._unrecorded.pop(delivery_id, None)
        if state == "sent":
            self._unsure.discard(delivery_id)
            if shown.final:
                self._meters.deliveries[key[0], "sent"] += 1
                self._screen.forget(delivery_id)
            self._sent(delivery_id, shown.done)
        return more

    def _look_again(self, job: Errand) -> None:
        """An edit of a preview may still be carried out, over the last content: show that once more when it is over."""
        asyncio.get_running_loop().call_later(CALL_OVER_SECONDS, lambda: self._later(self._show_again(job)))

    async def _show_again(self, job: Errand) -> None:
        for part in range(len(job.parts)):
            async with self._budget.turn(job.adapter, job.key, Priority.PART):
                try:
                    await self._call(job, job.adapter.edit(job.of(part)))
                except DeliveryError as error:
                    log.info("delivery %d cannot be looked after: %s", job.id, error)
                    return

    async def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._database.write(job)

    # --- when it did not go through ---------------------------------------------------------------------------

    async def _back_off(self, call: Next, job: Errand, error: DeliveryError, asked: float | None) -> None:
        """Nothing was shown. What the platform asks us to wait is no failed attempt, and neither is an outage of it."""
        if asked is not None:
            await self._budget.hold(job.adapter, job.key, asked)
            raise await self._postpone(job, asked, error, counted=-_counted(call), sending=job.search) from error
        if not self._patience.is_enough(job) or not self._patience.is_old(job):
            seconds, counted = self._patience.pause(job, None), 1 - _counted(call)
            raise await self._postpone(job, seconds, error, counted=counted, sending=job.search) from error
        await self._give_up(job, str(error))

    def _is_out(self, job: Errand) -> bool:
        """Whether the platform as a whole has trouble: then it does not lie in this delivery."""
        connection = self._connection(job.delivery.target.platform, job.delivery.target.account)
        return connection is None or connection.state is not AdapterState.CONNECTED

    async def _refused(self, call: Next, job: Errand, reason: str) -> None:
        """For good. What cannot be edited any more, because somebody deleted it, say, may still be sent anew."""
        if call not in (Next.EDIT, Next.DELETE):
            await self._give_up(job, reason, refused=True)
            return
        part = job.stale if call is Next.EDIT else None
        if part is not None and part < job.next_part - 1:
            log.warning("message %d of delivery %d cannot be edited: %s", part + 1, job.id, reason)
            job.showing.note(part, job.parts[part])
            return
        if part is not None:
            log.info("delivery %d cannot be edited (%s); it is sent anew", job.id, reason)
            self._replaced.add(job.id)
            if not job.delivery.repeated:
                self._counters["outbox.repeated"] += 1
        kept = job.done[:-1]
        repeated = int(part is not None)
        first = kept[0].message_id if kept else None
        await self._execute(outbox_queries.RESEND_DELIVERY, (dump_parts(kept), first, repeated, job.id))

    async def _ambiguous(self, call: Next, job: Errand, error: DeliveryError) -> None:
        """Nobody knows whether it was shown: a send stays `sending`, so that it is searched for first.

        Each further send may be seen as a repeat, so there are only so many of them.
        """
        if call in (Next.EDIT, Next.DELETE):
            self._unsure.add(job.id)
            await self._back_off(call, job, error, None)
        elif not self._patience.is_enough(job) or (self._is_out(job) and not self._patience.is_old(job)):
            log.warning("delivery %d: outcome unknown (%s)", job.id, error)
            seconds, counted = self._patience.pause(job, None), -int(self._is_out(job))
            raise await self._postpone(job, seconds, error, counted=counted, sending=True) from error
        else:
            await self._give_up(job, str(error))

    async def _postpone(
        self, job: Errand, seconds: float | None, error: DeliveryError, *, counted: int, sending: bool = False
    ) -> Postponed:
        """Put it off, durably; None: until the platform is connected. Raise what it returns.

        `counted` is added to its attempts; `sending`: it may have been shown.
        """
        until = None if seconds is None else self._patience.after(seconds)
        not_before = None if until is None else to_micros(until)
        state = "sending" if sending else "pending"
        await self._execute(
            outbox_queries.POSTPONE_DELIVERY, (state, not_before, clean_text(str(error)), counted, job.id)
        )
        if seconds is not None:
            self._meters.retries[job.delivery.target.platform] += 1
            self._patience.put_off(job.id, seconds)
        return Postponed(until)

    async def _give_up(self, job: Errand, reason: str, *, refused: bool = False) -> None:
        """Set it aside; who waits for it is told, unless a text was `refused`: another one would be too."""
        reason, now = clean_text(reason), self._clock.now()
        log.error("delivery %d to %s was given up: %s", job.id, job.delivery.target.platform, reason)
        self._counters["outbox.dead"] += 1
        told = None if refused and job.delivery.kind != "file" else _apology(job, reason)

        def bury(connection: sqlite3.Connection) -> None:
            connection.execute(outbox_queries.KILL_DELIVERY, (reason, to_micros(now), job.id))
            if told is not None:
                add_delivery(connection, told, now)

        await self._database.write(bury)
        self._meters.deliveries[job.delivery.target.platform, "dead"] += 1
        self._unsure.discard(job.id)
        self._screen.forget(job.id)
        self._sent(job.id, None)
        if told is not None:
            self._offer(told.target)


def _apology(job: Errand, reason: str) -> NewDelivery | None:
    """What is said in place of an answer or a file that did not come; nothing in place of a message of our own."""
    delivery = job.delivery
    if delivery.kind not in ("file", "reply") or not delivery.final:
        return None
    reason = reason.removesuffix(".")
    if isinstance(job.parts[0] if job.parts else None, OutgoingFile):
        words = f"{describe_file(job.parts[0])} The reason: {reason}."
    else:
        words = f"An answer could not be delivered: {reason}. Ask again."
    return NewDelivery(delivery.target, "notice", words, session_id=delivery.session_id)


def _counted(call: Next) -> int:
    """What has been added to the attempts already: the start of a send is counted when it is made, an edit is not."""
    return int(call in (Next.SEND, Next.SEARCH))


def _priority(row: sqlite3.Row) -> Priority:
    if row["buttons"] is not None:
        return Priority.APPROVAL
    return Priority.FINAL if row["final"] and row["kind"] != "file" else Priority.PART
