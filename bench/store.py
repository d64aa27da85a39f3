"""What a turn costs in the store, as a share of what raw SQLite does in the same minute on the same database."""

import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final, TypeAlias

from bench.rivals import commit_a_statement, raw_apart, raw_merged
from bench.workload import CONFIG, HOT_SESSIONS, MESSAGES, USAGE, Fixture, make_fixture
from gateway.session import SessionStore
from gateway.storage.database import Database

RAW: Final = "raw SQLite: a turn's statements, merged"
RAW_ANY: Final = "raw SQLite: merged, each turn another session"
RAW_APART: Final = "raw SQLite: a turn's statements, one a step"
RAW_THREE: Final = "raw SQLite: the statements of the three calls"
PLAIN: Final = "aiosqlite, a commit a statement"
TICK_SECONDS: Final = 0.005
"""How often the event loop is asked whether it still answers."""

Call: TypeAlias = Callable[[SessionStore, int], Awaitable[Any]]
"""One unit of work on the store, for the session with this number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Turns are those of one round; a round measures everything once, one after the other."""

    sessions: Sequence[int] = (100, 10_000, 100_000)
    in_flight: Sequence[int] = (1, 32, 256)
    rounds: int = 5
    turns: int = 5_000
    turns_alone: int = 1_000
    warm_up: int = 8_000
    """Turns before anything is measured: the log gets its full size and is written over from its beginning, as in a
    daemon that has run for a while."""
    rivals: bool = True

    def turns_at(self, in_flight: int) -> int:
        """One after the other, a turn takes a sync of its own: fewer of them tell as much."""
        return self.turns if in_flight > 1 else self.turns_alone


QUICK: Final = Plan(sessions=(100,), in_flight=(1, 32), rounds=3, turns=600, turns_alone=100, warm_up=100)


@dataclass(slots=True)
class Figure:
    """What was measured of one thing, round by round."""

    name: str
    sessions: int
    in_flight: int
    a_second: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    """Of what raw SQLite did in the same round with the same statements."""
    share_apart: list[float] = field(default_factory=list)
    """Of what it did with a statement for each step of a turn."""
    stall: list[float] = field(default_factory=list)
    """Seconds: the longest time that the event loop did not answer."""

    def note(self, a_second: float, limit: float, limit_apart: float, stall: float | None = None) -> None:
        """Add a round, with what raw SQLite reached in it."""
        self.a_second.append(a_second)
        self.share.append(a_second / limit)
        self.share_apart.append(a_second / limit_apart)
        if stall is not None:
            self.stall.append(stall)

    def summary(self) -> dict[str, Any]:
        """The medians over the rounds."""
        return {
            "name": self.name,
            "sessions": self.sessions,
            "in_flight": self.in_flight,
            "per_second": round(median(self.a_second)),
            "share_of_raw": round(median(self.share), 3),
            "share_of_raw_apart": round(median(self.share_apart), 3),
            "longest_stall_ms": round(max(self.stall) * 1000, 1) if self.stall else None,
        }


def run(plan: Plan, progress: Callable[[str], None], folder: Path | None = None) -> list[dict[str, Any]]:
    """Measure; the figures as plain data. The databases are made in a folder of their own, and removed."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="hermes-bench-") as made:
        for sessions in plan.sessions:
            progress(f"making a database of {sessions:,} sessions")
            fixture = make_fixture(Path(made) / f"{sessions}.db", sessions)
            figures += _measure(plan, fixture, progress)
    return [figure.summary() for figure in figures]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work: what is called, how many sessions take turns, and whose statements are its limit."""

    name: str
    call: Call
    hot: int | None = HOT_SESSIONS
    limit: str = RAW


def contenders(fixture: Fixture) -> list[Contender]:
    """What is measured of the store."""
    sources, session_ids = fixture.sources, fixture.session_ids

    async def record(store: SessionStore, number: int) -> None:
        await store.record_turn(sources[number], MESSAGES, USAGE)

    async def resolve(store: SessionStore, number: int) -> None:
        await store.get_or_create_session(sources[number])

    async def append(store: SessionStore, number: int) -> None:
        await store.append_turn(session_ids[number], MESSAGES)

    async def update(store: SessionStore, number: int) -> None:
        await store.update_session(
            session_ids[number],
            input_tokens=USAGE.input_tokens,
            output_tokens=USAGE.output_tokens,
            cache_read_tokens=USAGE.cache_read_tokens,
            last_prompt_tokens=USAGE.last_prompt_tokens,
            model=USAGE.model,
            estimated_cost_usd=USAGE.cost_usd,
            cost_status=USAGE.cost_status,
        )

    async def three(store: SessionStore, number: int) -> None:
        await resolve(store, number)
        await append(store, number)
        await update(store, number)

    return [
        Contender("record_turn", record),
        Contender("record_turn, each turn another session", record, hot=None, limit=RAW_ANY),
        Contender("the three public calls", three, limit=RAW_THREE),
        Contender("get_or_create_session", resolve),
        Contender("append_turn", append),
        Contender("update_session", update),
    ]


def _measure(plan: Plan, fixture: Fixture, progress: Callable[[str], None]) -> list[Figure]:
    sessions = len(fixture.sources)
    raw = {name: Figure(name, sessions, 0) for name in (RAW, RAW_ANY, RAW_APART, RAW_THREE)}
    figures: dict[tuple[str, int], Figure] = {}
    for number in range(plan.rounds):
        progress(f"{sessions:,} sessions: round {number + 1} of {plan.rounds}")
        hot, anyone = fixture.picks(plan.turns, number), fixture.picks(plan.turns, number, None)
        limits = {
            RAW: plan.turns / raw_merged(fixture, hot),
            RAW_ANY: plan.turns / raw_merged(fixture, anyone),
            RAW_APART: plan.turns / raw_apart(fixture, hot),
            RAW_THREE: plan.turns / raw_apart(fixture, hot, updates=2),
        }
        for name, limit in limits.items():
            raw[name].note(limit, limit, limits[RAW_APART])
        for contender, in_flight, a_second, stall in asyncio.run(_round(plan, fixture, number)):
            figure = figures.setdefault((contender.name, in_flight), Figure(contender.name, sessions, in_flight))
            figure.note(a_second, limits[contender.limit], limits[RAW_APART], stall)
        for in_flight in plan.in_flight if plan.rivals else ():
            turns = plan.turns_alone
            seconds = commit_a_statement(fixture, fixture.picks(turns, number), in_flight)
            figure = figures.setdefault((PLAIN, in_flight), Figure(PLAIN, sessions, in_flight))
            figure.note(turns / seconds, limits[RAW], limits[RAW_APART])
    return [*raw.values(), *figures.values()]


async def _round(plan: Plan, fixture: Fixture, number: int) -> list[tuple[Contender, int, float, float]]:
    """Measure every contender once: turns a second, and the longest stall of the event loop."""
    measured: list[tuple[Contender, int, float, float]] = []
    async with Database.open(fixture.path) as database:
        store = SessionStore(database, CONFIG)
        await _drive(store, contenders(fixture)[0].call, fixture.picks(plan.warm_up, number), 256)
        for contender in contenders(fixture):
            for in_flight in plan.in_flight:
                picks = fixture.picks(plan.turns_at(in_flight), number, contender.hot)
                seconds, stall = await _drive(store, contender.call, picks, in_flight)
                measured.append((contender, in_flight, len(picks) / seconds, stall))
    return measured


async def _drive(store: SessionStore, call: Call, picks: Sequence[int], in_flight: int) -> tuple[float, float]:
    """Do the work with so many callers at once; seconds, and the longest stall."""
    gc.collect()
    todo = iter(picks)
    watch = _Watch()
    watching = asyncio.create_task(watch.run())
    started = perf_counter()
    await asyncio.gather(*(_work(store, call, todo) for _ in range(in_flight)))
    seconds = perf_counter() - started
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return seconds, watch.longest


async def _work(store: SessionStore, call: Call, todo: Iterable[int]) -> None:
    for pick in todo:
        await call(store, pick)


class _Watch:
    """Notices when the event loop is late."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            due = perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.longest = max(self.longest, perf_counter() - due)
