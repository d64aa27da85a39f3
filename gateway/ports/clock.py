"""Where time comes from."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where the gateway reads time from."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""
