"""The updates of platforms as they came: kept with the position that covers them, until it is decided what each is."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.ports import Clock, Cursor, RawUpdate
from gateway.storage import inbound_queries, outbox_queries, queries
from gateway.storage.codec import clean_text, to_micros
from gateway.storage.database import Database
from gateway.storage.shadow import check_known, is_hiding

log = logging.getLogger(__name__)

PAGE: Final = 200
"""Updates that are read at once: with their content that is some milliseconds."""

LAST_CHARACTER: Final = "\U0010ffff"
"""Sorts after every other."""

PROBLEM_CHARS: Final = 500
"""Characters that are kept of the reason why an update was set aside."""


class InvalidUpdateError(ValueError):
    """An adapter handed over an update that could not be told from another."""


class Updates:
    """The table of updates. Updates are known by platform, account and id."""

    def __init__(self, database: Database, clock: Clock, counters: Counter[str]) -> None:
        self._database = database
        self._clock = clock
        self._counters = counters

    async def identify(self, platform: str, account: str, account_id: str) -> None:
        """Note which account of its platform a connection is; the past of another one is set aside.

        Raises `StorageError`, `StorageBusyError`.
        """
        name, place = f"account:{platform}:{account}", (platform, account)

        def job(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(queries.GET_META, (name,)).fetchone()
            if row is not None and row[0] == account_id:
                return None
            connection.execute(queries.PUT_META, (name, account_id))
            if row is None:
                return None
            connection.execute(inbound_queries.FORGET_MESSAGE_IDS, (row[0], *place))
            connection.execute(inbound_queries.DROP_CURSORS, place)
            connection.execute(inbound_queries.SET_ASIDE_ALL, (f"it came to account {row[0]}", *place))
            connection.execute(outbox_queries.SEND_ANEW, place)
            return str(row[0])

        before = await self._database.write(job)
        if before is not None:
            log.warning(
                "%s is account %s now, and was %s: what that one had is set aside", platform, account_id, before
            )

    async def cursor(self, platform: str, account: str, name: str) -> str | None:
        """A position that was committed earlier; None if there is none. Raises `StorageError`, `StorageBusyError`."""

        def job(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(inbound_queries.GET_CURSOR, (platform, account, name)).fetchone()
            check_known(connection, row, "the position among a platform's updates")
            return None if row is None else str(row["value"])

        return await self._database.write(job)

    async def cursors(self, platform: str, account: str, prefix: str) -> dict[str, str]:
        """Positions by name, of names that begin so. Raises `StorageError`, `StorageBusyError`."""

        def job(connection: sqlite3.Connection) -> dict[str, str]:
            between = (platform, account, prefix, f"{prefix}{LAST_CHARACTER}")
            check_known(connection, None, "the positions among a platform's updates")
            rows = connection.execute(inbound_queries.LIST_CURSORS, between)
            return {row["name"]: row["value"] for row in rows}

        return await self._database.write(job)

    async def keep(self, platform: str, account: str, updates: Sequence[RawUpdate], cursor: Cursor | None) -> None:
        """Keep updates, those that are new, and move the cursor, in one commit.

        Raises `InvalidUpdateError`, `StorageError`, `StorageBusyError`; then nothing is kept.
        """
        for update in updates:
            if not update.id or update.id != clean_text(update.id):
                raise InvalidUpdateError(f"an update's id is to be a text, and not empty: {update.id!r}")
        at = to_micros(self._clock.now())

        def job(connection: sqlite3.Connection) -> None:
            (last,) = connection.execute(inbound_queries.LAST_UPDATE, (platform, account)).fetchone()
            # The time, where that is later, keeps them in order with those of a database that cannot be read now.
            seq = max(at, (last or 0) + 1)
            rows = [
                (platform, account, update.id, seq + number, clean_text(update.payload), at)
                for number, update in enumerate(updates)
            ]
            connection.executemany(inbound_queries.KEEP_UPDATE, rows)
            if cursor is not None:
                connection.execute(queries.PUT_CURSOR, (platform, account, cursor.name, cursor.value))

        await self._database.write(job)

    async def kept(self, platform: str, account: str) -> list[RawUpdate]:
        """What is kept and not set aside, in the order in which it came. Raises `StorageError`."""
        found: list[RawUpdate] = []
        after = -1
        while True:
            values = (platform, account, after, PAGE)
            rows = await self._database.read(inbound_queries.KEPT_UPDATES, values)
            found += [RawUpdate(row["id"], row["payload"]) for row in rows]
            if len(rows) < PAGE:
                return found
            after = rows[-1]["seq"]

    async def settle(self, platform: str, account: str, update_id: str, problem: str | None) -> None:
        """Delete an update, or, with a problem, set it aside. Raises `StorageError`, `StorageBusyError`."""
        problem = None if problem is None else clean_text(problem)[:PROBLEM_CHARS]

        def job(connection: sqlite3.Connection) -> int:
            if problem is None:
                return drop_update(connection, platform, account, update_id)
            values = (problem, platform, account, update_id)
            return connection.execute(inbound_queries.SET_ASIDE_UPDATE, values).rowcount

        found = await self._database.write(job)
        if problem is not None and found:
            self._counters["updates.set_aside"] += 1
            log.error("update %s of %s was set aside: %s", update_id, platform, problem)

    async def counts(self) -> dict[str, int]:
        """How many are kept, and how many were set aside. Raises `StorageError`."""
        (row,) = await self._database.read(inbound_queries.COUNT_UPDATES)
        return {"kept": row["kept"], "set_aside": row["set_aside"]}


def drop_update(connection: sqlite3.Connection, platform: str, account: str, update_id: str | None) -> int:
    """Delete a kept update, as part of a job of the writer; how many there were.

    One that an outage hides is put in before, so that its deletion is known after it.
    """
    if update_id is None:
        return 0
    key = (platform, account, update_id)
    found = connection.execute(inbound_queries.DELETE_UPDATE, key).rowcount
    if not found and is_hiding(connection):
        connection.execute(inbound_queries.KEEP_UPDATE, (*key, 0, "", 0))
        connection.execute(inbound_queries.DELETE_UPDATE, key)
    return found
