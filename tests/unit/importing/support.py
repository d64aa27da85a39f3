"""What tests of the import share: one import over one home, and what a database holds."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from config import GatewayConfig
from gateway.importing.home import HermesHome, HermesReader
from gateway.importing.importer import Importer, Report
from gateway.importing.intake import Intake
from gateway.importing.records import Known, Piece, Verdict
from gateway.session.store import DATABASE_NAME, SessionStore
from gateway.storage.database import Database
from gateway.storage.words import define_words
from tests.support.stores import HandClock

CONFIG = GatewayConfig()


@dataclass
class Gateway:
    """An open store, and imports into it."""

    database: Database
    store: SessionStore
    intake: Intake
    clock: HandClock

    async def take(self, path: Path) -> Report:
        """Import a home."""
        with HermesReader.open(HermesHome.at(path), UTC) as reader:
            return await Importer(reader, self.intake).run()

    async def said(self, session_id: str) -> list[Any]:
        """What was said in a session."""
        return [message["content"] for message in await self.store.load_transcript(session_id)]

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        return [tuple(row) for row in await self.database.read(sql, values)]


@asynccontextmanager
async def gateway(
    folder: Path, config: GatewayConfig = CONFIG, clock: HandClock | None = None
) -> AsyncIterator[Gateway]:
    """A gateway's store in a folder."""
    clock = clock or HandClock()
    async with Database.open(folder / DATABASE_NAME, clock=clock) as database:
        yield Gateway(database, SessionStore(database, config, clock=clock), Intake(database, config, clock), clock)


def dump(path: Path) -> list[str]:
    """Everything that a database holds, the search index included."""
    with closing(sqlite3.connect(path)) as connection:
        define_words(connection)
        return list(connection.iterdump())


class Recorder:
    """A store that notes what it is given, and stops after so many parts if it is told to."""

    def __init__(self, intake: Intake, parts: int | None = None) -> None:
        self._intake = intake
        self._left = parts
        self.parts: list[Sequence[Piece]] = []

    async def known(self, ids: Sequence[str]) -> dict[str, Known]:
        return await self._intake.known(ids)

    async def take_in(self, pieces: Sequence[Piece]) -> list[Verdict]:
        if self._left is not None and len(self.parts) == self._left:
            raise ConnectionAbortedError
        self.parts.append(pieces)
        return await self._intake.take_in(pieces)

    async def finish(self) -> None:
        await self._intake.finish()
