"""What tests of the memory share: a book of commits over a real database, and what takes as it is told to."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config import LiveConfig
from gateway.ids import Ids
from gateway.remembering.commits import MemoryCommits
from gateway.remembering.ledger import Segment
from gateway.session.store import SessionStore
from gateway.source import SessionSource
from gateway.storage.database import Database
from gateway.storage.probe import Probe, no_probe
from tests.support.fakes import ManualClock, configure


@dataclass
class Taker:
    """Takes segments. `faults` are what its next calls come to: an error, an event that is waited for, or None."""

    faults: deque[BaseException | asyncio.Event | None] = field(default_factory=deque)
    taken: list[Segment] = field(default_factory=list)
    calls: list[Segment] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, segment: Segment) -> None:
        self.calls.append(segment)
        self.reached.set()
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        elif fault is not None:
            raise fault
        self.taken.append(segment)

    def calls_of(self, owner: str) -> int:
        return sum(call.owner == owner for call in self.calls)


@dataclass
class Book:
    """A book of commits, and what a test asks of it."""

    commits: MemoryCommits
    taker: Taker
    database: Database
    store: SessionStore
    clock: ManualClock
    counters: Counter[str]

    async def session(self, number: int = 1) -> str:
        source = SessionSource("telegram", chat_id=str(number), user_id=str(number))  # type: ignore[arg-type]
        return (await self.store.get_or_create_session(source)).session_id

    async def state(self, session_id: str) -> Mapping[str, Any] | None:
        """A session's state in the form of the vectors."""
        found = await self.commits.snapshot(session_id)
        if found is None:
            return None
        return {
            "gen": found.generation,
            "committed": found.committed,
            "in_flight": self.commits.is_in_flight(session_id),
            "segments": [[each.first, each.last, each.owner] for each in found.segments],
            "agent": found.agent,
        }


@asynccontextmanager
async def book(folder: Path, probe: Probe = no_probe, **memory: Any) -> AsyncIterator[Book]:
    """A book over the database in this folder: open it again there, and it is the next life of the same one."""
    config = LiveConfig(configure(memory={"provider": "notes", **memory}))
    clock, counters, taker = ManualClock(), Counter[str](), Taker()
    async with Database.open(folder / "gateway.db", synchronous="normal") as database:
        store = SessionStore(database, config, clock=clock, ids=Ids())
        commits = MemoryCommits(database, taker, config, clock, counters, probe=probe)
        yield Book(commits, taker, database, store, clock, counters)
