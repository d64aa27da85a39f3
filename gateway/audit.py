"""The audit: what was decided about people, noted in the commit that decides it, and never changed."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self, TypeAlias

from gateway.storage import access_queries
from gateway.storage.codec import clean_text, from_micros, to_micros

Event: TypeAlias = Literal["asked", "let in", "refused", "revoked", "promoted", "demoted", "limited", "locked out"]

GATEWAY: Final = "gateway"
"""Who decided, where it was a rule of the configuration."""

MAX_DETAIL: Final = 300
"""Characters of what is noted besides: some of it comes from outside."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One decision: about whom, by whom. `detail` is in words."""

    event: Event
    platform: str
    person: str
    actor: str = GATEWAY
    role: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class NotedEntry:
    """An entry as it was noted."""

    id: int
    at: datetime
    entry: AuditEntry

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of the table."""
        names = ("event", "platform", "person", "actor", "role", "detail")
        return cls(row["id"], from_micros(row["at"]), AuditEntry(**{name: row[name] for name in names}))

    def to_dict(self) -> Mapping[str, Any]:
        """Plain data; the time in ISO 8601."""
        entry = self.entry
        return {
            "id": self.id,
            "time": self.at.isoformat(),
            "event": entry.event,
            "platform": entry.platform,
            "person": entry.person,
            "actor": entry.actor,
            "role": entry.role,
            "detail": entry.detail,
        }


def note(connection: sqlite3.Connection, entry: AuditEntry, now: datetime) -> None:
    """Note a decision, as part of the job of the writer that carries it out."""
    detail = None if entry.detail is None else clean_text(entry.detail)[:MAX_DETAIL]
    values = (to_micros(now), entry.event, entry.platform, entry.person, entry.actor, entry.role, detail)
    connection.execute(access_queries.ADD_AUDIT, values)
