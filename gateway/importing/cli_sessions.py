"""The sessions of a Hermes home as its command line has them: looked at where they are, and not taken in.

The first two functions change nothing and raise nothing: what cannot be read is empty, and the log says why.
"""

import logging
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.constants import SQLITE_BUSY_SECONDS
from gateway.storage.hermes_state import HermesState, UnreadableStateError, delete_session

log = logging.getLogger(__name__)

MOST: Final = 200
"""Sessions of a list: the latest."""


@dataclass(frozen=True, slots=True)
class CliSession:
    """A session as a list shows it; `updated_at` is in seconds since 1970 UTC, None where no time is told."""

    session_id: str
    title: str
    model: str | None
    message_count: int
    updated_at: float | None
    source_tag: str
    is_cli_session: bool = True
    profile: str = "default"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def list_cli_sessions(state: Path, scratch: Path | None = None) -> list[CliSession]:
    """The sessions that a `state.db` names a source of, but for those of the web UI, the latest first.

    The latest is the one in which something was said last, or that began last if nothing was. Older files, which name
    no sources, have none. `scratch` is where the file is copied to if it has to be.
    """
    if not state.exists():
        return []
    try:
        with HermesState.open(state, scratch) as opened:
            return [_session(row) for row in opened.latest(MOST)]
    except (sqlite3.Error, UnreadableStateError, OSError) as error:
        log.warning("the sessions in %s cannot be listed: %s", state, error)
        return []


def cli_messages(state: Path, session_id: str, scratch: Path | None = None) -> list[dict[str, Any]]:
    """A session's messages in the order of time: role, content and timestamp; what tools did, where anything."""
    if not state.exists():
        return []
    try:
        with HermesState.open(state, scratch) as opened:
            return [_message(row) for row in opened.said(session_id)]
    except (sqlite3.Error, UnreadableStateError, OSError) as error:
        log.warning("session %s in %s cannot be read: %s", session_id, state, error)
        return []


def delete_cli_session(state: Path, session_id: str) -> bool:
    """Delete a session with its messages from the other program's file; whether any of it was there and has gone.

    A session that has not ended stays, since that program may be in it. Raises nothing.
    """
    if not state.exists():
        return False
    try:
        return delete_session(state, session_id, patience=SQLITE_BUSY_SECONDS)
    except sqlite3.Error as error:
        log.warning("session %s in %s cannot be deleted: %s", session_id, state, error)
        return False


def _session(row: sqlite3.Row) -> CliSession:
    source = str(row["source"])
    count, updated = row["message_count"], row["updated_at"]
    return CliSession(
        session_id=str(row["id"]),
        title=str(row["title"] or f"{source.title()} Session"),
        model=row["model"],
        message_count=count if isinstance(count, int) else 0,
        updated_at=float(updated) if isinstance(updated, int | float) else None,
        source_tag=source,
    )


def _message(row: sqlite3.Row) -> dict[str, Any]:
    message = {name: row[name] for name in ("role", "content", "timestamp")}
    return message | {name: row[name] for name in set(row.keys()) - message.keys() if row[name] is not None}
