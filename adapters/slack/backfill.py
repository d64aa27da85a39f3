"""What was written while nobody listened is fetched from the conversations that are known."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.base import AdapterHost, RawUpdate, RetryLaterError, UndeliverableError
from adapters.connection import Connection, Sleep
from adapters.slack.client import CallError, Client, SlackError
from adapters.slack.constants import (
    BACKFILL_DAYS,
    BACKFILL_LIMIT,
    BACKFILL_THREADS,
    OVERLAP_SECONDS,
    PAGE,
    QUEUE_LIMIT,
    Timing,
)
from adapters.slack.failures import delivery_error, refuses_token
from adapters.slack.intake import Intake, history_update
from adapters.slack.normalise import Written, is_dm, read_message
from adapters.slack.positions import Position, Positions, micros
from adapters.slack.receive import Receiver, problem_of
from adapters.slack.wording import Account

log = logging.getLogger(__name__)

Json = Mapping[str, Any]

MICROS: Final = 1_000_000
DAY: Final = 86_400

SHOWN: Final = 5
"""Conversations that are named in one line of the log."""


class Backfill:
    """Looks into each known conversation after a gap, from where it had been read to.

    What comes live in a conversation that is still to be looked into waits for it, though not for long. Its position is
    not committed meanwhile, so that what is missing is missed again if we die.
    """

    def __init__(
        self,
        client: Client,
        host: AdapterHost,
        account: Account,
        receiver: Receiver,
        positions: Positions,
        connection: Connection,
        timing: Timing,
        sleep: Sleep,
    ) -> None:
        self._client = client
        self._host = host
        self._account = account
        self._receiver = receiver
        self._positions = positions
        self._connection = connection
        self._timing = timing
        self._sleep = sleep
        self._pending: dict[str, Position] = {}
        self._held: dict[str, list[RawUpdate]] = {}
        self._waiting = 0
        """How many updates are held."""
        self._tried: set[str] = set()
        """Conversations that were tried, and are to be tried again, since all were tried the last time."""
        self._begun = asyncio.Event()
        self._gaps = 0
        self._release: asyncio.TimerHandle | None = None
        self.intake: Intake | None = None

    def begin(self) -> None:
        """There was a gap, and it is over: look into every conversation, from where it was read to before it."""
        self._gaps += 1
        self.hold_back()
        if self._release is None:  # else something may wait since an earlier gap
            self._release = asyncio.get_running_loop().call_later(self._timing.hold, self._let_go)
        self._begun.set()

    def hold_back(self) -> None:
        """There is a gap: from now on, no position says that all before it is known, and what comes waits."""
        for channel, position in self._positions.snapshot().items():
            self._pending.setdefault(channel, position)
            self._positions.freeze(channel)
            self._held.setdefault(channel, [])

    def holds(self, channel: str, update: RawUpdate) -> bool:
        """Whether the update has to wait; it is then handed on once the conversation has been looked into, or when too
        many wait."""
        if channel not in self._held:
            return False
        self._held[channel].append(update)
        self._waiting += 1
        if self._waiting >= QUEUE_LIMIT:
            self._let_go()
        return True

    async def run(self) -> None:
        """Look into conversations, whenever there was a gap, until cancelled."""
        try:
            while True:
                await self._begun.wait()
                self._begun.clear()
                while self._pending:
                    await self._next()
                self._stop_timer()
        finally:
            self._stop_timer()

    def _choose(self) -> str:
        """The conversation that is looked into next: one in which somebody waits comes first, but one that was tried
        already comes after all others."""
        untried = [channel for channel in self._pending if channel not in self._tried]
        if not untried:
            self._tried.clear()
            untried = list(self._pending)
        return next((channel for channel in untried if self._held.get(channel)), untried[0])

    async def _next(self) -> None:
        gaps, channel = self._gaps, self._choose()
        self._tried.add(channel)
        try:
            await self._look_into(channel, self._pending[channel])
        except SlackError as error:
            failure = delivery_error(error)
            if refuses_token(error) or not isinstance(failure, UndeliverableError):
                after = failure.retry_after if isinstance(failure, RetryLaterError) else None
                log.info("what was missed in %s cannot be fetched yet: %s", channel, failure)
                if after is not None and after > self._timing.hold:
                    self._let_go()
                await self._sleep(after or self._timing.first_wait)
                return
            log.info("what was missed in %s cannot be fetched: %s", channel, failure)
        if gaps == self._gaps:  # else there was another one meanwhile
            await self._opened(channel)

    async def _opened(self, channel: str) -> None:
        del self._pending[channel]
        self._tried.discard(channel)
        cursor = self._positions.thaw(channel)
        await self._connection.stored(lambda: self._host.keep((), cursor))
        if channel not in self._pending:  # else there was another gap meanwhile
            self._hand_on(channel)

    def _hand_on(self, channel: str) -> None:
        held = self._held.pop(channel, [])
        self._waiting -= len(held)
        if held and self.intake is not None:
            self.intake.put_back(held)

    def _let_go(self) -> None:
        """Let nobody wait any longer."""
        self._stop_timer()
        waited = [channel for channel, updates in self._held.items() if updates]
        if waited:
            log.warning(
                "what comes in %s goes on before what was missed there: that could not be fetched in time",
                ", ".join(waited[:SHOWN]) + (f" and {len(waited) - SHOWN} others" if len(waited) > SHOWN else ""),
            )
        for channel in list(self._held):
            self._hand_on(channel)

    def _stop_timer(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None

    # --- one conversation ------------------------------------------------------------------------------------

    async def _look_into(self, channel: str, position: Position) -> None:
        """Hand on what is new there, oldest first: top level, then threads. Raises `SlackError`."""
        direct = is_dm(channel, None)
        # In direct messages all is for us, so all before the newest was taken in, wherever in them that one is.
        since = position.newest if direct else position.top
        oldest, span = _before(since), dict[str, Any]()
        if direct:
            # Older messages tell of what was said below them. With an end named, the newest certainly come first.
            oldest = min(oldest, _ts(self._long_ago()), key=micros)
            span["latest"] = _ts(self._now() + DAY * MICROS)
        top = [message async for message in self._history(channel, oldest, span)] if since else []
        await self._hand_over(channel, [each for each in top if micros(str(each.get("ts"))) > micros(_before(since))])
        missed: list[Json] = []
        for root in self._threads(channel, position, top, since):
            last = position.threads.get(root) or since
            try:
                missed += [message async for message in self._replies(channel, root, last)]
            except CallError as error:
                if error.error != "thread_not_found":
                    raise
        await self._hand_over(channel, missed)

    def _threads(self, channel: str, position: Position, top: list[Json], since: str) -> list[str]:
        """The threads that may hold something new: those of ours that are not long silent, and those in which something
        was said `since` then; of both, those first in which something was said last."""
        lively = [root for root, last in position.threads.items() if micros(last) >= self._long_ago()]
        lively.sort(key=lambda root: micros(position.threads[root]), reverse=True)
        fresh = [
            message
            for message in top
            if _last_reply(message) > micros(_before(since))
            or (message.get("reply_count") and self._positions.is_ours(channel, str(message["ts"])))
        ]
        fresh.sort(key=_last_reply, reverse=True)
        roots = (str(message["ts"]) for message in fresh[:BACKFILL_THREADS])
        return list(dict.fromkeys([*lively[:BACKFILL_THREADS], *roots]))

    def _long_ago(self) -> int:
        """When it was that a thread in which nothing was said since is not looked into any more."""
        return self._now() - BACKFILL_DAYS * DAY * MICROS

    def _now(self) -> int:
        return int(self._host.clock.now().timestamp()) * MICROS

    async def _hand_over(self, channel: str, messages: list[Json]) -> None:
        kind = "im" if is_dm(channel, None) else "channel"
        events = [{"channel_type": kind, **each, "channel": channel} for each in messages]
        read = [await self._read(event) for event in events]
        written = sorted((each for each in read if isinstance(each, Written)), key=lambda each: micros(each.ts))
        # A gap is looked into from long before it: most of it is known, and each that is handed over costs a commit.
        known = await self._connection.stored(lambda: self._host.known(channel, [each.ts for each in written]))
        for each in written:
            try:
                await self._connection.stored(lambda: self._take(each, known=each.ts in known))  # noqa: B023 - awaited at once
            except SlackError:
                raise
            except Exception as error:  # noqa: BLE001 - it is logged, and kept with the message
                await self._set_aside(each.event, error)

    async def _read(self, event: Json) -> Written | str:
        try:
            return read_message(event, self._account)
        except Exception as error:  # noqa: BLE001 - it is logged, and kept with the message
            await self._set_aside(event, error)
            return "it cannot be read"

    async def _set_aside(self, event: Json, error: Exception) -> None:
        """Keep a message that cannot be read for the operator, as one that came live; it holds up no other."""
        update = history_update(event)
        log.error("%s of Slack's history cannot be read; it is set aside", update.id, exc_info=error)
        await self._connection.stored(lambda: self._host.keep([update]))
        await self._connection.stored(lambda: self._host.settle(update.id, problem_of(error)))

    async def _take(self, written: Written, *, known: bool) -> None:
        """Hand on a message that is not known, and how it reads now if it was edited.

        One may be known though it was not: what waited goes on meanwhile, and in an outage not all can be looked up.
        """
        if known:
            self._receiver.note(written)
        else:
            accepted = await self._receiver.message(written)
            known = accepted is not None and accepted.duplicate
        if known and written.event.get("edited"):
            await self._receiver.message(replace(written, changed=True))

    async def _history(self, channel: str, oldest: str, span: Mapping[str, Any]) -> AsyncIterator[Json]:
        web = self._client.web
        async for message in self._pages(
            lambda more: web.conversations_history(channel=channel, limit=PAGE, oldest=oldest, **span, **more),
            channel,
        ):
            yield message

    async def _replies(self, channel: str, root: str, since: str) -> AsyncIterator[Json]:
        web = self._client.web
        async for message in self._pages(
            lambda more: web.conversations_replies(channel=channel, ts=root, limit=PAGE, oldest=_before(since), **more),
            channel,
        ):
            if message.get("ts") != root:
                yield message

    async def _pages(self, call: Callable[[dict[str, Any]], Awaitable[Any]], channel: str) -> AsyncIterator[Json]:
        """Every message, a page at a time. Raises `SlackError`."""
        count, more = 0, dict[str, Any]()
        while True:
            answer = await self._client.call(call(more))
            for message in answer.get("messages") or ():
                count += 1
                if isinstance(message, Mapping) and message.get("ts"):
                    yield message
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
            if count >= BACKFILL_LIMIT:
                log.warning("more than %d messages were missed in %s; not all are fetched", BACKFILL_LIMIT, channel)
                return
            more = {"cursor": cursor}


def _before(ts: str) -> str:
    """Where to begin, so that what was still on its way is fetched too."""
    return _ts(max(0, micros(ts) - int(OVERLAP_SECONDS * MICROS)))


def _ts(at: int) -> str:
    return f"{at // MICROS}.{at % MICROS:06d}"


def _last_reply(message: Json) -> int:
    return micros(str(message.get("latest_reply") or ""))
