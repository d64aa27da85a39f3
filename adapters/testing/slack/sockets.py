"""Socket Mode: an app's connections, what is sent over them, and how they end.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from adapters.testing.slack.accounts import App, Json
from adapters.testing.wire import disconnected

MAX_CONNECTIONS: Final = 10
"""How many connections an app may have at once."""
CONNECTION_TIME: Final = 3600
"""Seconds that a connection is said to last."""
DEBUG_TIME: Final = 360
"""The same with `debug_reconnects=true` in the address."""
PING_INTERVAL: Final = 10.0
"""Seconds of silence after which the server pings; how often Slack does is not documented."""
QUEUED: Final = 10_000
"""Frames that wait for one connection."""


class Connection:
    """One WebSocket of an app."""

    def __init__(self, number: int, http: web.Request, socket: web.WebSocketResponse) -> None:
        self.number = number
        """Counted from 1, over the app's whole life."""
        self.frozen = False
        self.ended = asyncio.Event()
        self.sent: list[Json] = []
        """Every frame that was given to it."""
        self.pongs = 0
        """How often the app answered a ping of the server."""
        self._http = http
        self._socket = socket
        self._frames: asyncio.Queue[Json | None] = asyncio.Queue(QUEUED)

    @property
    def live(self) -> bool:
        """Whether the server takes it for open."""
        return not self.ended.is_set()

    def send(self, frame: Json) -> None:
        """Send a frame after those before it; over a frozen connection it goes nowhere."""
        self.sent.append(frame)
        if not self.frozen:
            self._frames.put_nowait(frame)

    def freeze(self) -> None:
        """Half-open from now on: the socket stays, but nothing is read, answered or sent any more."""
        self.frozen = True

    def abort(self, *, reset: bool = False) -> None:
        """Break the connection off without a word; `reset`: with a TCP RST."""
        self.ended.set()
        disconnected(self._http, reset=reset)

    async def close(self, code: int = WSCloseCode.OK) -> None:
        """Close it as the protocol wants it, after what is to be sent."""
        self._frames.put_nowait(None)
        await self.ended.wait()
        with suppress(ConnectionError):
            await self._socket.close(code=code, drain=False)

    async def write(self) -> None:
        """Send what is queued, and a ping whenever there was nothing for a while."""
        while True:
            try:
                async with asyncio.timeout(PING_INTERVAL):
                    frame = await self._frames.get()
            except TimeoutError:
                if not self.frozen:
                    await self._socket.ping(b"server")
                continue
            if frame is None:
                self.ended.set()
                return
            await self._socket.send_str(json.dumps(frame))

    async def read(self, acknowledge: Callable[[Json], None]) -> None:
        """Take what comes until the connection ends."""
        while True:
            message = await self._socket.receive()
            if self.frozen:
                break
            if message.type is WSMsgType.TEXT:
                acknowledge(json.loads(message.data))
            elif message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self.pongs += 1
            else:
                await self._socket.close(drain=False)
                return
        await self.ended.wait()


class Sockets:
    """All connections of one app. An envelope goes to one of them, each in turn."""

    def __init__(self, app: App, acknowledge: Callable[[Json], None], changed: Callable[[], None]) -> None:
        self._app = app
        self._acknowledge = acknowledge
        self._changed = changed
        self._tickets: set[str] = set()
        self._issued = 0
        self._turn = 0
        self.all: list[Connection] = []
        """Every connection that there ever was."""

    @property
    def live(self) -> tuple[Connection, ...]:
        """Those that the server takes for open."""
        return tuple(each for each in self.all if each.live)

    def ticket(self) -> str:
        """A ticket for one connection."""
        self._issued += 1
        ticket = f"{self._app.id}-{self._issued}"
        self._tickets.add(ticket)
        return ticket

    def redeem(self, ticket: str) -> bool:
        """Whether a ticket is good; it is so once."""
        good = ticket in self._tickets
        self._tickets.discard(ticket)
        return good

    def send(self, frame: Json) -> Connection | None:
        """Give a frame to a connection; None if there is none."""
        live = self.live
        if not live:
            return None
        self._turn += 1
        connection = live[self._turn % len(live)]
        connection.send(frame)
        return connection

    def freeze(self) -> None:
        """Make all connections half-open."""
        for connection in self.live:
            connection.freeze()

    def abort(self, *, reset: bool = False) -> None:
        """Break all connections off without a word."""
        for connection in self.live:
            connection.abort(reset=reset)
        self._changed()

    async def disconnect(self, reason: str, *, connection: Connection | None = None, grace: float = 0.0) -> None:
        """Tell connections (all, or this one) that they are about to end, and close them `grace` seconds later.

        `reason` is `warning`, which comes about ten seconds before the end, `refresh_requested` at the end, or
        `link_disabled` where Socket Mode was switched off.
        """
        ending = self.live if connection is None else (connection,)
        for each in ending:
            each.send(_disconnect(reason))
        if grace > 0:
            await asyncio.sleep(grace)
        await asyncio.gather(*(each.close() for each in ending if each.live and not each.frozen))
        self._changed()

    async def stop(self) -> None:
        """Break off every connection."""
        self.abort()

    async def serve(self, http: web.Request) -> web.StreamResponse:
        """Keep one connection until it ends."""
        socket = web.WebSocketResponse(autoping=False, autoclose=False)
        await socket.prepare(http)
        if len(self.live) >= MAX_CONNECTIONS:
            await socket.send_str(json.dumps(_disconnect("too_many_websockets")))
            await socket.close(drain=False)
            return socket
        connection = Connection(len(self.all) + 1, http, socket)
        self.all.append(connection)
        connection.send(self._hello(debug="debug_reconnects" in http.query))
        writing = asyncio.create_task(connection.write())
        self._changed()
        try:
            await connection.read(self._acknowledge)
        except ConnectionError:
            pass
        finally:
            connection.ended.set()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._changed()
        return socket

    def _hello(self, *, debug: bool) -> Json:
        return {
            "type": "hello",
            "num_connections": len(self.live),
            "connection_info": {"app_id": self._app.id},
            "debug_info": {
                "host": "applink-loopback",
                "build_number": 1,
                "approximate_connection_time": DEBUG_TIME if debug else CONNECTION_TIME,
            },
        }


def _disconnect(reason: str) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-loopback"}}
