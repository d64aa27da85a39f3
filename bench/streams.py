"""How soon a program that streams sees the first byte of its answer, alone and among many that stream at the same time,
and what they cost: the gateway with its HTTP listener in a process of its own, its clients in this one.

The agent is a stub that speaks for as long as it is asked to. In each wave every client comes over a connection of its
own, reads until the stream's end, and compares the text with what the agent says. The last two waves come while others
ask for far longer answers, which these read, or do not.
"""

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self

import aiohttp

from bench.machine import load, resident_mb
from bench.stall import percentile
from config import GatewayConfig, Home
from gateway.daemon import Daemon
from gateway.memory import settle
from gateway.ports import AgentCapabilities, AgentEvent, AgentTurn, Done, Text
from gateway.session.text import flatten_text

LIMIT_MS: Final = 250.0
TIMES_ALONE: Final = 10.0
"""How long the first byte may take at the 99th percentile of a wave, and how many times as long as with one client."""

GROWTH: Final = 0.1
"""By what share memory may grow from the wave before the last to the last."""

KEY: Final = "key-of-the-benchmark"
PIECE_SECONDS: Final = 0.1
"""Between two pieces of an answer."""

PATIENCE_SECONDS: Final = 60.0
SMALL_BUFFER: Final = 4_096
"""Bytes that the system may hold for a client which does not read: with more, it would look like one that reads."""

DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """Waves of so many clients, arriving evenly over so many seconds; each is told so many pieces. Before them `alone`
    clients come one after the other; after them a wave comes beside `slow` others with answers of `long_kb`, and one
    beside as many that read nothing of theirs. The server's memory is looked at `settle_seconds` after each."""

    alone: int = 200
    warm_up: int = 20
    waves: int = 3
    clients: int = 500
    seconds: float = 10.0
    pieces: int = 25
    slow: int = 50
    long_kb: int = 500
    long_pieces: int = 25
    settle_seconds: float = 1.0

    @property
    def long_piece(self) -> int:
        """Characters of each piece of a long answer."""
        return self.long_kb * 1000 // self.long_pieces


QUICK: Final = Plan(alone=20, warm_up=5, clients=50, seconds=1.0, pieces=10, slow=5)


def piece(number: int, length: int) -> str:
    """What the agent says at this place of its answer: lines of text."""
    line = f"And this is said at place {number}.\n"
    return (line * (length // len(line) + 1))[:length]


class Speaker:
    """Answers "25 40" with 25 pieces of 40 characters, one each `PIECE_SECONDS`."""

    def __init__(self) -> None:
        self.capabilities = AgentCapabilities(resumable=True)

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        pieces, length = map(int, flatten_text(turn.inputs[-1]["content"]).split())
        for number in range(pieces):
            if number:
                await asyncio.sleep(PIECE_SECONDS)
            yield Text(piece(number, length))
        yield Done()


# --- the server's process ------------------------------------------------------------------------------


async def serve(folder: Path, port: int) -> None:
    """Be the gateway: print a line once it is ready, and end with standard input."""
    config = GatewayConfig.model_validate(
        {
            "http": {"port": port, "api_key": KEY},
            # Each client is a turn of its own, and nobody waits for a place.
            "turns": {"max_concurrent": 100_000},
            "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
        }
    )
    # It has the shape of the port but for how it is made.
    agents: dict[str, Any] = {"speaker": Speaker()}
    daemon = Daemon(config, Home(folder), agents=agents)

    def ready() -> None:
        settle()
        print("ready", flush=True)

    running = asyncio.create_task(daemon.run(ready), name="daemon")
    listening = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
    daemon.stop()
    daemon.stop()
    await running


@dataclass(frozen=True, slots=True)
class Server:
    """The gateway in its process."""

    pid: int
    port: int

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> AsyncIterator[Self]:
        """Run one while the context lasts."""
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.streams", str(folder), str(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError("the gateway did not start")
            yield cls(process.pid, port)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def memory(self, plan: Plan) -> float:
        """Resident megabytes, once what has ended is cleared away."""
        await asyncio.sleep(plan.settle_seconds)
        return resident_mb(self.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- the clients ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw: seconds to the first byte and to the first piece of the answer, or why it failed."""

    first: float = 0.0
    text: float = 0.0
    failed: str | None = None


async def ask(session: aiohttp.ClientSession, pieces: int, length: int = 40) -> Seen:
    """Stream one answer to its end."""
    begun, first, text, body = perf_counter(), 0.0, 0.0, bytearray()
    try:
        async with session.post("/v1/chat/completions", json=_order(pieces, length)) as response:
            async for chunk in response.content.iter_any():
                first = first or perf_counter()
                body += chunk
                if not text and b'"delta": {"content": "' in body.partition(b"\n\n")[2]:
                    text = perf_counter()
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return Seen(failed=f"{type(error).__name__}: {error}")
    if status != 200 or not body.endswith(DONE):
        return Seen(failed=f"{status}: {bytes(body[-200:])!r}")
    if _told(body) != "".join(piece(number, length) for number in range(pieces)):
        return Seen(failed="the answer is not what the agent said")
    return Seen(first - begun, text - begun)


def _order(pieces: int, length: int) -> dict[str, Any]:
    text = f"{pieces} {length}"
    return {"model": "speaker", "messages": [{"role": "user", "content": text}], "stream": True}


def _told(body: bytes | bytearray) -> str:
    """The text that the events of a stream make."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


@asynccontextmanager
async def programs(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    """What clients are made of. None takes the connection of another."""
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{server.port}",
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
    ) as session:
        yield session


async def wave(session: aiohttp.ClientSession, plan: Plan) -> list[Seen]:
    """Clients that arrive evenly over the time; returns once all have ended."""
    asking = [asyncio.create_task(ask(session, plan.pieces)) async for _ in _arrivals(plan.clients, plan.seconds)]
    return await asyncio.gather(*asking)


async def _arrivals(number: int, seconds: float) -> AsyncIterator[None]:
    """So many moments, evenly over the time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for passed in range(number):
        await asyncio.sleep(max(0.0, begun + passed * seconds / number - loop.time()))
        yield


async def beside_readers(session: aiohttp.ClientSession, plan: Plan) -> list[Seen]:
    """A wave beside clients that are told far more each, and read it."""
    reading = asyncio.create_task(_read_much(session, plan))
    seen = await wave(session, plan)
    return seen + [each for each in await reading if each.failed is not None]


async def _read_much(session: aiohttp.ClientSession, plan: Plan) -> list[Seen]:
    tasks = [
        asyncio.create_task(ask(session, plan.long_pieces, plan.long_piece))
        async for _ in _arrivals(plan.slow, plan.seconds)
    ]
    return await asyncio.gather(*tasks)


async def beside_slow_readers(server: Server, session: aiohttp.ClientSession, plan: Plan) -> tuple[list[Seen], float]:
    """A wave beside clients that ask for as much and read nothing; and the server's memory while they are there."""
    opened: list[socket.socket] = []
    asking = asyncio.create_task(_open_slow(server, plan, opened))
    try:
        seen = await wave(session, plan)
        await asking
        return seen, await server.memory(plan)
    finally:
        asking.cancel()
        for client in opened:
            client.close()


async def _open_slow(server: Server, plan: Plan, opened: list[socket.socket]) -> None:
    body = json.dumps(_order(plan.long_pieces, plan.long_piece))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    async for _ in _arrivals(plan.slow, plan.seconds):
        opened.append(client := socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.connect(("127.0.0.1", server.port))
        client.sendall(request)


# --- the figures ---------------------------------------------------------------------------------------


async def measure(plan: Plan, progress: Callable[[str], None], folder: Path) -> list[dict[str, Any]]:
    """One client alone, the waves, and one beside slow readers."""
    async with Server.start(folder) as server, programs(server) as session:
        progress("one streaming client at a time")
        seen = [await ask(session, 2) for _ in range(plan.warm_up + plan.alone)][plan.warm_up :]
        figures = [alone := _figure("one at a time", seen, await server.memory(plan))]
        limit = min(LIMIT_MS, TIMES_ALONE * alone["first_p99_ms"])
        for number in range(1, plan.waves + 1):
            progress(f"streaming clients, wave {number} of {plan.waves}")
            figures.append(_figure(f"wave {number}", await wave(session, plan), await server.memory(plan), limit))
        last, before = figures[-1], figures[-2]
        last["kept"] &= last["memory_mb"] <= (1 + GROWTH) * before["memory_mb"]
        progress("a wave beside long answers")
        what = f"beside {plan.slow} of {plan.long_kb} kB"
        figures.append(_figure(what, await beside_readers(session, plan), await server.memory(plan), LIMIT_MS))
        progress("a wave beside long answers that nobody reads")
        figures.append(_figure(f"{what}, not read", *await beside_slow_readers(server, session, plan), LIMIT_MS))
        return figures


def _figure(what: str, seen: Sequence[Seen], memory: float, limit: float | None = None) -> dict[str, Any]:
    failures = [each.failed for each in seen if each.failed is not None]
    figure = {
        "what": what,
        "clients": len(seen),
        "failed": len(failures),
        "failures": sorted(set(failures))[:5],
        **_times("first", [each.first for each in seen if each.failed is None]),
        **_times("text", [each.text for each in seen if each.failed is None]),
        "memory_mb": memory,
        "load": load(),
    }
    kept = not failures and (limit is None or figure["first_p99_ms"] <= limit)
    return figure | {"limit_ms": None if limit is None else round(limit, 1), "kept": kept}


def _times(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    return {f"{name}_p{at}_ms": round(percentile(seconds, at) * 1000, 1) for at in (50, 99)}


def run(plan: Plan, progress: Callable[[str], None], folder: Path) -> list[dict[str, Any]]:
    """Measure all of it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="hgb-") as home:
        return asyncio.run(measure(plan, progress, Path(home)))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
