"""What the store is measured against: the limit, raw SQLite in one transaction, and a plain way to do it."""

import asyncio
import gc
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeAlias

import aiosqlite

from bench.workload import MESSAGES, USAGE, Fixture, parts_of
from gateway.session.key import slot_identity
from gateway.storage import queries
from gateway.storage.codec import dump, encode_message, to_micros
from gateway.storage.writer import connect

Values: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statements:
    """The values of some turns, ready to be bound, in the order of the turns."""

    slots: list[Values]
    touches: list[Values]
    turns: list[Values]
    messages: list[Values]


def statements(fixture: Fixture, picks: Sequence[int]) -> Statements:
    """What the store would bind for these turns."""
    now = to_micros(datetime.now(UTC))
    usage = (USAGE.input_tokens, USAGE.output_tokens, USAGE.cache_read_tokens, USAGE.cache_write_tokens)
    more = (USAGE.last_prompt_tokens, USAGE.model, USAGE.cost_usd, USAGE.cost_usd, USAGE.cost_status)
    encoded = [encode_message(message) for message in MESSAGES]
    made = Statements([], [], [], [])
    for pick in picks:
        source, session_id = fixture.sources[pick], fixture.session_ids[pick]
        origin = dump(source.to_dict())
        made.slots.append(parts_of(slot_identity(source)))
        made.touches.append((now, source.chat_name, origin, session_id))
        made.turns.append((now, source.chat_name, origin, None, len(MESSAGES), *usage, *more, session_id))
        made.messages.extend((session_id, None, None, *message, now) for message in encoded)
    return made


def raw_merged(fixture: Fixture, picks: Sequence[int]) -> float:
    """Seconds for the turns as one transaction of the statements that `record_turn` issues, bound beforehand."""
    bound = statements(fixture, picks)

    def work(connection: sqlite3.Connection) -> None:
        for values in bound.slots:
            connection.execute(queries.LIVE_SESSION_BRIEF, values).fetchone()
        connection.executemany(queries.COUNT_TURN, bound.turns)
        connection.executemany(queries.ADD_MESSAGE, bound.messages)

    return _in_one_transaction(fixture, work)


def raw_apart(fixture: Fixture, picks: Sequence[int], updates: int = 1) -> float:
    """The same with a statement for each step of a turn: read the session, touch it, two messages, counters.

    With two updates they are the statements of the three public calls.
    """
    bound = statements(fixture, picks)

    def work(connection: sqlite3.Connection) -> None:
        for values in bound.slots:
            connection.execute(queries.LIVE_SESSION, values).fetchone()
        connection.executemany(queries.TOUCH_SESSION, bound.touches)
        connection.executemany(queries.ADD_MESSAGE, bound.messages)
        for _ in range(updates):
            connection.executemany(queries.COUNT_TURN, bound.turns)

    return _in_one_transaction(fixture, work)


def _in_one_transaction(fixture: Fixture, work: Callable[[sqlite3.Connection], None]) -> float:
    connection = connect(fixture.path)
    gc.collect()
    try:
        started = perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        work(connection)
        connection.execute("COMMIT")
        return perf_counter() - started
    finally:
        connection.close()


def commit_a_statement(fixture: Fixture, picks: Sequence[int], in_flight: int) -> float:
    """Seconds for the turns with aiosqlite, each statement committed as it comes, as many a program does it."""
    return asyncio.run(_commit_a_statement(fixture, picks, in_flight))


async def _commit_a_statement(fixture: Fixture, picks: Sequence[int], in_flight: int) -> float:
    bound = statements(fixture, picks)
    async with aiosqlite.connect(fixture.path, isolation_level=None) as connection:
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -16384"):
            await connection.execute(f"PRAGMA {pragma}")
        todo = iter(range(len(picks)))

        async def worker() -> None:
            for number in todo:
                await connection.execute_fetchall(queries.LIVE_SESSION_BRIEF, bound.slots[number])
                await connection.execute(queries.COUNT_TURN, bound.turns[number])
                for values in bound.messages[2 * number : 2 * number + 2]:
                    await connection.execute(queries.ADD_MESSAGE, values)

        started = perf_counter()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return perf_counter() - started
