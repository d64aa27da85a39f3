"""What people do with their conversations, on a large store: list, search, open, resume; each against one limit."""

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from bench.stall import percentile
from bench.workload import CONFIG, index_everything, parts_of
from config import Platform
from gateway.clock import SystemClock
from gateway.ids import Ids
from gateway.search import match_expression
from gateway.session import SessionStore, records
from gateway.session.key import slot_identity
from gateway.session.operations import SessionOperations
from gateway.session.scope import Scope, search_own
from gateway.source import SessionSource
from gateway.storage import queries
from gateway.storage.codec import dump, to_micros
from gateway.storage.database import Database
from gateway.storage.writer import connect

LIMIT_MS: Final = 50.0
"""What somebody who waits for a list does not notice yet."""

PAGE: Final = 9
"""A page of eight, and one more to see whether there is another."""

WORDS_A_MESSAGE: Final = 24
VOCABULARY: Final = 20_000
COMMON: Final = "harbour"
"""A word that every second message has."""

RARE: Final = "xylographer"
"""A word that one message in fifty thousand has."""

BUSY: Final = "a person with half of all"
QUIET: Final = "a person with a few"


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the store is, and how often each operation is done. Half of the sessions are one person's; the others
    have so many each."""

    sessions: int = 100_000
    messages: int = 1_000_000
    a_person: int = 50
    turns: int = 300


QUICK: Final = Plan(sessions=1_000, messages=10_000, a_person=20, turns=30)

Act = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, their sessions, and a chat of theirs in which nothing was said yet."""

    name: str
    source: SessionSource
    sessions: Sequence[str]

    @property
    def scope(self) -> Scope:
        """What they see."""
        return Scope.of(slot_identity(self.source), self.source)


def run(plan: Plan, progress: Callable[[str], None], folder: Path | None = None) -> list[dict[str, Any]]:
    """Measure; the figures as plain data. The database is made in a folder of its own, and removed."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="hermes-bench-") as made:
        path = Path(made) / "gateway.db"
        progress(f"making a database of {plan.sessions:,} sessions and {plan.messages:,} messages")
        people = _make(path, plan)
        progress("indexing what was said")
        index_everything(path)
        return asyncio.run(_measure(path, people, plan, progress))


# --- the database ----------------------------------------------------------------------------------------


def _make(path: Path, plan: Plan) -> Sequence[Person]:
    """Sessions of one busy person and many quiet ones, with what was said in all of them at random moments."""
    asyncio.run(_create(path))
    connection = connect(path)
    chance, ids, now = random.Random(plan.sessions), Ids(), datetime.now(UTC)
    connection.execute("BEGIN")
    busy: list[str] = []
    quiet: dict[int, list[str]] = {}
    for number in range(plan.sessions):
        own = busy if number % 2 == 0 else quiet.setdefault(number // (2 * plan.a_person), [])
        person = 0 if number % 2 == 0 else 1 + number // (2 * plan.a_person)
        own.append(_add_session(connection, person, number, ids, now - timedelta(seconds=number), plan))
    everyone = [*busy, *(one for own in quiet.values() for one in own)]
    chance.shuffle(everyone)
    connection.executemany(queries.ADD_MESSAGE, _messages(everyone, plan, chance, to_micros(now)))
    connection.execute("COMMIT")
    connection.close()
    middle = len(quiet) // 2
    return [Person(BUSY, _source(0, "new"), busy), Person(QUIET, _source(1 + middle, "new"), quiet[middle])]


async def _create(path: Path) -> None:
    async with Database.open(path):
        pass


def _add_session(
    connection: sqlite3.Connection, person: int, number: int, ids: Ids, touched: datetime, plan: Plan
) -> str:
    """A session that has ended, in a chat of its own."""
    source, session_id, at = _source(person, f"chat{number}"), ids.session(touched), to_micros(touched)
    identity = slot_identity(source)
    slot_id = connection.execute(queries.ADD_SLOT, (*parts_of(identity), identity.key)).lastrowid
    place = (records.owner_of(identity, source), "telegram", "dm", None, dump(source.to_dict()))
    connection.execute(queries.ADD_SESSION, (session_id, slot_id, *place, at, at, None, 0, None, 0))
    connection.execute(queries.END_SESSION, (at, "session_reset", "command", session_id))
    values = (f"Conversation {number} about {_word(number)}", plan.messages // plan.sessions, session_id)
    connection.execute("UPDATE sessions SET title = ?, message_count = ? WHERE id = ?", values)
    return session_id


def _messages(sessions: Sequence[str], plan: Plan, chance: random.Random, at: int) -> Iterator[tuple[object, ...]]:
    half = WORDS_A_MESSAGE // 2
    pool = [" ".join(map(_word, chance.choices(range(VOCABULARY), k=half))) for _ in range(VOCABULARY)]
    for number in range(plan.messages):
        text = f"{chance.choice(pool)} {chance.choice(pool)}"
        if number % 2:
            text = f"{text} {COMMON}"
        if number % 50_000 == 0:
            text = f"{text} {RARE}"
        role = "assistant" if number % 2 else "user"
        yield sessions[number % len(sessions)], None, None, role, text, None, at


def _word(number: int) -> str:
    return f"w{number % VOCABULARY:05}"


def _source(person: int, chat: str) -> SessionSource:
    return SessionSource(Platform.TELEGRAM, f"{person}-{chat}", user_id=f"{person}")


# --- measuring -------------------------------------------------------------------------------------------


async def _measure(
    path: Path, people: Sequence[Person], plan: Plan, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = []
    async with Database.open(path) as database:
        for person in people:
            for what, act in (await _acts(database, person)).items():
                progress(f"{what}, {person.name}")
                figures.append(await _figure(what, person.name, act, plan.turns))
    return figures


async def _acts(database: Database, person: Person) -> dict[str, Act]:
    store = SessionStore(database, CONFIG)
    operations = SessionOperations(database, SystemClock(), Ids())
    scope, identity, own = person.scope, slot_identity(person.source), person.sessions
    chance = random.Random(1)
    titles = [view.title for view in await operations.list(scope, limit=500)]

    async def list_first(_turn: int) -> object:
        return await operations.list(scope, archived=False, limit=PAGE)

    async def list_far(turn: int) -> object:
        return await operations.list(scope, archived=False, limit=PAGE, offset=min(8 * (turn % 100), len(own)))

    async def find_by_id(_turn: int) -> object:
        return await operations.find(scope, chance.choice(own))

    async def find_by_name(turn: int) -> object:
        return await operations.find(scope, titles[turn % len(titles)])

    async def open_one(_turn: int) -> object:
        return await store.load_transcript(chance.choice(own))

    async def resume(_turn: int) -> object:
        return await operations.resume(identity, scope, chance.choice(own))

    def search(word: str) -> Act:
        expression = match_expression(word) or ""

        async def act(_turn: int) -> object:
            return await search_own(database, scope, expression, limit=PAGE)

        return act

    async def search_two(_turn: int) -> object:
        words = f"{_word(chance.randrange(VOCABULARY))} {COMMON}"
        return await search_own(database, scope, match_expression(words) or "", limit=PAGE)

    return {
        "list the first page": list_first,
        "list one of a hundred pages": list_far,
        "find by id": find_by_id,
        "find by name": find_by_name,
        "open: read all that was said": open_one,
        "resume": resume,
        "search a rare word": search(RARE),
        "search a common word": search(COMMON),
        "search two words": search_two,
    }


async def _figure(what: str, who: str, act: Act, turns: int) -> dict[str, Any]:
    await act(0)
    seconds = []
    for turn in range(turns):
        started = perf_counter()
        await act(turn)
        seconds.append(perf_counter() - started)
    p50, p99 = (round(percentile(seconds, share) * 1000, 2) for share in (50, 99))
    return {"what": what, "who": who, "p50_ms": p50, "p99_ms": p99, "limit_ms": LIMIT_MS, "kept": p99 <= LIMIT_MS}
