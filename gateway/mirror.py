"""The JSONL mirror: each transcript as a file of lines beside the database, which follows it a little behind.

The database is the truth, and what stands in the files never delays or fails a conversation. They are not synced to the
disk with each batch: what a loss of power takes of them is noticed at the next start, which holds the ends of each file
against the database.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.constants import MIRROR_SECONDS
from gateway.ids import is_session_id
from gateway.ports import Clock, StorageBusyError
from gateway.session.jsonl import (
    Ends,
    append_lines,
    ends_of,
    is_own_fault,
    mirror_line,
    partial_file,
    replace_file,
    transcript_file,
)
from gateway.session.removal import on_file
from gateway.storage import mirror_queries as queries
from gateway.storage import queries as session_queries
from gateway.storage.codec import decode_message, from_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe
from gateway.storage.writer import Job

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = sqlite3.Row

MIRROR_BATCH: Final = 250
"""Messages, or sessions, of one step: some milliseconds in a thread, and bounded memory."""


class _OutOfUseError(Exception):
    """The database has gone out of use, or has come back, since this began: it begins again."""


@dataclass(slots=True)
class _Written:
    """What became of a step: lines written, files that do not go on where the messages do, files with a fault."""

    lines: int = 0
    apart: list[str] = field(default_factory=list)
    failed: dict[str, OSError] = field(default_factory=dict)


class JsonlMirror:
    """Keeps the files in a folder equal to the transcripts. Switched off, it leaves them and forgets how far it was.

    What a file has and its transcript has not, without a cut that would explain it, is kept beside it as
    `<session id>.kept-<number>`.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        clock: Clock,
        counters: Counter[str],
        *,
        enabled: bool,
        batch: int = MIRROR_BATCH,
        seconds: float = MIRROR_SECONDS,
        probe: Probe = no_probe,
    ) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock
        self._counters = counters
        self._enabled = enabled
        self._batch = batch
        self._seconds = seconds
        self._probe = probe
        self._busy = asyncio.Lock()
        self._thread = threading.Lock()
        self._cursor = 0
        self._lines = 0
        self._verified: int | None = None
        self._seen = database.state.recovered
        self._error: str | None = None
        self._since: datetime | None = None
        self._failed: dict[str, str] = {}
        database.on_recovered(self._on_recovered)

    async def run(self) -> None:
        """Follow the transcripts until cancelled; where the mirror is switched off, return."""
        if not self._enabled:
            await self._forget()
            return
        while True:
            try:
                await self.catch_up()
            except (StorageError, StorageBusyError, OSError) as error:
                self._note(error)
            except Exception as error:
                log.exception("the mirror of the transcripts failed; it is tried again")
                self._note(error)
            else:
                self._note(None)
            await asyncio.sleep(self._seconds)

    async def catch_up(self) -> int:
        """Write what was said, and take out what was taken back, since the last time; how many lines were written.

        Does nothing while the database is out of use. Raises `StorageError`, `StorageBusyError`, and OSError where
        nothing can be written.
        """
        if not self._enabled:
            return 0
        async with self._busy:
            before = self._lines
            try:
                self._require()
                if self._verified != self._seen:
                    await self._verify()
                await self._follow_marks()
                while rows := await self._read(queries.NEXT_MESSAGES, (self._cursor, self._batch)):
                    await self._follow(rows)
            except _OutOfUseError:
                log.debug("the mirror waits for the database")
            return self._lines - before

    @property
    def trouble(self) -> str | None:
        """Why files are not what they should be, None if nothing is known to be wrong."""
        if self._error is None and self._failed:
            session_id, reason = next(iter(self._failed.items()))
            return f"{len(self._failed):,} files cannot be written, {session_id}.jsonl among them: {reason}"
        return self._error

    async def status(self) -> dict[str, Any] | None:
        """How far behind the mirror is, and why, as plain data; None where it is switched off."""
        if not self._enabled:
            return None
        behind: int | None = None
        if self._database.state.mode == "sqlite":
            ((behind,),) = await self._database.read(queries.COUNT_UNMIRRORED)
        return {
            "behind": behind,
            "error": self._error,
            "since": self._since.isoformat() if self._since else None,
            "failed": dict(sorted(self._failed.items())),
        }

    # --- what goes wrong -------------------------------------------------------------------------------------

    def _note(self, error: Exception | None) -> None:
        """Remember the error, count it, and say what is new about it."""
        text = None if error is None else str(error) or type(error).__name__
        if text is not None:
            self._counters["mirror.errors"] += 1
            if self._error is None:
                self._since = self._clock.now()
                log.warning("the mirror in %s falls behind: %s; it is tried again", self._directory, text)
        elif self._error is not None:
            self._since = None
            log.info("the mirror in %s follows again", self._directory)
        self._error = text

    def _note_file(self, session_id: str, error: OSError | None) -> None:
        if error is None:
            self._failed.pop(session_id, None)
            return
        self._counters["mirror.errors"] += 1
        text = error.strerror or str(error)
        if self._failed.get(session_id) != text:
            log.warning("the mirror of session %s cannot be written: %s; it is tried again", session_id, error)
        self._failed[session_id] = text

    def _on_recovered(self) -> None:
        self._seen = self._database.state.recovered

    def _require(self) -> None:
        """Raises `_OutOfUseError` unless the database that was in use at the beginning is in use."""
        state = self._database.state
        if state.mode != "sqlite" or state.recovered != self._seen:
            raise _OutOfUseError

    async def _read(self, sql: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """Rows of the database on disk: what is known elsewhere during an outage is no transcript to go by."""
        self._require()
        rows = await self._database.read(sql, parameters)
        self._require()
        return rows

    async def _write(self, job: Job[T]) -> T:
        self._require()
        try:
            return await self._database.write(on_file(job))
        except StorageError:
            self._require()
            raise

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]:
        """Work on files in a thread; one that was left behind by a cancelled task is waited for."""

        def work() -> T:
            with self._thread:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                return function(*arguments)

        return asyncio.to_thread(work)

    # --- following -------------------------------------------------------------------------------------------

    async def _follow(self, rows: Sequence[Row]) -> None:
        """Append the next messages, and move the cursor behind them."""
        written = await self._in_thread(self._append, rows)
        self._lines += written.lines
        for session_id in written.apart:
            await self._update(session_id)
        self._probe("mirror.files-written")
        bound: int = rows[-1]["id"]
        sessions = {row["session_id"] for row in rows}

        def job(connection: sqlite3.Connection) -> list[str]:
            connection.execute(queries.MOVE_MIRROR_CURSOR, (str(bound),))
            connection.executemany(queries.MARK_UNWRITTEN, [(session_id,) for session_id in written.failed])
            return [session_id for session_id in sessions if not _exists(connection, session_id)]

        await self._remove(await self._write(job))
        self._cursor = bound
        for session_id in sessions:
            if session_id not in written.apart:
                self._note_file(session_id, written.failed.get(session_id))

    def _append(self, rows: Sequence[Row]) -> _Written:
        """Append messages to those files that end with the message before."""
        written = _Written()
        in_order = sorted(rows, key=itemgetter("session_id"))
        for session_id, group in groupby(in_order, key=itemgetter("session_id")):
            path = transcript_file(self._directory, session_id)
            if path is None:
                continue
            try:
                ends = ends_of(path) or Ends()
                missing = _missing(ends, list(group))
                if missing is None:
                    written.apart.append(session_id)
                elif missing or ends.torn:
                    append_lines(path, map(_line, missing), ends.length)
                    written.lines += len(missing)
            except OSError as error:
                if not is_own_fault(path, error):
                    raise
                written.failed[session_id] = error
        return written

    async def _follow_marks(self) -> None:
        """Write the files anew of transcripts from which something was removed."""
        after = ""
        while rows := await self._read(queries.MARKS, (after, self._batch)):
            for (session_id,) in rows:
                await self._update(session_id)
            after = rows[-1]["session_id"]

    async def _verify(self) -> None:
        """Hold the ends of each file against the database, and write what differs."""
        seen = self._seen
        await self._write(lambda connection: connection.execute(queries.SWITCH_ON).rowcount)
        ((cursor,),) = await self._read(queries.MIRROR_CURSOR)
        ((bound,),) = await self._read(queries.LAST_MESSAGE)
        await self._in_thread(self._sweep)
        after = ""
        while rows := await self._read(queries.TRANSCRIPT_ENDS, (after, self._batch)):
            for session_id in await self._in_thread(self._differing, rows):
                await self._update(session_id)
            after = rows[-1]["session_id"]
        self._cursor = max(cursor, bound)
        if self._cursor > cursor:
            self._probe("mirror.verified")
            values = (str(self._cursor),)
            await self._write(lambda connection: connection.execute(queries.MOVE_MIRROR_CURSOR, values).rowcount)
        self._verified = seen

    def _sweep(self) -> None:
        """Remove what a process that died had begun to write."""
        for path in self._directory.glob("*.partial"):
            if is_session_id(path.stem):
                path.unlink()

    def _differing(self, rows: Sequence[Row]) -> list[str]:
        """The sessions whose files do not begin and end as their transcripts do."""
        found = []
        for session_id, first, last in rows:
            path = transcript_file(self._directory, session_id)
            if path is None or last is None:
                continue
            try:
                ends = ends_of(path)
            except OSError as error:
                if not is_own_fault(path, error):
                    raise
                ends = None
            if ends is None or ends.torn or (ends.first, ends.last) != (first, last):
                found.append(session_id)
        return found

    # --- one file --------------------------------------------------------------------------------------------

    async def _update(self, session_id: str) -> None:
        """Bring one file up to date, whatever it is like; one with a fault of its own is tried again later."""
        path = transcript_file(self._directory, session_id)
        if path is None:
            await self._write(lambda connection: connection.execute(queries.DROP_MARK, (session_id,)).rowcount)
            return
        try:
            await self._bring_up(session_id, path)
        except OSError as error:
            if not is_own_fault(path, error):
                raise
            self._note_file(session_id, error)
            await self._write(lambda connection: connection.execute(queries.MARK_UNWRITTEN, (session_id,)).rowcount)
        else:
            self._note_file(session_id, None)

    async def _bring_up(self, session_id: str, path: Path) -> None:
        ends = await self._in_thread(ends_of, path)
        last = ends.last if ends is not None else None
        ((mark, first, known),) = await self._read(queries.STANDING, (session_id, last))
        was_cut = mark is not None and int(mark) > 0
        if first is None:
            # A file of a session that has said nothing is somebody else's, unless something was cut off.
            if was_cut:
                await self._remove([session_id])
        elif not was_cut and ends is not None and ends.first == first and known:
            await self._extend(session_id, path, ends)
        else:
            await self._rewrite(session_id, path, keep=not was_cut and ends is not None and ends.length > 0)
        self._probe("mirror.file-written")

        def job(connection: sqlite3.Connection) -> bool:
            connection.execute(queries.CLEAR_MARK, (session_id, mark))
            return _exists(connection, session_id)

        if not await self._write(job):
            await self._remove([session_id])

    async def _extend(self, session_id: str, path: Path, ends: Ends) -> None:
        """Append what follows the last line."""
        assert ends.last is not None
        if ends.torn:
            await self._in_thread(append_lines, path, (), ends.length)
        await self._copy(session_id, ends.last, path, ends.length)

    async def _rewrite(self, session_id: str, path: Path, *, keep: bool) -> None:
        """Write the whole transcript beside the file, and put it in its place at once."""
        partial = partial_file(path)
        await self._in_thread(append_lines, partial, (), 0)
        await self._copy(session_id, 0, partial, 0)
        self._probe("mirror.file-ready")
        kept = await self._in_thread(lambda: replace_file(path, keep=keep))
        if kept is not None:
            log.warning("%s is not the transcript of its session and is kept as %s", path.name, kept.name)

    async def _copy(self, session_id: str, after: int, path: Path, length: int) -> None:
        while rows := await self._read(queries.NEXT_OF_SESSION, (session_id, after, self._batch)):
            length += await self._in_thread(_append_rows, path, rows, length)
            self._lines += len(rows)
            after = rows[-1]["id"]

    async def _remove(self, session_ids: Sequence[str]) -> None:
        """Remove the files of sessions that have nothing to say, or are gone."""
        if not session_ids:
            return

        def work() -> None:
            for session_id in session_ids:
                path = transcript_file(self._directory, session_id)
                if path is not None:
                    path.unlink(missing_ok=True)
                    partial_file(path).unlink(missing_ok=True)

        await self._in_thread(work)

    async def _forget(self) -> None:
        """Note that the mirror is switched off: switched on again, it begins from the beginning."""
        try:
            if await self._database.read(queries.MIRROR_CURSOR):
                await self._write(lambda connection: connection.execute(queries.FORGET_MIRROR).rowcount)
        except (_OutOfUseError, StorageError, StorageBusyError):
            log.info("the database is out of use; that the mirror is switched off is noted at the next start")


def _exists(connection: sqlite3.Connection, session_id: str) -> bool:
    return connection.execute(session_queries.SESSION_EXISTS, (session_id,)).fetchone() is not None


def _missing(ends: Ends, rows: Sequence[Row]) -> list[Row] | None:
    """Those of a session's next messages that its file lacks; None if the file does not go on with them."""
    last = ends.last
    if last is None and ends.length:
        return None
    missing: list[Row] = []
    for row in rows:
        if last is not None and row["id"] <= last:
            continue
        if row["previous"] != last:
            return None
        missing.append(row)
        last = row["id"]
    return missing


def _append_rows(path: Path, rows: Sequence[Row], length: int) -> int:
    lines = [_line(row) for row in rows]
    append_lines(path, lines, length)
    return sum(map(len, lines))


def _line(row: Row) -> bytes:
    message = decode_message(row["role"], row["content"], row["data"])
    return mirror_line(message, row["id"], from_micros(row["created_at"]))
