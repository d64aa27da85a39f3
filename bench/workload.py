"""The work that is measured, and databases that it is measured on."""

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from config import GatewayConfig, Platform
from gateway.ids import Ids
from gateway.ports import Usage
from gateway.session import records
from gateway.session.key import SlotIdentity, slot_identity
from gateway.source import SessionSource
from gateway.storage import queries
from gateway.storage.codec import dump, to_micros
from gateway.storage.database import Database
from gateway.storage.writer import connect

CONFIG: Final = GatewayConfig()
MESSAGES: Final[Sequence[dict[str, Any]]] = (
    {"role": "user", "content": "How long does the train from Berlin to Prague take, and is there one at night?"},
    {"role": "assistant", "content": "About four hours and a quarter. " * 8},
)
USAGE: Final = Usage(812, 164, 640, 0, last_prompt_tokens=1452, model="gpt-5-mini", cost_usd=0.0004, cost_status="ok")
MESSAGES_A_SESSION: Final = 4
HOT_SESSIONS: Final = 500
"""Conversations that go on at a time, of however many there are."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A database with this many sessions; one source leads to each."""

    path: Path
    sources: Sequence[SessionSource]
    session_ids: Sequence[str]

    def picks(self, number: int, seed: int, hot: int | None = HOT_SESSIONS) -> list[int]:
        """Which session each turn belongs to: one of the `hot` ones, which lie anywhere among all; None: any."""
        chance = random.Random(seed)
        everyone = range(len(self.sources))
        chosen = everyone if hot is None else chance.sample(everyone, min(hot, len(everyone)))
        return chance.choices(chosen, k=number)


def make_fixture(path: Path, sessions: int) -> Fixture:
    """Create the database: each session live in a slot of its own, touched in the last hour, with four messages.

    Messages of different sessions follow each other at random, as they do in life: indexes are as full as that
    leaves them.
    """
    asyncio.run(_create(path))
    sources = [source_of(number) for number in range(sessions)]
    ids, now = Ids(), datetime.now(UTC)
    session_ids = [ids.session(now) for _ in sources]
    connection = connect(path)
    connection.execute("BEGIN")
    for number, (source, session_id) in enumerate(zip(sources, session_ids, strict=True)):
        touched = now - timedelta(seconds=3600 * number / sessions)
        _add_session(connection, source, session_id, touched)
    said = list(session_ids) * (MESSAGES_A_SESSION // len(MESSAGES))
    random.Random(sessions).shuffle(said)
    for session_id in said:
        records.append(connection, session_id, MESSAGES, USAGE, now - timedelta(hours=1))
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.close()
    return Fixture(path, sources, session_ids)


def index_everything(path: Path) -> None:
    """Bring the search index up to date, as it is in a daemon that has run for a while."""
    connection = connect(path)
    connection.execute("BEGIN")
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()
    connection.execute(queries.INDEX_MESSAGES, (0, last))
    connection.execute(queries.MOVE_SEARCH_CURSOR, (str(last),))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _add_session(connection: sqlite3.Connection, source: SessionSource, session_id: str, touched: datetime) -> None:
    identity, at = slot_identity(source), to_micros(touched)
    slot_id = connection.execute(queries.ADD_SLOT, (*parts_of(identity), identity.key)).lastrowid
    owner = records.owner_of(identity, source)
    place = (owner, "telegram", source.chat_type, source.chat_name, dump(source.to_dict()))
    connection.execute(queries.ADD_SESSION, (session_id, slot_id, *place, at, at, None, 0, None, 0))
    connection.execute(queries.BIND_SLOT, (session_id, slot_id))


def parts_of(identity: SlotIdentity) -> tuple[str, ...]:
    """The parts of a slot in the order of its columns."""
    return (
        identity.agent,
        identity.platform,
        identity.chat_type,
        identity.chat,
        identity.thread,
        identity.participant,
    )


async def _create(path: Path) -> None:
    async with Database.open(path):
        pass


def source_of(number: int) -> SessionSource:
    """The private chat with this number."""
    chat = str(100_000_000 + number * 7919)
    return SessionSource(Platform.TELEGRAM, chat, chat_name=f"Person {number}", user_id=chat, user_name=f"P {number}")
