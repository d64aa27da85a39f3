"""Snowflakes: ids that grow with time, and times as they stand in JSON."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

EPOCH: Final = 1_420_070_400_000
"""Milliseconds from 1970 to the first second of 2015
(https://docs.discord.com/developers/reference#snowflakes)."""
TIME_SHIFT: Final = 22
"""An id holds its time above this many bits."""


class Snowflakes:
    """Makes ids, each larger than the one before, also where `clock` (seconds since 1970) stands still."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        """A new id."""
        self._last = max(snowflake_at(self._clock()), self._last + 1)
        return self._last


def snowflake_at(seconds: float) -> int:
    """The smallest id of a time: what comes later has a larger one."""
    return max(int(seconds * 1000) - EPOCH, 0) << TIME_SHIFT


def seconds_of(snowflake: int) -> float:
    """When an id was made, in seconds since 1970."""
    return ((snowflake >> TIME_SHIFT) + EPOCH) / 1000


def iso(seconds: float) -> str:
    """A time as the API writes it: ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
