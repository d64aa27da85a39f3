"""Where data goes at present, and when that was otherwise."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

Mode: TypeAlias = Literal["sqlite", "spool", "none"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the database could not be used, and how many records the spool took in it."""

    began: datetime
    ended: datetime
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class StorageState:
    """Where data goes: the database, the spool, or, if nothing can be written, nowhere; since when, and why.

    `recovered` counts the returns of the database since the start. `complete`: all that is open is known, also while
    the database is out of use; it could be read then.
    """

    mode: Mode = "sqlite"
    since: datetime | None = None
    reason: str | None = None
    last_outage: Outage | None = None
    recovered: int = 0
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for status reports; times in ISO 8601."""
        last = self.last_outage
        return {
            "mode": self.mode,
            "since": self.since.isoformat() if self.since else None,
            "reason": self.reason,
            "complete": self.complete,
            "last_outage": last
            and {
                "began": last.began.isoformat(),
                "ended": last.ended.isoformat(),
                "reason": last.reason,
                "records": last.records,
            },
        }
