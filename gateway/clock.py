"""The real clock, and the one place where an injected clock is made uniform."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

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
