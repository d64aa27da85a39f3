"""Owns the operator's view of the store: read-only, whether the gateway runs, does not, or has never run."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import aiosqlite

from gateway.session.entry import SessionEntry
from gateway.session.records import entry_from_row
from gateway.storage import inbound_queries, outbox_queries, queries
from gateway.storage.checks import SCHEMA_VERSION, newest_schema
from gateway.storage.codec import clean_text, decode_message, from_micros, optional_instant
from gateway.storage.database import open_reader
from gateway.storage.errors import NewerDatabaseError, StorageError

if TYPE_CHECKING:
    from gateway.search import SearchHit
    from gateway.storage.database import Database

NO_LIMIT: Final = -1
"""SQLite's word for: all rows."""

UNANSWERED_STATES: Final = ("pending", "running", "refused", "expired", "failed", "dead")


class SessionNotFoundError(Exception):
    """No session, or more than one, is meant; `str()` says what to type instead."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session as a list shows it."""

    entry: SessionEntry
    agent: str | None
    pinned: bool
    archived: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the entry's, with what a list adds."""
        return {**self.entry.to_dict(), "agent": self.agent, "pinned": self.pinned, "archived": self.archived}


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """A message of a transcript, with the turn that it belongs to and the time that it was stored."""

    message: Mapping[str, Any]
    turn_id: str | None
    time: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the message's own keys, and `timestamp` and `turn_id`."""
        return {**self.message, "timestamp": self.time.isoformat(), "turn_id": self.turn_id}


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An inbound message that has no answer: it waits, or ended without one."""

    id: int
    platform: str
    chat_id: str
    message_id: str
    sender: str | None
    text: str
    state: str
    reason: str | None
    received_at: datetime
    ended_at: datetime | None
    session_key: str | None
    turn_id: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times in ISO 8601."""
        return {
            "id": self.id,
            "state": self.state,
            "reason": self.reason,
            "platform": self.platform,
            "chat_id": self.chat_id,
            "message_id": self.message_id,
            "sender": self.sender,
            "text": self.text,
            "received_at": self.received_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "session_key": self.session_key,
            "turn_id": self.turn_id,
        }


class Inspection:
    """Reads a home's database. Without one, everything is empty."""

    def __init__(self, reader: aiosqlite.Connection | None) -> None:
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """Open the database at `path` for reading. Raises `StorageError`."""
        if not await asyncio.to_thread(path.exists):
            yield cls(None)
            return
        try:
            reader = await open_reader(path)
        except sqlite3.Error as error:
            raise StorageError(f"cannot open {path}: {error}; `hermes-gateway doctor` says more") from error
        try:
            inspection = cls(reader)
            known = await inspection._check_schema(path)
            yield inspection if known else cls(None)
        finally:
            await reader.close()

    async def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises `StorageError`."""
        if self._reader is None:
            return []
        try:
            return list(await self._reader.execute_fetchall(sql, tuple(parameters)))
        except sqlite3.Error as error:
            raise StorageError(f"the database reports: {error}; `hermes-gateway doctor` says more") from error

    async def sessions(self, limit: int | None = None, *, archived: bool = False) -> list[SessionSummary]:
        """Sessions, pinned ones first, then the newest; `archived` adds those that were put away, by time alone."""
        if archived:
            rows = await self.read(queries.LIST_SESSIONS, (queries.EVER, _rows(limit)))
        else:
            rows = await self.read(queries.LATEST_SESSIONS, (_rows(limit),))
        return [summary_from_row(row) for row in rows]

    async def session(self, prefix: str) -> SessionSummary:
        """The session whose id this is, or begins with this. Raises `SessionNotFoundError`."""
        prefix = clean_text(prefix)
        rows = await self.read(queries.GET_SESSION, (prefix,))
        if not rows and prefix:
            rows = await self.read(queries.FIND_SESSION_PREFIX, (prefix, prefix + "\x7f"))
        if not rows:
            raise SessionNotFoundError(
                f"there is no session whose id begins with {prefix!r}; `hermes-gateway sessions list` shows them"
            )
        if len(rows) > 1:
            several = ", ".join(row["id"] for row in rows)
            raise SessionNotFoundError(
                f"several sessions begin with {prefix!r}, {several} among them; type more of the id"
            )
        return summary_from_row(rows[0])

    async def transcript(self, session_id: str) -> list[TranscriptMessage]:
        """The messages of a session, in order."""
        rows = await self.read(queries.LOAD_MESSAGES_WITH_TIMES, (session_id,))
        return [
            TranscriptMessage(
                decode_message(row["role"], row["content"], row["data"]), row["turn_id"], from_micros(row["created_at"])
            )
            for row in rows
        ]

    async def search(self, text: str, limit: int, mark: tuple[str, str] = ("", "")) -> "list[SearchHit]":
        """Messages that hold every word of the text, the newest first."""
        if self._reader is None:
            return []
        from gateway.search import search

        # A search only reads, and reading is what this object has in common with the database.
        return await search(cast("Database", self), text, limit, mark=mark)

    async def read_file(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """The same as `read`: it is the file that is read."""
        return await self.read(sql, parameters)

    async def unindexed(self) -> int:
        """How many messages a search does not see yet."""
        rows = await self.read(queries.COUNT_UNINDEXED)
        return int(rows[0][0]) if rows else 0

    async def unanswered(self, limit: int | None = None) -> list[Unanswered]:
        """Inbound messages without an answer, the newest first."""
        return [_unanswered(row) for row in await self.read(queries.UNANSWERED, (_rows(limit),))]

    async def counts(self) -> dict[str, Any]:
        """How many sessions, messages without an answer, deliveries and updates there are: what `status` says of
        them."""
        sessions = await self.read(queries.COUNT_SESSIONS)
        updates = await self.read(inbound_queries.COUNT_UPDATES)
        return {
            "sessions": {"total": sessions[0]["total"], "live": sessions[0]["live"]}
            if sessions
            else _none("total", "live"),
            "inbound": _none(*UNANSWERED_STATES) | _by_state(await self.read(queries.COUNT_INBOUND)),
            "outbox": _none("pending", "sending", "dead", "repeated")
            | _by_state(await self.read(outbox_queries.COUNT_OUTBOX)),
            "updates": dict(updates[0]) if updates else _none("kept", "set_aside"),
        }

    async def _check_schema(self, path: Path) -> bool:
        """Whether there is anything to read. Raises `StorageError` for the schema of another version."""
        (row,) = await self.read(SCHEMA_VERSION)
        found, known = int(row[0]), newest_schema()
        if found > known:
            raise NewerDatabaseError(
                f"{path} was written by a newer version (schema {found}; this version knows {known}):"
                " install the newer version"
            )
        if 0 < found < known:
            raise StorageError(
                f"{path} was written by an older version (schema {found}; this version reads {known}):"
                " start the gateway, or restart the one that runs: that brings it up to date"
            )
        return found > 0


def _rows(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit


def _none(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 0)


def _by_state(rows: list[sqlite3.Row]) -> dict[str, int]:
    return {row["state"]: row["number"] for row in rows}


def summary_from_row(row: sqlite3.Row) -> SessionSummary:
    """The session that a row of `queries.GET_SESSION` or its like holds."""
    return SessionSummary(entry_from_row(row), row["agent"], bool(row["pinned"]), bool(row["archived"]))


def _unanswered(row: sqlite3.Row) -> Unanswered:
    source = json.loads(row["source"]) if row["source"] else {}
    return Unanswered(
        id=row["id"],
        platform=row["platform"],
        chat_id=row["chat"],
        message_id=row["message_id"],
        sender=source.get("user_name") or source.get("user_id"),
        text=row["text"] or "",
        state=row["state"],
        reason=row["reason"],
        received_at=from_micros(row["received_at"]),
        ended_at=optional_instant(row["ended_at"]),
        session_key=row["session_key"],
        turn_id=row["turn_id"],
    )
