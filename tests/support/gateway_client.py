"""Clients of the gateway's socket for tests: the real one with a record of what it sees, and raw frames."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from adapters.local.client import ChatClient
from adapters.local.pipe import PipeScreen
from adapters.local.protocol import Welcome
from adapters.local.screen import Line, Update
from adapters.local.streams import TextOutput
from gateway.constants import MAX_FRAME_BYTES
from gateway.frames import StreamConnection
from gateway.version import program_version

SECONDS: Final = 20.0
"""How long a test waits for a frame that has to come."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line was written. `life` numbers the client's processes."""

    life: int
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The gateway said that it has a message, or that it refuses it."""

    life: int
    id: str
    state: str
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery, or more of it, was on the screen. `marked`: it was said to be a repeat."""

    life: int
    delivery: int
    kind: str
    text: str
    final: bool
    first: bool = True
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Printed:
    """What a script would have got at the same time: one object of `chat --json`."""

    life: int
    type: str
    text: str
    turn_id: str | None
    replace: bool = False


Event: TypeAlias = Said | Receipt | Shown | Printed


class _Printer(TextOutput):
    """Standard output of a `chat --json` that shows what the client is shown."""

    def __init__(self, life: int, events: list[Event]) -> None:
        self._life = life
        self._events = events

    async def write(self, text: str) -> None:
        for line in text.splitlines():
            one: dict[str, Any] = json.loads(line)
            replace = one.get("replace", False)
            self._events.append(Printed(self._life, one["type"], one["text"], one["turn_id"], replace))


class RecordingClient:
    """A terminal: the real chat client, whose screen is a list of events.

    `may_connect` is awaited before each try to connect, so that a test decides when that is.
    """

    def __init__(
        self, socket: Path, events: list[Event], life: int = 0, may_connect: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._events = events
        self._life = life
        self._may_connect = may_connect
        self._lines: list[Line] = []
        numbers = itertools.count()
        self._client = ChatClient(
            socket,
            self,
            version=program_version(),
            new_id=lambda: f"client{life}-{next(numbers)}",
            open_connection=self._open,
        )
        self._task = asyncio.create_task(self._client.run(), name=f"client {life}")
        self.reports: list[str] = []
        printer = _Printer(life, events)
        self._pipe = PipeScreen(printer, printer, json_mode=True, form=str, greeting=False)

    @property
    def unanswered(self) -> int:
        """Lines that wait for an answer."""
        return self._client.unanswered

    @property
    def outcomes(self) -> dict[str, str]:
        """What became of each line, by its id; of those that have an end."""
        return {line.id: str(line.outcome.result()) for line in self._lines if line.outcome.done()}

    def say(self, text: str) -> Line:
        """Write a line."""
        line = self._client.submit(text)
        self._lines.append(line)
        self._events.append(Said(self._life, line.id, text))
        return line

    async def die(self) -> None:
        """End without a word, as a terminal does that is killed."""
        self._task.cancel()
        done, _ = await asyncio.wait({self._task}, timeout=SECONDS)
        assert done, "the client does not end when it is cancelled"

    async def leave(self) -> None:
        """Say good-bye. Raises what made the client end before."""
        self._client.leave()
        await self._task

    def check(self) -> None:
        """Raise what made the client end, if anything did."""
        if self._task.done():
            self._task.result()

    # --- the screen ----------------------------------------------------------------------------------------

    async def welcome(self, welcome: Welcome) -> None:
        return

    async def show(self, update: Update) -> None:
        self._events.append(
            Shown(self._life, update.id, update.kind, update.text, update.final, update.first, update.repeated)
        )
        await self._pipe.show(update)

    async def refused(self, line: Line, reason: str) -> None:
        self.reports.append(f"refused: {reason}")

    async def report(self, text: str) -> None:
        self.reports.append(text)

    # --- the connection ------------------------------------------------------------------------------------

    async def _open(self, path: str) -> StreamConnection:
        if self._may_connect is not None:
            await self._may_connect()
        return _Tapped(*await asyncio.open_unix_connection(path, limit=MAX_FRAME_BYTES), self._note)

    def _note(self, frame: Mapping[str, Any]) -> None:
        if frame.get("op") == "accepted":
            self._events.append(Receipt(self._life, frame["id"], frame["state"], frame["duplicate"]))
        elif frame.get("op") == "refused":
            self._events.append(Receipt(self._life, frame["id"], "refused"))


class _Tapped(StreamConnection):
    """A connection that tells of each frame before the client gets it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[Mapping[str, Any]], None]
    ) -> None:
        super().__init__(reader, writer)
        self._note = note

    async def receive(self) -> dict[str, Any] | None:
        frame = await super().receive()
        if frame is not None:
            self._note(frame)
        return frame


class RawClient:
    """Bytes and frames, as one likes. Use as an async context manager."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=MAX_FRAME_BYTES)
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._writer is not None
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def attach(self, client: str = "raw") -> dict[str, Any]:
        """Say hello to the chat; the first frame of the answer."""
        await self.frame({"op": "hello", "service": "chat", "version": program_version(), "client": client})
        return await self.next()

    async def frame(self, frame: object) -> None:
        """Send a frame."""
        await self.bytes(json.dumps(frame).encode() + b"\n")

    async def bytes(self, data: bytes) -> None:
        """Send this, as far as the other side takes it."""
        assert self._writer is not None
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def end(self) -> None:
        """Send nothing more."""
        assert self._writer is not None
        self._writer.write_eof()

    async def next(self, *ops: str) -> dict[str, Any]:
        """The next frame, or the next of these kinds; a delivery that wants it is acknowledged. {} at the end."""
        assert self._reader is not None
        while True:
            line = await asyncio.wait_for(self._reader.readline(), SECONDS)
            if not line:
                return {}
            frame: dict[str, Any] = json.loads(line)
            if frame.get("ack"):
                await self.frame({"op": "ack", "id": frame["id"], "final": frame["final"]})
            if not ops or frame.get("op") in ops:
                return frame

    async def answer_to(self, message_id: str) -> dict[str, Any]:
        """The frame that completes the answer to a message; the texts of its parts are joined. {} at the end."""
        texts: dict[int, str] = {}
        while frame := await self.next("show", "grow"):
            grows = frame["op"] == "grow"
            texts[frame["id"]] = (texts.get(frame["id"], "") if grows else "") + frame["text"]
            if frame["final"] and message_id in frame["answers"]:
                return {**frame, "text": texts[frame["id"]]}
        return {}
