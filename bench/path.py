"""What a message costs on its whole way: accepted, answered by a stub agent, shown by a platform in memory.

Everything between the two is the real thing, as the daemon builds it, over a database on disk.
"""

import asyncio
import gc
import itertools
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

from bench.stall import Control, Watch, percentile
from bench.workload import HOT_SESSIONS, index_everything, make_fixture, source_of
from config import GatewayConfig, Home, PlatformConfig
from gateway.daemon import Daemon
from gateway.memory import settle
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    AgentCapabilities,
    AgentEvent,
    AgentTurn,
    Capabilities,
    Delivery,
    Done,
    Found,
    InboundMessage,
    SearchOutcome,
    Text,
    Usage,
)
from gateway.source import SessionSource

CONFIG: Final = GatewayConfig.model_validate(
    {
        "http": {"enabled": False},
        "platforms": {"telegram": {"enabled": True, "token": "-", "allowed_users": ["*"]}},
        "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
    }
)
QUESTION: Final = "How long does the train from Berlin to Prague take, and is there one at night?"
ANSWER: Final = ("About four hours and a quarter. ", "There is none at night at present, as far as I know. ")
USAGE: Final = Usage(812, 164, 640, 0, last_prompt_tokens=1452, model="gpt-5-mini", cost_usd=0.0004, cost_status="ok")
PATIENCE_SECONDS: Final = 0.1
"""How long a message may take, on the average, before the run counts as failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; messages are those of one round. A round visits every number in flight once."""

    sessions: Sequence[int] = (0, 1_000, 10_000, 100_000)
    in_flight: Sequence[int] = (1, 8, 64)
    rounds: int = 3
    messages: int = 4_000
    messages_alone: int = 500
    warm_up: int = 500

    def messages_at(self, in_flight: int) -> int:
        """One after the other, a message pays for every sync alone: fewer of them tell as much."""
        return self.messages if in_flight > 1 else self.messages_alone


QUICK: Final = Plan(sessions=(0, 1_000), in_flight=(1, 64), rounds=1, messages=500, messages_alone=50, warm_up=100)


# --- the ends of the way -------------------------------------------------------------------------------


@dataclass(slots=True)
class Times:
    """When a message was where, by `perf_counter`."""

    accepted: float = 0.0
    """`accept` was called."""
    started: float = 0.0
    """The agent was asked."""
    said: float = 0.0
    """The agent gave its first text."""
    seen: float = 0.0
    """The platform got the first text."""


@dataclass(slots=True)
class Journey:
    """A message under way, and what is told once its last content was shown."""

    times: Times = field(default_factory=Times)
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class StubAgent:
    """Answers at once, in two pieces."""

    def __init__(self, journeys: dict[str, Journey]) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self._journeys = journeys

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        times = self._journeys[_id_in(turn.inputs[0]["content"])].times
        times.started = times.said = perf_counter()
        for piece in ANSWER:
            yield Text(piece)
        yield USAGE
        yield Done()


class MemoryAdapter(Adapter):
    """A platform without a network: every call returns at once. It can do what the large ones can."""

    def __init__(self, host: AdapterHost, journeys: dict[str, Journey]) -> None:
        self.capabilities = Capabilities(edit=True, delete=True, typing=True, max_length=4096)
        self._host = host
        self._journeys = journeys
        self._ids = itertools.count(1)
        self._first_seen: dict[str, float] = {}
        """When the first text of a turn came, until its last does."""
        self.calls = 0

    async def run(self) -> None:
        self._host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def say(self, source: SessionSource, number: int) -> Times:
        """Hand a message to the gateway, and wait for its answer."""
        message_id = f"m{number}"
        journey = self._journeys[message_id] = Journey()
        journey.times.accepted = perf_counter()
        await self._host.accept(InboundMessage(source, message_id, f"{message_id} {QUESTION}"))
        await journey.done
        del self._journeys[message_id]
        return journey.times

    async def send(self, delivery: Delivery) -> str:
        self._show(delivery)
        return f"p{next(self._ids)}"

    async def edit(self, delivery: Delivery) -> None:
        self._show(delivery)

    async def find(self, _delivery: Delivery) -> Found | SearchOutcome:
        return SearchOutcome.UNKNOWN

    def _show(self, delivery: Delivery) -> None:
        self.calls += 1
        turn_id = delivery.turn_id or ""
        first = self._first_seen.setdefault(turn_id, perf_counter())
        if not delivery.final:
            return
        del self._first_seen[turn_id]
        for message_id in delivery.answers:
            journey = self._journeys[message_id]
            journey.times.seen = first
            journey.done.set_result(None)


def _id_in(text: str) -> str:
    return text.partition(" ")[0]


@asynccontextmanager
async def gateway(home: Home) -> AsyncIterator[MemoryAdapter]:
    """The daemon over this home, ready, between the two ends."""
    journeys: dict[str, Journey] = {}
    built: list[MemoryAdapter] = []

    def build(_config: PlatformConfig, host: AdapterHost) -> MemoryAdapter:
        built.append(MemoryAdapter(host, journeys))
        return built[0]

    # Both have the shape of the ports but for how they are made.
    agents: dict[str, Any] = {"stub": StubAgent(journeys)}
    adapters: dict[str, Any] = {"telegram": build}
    daemon = Daemon(CONFIG, home, agents=agents, adapters=adapters)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set), name="daemon")
    readiness = asyncio.create_task(ready.wait())
    await asyncio.wait({running, readiness}, return_when=asyncio.FIRST_COMPLETED)
    readiness.cancel()
    if running.done():
        running.result()
    settle()  # as the program does
    try:
        yield built[0]
    finally:
        daemon.stop()
        await running


# --- measuring -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Figure:
    """What was measured at one number of sessions and one number in flight, round by round."""

    sessions: int
    in_flight: int
    a_second: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds of processor time a message, of all threads."""
    calls: list[float] = field(default_factory=list)
    """Calls of the adapter a message."""
    to_agent: list[float] = field(default_factory=list)
    """Seconds from the call of `accept` to the agent's start, a message each."""
    to_platform: list[float] = field(default_factory=list)
    """Seconds from the agent's first text to the platform's first call, a message each."""
    stall: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The medians over the rounds; percentiles over all messages; the worst stall of a round."""
        return {
            "sessions": self.sessions,
            "in_flight": self.in_flight,
            "per_second": round(median(self.a_second)),
            "cpu_us": round(median(self.cpu) * 1e6),
            "adapter_calls": round(median(self.calls), 2),
            "to_agent_p50_ms": _ms(self.to_agent, 50),
            "to_agent_p99_ms": _ms(self.to_agent, 99),
            "to_platform_p50_ms": _ms(self.to_platform, 50),
            "to_platform_p99_ms": _ms(self.to_platform, 99),
            "stall_p999_ms": max(self.stall),
            "control_p999_ms": max(self.control),
        }


def _ms(seconds: Sequence[float], percent: float) -> float:
    return round(percentile(seconds, percent) * 1000, 2)


def run(plan: Plan, progress: Callable[[str], None], folder: Path | None = None) -> list[dict[str, Any]]:
    """Measure; the figures as plain data. The homes are made in a folder of their own, and removed.

    Each round visits every number of sessions: what else the machine does at a time bears on all of them.
    """
    figures = {sessions: {each: Figure(sessions, each) for each in plan.in_flight} for sessions in plan.sessions}
    with tempfile.TemporaryDirectory(dir=folder, prefix="hb-") as made:
        for sessions in plan.sessions:
            progress(f"whole path: making {sessions:,} sessions")
            make_fixture(filled := _filled(made, sessions), sessions)
            index_everything(filled)
        for number, (sessions, measured) in itertools.product(range(plan.rounds), figures.items()):
            progress(f"whole path, {sessions:,} sessions: round {number + 1} of {plan.rounds}")
            _measure(plan, _filled(made, sessions), Path(made) / "h", number, measured)
    return [figure.summary() for measured in figures.values() for figure in measured.values()]


def _filled(folder: str, sessions: int) -> Path:
    return Path(folder) / f"{sessions}.db"


def _measure(plan: Plan, filled: Path, home: Path, number: int, figures: dict[int, Figure]) -> None:
    place = Home(home).ensure()
    shutil.copyfile(filled, place.database)
    try:
        asyncio.run(_round(plan, place, number, figures))
    finally:
        shutil.rmtree(home)


async def _round(plan: Plan, home: Home, seed: int, figures: dict[int, Figure]) -> None:
    numbers = itertools.count(1)
    async with gateway(home) as adapter:
        sessions = next(iter(figures.values())).sessions
        hot = _hot(sessions, seed)
        await _drive(adapter, _sharing(hot, 64), numbers, plan.warm_up)
        for in_flight, figure in figures.items():
            # Each number in flight begins with conversations of the same length.
            hot = _hot(sessions, seed + 1000 * in_flight)
            await _note_run(figure, adapter, _sharing(hot, in_flight), numbers, plan.messages_at(in_flight))


def _hot(sessions: int, seed: int) -> list[SessionSource]:
    """The conversations that go on: anywhere among all there are, or new ones where there are none."""
    chance = random.Random(seed)
    if sessions == 0:
        return [source_of(chance.randrange(10**6, 10**9)) for _ in range(HOT_SESSIONS)]
    return [source_of(number) for number in chance.sample(range(sessions), min(sessions, HOT_SESSIONS))]


def _sharing(sources: Sequence[SessionSource], in_flight: int) -> list[Sequence[SessionSource]]:
    """The conversations of each writer: nobody waits for another's turn in one."""
    return [share for start in range(in_flight) if (share := sources[start::in_flight])]


async def _note_run(
    figure: Figure,
    adapter: MemoryAdapter,
    shares: Sequence[Sequence[SessionSource]],
    numbers: Iterator[int],
    messages: int,
) -> None:
    """Measure one run."""
    gc.collect()
    control, watch = await Control.start(), Watch()
    watching = asyncio.create_task(watch.run())
    calls, cpu, started = adapter.calls, process_time(), perf_counter()
    times = await _drive(adapter, shares, numbers, messages)
    seconds, cpu = perf_counter() - started, process_time() - cpu
    watching.cancel()
    figure.a_second.append(messages / seconds)
    figure.cpu.append(cpu / messages)
    figure.calls.append((adapter.calls - calls) / messages)
    figure.to_agent += [one.started - one.accepted for one in times]
    figure.to_platform += [one.seen - one.said for one in times]
    figure.stall.append(watch.stalls().p999_ms)
    figure.control.append((await control.stop()).p999_ms)


async def _drive(
    adapter: MemoryAdapter, shares: Sequence[Sequence[SessionSource]], numbers: Iterator[int], messages: int
) -> list[Times]:
    """Write so many messages, each writer the next one once the last has its answer."""
    todo = iter(range(messages))
    times: list[Times] = []

    async def write(sources: Sequence[SessionSource]) -> None:
        for source, _ in zip(itertools.cycle(sources), todo, strict=False):
            times.append(await adapter.say(source, next(numbers)))

    async with asyncio.timeout(10.0 + messages * PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        for share in shares:
            tasks.create_task(write(share))
    return times
