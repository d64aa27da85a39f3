"""Reads the `state.db` of a Hermes home, of any age, without ever changing anything in that home.

A table is read by the columns that it has. Where other programs may have the file open, or SQLite would have to mend it
first (a write-ahead log or a journal stands beside it), a private copy is read; else the file itself, as one that
cannot change (https://www.sqlite.org/uri.html#uriimmutable), so that SQLite makes no files beside it.
"""

# ruff: noqa: S608 - the names that statements are put together from are constants of this module

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from gateway.storage.errors import StorageError

NAME: Final = "state.db"
SIDECARS: Final = ("-wal", "-journal")
"""What SQLite keeps beside a database, as endings of its name: a commit may stand in there alone."""

SNAPSHOT_TRIES: Final = 5
"""How often a file that is written meanwhile is copied anew."""

_SESSION: Final = (
    "id",
    "source",
    "user_id",
    "session_key",
    "chat_id",
    "chat_type",
    "thread_id",
    "display_name",
    "origin_json",
    "model",
    "parent_session_id",
    "started_at",
    "ended_at",
    "end_reason",
    "title",
    "last_activity_at",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "estimated_cost_usd",
    "cost_status",
    "archived",
    "pinned",
)
"""What is read of a session, where there is such a column. Prompts, settings and billing are not."""

_MESSAGE: Final = ("role", "content", "tool_calls", "tool_call_id", "tool_name", "timestamp")


class UnreadableStateError(StorageError):
    """A `state.db` cannot be read; `str()` says why, and what to do."""


class HermesState:
    """An open `state.db`. Every method raises `sqlite3.Error` where the file is damaged at what it reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._columns: dict[str, frozenset[str]] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path, scratch: Path | None = None) -> Iterator[Self]:
        """Open the file for reading; a copy is made in `scratch`, by default the system's folder for such files.

        Raises `UnreadableStateError`, also at the end if the file was changed while it was read; OSError.
        """
        if not any(_size(path.with_name(path.name + end)) for end in SIDECARS):
            before = _look(path)
            with cls._over(path, "mode=ro&immutable=1") as state:
                yield state
            if _look(path) != before:
                raise UnreadableStateError(f"{path} was written while it was read: stop its program, and try again")
            return
        with tempfile.TemporaryDirectory(prefix=".import-", dir=scratch) as folder:
            copy = Path(folder) / NAME
            _snapshot(path, copy)
            with cls._over(copy, "mode=rw") as state:
                yield state

    @classmethod
    @contextmanager
    def _over(cls, path: Path, mode: str) -> Iterator[Self]:
        connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("PRAGMA query_only = ON")
            yield cls(connection)
        finally:
            connection.close()

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether there is such a table, or column of it."""
        if table not in self._columns:
            rows = self._connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
            self._columns[table] = frozenset(row["name"] for row in rows)
        columns = self._columns[table]
        return column in columns if column is not None else bool(columns)

    def sessions(self) -> Iterator[sqlite3.Row]:
        """Every session's record; what the file has no column for is missing."""
        yield from self._connection.execute(f"SELECT {self._some('sessions', _SESSION)} FROM sessions ORDER BY rowid")

    def routes(self) -> Iterator[str]:
        """The entries of the newer programs' routing index, as JSON, the oldest first; none in older files."""
        if self.has("gateway_routing", "entry_json"):
            rows = self._connection.execute("SELECT entry_json FROM gateway_routing ORDER BY updated_at, rowid")
            yield from (row[0] for row in rows if isinstance(row[0], str))

    def spans(self) -> dict[str, tuple[int, object]]:
        """How many messages each session has, and when the last one was said."""
        rows = self._connection.execute("SELECT session_id, count(*), max(timestamp) FROM messages GROUP BY session_id")
        return {str(row[0]): (int(row[1]), row[2]) for row in rows}

    def messages(self, session_id: str) -> Iterator[sqlite3.Row]:
        """What the agent knew of a session, in the order of time: neither what was taken back, nor what was only
        overheard."""
        kept = [
            f"AND coalesce({name}, {value}) = {value}"
            for name, value in (("active", 1), ("observed", 0))
            if self.has("messages", name)
        ]
        yield from self._connection.execute(
            f"SELECT {self._some('messages', _MESSAGE)} FROM messages"
            f" WHERE session_id = ? {' '.join(kept)} ORDER BY timestamp, rowid",
            (session_id,),
        )

    # --- the view of command-line sessions -----------------------------------------------------------------

    def latest(self, limit: int) -> list[sqlite3.Row]:
        """The sessions that have a source and were not held in the web UI, those first in which something was said
        last; none where sessions have no source."""
        if not self.has("sessions", "source"):
            return []
        columns = ", ".join(
            name if self.has("sessions", name) else f"NULL AS {name}" for name in ("title", "model", "message_count")
        )
        return self._connection.execute(
            f"""SELECT id, {columns}, source, coalesce(
                    (SELECT max(timestamp) FROM messages WHERE session_id = sessions.id), started_at) AS updated_at
                FROM sessions WHERE source IS NOT NULL AND source <> 'webui'
                ORDER BY updated_at DESC, id LIMIT ?""",
            (limit,),
        ).fetchall()

    def said(self, session_id: str) -> list[sqlite3.Row]:
        """A session's messages, in the order of time."""
        return self._connection.execute(
            f"SELECT {self._some('messages', _MESSAGE)} FROM messages WHERE session_id = ? ORDER BY timestamp, rowid",
            (session_id,),
        ).fetchall()

    def _some(self, table: str, wanted: Sequence[str]) -> str:
        return ", ".join(name for name in wanted if self.has(table, name))


def delete_session(path: Path, session_id: str, *, patience: float) -> bool:
    """Delete a session that has ended, with its messages, in one transaction; whether any of that was there.

    This writes to the file, as its own program does. One that goes on is not deleted. Raises `sqlite3.Error`.
    """
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=patience, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        columns = {row[1] for row in connection.execute("PRAGMA table_info(sessions)")}
        if "ended_at" in columns:
            live = connection.execute("SELECT 1 FROM sessions WHERE id = ? AND ended_at IS NULL", (session_id,))
            if live.fetchone() is not None:
                connection.execute("ROLLBACK")
                return False
        removed = connection.execute("DELETE FROM messages WHERE session_id = ?", (session_id,)).rowcount
        removed += connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,)).rowcount
        connection.execute("COMMIT")
        return removed > 0
    finally:
        connection.close()


def _snapshot(path: Path, copy: Path) -> None:
    """Copy a database with what belongs to it, as it is at one moment. Raises `UnreadableStateError`, OSError."""
    files = [path, *(path.with_name(path.name + end) for end in SIDECARS)]
    for _ in range(SNAPSHOT_TRIES):
        before = [_look(file) for file in files]
        for file in files:
            target = copy.with_name(copy.name + file.name[len(path.name) :])
            target.unlink(missing_ok=True)
            if file.exists():
                shutil.copyfile(file, target)
        if [_look(file) for file in files] == before:
            return
    raise UnreadableStateError(f"{path} is written all the time: stop its program, and import again")


def _look(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    look = _look(path)
    return look[1] if look is not None else 0
