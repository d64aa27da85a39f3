"""Memory commits: what waits of a session is handed over, segment by segment, once each, one at a time a session."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from config import LiveConfig
from gateway.constants import MEMORY_COMMITS_AT_ONCE
from gateway.ports import Clock, RememberError, StorageBusyError
from gateway.remembering import ledger
from gateway.remembering.ledger import Segment, Snapshot
from gateway.session.removal import on_file
from gateway.storage import memory_queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.probe import Probe, no_probe

log = logging.getLogger(__name__)

PAGE: Final = 100
"""Sessions that one look finds."""

MAX_DOUBLINGS: Final = 30
"""How often the wait for the next try doubles at most, before its limit counts: enough for every limit."""


class OutcomeUnknownError(RememberError):
    """Whether a segment was taken is not known: the call was given up before it ended."""


class MemoryCommits:
    """Hands segments over by `deliver`, and keeps book of it in the database.

    The book says *begun* before a segment is handed over, and drops it after. So whatever ends the program, nothing is
    lost, and nothing is handed over twice but the segment that was under way. `deliver` is called without any lock.
    """

    def __init__(
        self,
        database: Database,
        deliver: Callable[[Segment], Awaitable[None]],
        config: LiveConfig,
        clock: Clock,
        counters: Counter[str],
        *,
        probe: Probe = no_probe,
    ) -> None:
        self._database = database
        self._deliver = deliver
        self._config = config
        self._clock = clock
        self._counters = counters
        self._probe = probe
        self._in_flight: dict[str, asyncio.Event] = {}
        """By session: set once its commit has ended."""

    # --- what is to be remembered -----------------------------------------------------------------------------

    async def mark(self, session_id: str, agent: str | None = None) -> int:
        """A turn was completed; its generation, 0 without a session.

        It is this agent's, or that of the agent whom the session is registered for. Raises `UnknownSession`.
        """
        if not session_id:
            return 0
        return await self._database.write(lambda connection: ledger.mark(connection, session_id, agent))

    async def register(self, session_id: str, agent: str | None) -> None:
        """The next turns of a session are this agent's, or nobody's. Raises `UnknownSession`."""
        if session_id:
            await self._database.write(lambda connection: ledger.register(connection, session_id, agent))

    async def snapshot(self, session_id: str) -> Snapshot | None:
        """How far the memory has got with a session; None if it knows nothing of it."""

        def job(connection: sqlite3.Connection) -> Snapshot | None:
            return ledger.snapshot(connection, session_id) if ledger.is_known(connection, session_id) else None

        return await self._database.write(job)

    def is_in_flight(self, session_id: str) -> bool:
        """Whether a commit of the session is under way in this process."""
        return session_id in self._in_flight

    async def has_uncommitted(self, session_id: str) -> bool:
        """Whether turns of a session wait to be remembered."""
        return bool(await self._database.read(memory_queries.WAITING, (session_id,)))

    # --- one commit -------------------------------------------------------------------------------------------

    async def commit(
        self, session_id: str, agent: str | None = None, *, wait: bool = False, timeout: float | None = None
    ) -> bool:
        """Hand over the earliest segment of a session; whether it was taken.

        True is one segment, not all: call it while `has_uncommitted`. While another commit of the session is under way,
        the answer is False, unless it is to `wait` for that, `timeout` seconds at most. What fails stays, and is put
        off. Cancelled, it leaves the segment to be handed over again.
        """
        if not session_id or not await self._enter(session_id, timeout if wait else 0.0):
            return False
        try:
            return await self._commit(session_id, agent)
        except (StorageError, StorageBusyError) as error:
            log.warning("what session %s is to be remembered by could not be looked up or noted: %s", session_id, error)
            self._counters["memory.storage_errors"] += 1
            return False
        finally:
            self._in_flight.pop(session_id).set()

    async def commit_all(self, session_id: str) -> bool:
        """Hand over all that waits of a session; False if something was not taken."""
        while await self.commit(session_id, wait=True):
            pass
        return not await self.has_uncommitted(session_id)

    @asynccontextmanager
    async def alone(self, session_id: str, seconds: float) -> AsyncIterator[None]:
        """No commit of the session is under way, and none begins. Raises `RememberError` if one takes longer."""
        if not await self._enter(session_id, seconds):
            raise RememberError("a part of it is being remembered, and that does not end")
        try:
            yield
        finally:
            self._in_flight.pop(session_id).set()

    async def _enter(self, session_id: str, seconds: float | None) -> bool:
        """Be the one who commits this session; False if somebody else is, for longer than so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while (other := self._in_flight.get(session_id)) is not None:
                    if seconds == 0:
                        return False
                    await other.wait()
        except TimeoutError:
            return False
        self._in_flight[session_id] = asyncio.Event()
        return True

    async def _commit(self, session_id: str, agent: str | None) -> bool:
        segment = await self._database.write(on_file(ledger.capture, session_id, agent))
        if segment is None:
            return False
        self._probe("memory.captured")
        try:
            await self._deliver(segment)
        except Exception as error:  # noqa: BLE001 - it is logged and counted there
            await self._put_off(segment, error)
            return False
        self._probe("memory.delivered")
        taken = await self._database.write(on_file(ledger.settle, segment))
        self._probe("memory.settled")
        self._counters["memory.commits"] += taken
        return taken

    async def _put_off(self, segment: Segment, error: Exception) -> None:
        """Keep a segment that was not taken for another try."""
        reason = str(error) or type(error).__name__
        log.warning(
            "turns %d to %d of session %s could not be remembered: %s; it is tried again",
            segment.first, segment.last, segment.session_id, reason,
            exc_info=None if isinstance(error, RememberError | TimeoutError) else error,
        )  # fmt: skip
        self._counters["memory.errors"] += 1
        memory, now = self._config.current.memory, self._clock.now()
        untaken = not isinstance(error, OutcomeUnknownError)

        def job(connection: sqlite3.Connection) -> None:
            doublings = min(ledger.failures(connection, segment.session_id), MAX_DOUBLINGS)
            seconds = min(memory.retry_seconds * 2.0**doublings, memory.retry_max_seconds)
            ledger.put_off(connection, segment, reason, now + timedelta(seconds=seconds), untaken=untaken)

        await self._database.write(on_file(job))

    # --- many -------------------------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Commit the sessions that have ended or were quiet for long; how many of them are clean now."""
        clean, after, now = 0, "", self._clock.now()
        quiet_since = to_micros(now - timedelta(minutes=self._config.current.memory.quiet_minutes))
        while True:
            rows = await self._database.read(memory_queries.DUE, (after, quiet_since, to_micros(now), PAGE))
            clean += sum(await self._each([row["session_id"] for row in rows]))
            if len(rows) < PAGE:
                return clean
            after = rows[-1]["session_id"]

    async def drain(self, seconds: float) -> int:
        """Commit everything that waits, as far as that gets in this time; how many sessions are not clean then.

        A session whose commit fails is not tried again. Never raises but when it is cancelled.
        """
        tried: set[str] = set()
        try:
            async with asyncio.timeout(seconds):
                while sessions := [each for each in await self._dirty() if each not in tried]:
                    tried.update(sessions)
                    await self._each(sessions)
        except TimeoutError:
            log.warning("remembering took longer than %g seconds; the rest follows at the next start", seconds)
            self._counters["memory.drains_cut_short"] += 1
        except (StorageError, StorageBusyError) as error:
            log.warning("what is to be remembered could not be looked up: %s", error)
        try:
            return len(await self._dirty())
        except (StorageError, StorageBusyError):
            return len(tried)

    async def _dirty(self) -> list[str]:
        """Sessions with turns that wait, but for those that are to be tried again later."""
        found: list[str] = []
        while True:
            values = (found[-1] if found else "", to_micros(self._clock.now()), PAGE)
            rows = await self._database.read(memory_queries.DIRTY, values)
            found += [row["session_id"] for row in rows]
            if len(rows) < PAGE:
                return found

    async def _each(self, sessions: list[str]) -> list[bool]:
        """Commit all of these sessions, a few at once; which of them are clean then."""
        free = asyncio.Semaphore(MEMORY_COMMITS_AT_ONCE)

        async def one(session_id: str) -> bool:
            try:
                async with free:
                    return await self.commit_all(session_id)
            except (StorageError, StorageBusyError) as error:
                log.warning("whether session %s is to be remembered could not be looked up: %s", session_id, error)
                return False

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(each), name=f"memory of {each}") for each in sessions]
        return [task.result() for task in running]
