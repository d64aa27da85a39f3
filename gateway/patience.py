"""Patience: how long a delivery waits before it is tried again, and when it has been tried enough."""

import sqlite3
from datetime import datetime, timedelta
from typing import Final

from config import LiveConfig
from gateway.errand import Errand
from gateway.ports import Clock
from gateway.storage.codec import from_micros

MAX_DOUBLINGS: Final = 30
"""A wait doubles no more often than this; it is far beyond any limit by then, and a float holds it."""


class Patience:
    """The waits of deliveries, by the configuration's `delivery` section."""

    def __init__(self, config: LiveConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._due: dict[int, float] = {}
        """Deliveries that are put off, and until when by the monotonic clock."""

    def left(self, row: sqlite3.Row) -> float:
        """How many seconds a delivery is put off still, 0 or less if it is not.

        The machine's clock may be put back meanwhile: a wait of this process lasts no longer for that, one that an
        earlier process noted no longer than the longest between two attempts.
        """
        if row["not_before"] is not None:
            left = (from_micros(row["not_before"]) - self._clock.now()).total_seconds()
            longest = self._config.current.delivery.retry_max_seconds
            due = self._due.setdefault(row["id"], self._clock.monotonic() + min(left, longest))
            if (seconds := min(left, due - self._clock.monotonic())) > 0:
                return seconds
        self._due.pop(row["id"], None)
        return 0.0

    def put_off(self, delivery_id: int, seconds: float) -> None:
        """A delivery is put off for so long."""
        self._due[delivery_id] = self._clock.monotonic() + seconds

    def after(self, seconds: float) -> datetime:
        """The instant in so many seconds."""
        return self._clock.now() + timedelta(seconds=seconds)

    def pause(self, job: Errand, asked: float | None) -> float:
        """Seconds until the next attempt: what the platform asks for, else twice as long each time."""
        if asked is not None:
            return asked
        policy = self._config.current.delivery
        return min(policy.retry_seconds * 2.0 ** min(job.attempts, MAX_DOUBLINGS), policy.retry_max_seconds)

    def is_enough(self, job: Errand) -> bool:
        """Whether this attempt was the last one."""
        return job.attempts + 1 >= self._config.current.delivery.attempts

    def is_old(self, job: Errand) -> bool:
        """Whether a delivery has waited for a platform that has trouble as long as it is to."""
        return self._clock.now() - job.created_at >= timedelta(hours=self._config.current.delivery.expire_hours)
