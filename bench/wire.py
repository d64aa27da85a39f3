"""What people wait for on a platform behind a network, and what one that hangs costs the others.

A loopback Bot API server in a process of its own stands at the other end: a person writes there, and it is timed when
the first text of the answer, and when all of it, has arrived there. The agent is a stub that speaks for a while.
"""

import asyncio
import itertools
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

from adapters.testing.telegram import Fault, TelegramServer
from bench.stall import percentile
from config import GatewayConfig, Home
from gateway.daemon import Daemon
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
    InboundMessage,
    Text,
)
from gateway.source import SessionSource

PIECES: Final = ("About four hours ", "and a quarter. ", "There is none at night at present.")
ANSWER: Final = "".join(PIECES)
PIECE_SECONDS: Final = 0.02
"""Between two pieces of the answer: it is long enough that the first is shown by itself."""

PAUSE_SECONDS: Final = 0.1
"""Between two messages: more of them in a second leave the account no room for previews, which are dropped first."""

SPOKEN_SECONDS: Final = PIECE_SECONDS * (len(PIECES) - 1)
PATIENCE_SECONDS: Final = 30.0


Kind: TypeAlias = Literal["timed", "busy", "hanging"]
"""What the platform does: time what people wait for; have people write all the while; the same, and never answer a
request that sends."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many messages are timed, each in a chat of its own; `hung` of the terminal's, each way."""

    messages: int = 200
    warm_up: int = 20
    hung: int = 500


QUICK: Final = Plan(messages=10, warm_up=2, hung=20)


class Speaker:
    """Answers every message with the same words, a piece at a time; at once where it is told to be quick."""

    def __init__(self, *, quick: bool = False) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self._pause = 0.0 if quick else PIECE_SECONDS

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def run(self, _turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for number, piece in enumerate(PIECES):
            if number and self._pause:
                await asyncio.sleep(self._pause)
            yield Text(piece)
        yield Done()


class Desk(Adapter):
    """A platform in memory, in the terminal's place: messages come one after the other."""

    def __init__(self, host: AdapterHost) -> None:
        self.capabilities = Capabilities(operator=True)
        self._host = host
        self._numbers = itertools.count(1)
        self._shown: asyncio.Future[None] | None = None

    async def run(self) -> None:
        self._host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        if self._shown is not None and not self._shown.done():
            self._shown.set_result(None)
        return str(delivery.id)

    async def ask(self) -> float:
        """Seconds from a message to its answer."""
        begun, self._shown = perf_counter(), asyncio.get_running_loop().create_future()
        await self._host.accept(InboundMessage(SessionSource.local_cli(), f"d{next(self._numbers)}", "hello"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._shown
        return perf_counter() - begun


# --- the platform's process ----------------------------------------------------------------------------


async def serve(plan: Plan, kind: Kind) -> None:
    """Be the platform: print where it is, wait for a line, and print what was measured."""
    async with TelegramServer() as server:
        if kind == "hanging":
            server.inject(Fault.silence(), "sendMessage", times=None)
        print(json.dumps({"url": server.base_url, "token": server.bot.token}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if kind != "timed":
            await _write_on(server, plan)
        else:
            print(json.dumps([await _ask(server) for _ in range(plan.warm_up + plan.messages)]), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _ask(server: TelegramServer) -> tuple[float, float]:
    """Seconds from a message to the first text, and to all of it."""
    person = server.person("Ann")
    chat = server.private(person)
    begun = perf_counter()
    person.writes(chat, "How long does the train from Berlin to Prague take?")
    await server.until(lambda: chat.drafts or server.shown(chat, by=server.bot), PATIENCE_SECONDS)
    first = perf_counter() - begun
    await server.until(
        lambda: [message.text for message in server.shown(chat, by=server.bot)] == [ANSWER], PATIENCE_SECONDS
    )
    whole = perf_counter() - begun
    await asyncio.sleep(PAUSE_SECONDS)
    return first, whole


async def _write_on(server: TelegramServer, plan: Plan) -> None:
    """People write all the while."""
    print("[]", flush=True)
    for _ in range(plan.hung):
        person = server.person("Ann")
        person.writes(server.private(person), "hello")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def platform(plan: Plan, kind: Kind) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """The platform's process, and where it is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.wire", json.dumps({"plan": asdict(plan), "kind": kind})),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# --- ours ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def gateway(folder: Path, agent: Speaker, there: Mapping[str, str] | None) -> AsyncIterator[Desk]:
    """The daemon, ready; with Telegram where a platform is given, and the desk."""
    built: list[Desk] = []

    def build(_config: object, host: AdapterHost) -> Desk:
        built.append(Desk(host))
        return built[0]

    telegram = {"token": there["token"], "api_base_url": there["url"], "allowed_users": ["*"]} if there else None
    config = GatewayConfig.model_validate(
        {
            "http": {"enabled": False},
            "platforms": {"telegram": telegram} if telegram else {},
            "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
        }
    )
    # Both have the shape of the ports but for how they are made.
    agents: dict[str, Any] = {"stub": agent}
    adapters: dict[str, Any] = {"local": build}
    daemon = Daemon(config, Home(folder), agents=agents, adapters=adapters)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set), name="daemon")
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()
    try:
        yield built[0]
    finally:
        daemon.stop()
        daemon.stop()
        await running


async def _say(process: asyncio.subprocess.Process) -> list[list[float]]:
    """Let the platform begin, and get what it measured."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()
    measured: list[list[float]] = json.loads(await process.stdout.readline())
    return measured


async def over_the_wire(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """From a message to its first text, and to its end, at the platform."""
    async with platform(plan, "timed") as (process, there), gateway(folder, Speaker(), there):
        measured = (await _say(process))[plan.warm_up :]
    return [
        _figure("Telegram: a message to the first visible text", [first for first, _ in measured]),
        _figure("Telegram: a message to all of it delivered", [whole for _, whole in measured]),
        _figure("the same, less what the agent took", [whole - SPOKEN_SECONDS for _, whole in measured]),
    ]


async def beside_one_that_hangs(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """The terminal's answers alone, beside a busy platform, and beside one where as many people write and that answers
    nothing."""
    async with gateway(folder / "alone", Speaker(quick=True), None) as desk:
        alone = await _ask_on(desk, plan)
    return [
        _figure("in memory, alone: a message to its answer", alone),
        _figure("the same, beside a busy Telegram", await _beside(plan, folder / "busy", "busy")),
        _figure("the same, beside one that hangs", await _beside(plan, folder / "hanging", "hanging")),
    ]


async def _beside(plan: Plan, folder: Path, kind: Kind) -> Sequence[float]:
    async with platform(plan, kind) as (process, there), gateway(folder, Speaker(quick=True), there) as desk:
        await _say(process)
        return await _ask_on(desk, plan)


async def _ask_on(desk: Desk, plan: Plan) -> Sequence[float]:
    return [await desk.ask() for _ in range(plan.warm_up + plan.hung)][plan.warm_up :]


def _figure(what: str, seconds: Sequence[float]) -> dict[str, Any]:
    times = {f"p{at}_ms": round(percentile(seconds, at) * 1000, 1) for at in (50, 99)}
    return {"what": what, "messages": len(seconds), **times}


def run(plan: Plan, progress: Callable[[str], None], folder: Path) -> list[dict[str, Any]]:
    """Measure both."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="hgb-") as home:
        progress("over the wire")
        figures = asyncio.run(over_the_wire(plan, Path(home) / "wire"))
        progress("beside a platform that hangs")
        return figures + asyncio.run(beside_one_that_hangs(plan, Path(home)))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(serve(Plan(**given["plan"]), given["kind"]))
