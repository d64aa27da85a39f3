"""The flood budget: who may call a platform now, in one chat and in all of them together; what matters most goes first.

A platform takes only so many messages of one account, and of it in one chat. What it would refuse is not sent. When
it asks to be left alone all the same, that is noted in the database, so that a restart does not forget it.
"""

import asyncio
import itertools
import sqlite3
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Final, TypeAlias

from gateway.constants import HOLD_CHECK_SECONDS, MAX_BUDGET_CHATS, MAX_HOLD_SECONDS
from gateway.ports import Adapter, Clock, Rate
from gateway.storage import outbox_queries
from gateway.storage.codec import from_micros, to_micros
from gateway.storage.database import Database

AccountKey: TypeAlias = tuple[str, str]
"""Platform and account."""

ChatKey: TypeAlias = tuple[str, str, str]
"""Platform, account and chat."""

EVERYWHERE: Final = ""
"""In place of a chat: the whole account."""

PREVIEW_SHARE: Final = 2
"""Previews take at most one in so many of what a platform allows; the rest is for what has to arrive."""

NEARLY_FULL: Final = 0.8
"""The share of an account's rate from which a refusal is taken for one of the account, not of the chat alone."""


SHORTEST_WAIT_SECONDS: Final = 0.001
"""The resolution of the event loop's timers."""


class Priority(IntEnum):
    """What goes first when not everything may go. Previews and "is typing" are not in it: they never wait, there is
    room for them or they are left out."""

    FINAL = 0
    APPROVAL = 1
    PART = 2


@dataclass(slots=True, eq=False)
class _Window:
    """When messages went out lately, by the monotonic clock."""

    times: deque[float] = field(default_factory=deque)
    calls: list[float] = field(default_factory=list)
    """When those began that are under way."""

    def wait(self, rate: Rate, now: float, *, share: int = 1, whole: bool = True) -> float:
        """Seconds until one more may go; of `share`, until one in so many of what is allowed may. `whole`: a call under
        way takes its place however long it is; else, like one that has ended, for the rate's own time."""
        under_way = [begun for begun in self.calls if whole or begun > now - rate.seconds]
        allowed = max(1, rate.messages // share) - len(under_way)
        if allowed <= 0:
            return HOLD_CHECK_SECONDS if whole else min(under_way) + rate.seconds - now
        recent = [at for at in self.times if at > now - rate.seconds]
        return recent[-allowed] + rate.seconds - now if len(recent) >= allowed else 0.0

    def count(self, span: float, now: float) -> int:
        return len(self.calls) + sum(at > now - span for at in self.times)

    def forget(self, before: float) -> None:
        while self.times and self.times[0] <= before:
            self.times.popleft()


@dataclass(slots=True, eq=False)
class _Account:
    """One account: its own window, those of its chats, and who waits."""

    window: _Window = field(default_factory=_Window)
    chats: "OrderedDict[str, _Window]" = field(default_factory=OrderedDict)
    held: dict[str, float] = field(default_factory=dict)
    """Until when the platform wants to be left alone, by chat and by the monotonic clock."""
    waiting: list[tuple[int, int, "_Waiter"]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """What one call counts in, and for how long each of that is remembered."""

    chat: str
    rates: Sequence[Rate]
    overall: Rate | None
    begun: float = 0.0

    @property
    def span(self) -> float:
        rates = (*self.rates, self.overall) if self.overall is not None else self.rates
        return max((rate.seconds for rate in rates), default=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """Somebody who waits for a call; it counts from when they may go."""

    call: _Call
    may_go: "asyncio.Future[None]"


class FloodBudget:
    """Hands out the right to call a platform. Callers of one account are served by priority, then in order."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._accounts: dict[AccountKey, _Account] = {}
        self._numbers = itertools.count()

    async def load(self) -> None:
        """Take up what platforms asked for in an earlier process. Raises `StorageError`."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for row in await self._database.read(outbox_queries.GET_HOLDS):
            left = min((from_micros(row["until"]) - now).total_seconds(), MAX_HOLD_SECONDS)
            if left > 0:
                account = self._account((str(row["platform"]), str(row["account"])))
                account.held[row["chat"]] = monotonic + left

    @asynccontextmanager
    async def turn(self, adapter: Adapter, key: ChatKey, priority: Priority) -> AsyncIterator[None]:
        """Wait until a message may go out in this chat, and count it."""
        account, call = self._account(key[:2]), _call(adapter, key[2])
        if account.waiting or self._wait(account, call) > 0:
            await self._queue(account, call, priority)
        else:
            self._begin(account, call)
        try:
            yield
        finally:
            self._end(account, call)

    @contextmanager
    def spare(self, adapter: Adapter, key: ChatKey, *, message: bool = True) -> Iterator[bool]:
        """Whether a preview may go out in this chat now; if so, it is counted. `message`: it is one of the chat's
        messages; else it counts for the account alone."""
        account, call = self._account(key[:2]), _call(adapter, key[2])
        if not message:
            call.rates = ()
        awaited = any(waiter.call.chat == call.chat for _priority, _number, waiter in account.waiting)
        if awaited or self.is_busy(key) or self._wait(account, call, share=PREVIEW_SHARE) > 0:
            yield False
            return
        self._begin(account, call)
        try:
            yield True
        finally:
            self._end(account, call)

    def limits(self, adapter: Adapter, key: ChatKey) -> bool:
        """Whether there is anything to wait for in this chat, now or ever."""
        account = self._accounts.get(key[:2])
        rated = adapter.capabilities.rate is not None or bool(adapter.rates(key[2]))
        return rated or (account is not None and self._held(account, key[2]) > 0)

    def is_busy(self, key: ChatKey) -> bool:
        """Whether a call is under way in this chat: its answer may be that the chat is to be left alone."""
        account = self._accounts.get(key[:2])
        window = None if account is None else account.chats.get(key[2])
        return window is not None and bool(window.calls)

    def held(self, key: ChatKey) -> float:
        """Seconds that the platform still wants to be left alone in this chat; 0 if it does not."""
        return self._held(self._account(key[:2]), key[2])

    async def hold(self, adapter: Adapter, key: ChatKey, seconds: float) -> None:
        """The platform wants to be left alone for so long; durable. Raises `StorageError` and `StorageBusyError`.

        It does not say where. While the account sends nearly as much as it may, it is meant for all of it.
        """
        account, chat = self._account(key[:2]), key[2]
        rate, now = adapter.capabilities.rate, self._clock.monotonic()
        if rate is not None and account.window.count(rate.seconds, now) >= NEARLY_FULL * rate.messages:
            chat = EVERYWHERE
        account.held[chat] = max(account.held.get(chat, 0.0), now + seconds)
        instant = self._clock.now()
        values = (key[0], key[1], chat, to_micros(instant + timedelta(seconds=seconds)))

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(outbox_queries.DROP_HOLDS, (to_micros(instant),))
            connection.execute(outbox_queries.PUT_HOLD, values)

        await self._database.write(job)

    # --- who may go ------------------------------------------------------------------------------------------

    def _account(self, key: AccountKey) -> _Account:
        return self._accounts.setdefault(key, _Account())

    def _held(self, account: _Account, chat: str) -> float:
        """Seconds that the platform still wants to be left alone in a chat."""
        now, left = self._clock.monotonic(), 0.0
        for place in (chat, EVERYWHERE):
            until = account.held.get(place)
            if until is not None and until <= now:
                del account.held[place]
            elif until is not None:
                left = max(left, until - now)
        return left

    def _wait(self, account: _Account, call: _Call, *, share: int = 1) -> float:
        """Seconds until a call may be made."""
        now, window = self._clock.monotonic(), account.chats.get(call.chat)
        waits = [self._held(account, call.chat)]
        if call.overall is not None:
            # One slow upload must not keep a place from everybody else; what it sends at its end counts then.
            waits.append(account.window.wait(call.overall, now, share=share, whole=False))
        if window is not None:
            waits += [window.wait(rate, now, share=share) for rate in call.rates]
        return max(waits)

    async def _queue(self, account: _Account, call: _Call, priority: Priority) -> None:
        waiter = _Waiter(call, asyncio.get_running_loop().create_future())
        account.waiting.append((priority, next(self._numbers), waiter))
        self._serve(account)
        try:
            await waiter.may_go
        except asyncio.CancelledError:
            account.waiting = [entry for entry in account.waiting if entry[2] is not waiter]
            if waiter.may_go.done() and not waiter.may_go.cancelled():
                self._end(account, call)
            raise

    def _serve(self, account: _Account) -> None:
        """Let go who may. One who may not keeps those behind in the same chat, and nobody else."""
        if account.timer is not None:
            account.timer.cancel()
            account.timer = None
        left: list[tuple[int, int, _Waiter]] = []
        soonest, passed_over = HOLD_CHECK_SECONDS, set[str]()
        for entry in sorted(account.waiting, key=lambda entry: entry[:2]):
            waiter = entry[2]
            if waiter.may_go.done():
                continue
            wait = self._wait(account, waiter.call)
            if wait <= 0 and waiter.call.chat not in passed_over:
                self._begin(account, waiter.call)
                waiter.may_go.set_result(None)
            else:
                passed_over.add(waiter.call.chat)
                left.append(entry)
                soonest = min(soonest, wait)
        account.waiting = left
        if left:
            later = max(soonest, SHORTEST_WAIT_SECONDS)
            account.timer = asyncio.get_running_loop().call_later(later, lambda: self._serve(account))

    def _begin(self, account: _Account, call: _Call) -> None:
        """Count a call: until it has ended it may reach the platform at any time."""
        call.begun = self._clock.monotonic()
        account.window.calls.append(call.begun)
        if call.rates:
            account.chats.setdefault(call.chat, _Window()).calls.append(call.begun)
            account.chats.move_to_end(call.chat)

    def _end(self, account: _Account, call: _Call) -> None:
        now, window = self._clock.monotonic(), account.chats.get(call.chat) if call.rates else None
        for counted in (account.window, window):
            if counted is not None:
                counted.calls.remove(call.begun)
                counted.times.append(now)
                counted.forget(now - call.span)
        while len(account.chats) > MAX_BUDGET_CHATS and not next(iter(account.chats.values())).calls:
            account.chats.popitem(last=False)
        if account.waiting:
            self._serve(account)


def _call(adapter: Adapter, chat: str) -> _Call:
    return _Call(chat, adapter.rates(chat), adapter.capabilities.rate)
