"""Retention: what is too old is removed, in small parts, so that the store does not grow for ever."""

import asyncio
import logging
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from config import GatewayConfig, LiveConfig
from gateway.constants import MEDIA_OUT_KEPT_DAYS
from gateway.leftovers import remove_session_files
from gateway.media.files import prune
from gateway.ports import Clock, StorageBusyError
from gateway.session import removal
from gateway.session.removal import PAGE, RemovalRefusedError, on_file
from gateway.storage import inbound_queries, upkeep
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.writer import Job

log = logging.getLogger(__name__)

T = TypeVar("T")

RETENTION_SECONDS: Final = 3600.0
"""How often is looked for what has become too old: limits are days, so an hour more does not matter."""

PAUSE_SECONDS: Final = 0.02
"""The rest between two parts: a long clearing-up leaves most of the writer's time to turns."""

TEXT_KEPT: Final = timedelta(days=1)
"""How long the text of an answered message, or of a reply that was sent, stays besides the transcript: time for an
operator to see what came in and went out."""

FINISHED_KEPT: Final = timedelta(days=7)
"""How long the ids of what has come and gone are kept, by which a message that comes again is recognised. Telegram
keeps updates that it could not deliver for 24 hours (https://core.telegram.org/bots/api#getting-updates), the longest
of the platforms; a week also covers a bot that was given an old cursor."""

UNANSWERED_KEPT: Final = timedelta(days=30)
"""How long messages without an answer, and replies that were given up or may have been shown twice, stay in sight."""

SET_ASIDE_KEPT: Final = timedelta(days=7)
"""How long updates that were set aside stay in sight."""

MAX_SET_ASIDE: Final = 1_000
"""Updates that are kept for an operator to look at; one odd kind can be in many."""

CUTS_KEPT: Final = timedelta(days=1)
"""How long what was taken off a transcript can be put back."""

WALK_PAGE: Final = 200
"""Rows of finished work that one job clears: with their text that is some milliseconds, too."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """Page by page through a table in the order of its ids, up to a page that begins after `until`.

    Each statement is carried out on each page; its arguments follow the page's two bounds.
    """

    counter: str
    page: str
    statements: tuple[tuple[str, tuple[int, ...]], ...]
    until: int


class Retention:
    """Removes sessions that are older than `storage.retention_days`, old turns of those that are live, and, whatever
    that says, the records of messages, turns and deliveries that have come and gone.

    Pinned and starred sessions stay. `folders` hold files of sessions, by their ids; the files below `media` go after
    `media.retention_days`. Each part is a job of the writer that takes a few milliseconds; between two of them it rests
    for `pause` seconds.
    """

    def __init__(
        self,
        database: Database,
        config: GatewayConfig | LiveConfig,
        clock: Clock,
        counters: Counter[str],
        folders: tuple[Path, ...] = (),
        *,
        media: Path | None = None,
        seconds: float = RETENTION_SECONDS,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._database = database
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._counters = counters
        self._folders = folders
        self._media = media
        self._seconds = seconds
        self._pause = pause

    async def run(self) -> None:
        """Look at once, and then again and again, until cancelled."""
        while True:
            try:
                await self.sweep()
            except (StorageError, StorageBusyError) as error:
                log.warning("what is too old could not be removed: %s; it is tried again", error)
                self._counters["retention.errors"] += 1
            except Exception:
                log.exception("the removal of what is too old failed; it is tried again")
                self._counters["retention.errors"] += 1
            await asyncio.sleep(self._seconds)

    async def sweep(self) -> None:
        """Look once. Does nothing while the database is out of use. Raises `StorageError`, `StorageBusyError`."""
        if self._database.state.mode != "sqlite":
            return
        days = self._config.current.storage.retention_days
        if days > 0:
            limit = self._before(timedelta(days=days))
            await self._expire(limit)
            await self._shorten(limit)
            self._count("retention.cuts", await self._write(on_file(_remove_summarised, limit)))
        await self._clear()
        if self._media is not None:
            await self._prune(self._media)

    def _before(self, age: timedelta) -> int:
        try:
            return to_micros(self._clock.now() - age)
        except OverflowError:
            return -(2**63)

    # --- sessions ----------------------------------------------------------------------------------------------

    async def _expire(self, limit: int) -> None:
        """Remove the sessions that ended and were last touched before the limit."""
        while rows := await self._database.read(upkeep.EXPIRED_SESSIONS, (limit, PAGE)):
            removed = 0
            for row in rows:
                removed += await self._remove(row["id"])
            if not removed:
                return

    async def _remove(self, session_id: str) -> bool:
        """Remove one session; False if it has been taken up again."""
        try:
            await self._repeat(on_file(removal.remove_messages_of_ended, session_id))
            removed = await self._write(on_file(removal.remove_record, session_id))
        except RemovalRefusedError:
            return False
        if removed:
            self._counters["retention.sessions"] += 1
            await asyncio.to_thread(self._remove_files, session_id)
        return removed

    def _remove_files(self, session_id: str) -> None:
        try:
            remove_session_files(self._folders, session_id)
        except OSError as error:
            log.warning("a file of session %s cannot be removed: %s", session_id, error)

    async def _shorten(self, limit: int) -> None:
        """Remove the old turns of live sessions."""
        after = ""
        while True:
            rows = await self._database.read(upkeep.LIVE_WITH_OLD_MESSAGES, (after, limit, PAGE))
            for (session_id,) in rows:
                await self._repeat(on_file(removal.remove_old_turns, session_id, limit))
            if len(rows) < PAGE:
                return
            after = rows[-1]["session_id"]

    async def _repeat(self, part: Job[int]) -> None:
        while number := await self._write(part):
            self._counters["retention.messages"] += number

    # --- what has come and gone --------------------------------------------------------------------------------

    async def _clear(self) -> None:
        """Remove the records whose time is over; of those that are kept for their ids, drop the text."""
        finished, unanswered = self._before(FINISHED_KEPT), self._before(UNANSWERED_KEPT)
        text = self._before(TEXT_KEPT)
        removals = (upkeep.REMOVE_OLD_INBOUND, (finished, unanswered)), (upkeep.EMPTY_OLD_INBOUND, (text,))
        await self._go(_Walk("retention.inbound", upkeep.INBOUND_PAGE, removals, text))
        removals = (upkeep.REMOVE_OLD_DELIVERIES, (finished, unanswered)), (upkeep.EMPTY_OLD_DELIVERIES, (text,))
        await self._go(_Walk("retention.outbox", upkeep.OUTBOX_PAGE, removals, text))
        turns = ((upkeep.REMOVE_OLD_TURNS, (finished,)),)
        await self._go(_Walk("retention.turns", upkeep.TURN_PAGE, turns, finished))
        await self._clear_set_aside()
        cuts = self._before(CUTS_KEPT)
        self._count("retention.cuts", await self._write(on_file(_remove_cuts, cuts)))

    async def _clear_set_aside(self) -> None:
        """Remove updates that were set aside long ago, and, where there are too many, the oldest."""
        limit = self._before(SET_ASIDE_KEPT)
        for row in await self._database.read(inbound_queries.EXCESS_UPDATE, (MAX_SET_ASIDE,)):
            limit = max(limit, row["received_at"] + 1)
        self._count("retention.updates", await self._write(on_file(_remove_updates, limit)))

    async def _prune(self, media: Path) -> None:
        """Remove files that came in or went out long ago."""
        days, now = self._config.current.media.retention_days, self._clock.now()
        outgoing = (now - timedelta(days=MEDIA_OUT_KEPT_DAYS)).timestamp()
        incoming = self._before(timedelta(days=days)) / 1_000_000 if days > 0 else 0.0
        number = await asyncio.to_thread(
            prune, media, now=now.timestamp(), incoming_before=incoming, outgoing_before=outgoing
        )
        self._count("retention.files", number)

    async def _go(self, walk: _Walk) -> None:
        after = 0
        while True:
            (page,) = await self._database.read(walk.page, (after, WALK_PAGE))
            bound, since = page
            if bound is None or since > walk.until:
                return
            self._count(walk.counter, await self._write(on_file(_clear_page, walk, after, bound)))
            after = bound

    def _count(self, counter: str, number: int) -> None:
        if number:
            self._counters[counter] += number

    async def _write(self, job: Job[T]) -> T:
        result = await self._database.write(job)
        await asyncio.sleep(self._pause)
        return result


def _remove_updates(connection: sqlite3.Connection, before: int) -> int:
    return connection.execute(inbound_queries.REMOVE_OLD_UPDATES, (before,)).rowcount


def _remove_cuts(connection: sqlite3.Connection, before: int) -> int:
    return connection.execute(upkeep.REMOVE_OLD_CUTS, (before,)).rowcount


def _remove_summarised(connection: sqlite3.Connection, before: int) -> int:
    return connection.execute(upkeep.REMOVE_OLD_SUMMARISED, (before,)).rowcount


def _clear_page(connection: sqlite3.Connection, walk: _Walk, after: int, bound: int) -> int:
    """Do what is to be done on one page; how many rows changed."""
    return sum(
        connection.execute(statement, (after, bound, *arguments)).rowcount for statement, arguments in walk.statements
    )
