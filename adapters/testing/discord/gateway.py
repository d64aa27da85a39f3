"""The gateway: WebSocket connections, their handshake, heartbeats, and what goes wrong with them on demand.

https://docs.discord.com/developers/events/gateway
"""

import asyncio
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from aiohttp import WSMsgType, web

from adapters.testing.changes import Changes
from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.intents import ALL, NONE, PRIVILEGED, Intents
from adapters.testing.discord.limits import RateLimits
from adapters.testing.discord.sessions import Dispatch, Mishaps, Session

VERSIONS: Final = {"9", "10"}
MAX_FRAME: Final = 4096
"""Bytes of a frame from a client (https://docs.discord.com/developers/events/gateway#sending-events)."""
TOLERANCE: Final = 0.5
"""A heartbeat may be late by this part of the interval, or so many seconds if that is longer."""
ENDS_SESSION: Final = {1000, 1001}
"""A client that closes with one of these cannot resume
(https://docs.discord.com/developers/events/gateway#initiating-a-disconnect)."""
QUEUE: Final = 10_000
"""Frames that may wait for a client that does not read; more is a broken test."""


class Opcode(IntEnum):
    """https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-opcodes"""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE_UPDATE = 3
    VOICE_STATE_UPDATE = 4
    RESUME = 6
    RECONNECT = 7
    REQUEST_GUILD_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


class CloseCode(IntEnum):
    """https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes"""

    UNKNOWN_ERROR = 4000
    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    INVALID_SEQUENCE = 4007
    RATE_LIMITED = 4008
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    SHARDING_REQUIRED = 4011
    INVALID_VERSION = 4012
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


class _RefusedError(Exception):
    """The connection is closed with a code."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Received:
    """A frame that a client sent. `at` is in seconds of the server's monotonic clock."""

    connection: int
    op: int
    data: Any
    at: float


class Connection:
    """One WebSocket. What is sent goes through a queue, in order."""

    def __init__(self, number: int, http: web.Request, socket: web.WebSocketResponse, *, compress: bool) -> None:
        self.number = number
        self.path = http.path
        """`/gateway`, or `/resume` for a client that follows READY's `resume_gateway_url`."""
        self.session: Session | None = None
        self.acknowledges = True
        """Whether heartbeats are acknowledged."""
        self.deaf = False
        """Whether it is half-open: nothing is read, nothing is sent."""
        self.closing = False
        """Whether the server ends it."""
        self._transport = http.transport
        self._socket = socket
        self._queue: asyncio.Queue[str | int] = asyncio.Queue(QUEUE)
        self._zlib = zlib.compressobj() if compress else None

    def send(self, frame: str) -> None:
        """Queue a frame."""
        if not self.deaf:
            self._queue.put_nowait(frame)

    def tell(self, op: Opcode, data: Any = None) -> None:  # noqa: ANN401
        """Queue a frame that is not an event."""
        self.send(json.dumps({"op": int(op), "d": data, "s": None, "t": None}))

    def close(self, code: int) -> None:
        """Queue the end of the connection."""
        if not self.deaf:
            self.closing = True
            self._queue.put_nowait(code)

    def cut(self) -> None:
        """End the TCP connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def deafen(self) -> None:
        """Leave it half-open."""
        self.deaf = True
        if isinstance(self._transport, asyncio.Transport) and not self._transport.is_closing():
            self._transport.pause_reading()

    async def write(self) -> None:
        """Send what is queued, until the connection ends."""
        with suppress(ConnectionError):
            while True:
                item = await self._queue.get()
                if self.deaf:
                    continue
                if isinstance(item, int):
                    await self._socket.close(code=item)
                    return
                if self._zlib is None:
                    await self._socket.send_str(item)
                else:
                    data = self._zlib.compress(item.encode()) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
                    await self._socket.send_bytes(data)


class Gateway:
    """All connections and sessions. A test uses the methods that make something go wrong, and the logs."""

    def __init__(
        self,
        changes: Changes,
        monotonic: Callable[[], float],
        note: Callable[[str], None],
        limits: RateLimits | None,
        *,
        heartbeat_seconds: float,
        session_seconds: float,
        kept_events: int,
    ) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        """The interval that HELLO names from now on."""
        self.received: list[Received] = []
        """Every frame that clients sent, heartbeats too."""
        self.dispatched: list[Dispatch] = []
        """Every event that was numbered for a session, whether it has arrived or not."""
        self.mishaps = Mishaps()
        self.bots: dict[str, Bot] = {}
        """By token."""
        self.ready: Callable[[Session], list[tuple[str, Json]]] = lambda _: []
        """The events that a new session begins with."""
        self.members: Callable[[Session, Json], Json | None] = lambda _, __: None
        """The data of GUILD_MEMBERS_CHUNK for a request."""
        self._changes = changes
        self._monotonic = monotonic
        self._note = note
        self._limits = limits
        self._session_seconds = session_seconds
        self._kept = kept_events
        self._connections: dict[int, Connection] = {}
        self._sessions: dict[str, Session] = {}
        self._numbers = 0
        self._identified: dict[int, float] = {}
        self._refusals: deque[CloseCode] = deque()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The WebSockets that are open, the half-open ones too."""
        return tuple(self._connections.values())

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that are connected or can be resumed."""
        return tuple(session for session in self._sessions.values() if not self._expired(session))

    def frames(self, op: Opcode) -> list[Received]:
        """The frames of one kind that clients sent."""
        return [each for each in self.received if each.op == op]

    def close(self, code: int = CloseCode.UNKNOWN_ERROR, bot: Bot | None = None) -> None:
        """Close the connections (of one bot) with this code; the sessions can be resumed."""
        for connection in self._of(bot):
            connection.close(code)

    def cut(self, bot: Bot | None = None) -> None:
        """Break the connections without a word; the sessions can be resumed."""
        for connection in self._of(bot):
            connection.cut()

    def half_open(self, bot: Bot | None = None) -> None:
        """Leave the connections open and dead: nothing is read, sent or acknowledged any more."""
        for connection in self._of(bot):
            connection.deafen()

    def stop_acknowledging(self, bot: Bot | None = None) -> None:
        """Acknowledge no heartbeat on these connections; events go on."""
        for connection in self._of(bot):
            connection.acknowledges = False

    def ask_to_reconnect(self, bot: Bot | None = None) -> None:
        """Send RECONNECT (opcode 7)."""
        for connection in self._of(bot):
            connection.tell(Opcode.RECONNECT)

    def ask_for_heartbeat(self, bot: Bot | None = None) -> None:
        """Send HEARTBEAT (opcode 1), which the client answers at once."""
        for connection in self._of(bot):
            connection.tell(Opcode.HEARTBEAT)

    def invalidate(self, *, resumable: bool = False, bot: Bot | None = None) -> None:
        """Send INVALID_SESSION (opcode 9); unless `resumable`, the session is gone."""
        for connection in self._of(bot):
            if not resumable and connection.session is not None:
                self._sessions.pop(connection.session.id, None)
                connection.session = None
            connection.tell(Opcode.INVALID_SESSION, resumable)

    def forget(self, bot: Bot | None = None) -> None:
        """Let no session without a connection be resumed any more, as after some minutes."""
        for session in list(self._sessions.values()):
            if session.connection is None and bot in {None, session.bot}:
                del self._sessions[session.id]

    def refuse_next(self, code: CloseCode) -> None:
        """Answer the next IDENTIFY or RESUME by closing with this code."""
        self._refusals.append(code)

    def end(self, bot: Bot) -> None:
        """End every session of a bot and close its connections as for a wrong token."""
        self.close(CloseCode.AUTHENTICATION_FAILED, bot)
        for session in list(self._sessions.values()):
            if session.bot is bot:
                del self._sessions[session.id]

    def dispatch(self, bot: Bot, event: str, build: Callable[[Session], Json | None], *, in_guild: bool) -> None:
        """Tell every session of a bot that wants to know; `build` gives None for one that may not."""

        def happen() -> None:
            for session in self.sessions:
                if session.bot is bot and session.wants(event, in_guild=in_guild):
                    data = build(session)
                    if data is not None:
                        self._add(session, event, data)

        self.mishaps.pass_on(happen)
        self._changes.note()

    async def serve(self, http: web.Request, resume_url: str) -> web.StreamResponse:
        """One connection, from HELLO to its end. `resume_url` is READY's `resume_gateway_url`."""
        socket = web.WebSocketResponse(autoping=True, max_msg_size=0, timeout=0.1, compress=False)
        await socket.prepare(http)
        self._numbers += 1
        # A client that asks for zstd-stream reads text frames as well.
        compress = http.query.get("compress") == "zlib-stream"
        connection = Connection(self._numbers, http, socket, compress=compress)
        self._connections[connection.number] = connection
        self._changes.note()
        writer = asyncio.create_task(connection.write())
        try:
            connection.tell(Opcode.HELLO, {"heartbeat_interval": int(self.heartbeat_seconds * 1000)})
            if http.query.get("v") not in VERSIONS:
                connection.close(CloseCode.INVALID_VERSION)
            await self._read(connection, socket, resume_url)
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            self._leave(connection, socket.close_code)
        return socket

    def _leave(self, connection: Connection, code: int | None) -> None:
        del self._connections[connection.number]
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            session.detached_at = self._monotonic()
            if code in ENDS_SESSION and not connection.closing and session.id in self._sessions:
                del self._sessions[session.id]
        self._changes.note()

    async def _read(self, connection: Connection, socket: web.WebSocketResponse, resume_url: str) -> None:
        loop = asyncio.get_running_loop()
        interval = self.heartbeat_seconds
        allowed = interval + max(interval * TOLERANCE, TOLERANCE)
        deadline = loop.time() + allowed
        recent: deque[float] = deque()
        while True:
            left = None if connection.deaf else max(deadline - loop.time(), 0.0)
            try:
                message = await socket.receive(timeout=left)
            except TimeoutError:
                if not connection.deaf:
                    self._note(f"connection {connection.number} sent no heartbeat for {allowed:.2f} s")
                    connection.close(CloseCode.UNKNOWN_ERROR)
                    deadline = loop.time() + allowed
                continue
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                return
            if connection.deaf:
                continue
            try:
                self._too_many(connection, recent)
                op = self._take(connection, message.data, resume_url)
            except _RefusedError as refused:
                connection.close(refused.code)
                continue
            if op == Opcode.HEARTBEAT:
                deadline = loop.time() + allowed

    def _too_many(self, connection: Connection, recent: deque[float]) -> None:
        if self._limits is None:
            return
        now = self._monotonic()
        recent.append(now)
        while recent[0] <= now - self._limits.events_seconds:
            recent.popleft()
        if len(recent) > self._limits.events:
            self._note(f"connection {connection.number} sent more than {self._limits.events} frames")
            raise _RefusedError(CloseCode.RATE_LIMITED)

    def _take(self, connection: Connection, raw: str | bytes, resume_url: str) -> int:
        if len(raw if isinstance(raw, bytes) else raw.encode()) > MAX_FRAME:
            raise _RefusedError(CloseCode.DECODE_ERROR)
        try:
            frame = json.loads(raw)
            op, data = frame["op"], frame.get("d")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _RefusedError(CloseCode.DECODE_ERROR) from None
        self.received.append(Received(connection.number, op, data, self._monotonic()))
        self._changes.note()
        match op:
            case Opcode.HEARTBEAT:
                if connection.acknowledges:
                    connection.tell(Opcode.HEARTBEAT_ACK)
            case Opcode.IDENTIFY:
                self._identify(connection, data, resume_url)
            case Opcode.RESUME:
                self._resume(connection, data)
            case Opcode.REQUEST_GUILD_MEMBERS:
                self._chunk(connection, data)
            case Opcode.PRESENCE_UPDATE | Opcode.VOICE_STATE_UPDATE:
                self._session(connection)
            case _:
                raise _RefusedError(CloseCode.UNKNOWN_OPCODE)
        return int(op)

    @staticmethod
    def _session(connection: Connection) -> Session:
        if connection.session is None:
            raise _RefusedError(CloseCode.NOT_AUTHENTICATED)
        return connection.session

    def _bot(self, data: Any) -> Bot:  # noqa: ANN401
        if self._refusals:
            raise _RefusedError(self._refusals.popleft())
        if not isinstance(data, dict):
            raise _RefusedError(CloseCode.DECODE_ERROR)
        bot = self.bots.get(str(data.get("token", "")).removeprefix("Bot "))
        if bot is None:
            raise _RefusedError(CloseCode.AUTHENTICATION_FAILED)
        return bot

    def _identify(self, connection: Connection, data: Any, resume_url: str) -> None:  # noqa: ANN401
        if connection.session is not None:
            raise _RefusedError(CloseCode.ALREADY_AUTHENTICATED)
        bot = self._bot(data)
        intents = data.get("intents")
        if not isinstance(intents, int) or intents < 0 or intents & ~int(ALL):
            raise _RefusedError(CloseCode.INVALID_INTENTS)
        if Intents(intents) & PRIVILEGED & ~bot.privileged:
            raise _RefusedError(CloseCode.DISALLOWED_INTENTS)
        if data.get("shard", [0, 1]) != [0, 1]:
            raise _RefusedError(CloseCode.INVALID_SHARD)
        if self._too_often(bot):
            connection.tell(Opcode.INVALID_SESSION, False)
            return
        for session in list(self._sessions.values()):
            if self._expired(session):
                del self._sessions[session.id]
        session = Session(f"{bot.id:x}{self._numbers:08x}", bot, Intents(intents) | NONE, self._kept)
        self._sessions[session.id] = session
        self._attach(session, connection)
        for event, body in self.ready(session):
            extra = {"resume_gateway_url": resume_url, "session_id": session.id} if event == "READY" else {}
            self._add(session, event, body | extra)

    def _too_often(self, bot: Bot) -> bool:
        now = self._monotonic()
        before = self._identified.get(bot.id)
        self._identified[bot.id] = now
        if self._limits is None or before is None or now - before >= self._limits.identify_seconds:
            return False
        self._note(f"IDENTIFY came {now - before:.2f} s after the one before")
        return True

    def _resume(self, connection: Connection, data: Any) -> None:  # noqa: ANN401
        if connection.session is not None:
            raise _RefusedError(CloseCode.ALREADY_AUTHENTICATED)
        bot = self._bot(data)
        session = self._sessions.get(str(data.get("session_id")))
        sequence = data.get("seq")
        if session is None or session.bot is not bot or self._expired(session):
            connection.tell(Opcode.INVALID_SESSION, False)
            return
        if not isinstance(sequence, int) or sequence > session.sequence:
            raise _RefusedError(CloseCode.INVALID_SEQUENCE)
        missed = session.missed(sequence)
        if missed is None:
            del self._sessions[session.id]
            connection.tell(Opcode.INVALID_SESSION, False)
            return
        self._attach(session, connection)
        for dispatch in missed:
            connection.send(dispatch.frame())
        self._add(session, "RESUMED", {})

    def _attach(self, session: Session, connection: Connection) -> None:
        before = session.connection
        session.connection, session.detached_at = connection, None
        connection.session = session
        if before is not None:
            before.session = None
            before.close(CloseCode.SESSION_TIMED_OUT)

    def _chunk(self, connection: Connection, data: Any) -> None:  # noqa: ANN401
        session = self._session(connection)
        chunk = self.members(session, data) if isinstance(data, dict) else None
        if chunk is None:
            self._note("REQUEST_GUILD_MEMBERS for all members without the intent GUILD_MEMBERS, or for no guild")
            return
        self._add(session, "GUILD_MEMBERS_CHUNK", chunk)

    def _add(self, session: Session, event: str, data: Json) -> None:
        self.dispatched.append(session.add(event, data, self._monotonic()))

    def _expired(self, session: Session) -> bool:
        detached = session.detached_at
        return detached is not None and self._monotonic() - detached > self._session_seconds

    def _of(self, bot: Bot | None) -> Iterator[Connection]:
        for connection in self.connections:
            if bot is None or (connection.session is not None and connection.session.bot is bot):
                yield connection
