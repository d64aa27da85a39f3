"""Search over everything that was said: the index, which follows behind, and the queries of people."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.constants import SEARCH_INDEX_SECONDS
from gateway.ports import StorageBusyError
from gateway.session.removal import on_file
from gateway.storage import queries
from gateway.storage.codec import clean_text, from_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError
from gateway.storage.words import SEPARATOR, apart, ends_whole

log = logging.getLogger(__name__)

INDEX_BATCH: Final = 500
"""Messages that one job of the writer indexes: some milliseconds, so that a turn never waits long behind it."""

STOP_BATCHES: Final = 20
"""Batches that are indexed before the program stops: what was said last. An index that is made anew takes minutes in a
large store, and goes on at the next start."""

MAX_WORDS: Final = 32
"""Words of a query that count, a character being one in scripts without spaces; each further one makes a search slower
and narrower by next to nothing."""

_NO_BOUND: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that matches. `message_id` is what `search` takes as `before` for the next page.

    `snippet` is the part of the text around the match, cut with "…"; `title` is its session's.
    """

    message_id: int
    session_id: str
    session_key: str
    title: str | None
    role: str
    snippet: str
    time: datetime


class SearchIndexer:
    """Keeps the search index up with the transcripts, in batches, behind a cursor that is as durable as they are.

    Appending to a transcript does not touch the index, so a turn never pays for it; a cut or a rewrite removes in
    its own transaction what had been indexed.
    """

    def __init__(self, database: Database, *, batch: int = INDEX_BATCH) -> None:
        self._database = database
        self._batch = batch

    async def catch_up(self, most: int | None = None) -> int:
        """Index what was said since the last time; how many batches that took, at most so many. Raises `StorageError`,
        `StorageBusyError`.

        Other writes get their turn between two batches. Only one task may call it at a time. Does nothing while the
        database is out of use.
        """
        batches = 0
        try:
            while (
                batches != most
                and self._database.state.mode == "sqlite"
                and await self._database.write(on_file(self._index_next))
            ):
                batches += 1
                await asyncio.sleep(0)
        except StorageError:
            if self._database.state.mode == "sqlite":  # else it has just gone out of use, which is told already
                raise
        return batches

    async def run(self, counters: Counter[str]) -> None:
        """Keep up with what is said, until cancelled."""
        while True:
            try:
                await self.catch_up()
            except (StorageError, StorageBusyError):
                log.exception("the search index could not catch up; it is tried again")
                counters["search.errors"] += 1
            await asyncio.sleep(SEARCH_INDEX_SECONDS)

    async def behind(self) -> int:
        """How many messages a search does not see yet."""
        (row,) = await self._database.read(queries.COUNT_UNINDEXED)
        return int(row[0])

    def _index_next(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute(queries.SEARCH_CURSOR).fetchone()
        cursor = row[0] if row is not None else 0
        (bound,) = connection.execute(queries.NEXT_INDEX_BOUND, (cursor, self._batch)).fetchone()
        if bound is None:
            return False
        connection.execute(queries.INDEX_MESSAGES, (cursor, bound))
        connection.execute(queries.MOVE_SEARCH_CURSOR, (str(bound),))
        return True


async def search(
    database: Database, text: str, limit: int = 20, before: int | None = None, *, mark: tuple[str, str] = ("", "")
) -> list[SearchHit]:
    """Messages that hold every word of the text, the newest first; the last word may be the beginning of one.

    Case and accents do not matter. In scripts without spaces any part of a text is found, and marks above, below and
    beside a letter do not matter. No character of the text has a meaning of its own, so any text is safe; a text
    without a letter or digit finds nothing. `before` (a hit's `message_id`) goes on where a page ended. `mark` is put
    around the words that match in a snippet.

    Messages are found once `SearchIndexer.catch_up` has run after they were stored: until then they are missing
    here, and `SearchIndexer.behind` counts them. While the database is out of use, what was said before is found as far
    as its file can be read. Raises ValueError for a limit below 1, and `StorageError`, also where it cannot be read.
    """
    if limit < 1:
        raise ValueError(f"the limit of a search must be at least 1, not {limit}")
    query = match_expression(text)
    if query is None:
        return []
    bound = _NO_BOUND if before is None else before
    rows = await database.read_file(queries.SEARCH_NEWEST, (*mark, query, bound, limit))
    return [
        SearchHit(
            message_id=row["id"],
            session_id=row["session_id"],
            session_key=row["session_key"],
            title=row["title"],
            role=row["role"],
            snippet=row["snippet"],
            time=from_micros(row["created_at"]),
        )
        for row in rows
    ]


def match_expression(text: str) -> str | None:
    """The words of a text as an FTS5 expression, each quoted, the last one as a prefix; None if there is none.

    FTS5 itself splits what stands in quotes as it has split what it indexed, so "e-mail" is the phrase "e mail", and
    so is 京都 the phrase of its characters. A last word that is a character is no prefix: it begins nothing longer.
    """
    words = [word for word in clean_text(text).split() if any(map(str.isalnum, word))][:MAX_WORDS]
    if not words:
        return None
    if not text.isascii():
        words = list(_shortened(words))
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    return quoted if ends_whole(words[-1]) else quoted + " *"


def _shortened(words: Iterable[str]) -> Iterator[str]:
    """The words as the index has them, and of those without spaces only as many characters as count."""
    left = MAX_WORDS
    for word in words:
        parts = apart(word).strip(SEPARATOR).split(SEPARATOR)
        yield SEPARATOR.join(parts[:left])
        left -= len(parts)
        if left <= 0:
            return
