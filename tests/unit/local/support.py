"""A gateway for trying the terminal: a host that stores in memory, a small outbox, and a server of the socket.

To try it by hand: `python -m tests.unit.local.support host HOME`, and in another terminal
`python -m tests.unit.local.support chat HOME`.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from adapters.local import ChatOptions, chat
from adapters.local.adapter import LocalAdapter
from adapters.local.protocol import Ack, Hello, Message, Welcome
from config import LocalConfig, Platform
from gateway.clock import SystemClock
from gateway.constants import MAX_FRAME_BYTES
from gateway.frames import StreamConnection, encode
from gateway.ports import (
    Accepted,
    AdapterState,
    Clock,
    Cursor,
    Delivery,
    DeliveryKind,
    Found,
    FrameHandler,
    HttpHandler,
    InboundMessage,
    InboundState,
    Look,
    NotConnectedError,
    NotStoredError,
    OutcomeUnknownError,
    Overview,
    RawUpdate,
    SearchOutcome,
    SessionLine,
    StorageBusyError,
    Suggestion,
    Target,
)
from gateway.source import SessionSource

VERSION = "1.2.3"
TARGET = Target(Platform("local"), "cli")

SAMPLE = """# A sample answer

Some **bold**, *italic*, `code`, a [link](https://example.org/page) and <b>raw HTML</b>.
東京タワーはとても高いです。絵文字 🎉 👩‍💻 もあります。

- a first point
- a second point that is long enough to be wrapped when the window is only sixty columns wide
  1. nested
  2. again

```python
def answer(question: str) -> str:
    return question.upper()  # a comment that is too long for a narrow window, so it wraps
```

| Name | Number | 名前 |
|------|-------:|------|
| one | 1 | 東京 |
| a_very_long_word_that_cannot_be_broken_anywhere | 22 | 🎉 |

> A quotation.

The end.
"""

Script = Callable[[str], AsyncIterator[str]]


def delivery(
    id_: int,
    text: str,
    *,
    kind: DeliveryKind = "reply",
    final: bool = True,
    answers: tuple[str, ...] = (),
    repeated: bool = False,
) -> Delivery:
    return Delivery(
        id=id_,
        target=TARGET,
        kind=kind,
        text=text,
        final=final,
        answers=answers,
        repeated=repeated,
        session_id="s1",
        turn_id=f"t{id_}",
    )


async def echo(text: str) -> AsyncIterator[str]:
    yield f"you said: {text}"


class Store:
    """What outlives a process of the gateway."""

    def __init__(self) -> None:
        self.messages: dict[str, InboundMessage] = {}
        self.states: dict[str, InboundState] = {}
        self.ids = itertools.count(1)
        self.outbox: list[Delivery] = []
        self.repeats = 0

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages.values()]


class Seen:
    """What can be looked at beside the chat. `gone`: the store cannot be read."""

    def __init__(self) -> None:
        self.gone = False
        self.lines = [SessionLine(f"s{number}", f"Trip {number}", "2 messages") for number in range(3)]
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.gone:
            raise NotStoredError("the disk is on fire")

    async def complete(self, source: SessionSource, text: str) -> Sequence[Suggestion]:
        self._ask(f"complete {text}")
        _name, space, typed = text.partition(" ")
        if not space:
            return ()
        return [Suggestion(line.id, len(typed), line.title, line.about) for line in self.lines]

    async def sessions(self, source: SessionSource, text: str) -> Sequence[SessionLine]:
        self._ask(f"sessions {text}")
        return [line for line in self.lines if text.casefold() in line.title.casefold()]

    async def overview(self, source: SessionSource) -> Overview:
        self._ask("overview")
        return Overview("echo", "idle", "small", "s0", "Trip 0", 1234)


class FakeHost:
    """What the core lends the adapter; `busy` refuses that many messages first, `refuse` has texts that are refused
    for good, and the words that a delivery tells so with."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.busy = 0
        self.broken = 0
        self.refuse: dict[str, str] = {}
        self.refused: asyncio.Queue[InboundMessage] = asyncio.Queue()
        self.handlers: dict[str, FrameHandler] = {}
        self.states: list[AdapterState] = []
        self.arrived: asyncio.Queue[InboundMessage] = asyncio.Queue()
        self.seen = Seen()

    @property
    def clock(self) -> Clock:
        return SystemClock()

    @property
    def banner(self) -> Sequence[str]:
        return ("The agent is echo: it repeats what you write.", "`hermes-gateway setup` sets up a better one.")

    @property
    def commands(self) -> Sequence[tuple[str, str]]:
        return (("help", "What you can say"), ("stop", "Stop the answer"), ("status", "How things stand"))

    @property
    def command_names(self) -> frozenset[str]:
        return frozenset(name for name, _help in self.commands)

    @property
    def look(self) -> Look:
        return self.seen

    async def accept(self, message: InboundMessage) -> Accepted:
        if self.busy:
            self.busy -= 1
            raise StorageBusyError
        if self.broken:
            self.broken -= 1
            raise OSError("disk on fire")
        known = message.message_id in self.store.messages
        if message.text in self.refuse:
            self.refused.put_nowait(message)
            return Accepted(0, InboundState.REFUSED, reason="refused")
        if not known:
            self.store.messages[message.message_id] = message
            self.store.states[message.message_id] = InboundState.PENDING
            self.arrived.put_nowait(message)
        await asyncio.sleep(0)
        return Accepted(1, self.store.states[message.message_id], duplicate=known)

    def admits(self, message: InboundMessage) -> bool:
        raise NotImplementedError

    def bars(self, message: InboundMessage) -> bool:
        raise NotImplementedError

    async def identify(self, account_id: str) -> None:
        raise NotImplementedError

    async def is_group_known(self, chat_id: str, group_id: str) -> bool:
        raise NotImplementedError

    async def known(self, chat_id: str, message_ids: Collection[str]) -> frozenset[str]:
        raise NotImplementedError

    async def cursor(self, name: str) -> str | None:
        raise AssertionError("the terminal has no cursor")

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        raise AssertionError("the terminal has no cursors")

    async def keep(self, updates: Sequence[RawUpdate], cursor: Cursor | None = None) -> None:
        raise AssertionError("the terminal keeps no updates")

    async def kept(self) -> Sequence[RawUpdate]:
        raise AssertionError("the terminal keeps no updates")

    async def settle(self, update_id: str, problem: str | None = None) -> None:
        raise AssertionError("the terminal keeps no updates")

    async def amend(self, message: InboundMessage) -> None:
        raise AssertionError("nothing can be edited in a terminal")

    async def withdraw(self, chat_id: str, message_id: str, update_id: str | None = None) -> None:
        raise AssertionError("nothing can be deleted in a terminal")

    async def move_chat(self, old: str, new: str, update_id: str | None = None) -> None:
        raise AssertionError("the terminal does not move")

    def handle_http(self, handler: HttpHandler) -> None:
        raise AssertionError("the terminal takes no requests")

    def set_state(self, state: AdapterState, reason: str | None = None, *, next_try: datetime | None = None) -> None:
        self.states.append(state)

    def serve(self, service: str, handler: FrameHandler) -> None:
        self.handlers[service] = handler


class FakeGateway:
    """One process of the gateway: the adapter, the server of its socket, and an outbox for one chat."""

    def __init__(
        self,
        path: Path,
        *,
        store: Store | None = None,
        script: Script | None = None,
        acknowledge_seconds: float = 2.0,
        version: str = VERSION,
    ) -> None:
        self.path = path
        self.store = store or Store()
        self.host = FakeHost(self.store)
        self.adapter = LocalAdapter(LocalConfig(), self.host, acknowledge_seconds=acknowledge_seconds, version=version)
        self.script = script
        self.connections: set[StreamConnection] = set()
        self.stopping: asyncio.Event = asyncio.Event()
        self.clients: list[RawClient] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._serving: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> "FakeGateway":
        self._tasks.append(asyncio.create_task(self.adapter.run()))
        self._tasks.append(asyncio.create_task(self._tell_refused()))
        await asyncio.sleep(0)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._client, str(self.path), limit=MAX_FRAME_BYTES)
        if self.script is not None:
            self._tasks.append(asyncio.create_task(self._work(self.script)))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End as a killed process does: every connection breaks, nothing is said."""
        self._server.close()
        self.path.unlink(missing_ok=True)
        tasks = [*self._tasks, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [*self.connections, *(client.connection for client in self.clients)]:
            connection._writer.transport.abort()
            await connection.close()

    async def client(self, **changes: Any) -> "RawClient":
        """A raw client, closed with the gateway."""
        client = await RawClient.open(self.path, **changes)
        self.clients.append(client)
        return client

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        connection = StreamConnection(reader, writer)
        self.connections.add(connection)
        try:
            first = await connection.receive()
            if first is not None:
                await self.host.handlers[first["service"]](connection, first)
        except asyncio.CancelledError:
            return
        finally:
            self.connections.discard(connection)
            self._serving.discard(task)
            writer.transport.abort()  # closing would wait for a client that does not read

    async def _tell_refused(self) -> None:
        while True:
            message = await self.host.refused.get()
            words = self.host.refuse[message.text]
            answers = (message.message_id,)
            await self.deliver(delivery(next(self.store.ids), words, kind="error", answers=answers))

    async def _work(self, script: Script) -> None:
        """Turns, one after another; what an earlier process left over comes first."""
        for left in self.store.outbox:
            await self.deliver(left, ambiguous=True)
        self.store.outbox.clear()
        for message in list(self.store.messages.values()):
            if self.store.states[message.message_id] is not InboundState.ANSWERED:
                await self._turn(message, script)
        while True:
            message = await self.host.arrived.get()
            if self.store.states[message.message_id] is not InboundState.ANSWERED:
                await self._turn(message, script)

    async def _turn(self, message: InboundMessage, script: Script) -> None:
        self.stopping.clear()
        if message.text == "/stop":
            self._answered(message)
            await self.deliver(
                delivery(next(self.store.ids), "Nothing runs.", kind="notice", answers=(message.message_id,))
            )
            return
        reply = delivery(next(self.store.ids), "", final=False)
        async for piece in script(message.text):
            sent = bool(reply.text)
            reply = replace(reply, text=reply.text + piece)
            if not sent:
                await self.deliver(reply)
            else:
                with contextlib.suppress(NotConnectedError):
                    await self.adapter.edit(reply)
            aside = next((m for m in self._waiting() if m.text == "/usage"), None)
            if aside is not None:
                self._answered(aside)
                await self.deliver(delivery(next(self.store.ids), "All is well.", answers=(aside.message_id,)))
            stop = next((m for m in self._waiting() if m.text == "/stop"), None)
            if stop is not None:
                self._answered(stop)
                await self.deliver(
                    delivery(next(self.store.ids), "Stopped.", kind="notice", answers=(stop.message_id,))
                )
                break
        final = replace(reply, final=True, answers=(message.message_id,))
        self._answered(message)
        self.store.outbox.append(final)
        await self.deliver(final, edit=True)
        self.store.outbox.clear()

    def _waiting(self) -> list[InboundMessage]:
        return [
            message
            for message in self.store.messages.values()
            if self.store.states[message.message_id] is InboundState.PENDING
        ]

    def _answered(self, message: InboundMessage) -> None:
        self.store.states[message.message_id] = InboundState.ANSWERED

    async def deliver(self, item: Delivery, *, edit: bool = False, ambiguous: bool = False) -> None:
        """What the outbox does: send, and after an unknown outcome find, until it is through."""
        while True:
            try:
                if ambiguous:
                    match await self.adapter.find(item):
                        case Found():
                            return
                        case SearchOutcome.UNKNOWN:
                            self.store.repeats += 1
                            item = replace(item, repeated=True)
                    ambiguous = False
                if edit:
                    await self.adapter.edit(item)
                else:
                    await self.adapter.send(item)
            except NotConnectedError:
                await asyncio.sleep(0.02)
            except OutcomeUnknownError:
                ambiguous = not edit
            else:
                return


async def attached(gateway: FakeGateway, *names: str) -> None:
    """Wait until exactly these clients are attached."""
    async with asyncio.timeout(5):
        while set(gateway.adapter._attached) != set(names):
            await asyncio.sleep(0.005)


class RawClient:
    """A client that does exactly what a test says."""

    def __init__(self, connection: StreamConnection) -> None:
        self.connection = connection

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        name: str = "raw",
        shown: tuple[int, ...] = (),
        growing: tuple[int, ...] = (),
        peers: tuple[str, ...] = (),
        asked: tuple[str, ...] = (),
        version: str = VERSION,
        limit: int = MAX_FRAME_BYTES,
    ) -> "RawClient":
        """Attach. `limit` bounds what is read ahead of the test."""
        client = cls(StreamConnection(*await asyncio.open_unix_connection(str(path), limit=limit)))
        hello = Hello(version=version, client=name, shown=shown, growing=growing, peers=peers, asked=asked)
        await client.connection.send(hello.wire())
        Welcome.model_validate(await client.frame("welcome"))
        return client

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(5):
            frame = await self.connection.receive()
        if frame is None:
            raise ConnectionResetError("the gateway closed the connection")
        return frame

    async def frame(self, op: str) -> dict[str, Any]:
        """The next frame of this kind; others are skipped."""
        async with asyncio.timeout(5):
            while (frame := await self.next())["op"] != op:
                continue
        return frame

    async def raw(self, line: bytes) -> None:
        self.connection._writer.write(line)
        await self.connection._writer.drain()

    async def say(self, id_: str, text: str) -> None:
        await self.connection.send(Message(id=id_, text=text).wire())

    async def ack(self, id_: int, *, final: bool = True) -> None:
        await self.connection.send(Ack(id=id_, final=final).wire())

    async def close(self) -> None:
        await self.connection.close()


class Streams:
    """Standard streams in memory."""

    def __init__(self, text: str | bytes = "") -> None:
        data = text.encode() if isinstance(text, str) else text
        self.stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        self.stdout: TextIO = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        self.stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")

    @staticmethod
    def _text(stream: TextIO) -> str:
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()

    @property
    def out(self) -> str:
        return self._text(self.stdout)

    @property
    def err(self) -> str:
        return self._text(self.stderr)


def options(path: Path, streams: Streams, **changes: Any) -> ChatOptions:
    return ChatOptions(
        socket=path,
        home=path.parent,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
        environ=changes.pop("environ", {"TERM": "xterm-256color"}),
        version=changes.pop("version", VERSION),
        **changes,
    )


def oversized_frame() -> bytes:
    return encode({"op": "message", "id": "big", "text": "x" * (MAX_FRAME_BYTES + 1)})


# --- by hand -------------------------------------------------------------------------------------------


async def demonstration(text: str) -> AsyncIterator[str]:
    """A reply in small pieces: `sample`, `lines N`, `code N`, `list N`, or an echo."""
    word, _, number = text.partition(" ")
    count = int(number) if number.isdigit() else 20
    if word == "sample":
        whole = SAMPLE
    elif word == "lines":
        whole = "\n\n".join(f"Paragraph {n}: {'some words ' * 12}" for n in range(1, count + 1))
    elif word == "code":
        whole = "```python\n" + "".join(f"value_{n} = {n}\n" for n in range(1, count + 1)) + "```\n\nDone.\n"
    elif word == "list":
        whole = "".join(f"{n}. point **{n}** 東京 🎉\n" for n in range(1, count + 1))
    else:
        whole = f"you said: {text}"
    step = 4 if count < 100 else 40
    for start in range(0, len(whole), step):
        yield whole[start : start + step]
        await asyncio.sleep(0.02)


async def _main(arguments: Mapping[str, Any]) -> int:
    home = Path(arguments["home"])
    path = home / "gateway.sock"
    if arguments["role"] == "host":
        async with FakeGateway(path, script=demonstration, acknowledge_seconds=10):
            await asyncio.Event().wait()
    message = " ".join(arguments["message"]) or None
    return await chat(
        ChatOptions(socket=path, home=home, version=VERSION, message=message, json_mode=arguments["json"])
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["host", "chat"])
    parser.add_argument("home")
    parser.add_argument("message", nargs="*")
    parser.add_argument("--json", action="store_true")
    return asyncio.run(_main(vars(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
