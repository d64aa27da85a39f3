"""What was said in turns that are to be remembered: of the transcript, and of what a summary stands for in it."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gateway.ports import Message
from gateway.remembering.ledger import Segment
from gateway.storage import memory_queries
from gateway.storage.codec import decode_message
from gateway.storage.database import Database

_ID, _ROLE, _CONTENT, _DATA = 0, 3, 4, 5
"""Where the columns stand in a row that was kept when it was taken off a transcript."""

_COLUMNS: Final = 7


async def said_in(database: Database, segment: Segment) -> Sequence[Message]:
    """The messages of a segment, in their order. What was taken back is not in it."""
    rows = await database.read(memory_queries.MESSAGES, (segment.session_id, segment.row_id))
    summarised = await database.read(memory_queries.SUMMARISED, (segment.session_id,))
    waiting = await database.read(memory_queries.WAITING, (segment.session_id,))
    spans = [(row["first_message"], row["last_message"]) for row in waiting if row["id"] <= segment.row_id]
    return await asyncio.to_thread(_joined, rows, summarised, spans)


def _joined(
    rows: Sequence[sqlite3.Row], summarised: Sequence[sqlite3.Row], spans: Sequence[tuple[int, int]]
) -> Sequence[Message]:
    found: dict[int, tuple[str, str | None, str | None]] = {
        row["id"]: (row["role"], row["content"], row["data"]) for row in rows
    }
    for cut in summarised:
        for row in _kept(cut):
            if any(first <= row[_ID] <= last for first, last in spans):
                found[row[_ID]] = (row[_ROLE], row[_CONTENT], row[_DATA])
    return [decode_message(*found[number]) for number in sorted(found)]


def _kept(cut: sqlite3.Row) -> list[list[Any]]:
    """The rows of a cut; none of one that was damaged."""
    try:
        return [row for row in json.loads(cut["messages"]) if len(row) == _COLUMNS]
    except (ValueError, TypeError):
        return []
