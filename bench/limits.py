"""Single operations on a large store, the start of the program, and its memory: each against the limit it must keep."""

import asyncio
import multiprocessing
import os
import pty
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any, Final, TypeVar

from bench.machine import resident_mb
from bench.path import gateway
from bench.workload import CONFIG, Fixture, index_everything, make_fixture, source_of
from config import GatewayConfig, Home
from gateway.search import search
from gateway.session import SessionStore
from gateway.storage import queries
from gateway.storage.database import Database
from gateway.storage.writer import connect

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parents[1]
PROGRAM: Final = ROOT / "hermes_gateway.py"
RARE: Final = "xylographer"
"""A word that one message in all has."""

HEAVY: Final = frozenset(
    (
        *("aiohttp", "anthropic", "discord", "httpx", "nio", "openai", "prompt_toolkit", "pydantic_ai"),
        *("slack_bolt", "slack_sdk", "telegram", "tokenizers", "uvicorn", "xllamacpp"),
    )
)
"""Packages that nobody should wait for who only asks what there is: SDKs, servers, model libraries."""

CHAT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the store is, and how many sessions are touched for the figure of memory."""

    sessions: int = 100_000
    messages: int = 1_000_000
    transcript: int = 10_000
    touched: int = 10_000
    repeats: int = 15


QUICK: Final = Plan(sessions=1_000, messages=8_000, transcript=1_000, touched=100, repeats=3)


@dataclass(frozen=True, slots=True)
class Limit:
    """What was measured, and what it must not exceed; None: it is only stated."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        kept = None if self.limit is None else self.value <= self.limit
        return {"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit, "kept": kept}


def run(plan: Plan, progress: Callable[[str], None], folder: Path | None = None) -> list[dict[str, Any]]:
    """Measure; the figures as plain data. Everything is made in a folder of its own, and removed."""
    limits: list[Limit] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="hb-") as made:
        progress("limits: the start of the program")
        limits += [*_help(), _start(Home(Path(made) / "s"), plan.repeats)]
        progress("limits: memory")
        limits += [_chat_memory(Home(Path(made) / "c")), *_touched_memory(Path(made) / "t", plan.touched)]
        progress(f"limits: making {plan.sessions:,} sessions and {plan.messages:,} messages")
        fixture = make_fixture(Path(made) / "gateway.db", plan.sessions)
        _fill(fixture, plan)
        progress("limits: the store")
        limits += asyncio.run(_store(fixture, plan))
    return [limit.summary() for limit in limits]


# --- the store -----------------------------------------------------------------------------------------


def _fill(fixture: Fixture, plan: Plan) -> None:
    """Add messages until there are as many as planned: one long conversation, the rest anywhere."""
    connection = connect(fixture.path)
    (there,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    connection.execute("BEGIN")
    more = _messages(fixture, plan, max(plan.messages - there, plan.transcript))
    connection.executemany(queries.ADD_MESSAGE, more)
    connection.execute("COMMIT")
    connection.close()
    index_everything(fixture.path)


def _messages(fixture: Fixture, plan: Plan, number: int) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(number)
    for count in range(number):
        session_id = fixture.session_ids[0] if count < plan.transcript else chance.choice(fixture.session_ids)
        word = RARE if count == number // 3 else f"train {chance.randrange(5_000)}"
        text = f"The {word} leaves at {chance.randrange(24)}:{chance.randrange(60):02}, as far as I know."
        yield (session_id, None, None, ("user", "assistant")[count % 2], text, None, 1_700_000_000_000_000 + count)


async def _store(fixture: Fixture, plan: Plan) -> list[Limit]:
    async with Database.open(fixture.path) as database:
        store = SessionStore(database, CONFIG)
        loaded = await store.load_transcript(fixture.session_ids[0])
        listed = await store.list_sessions(limit=50)
        found = await search(database, RARE)
        if (len(loaded) < plan.transcript, len(listed), len(found)) != (False, min(50, plan.sessions), 1):
            raise RuntimeError("the store does not have what was put into it")
        load = await _median_ms(lambda: store.load_transcript(fixture.session_ids[0]), plan.repeats)
        page = await _median_ms(lambda: store.list_sessions(limit=50), plan.repeats)
        hits = await _median_ms(lambda: search(database, RARE), plan.repeats)
    opened = await _median_ms(lambda: _open_and_close(fixture.path), min(5, plan.repeats))
    return [
        Limit(f"load a transcript of {plan.transcript:,} messages", load, "ms", 30),
        Limit(f"list 50 of {plan.sessions:,} sessions", page, "ms", 1),
        Limit(f"find a rare word in {plan.messages:,} messages", hits, "ms", 10),
        Limit(f"open and close the store on {plan.sessions:,} sessions", opened, "ms", 50),
    ]


async def _open_and_close(path: Path) -> None:
    async with SessionStore.open(path.parent, CONFIG):
        pass


async def _median_ms(call: Callable[[], Awaitable[object]], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = perf_counter()
        await call()
        seconds.append(perf_counter() - started)
    return round(median(seconds) * 1000, 2)


# --- the start of the program --------------------------------------------------------------------------


def modules_of_help() -> frozenset[str]:
    """The modules that `hermes-gateway --help` imports, in a process of its own."""
    script = "import sys, hermes_gateway; code = hermes_gateway.main(['--help']); print('\\n', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(said.stdout.splitlines()[-1].split())


def _help() -> list[Limit]:
    modules = modules_of_help()
    heavy = {name.partition(".")[0] for name in modules} & HEAVY
    seconds = []
    for _ in range(3):
        started = perf_counter()
        subprocess.run([sys.executable, PROGRAM, "--help"], capture_output=True, check=True)
        seconds.append(perf_counter() - started)
    return [
        Limit("--help: time of the whole process", round(min(seconds) * 1000), "ms"),
        Limit("--help: modules imported", len(modules), "modules"),
        Limit("--help: SDKs, servers and model libraries imported", len(heavy), "packages", 0),
    ]


def _start(home: Home, repeats: int) -> Limit:
    seconds = [_in_a_process(_ready_after, Home(home.path / str(number))) for number in range(min(3, repeats))]
    return Limit("run: ready after its imports", round(median(seconds) * 1000), "ms", 1000)


def _ready_after(home: Home) -> float:
    """Seconds from when all is imported until the gateway, with its HTTP listener, is ready; in a new home."""
    for name in ("adapters.local.adapter", "gateway.agents.echo", "gateway.api.app"):
        import_module(name)
    from gateway.daemon import Daemon

    config = GatewayConfig.model_validate({"agent": "echo", "http": {"port": 0}})

    async def start() -> float:
        daemon = Daemon(config, home)
        started, ready = perf_counter(), 0.0

        def note() -> None:
            nonlocal ready
            ready = perf_counter()
            daemon.stop()

        await daemon.run(note)
        return ready - started

    home.path.mkdir(parents=True)
    return asyncio.run(start())


def _in_a_process(work: Callable[..., T], *arguments: object) -> T:
    """Do this in a new process, so that nothing of this one's memory and modules is in the figure."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


# --- memory --------------------------------------------------------------------------------------------


def _chat_memory(home: Home) -> Limit:
    """Start the chat in a terminal, have one line answered, and look at what the process takes."""
    home.path.mkdir(parents=True)
    word, environment = "Zanzibar", {**os.environ, "HERMES_GATEWAY_HOME": str(home.path), "TERM": "dumb"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, str(PROGRAM), "chat", "--agent", "echo"], environment)
    try:
        _read_until(terminal, lambda text: home.socket.exists() and bool(text.strip()))
        os.write(terminal, f"{word}\r".encode())
        # The line itself is echoed once; the answer is the second time.
        _read_until(terminal, lambda text: text.count(word) >= 2)
        return Limit("memory of the terminal chat with echo", resident_mb(pid), "MB")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _read_until(terminal: int, done: Callable[[str], bool]) -> None:
    text, deadline = "", monotonic() + CHAT_SECONDS
    while not done(text):
        if monotonic() > deadline:
            raise TimeoutError(f"the chat does not answer; it says {text[-500:]!r}")
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")


def _touched_memory(folder: Path, sessions: int) -> list[Limit]:
    before, after = _in_a_process(_touch, folder, sessions)
    return [
        Limit("memory of the gateway with a stub agent, ready", before, "MB"),
        Limit(f"the same after {sessions:,} sessions were touched", after, "MB"),
    ]


def _touch(folder: Path, sessions: int) -> tuple[float, float]:
    """Have so many new people write once each, 64 at a time; megabytes before and after."""
    return asyncio.run(_touch_all(folder, sessions))


async def _touch_all(folder: Path, sessions: int) -> tuple[float, float]:
    async with gateway(Home(folder).ensure()) as adapter:
        before, todo = resident_mb(os.getpid()), iter(range(sessions))

        async def write() -> None:
            for number in todo:
                await adapter.say(source_of(number), number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(64):
                tasks.create_task(write())
        return before, resident_mb(os.getpid())
