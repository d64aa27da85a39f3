"""The real clock, the one place where an injected clock is made uniform, and timers for its instants."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.constants import PARK_CHECK_SECONDS
from gateway.ports import Clock


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


class CallableClock:
    """A clock whose instants come from a function; its monotonic time is real."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def now(self) -> datetime:
        """What the function returns, in UTC. Raises ValueError for an instant without a zone."""
        instant = self._now()
        if instant.tzinfo is None:
            raise ValueError("the clock must return aware datetimes")
        return instant.astimezone(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


def as_clock(clock: Clock | Callable[[], datetime] | None) -> Clock:
    """A clock from a clock, from a function that returns aware datetimes, or, for None, the machine's."""
    if clock is None:
        return SystemClock()
    if callable(clock):
        return CallableClock(clock)
    return clock


def call_at(clock: Clock, instant: datetime, callback: Callable[[], object]) -> asyncio.TimerHandle:
    """Call back at this instant, or after `PARK_CHECK_SECONDS`, whichever is sooner: the clock may be set meanwhile.

    Whoever is called back too soon looks at the clock and asks again.
    """
    seconds = max(0.0, (instant - clock.now()).total_seconds())
    return asyncio.get_running_loop().call_later(min(seconds, PARK_CHECK_SECONDS), callback)
