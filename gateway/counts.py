"""Owns what a status counts of the store. What an outage hides is not counted as if it were not there."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.storage import outbox_queries, queries
from gateway.storage.database import Database

OPEN: Final[Mapping[str, tuple[str, ...]]] = {"inbound": ("pending", "running"), "outbox": ("pending", "sending")}
"""The states of what is under way. An outage leaves it known where the database could be read."""

ENDED: Final[Mapping[str, tuple[str, ...]]] = {
    "inbound": ("refused", "expired", "failed", "dead"),
    "outbox": ("dead", "repeated"),
}
"""The states that wait for a person to look at them; in an outage nobody knows how many there were before."""


async def counts(database: Database) -> dict[str, dict[str, int | None]]:
    """Sessions, messages without an answer and deliveries, by state; None for what cannot be known in an outage.

    Raises `StorageError`.
    """
    (sessions,) = await database.read(queries.COUNT_SESSIONS)
    rows = {
        "inbound": await database.read(queries.COUNT_INBOUND),
        "outbox": await database.read(outbox_queries.COUNT_OUTBOX),
    }
    state = database.state
    known = state.mode == "sqlite" or state.complete
    counted: dict[str, dict[str, int | None]] = {
        "sessions": {name: sessions[name] if known else None for name in ("total", "live")}
    }
    for name, found in rows.items():
        counted[name] = _by_state(found, OPEN[name], known=known)
        counted[name] |= _by_state(found, ENDED[name], known=state.mode == "sqlite")
    return counted


def _by_state(rows: Sequence[sqlite3.Row], states: Iterable[str], *, known: bool) -> dict[str, int | None]:
    found: dict[str, Any] = {row["state"]: row["number"] for row in rows}
    return {state: int(found.get(state, 0)) if known else None for state in states}
