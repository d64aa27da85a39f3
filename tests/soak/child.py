"""The real daemon as a process, between a platform at the other end of a socket and an agent that needs no model.

`python -m tests.soak.child '{"home": "HOME", "platform": "SOCKET"}'` runs one until SIGTERM; its log goes to standard
error.
"""

import asyncio
import gc
import itertools
import json
import logging
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from config import GatewayConfig, Home, Platform, PlatformConfig
from gateway.daemon import Daemon
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    AgentCapabilities,
    AgentError,
    AgentEvent,
    AgentTurn,
    Capabilities,
    Delivery,
    Done,
    Found,
    InboundMessage,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    SearchOutcome,
    StorageBusyError,
    Text,
    Usage,
)
from gateway.source import SessionSource
from gateway.storage import failover, writer
from tests.soak.wire import LINE_LIMIT, Report, lines, put
from tests.support.daemon_child import OffsetClock

RECONNECT_SECONDS: Final = 0.05
BUSY_SECONDS: Final = 0.1
"""How long the database may be taken before it counts as out of use."""

RECOVERY_SECONDS: Final = 0.2
INPUT_TOKENS: Final = 7
OUTPUT_TOKENS: Final = 3


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the daemon; `clock_offset` is how many seconds its clock runs ahead.

    `cache_kibibytes` is the most that the writer keeps pages in: so little that it is full after a second, since one
    that is still filling up looks like a leak.
    """

    home: str
    platform: str
    clock_offset: float = 0.0
    cache_kibibytes: int = 1024


def configuration() -> GatewayConfig:
    """Retries are quick, and never so many that anything is given up because of the faults."""
    retries = {"attempts": 10_000, "retry_seconds": 0.02, "retry_max_seconds": 0.2}
    values: dict[str, Any] = {
        "http": {"enabled": False},
        "platforms": {Platform.TELEGRAM: {"enabled": True, "token": "-", "allowed_users": ["*"]}},
        "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
        "sessions": {"expiry_check_seconds": 1.0},
        "inbox": {"expire_hours": 0},
        "turns": retries,
        "delivery": retries,
        "drain_seconds": 20,
    }
    return GatewayConfig.model_validate(values)


def answer_to(text: str) -> str:
    """What the agent says to a message in the end."""
    label, _, plan = text.partition(" ")
    return f"That was {label}." if plan != "long" else f"That was {label}. " + "There is much to say about it. " * 20


class SoakAgent:
    """A message is `LABEL PLAN`: `short` is answered at once, `long` in many pieces, `flaky` fails before it goes
    through."""

    def __init__(self) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self._failing: set[str] = set()

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        text = str(turn.inputs[0]["content"])
        label, _, plan = text.partition(" ")
        if plan == "flaky" and label not in self._failing:
            self._failing.add(label)
            yield Text("That ")
            raise AgentError("this fails, and passes", retryable=True)
        self._failing.discard(label)
        for piece in re.findall(r"\S+\s*", answer_to(text)):
            if plan == "long":
                await asyncio.sleep(0.002)
            yield Text(piece)
        yield Usage(INPUT_TOKENS, OUTPUT_TOKENS)
        yield Done()


class WireAdapter(Adapter):
    """The connection to the platform of the soak."""

    def __init__(self, host: AdapterHost, platform: str) -> None:
        self.capabilities = Capabilities(edit=True, find=True, edit_interval=0.02)
        self._host = host
        self._platform = platform
        self._writer: asyncio.StreamWriter | None = None
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        while True:
            with suppress(OSError):
                await self._serve(*await asyncio.open_unix_connection(self._platform, limit=LINE_LIMIT))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._host.set_state(AdapterState.CONNECTED)
        try:
            async with asyncio.TaskGroup() as tasks:
                async for frame in lines(reader):
                    match frame["op"]:
                        case "message":
                            tasks.create_task(self._accept(writer, frame))
                        case "result":
                            call = self._calls.get(frame["call"])
                            if call is not None and not call.done():
                                call.set_result(frame)
                        case "report":
                            put(writer, {"op": "report", **asdict(report())})
        finally:
            self._writer = None
            self._host.set_state(AdapterState.CONNECTING)
            for call in self._calls.values():
                if not call.done():
                    call.set_exception(OutcomeUnknownError("the platform has gone"))
            writer.close()

    async def _accept(self, writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
        chat = frame["chat"]
        source = SessionSource(Platform.TELEGRAM, chat, chat_name=f"Chat {chat}", user_id=chat, user_name=chat)
        try:
            accepted = await self._host.accept(InboundMessage(source, frame["id"], frame["text"]))
        except StorageBusyError:
            put(writer, {"op": "busy", "id": frame["id"]})
        else:
            put(writer, {"op": "accepted", "id": frame["id"], "state": str(accepted.state)})

    async def send(self, delivery: Delivery) -> str:
        return str((await self._call("send", delivery))["message_id"])

    async def edit(self, delivery: Delivery) -> None:
        await self._call("edit", delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        found = (await self._call("find", delivery))["message_id"]
        return SearchOutcome.ABSENT if found is None else Found(found)

    async def _call(self, name: str, delivery: Delivery) -> dict[str, Any]:
        if self._writer is None:
            raise NotConnectedError("there is no connection to the platform")
        number = next(self._numbers)
        result = self._calls[number] = asyncio.get_running_loop().create_future()
        told = {
            "id": delivery.id,
            "chat": delivery.target.chat_id,
            "text": delivery.text,
            "final": delivery.final,
            "message_id": delivery.message_id,
            "answers": delivery.answers,
            "repeated": delivery.repeated,
        }
        try:
            put(self._writer, {"op": "call", "call": number, "do": name, "delivery": told})
            frame: dict[str, Any] = await result
        finally:
            del self._calls[number]
        match frame.get("error"):
            case "later":
                raise RetryLaterError("the platform asks for time", 0.02)
            case "unknown":
                raise OutcomeUnknownError("the platform did not answer")
        return frame


def report() -> Report:
    """What this process holds; garbage is collected first."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kibibytes,) = (line.split()[1] for line in status if line.startswith("VmRSS:"))
    return Report(
        resident_mb=int(kibibytes) / 1024,
        blocks=sys.getallocatedblocks(),
        tasks=sorted(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", task.get_name()) for task in asyncio.all_tasks()),
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        threads=sorted(re.sub(r"\d+", "#", thread.name) for thread in threading.enumerate()),
    )


async def serve(options: Options) -> None:
    """Run the daemon until SIGTERM. Raises what it raises."""

    def build(_config: PlatformConfig, host: AdapterHost) -> WireAdapter:
        return WireAdapter(host, options.platform)

    assert options.cache_kibibytes < writer.WRITER_CACHE_KIBIBYTES
    setattr(writer, "WRITER_CACHE_KIBIBYTES", options.cache_kibibytes)  # noqa: B010 - a constant elsewhere
    for module in (writer, failover):
        setattr(module, "SQLITE_BUSY_SECONDS", BUSY_SECONDS)  # noqa: B010 - a constant elsewhere
    for name in ("RETRY_SECONDS", "RETRY_MAX_SECONDS"):
        setattr(failover, name, RECOVERY_SECONDS)
    # Both have the shape of the ports but for how they are made.
    agents: dict[str, Any] = {"soak": SoakAgent()}
    adapters: dict[str, Any] = {Platform.TELEGRAM: build}
    clock = OffsetClock(options.clock_offset)
    daemon = Daemon(configuration(), Home(Path(options.home)), clock=clock, agents=agents, adapters=adapters)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(Options(**json.loads(sys.argv[1]))))
