"""The client of the chat service: keeps its connection, sends what a person wrote, and passes on what comes back.

What it promises to the person: a line is sent until the gateway has it, under one id, so that it makes one
turn; a delivery is shown once, however often it comes.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adapters.local.known import Known, change, digest
from adapters.local.protocol import (
    HELD_SECONDS,
    REMEMBERED_DELIVERIES,
    Ack,
    Bye,
    Frame,
    Grow,
    Held,
    Hello,
    Message,
    MessageAccepted,
    MessageBusy,
    MessageRefused,
    Peers,
    Problem,
    ProtocolError,
    Show,
    Told,
    Welcome,
    read_gateway_frame,
    text_problem,
)
from adapters.local.questions import Questions
from adapters.local.screen import (
    GatewayUnavailableError,
    Line,
    LineOutcome,
    LineRefusedError,
    Screen,
    Update,
    VersionMismatchError,
)
from gateway.frames import FrameError, StreamConnection, connect
from gateway.ports import DeliveryKind, InboundState

FIRST_CONNECT_SECONDS: Final = 5.0
"""How long the gateway's socket may take to appear when the chat opens."""

WELCOME_SECONDS: Final = 10.0
"""How long the gateway may take to answer the first frame."""

RETRY_SECONDS: Final = 0.05
"""The first pause before connecting again; it doubles each time, up to `MAX_RETRY_SECONDS`."""

MAX_RETRY_SECONDS: Final = 2.0
"""The longest pause between two tries to connect, or to have a message stored: someone is looking."""

SETTLE_SECONDS: Final = 10.0
"""How long the reply to a line may take to arrive after the gateway has said that it was given: it was shown
on another terminal if it does not."""

LEAVE_SECONDS: Final = 1.0
"""How long the gateway may take to notice that the client says good-bye."""

MAX_UNANSWERED: Final = 200
"""Lines that may wait for an answer."""

MAX_KNOWN: Final = 4 * REMEMBERED_DELIVERIES
"""Deliveries that the client recognises when they come again."""

_ENDED: Final = {
    InboundState.ANSWERED: LineOutcome.ELSEWHERE,
    InboundState.MERGED: LineOutcome.ELSEWHERE,
    InboundState.REFUSED: LineOutcome.UNANSWERED,
    InboundState.EXPIRED: LineOutcome.UNANSWERED,
    InboundState.FAILED: LineOutcome.UNANSWERED,
    InboundState.DEAD: LineOutcome.UNANSWERED,
}
"""What has become of a message that is at its end, if the delivery that tells of it does not come."""


class _NotReadyError(Exception):
    """The gateway does not take this client now. `str()` says why."""


@dataclass(slots=True)
class _Link:
    """One connection and what has been sent on it."""

    connection: StreamConnection
    turned: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False


class ChatClient:
    """One terminal's connection to the gateway, made again for as long as `run` runs.

    `patience` is how many seconds a lost gateway may stay away; None waits for ever.
    """

    def __init__(
        self,
        socket: Path,
        screen: Screen,
        *,
        version: str,
        new_id: Callable[[], str],
        patience: float | None = None,
        open_connection: Callable[[str], Awaitable[StreamConnection]] = connect,
    ) -> None:
        self._socket = socket
        self._screen = screen
        self._version = version
        self._new_id = new_id
        self._patience = patience
        self._open = open_connection
        self._name = new_id()
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._own: OrderedDict[str, None] = OrderedDict()
        self._known: OrderedDict[int, Known] = OrderedDict()
        self._peers: tuple[str, ...] = ()
        self._link: _Link | None = None
        self._welcomed = False
        self._said_lost = False
        self._said_busy = False
        self._leaving = asyncio.Event()
        self.questions = Questions(self._send)
        """What is asked beside the chat."""

    @property
    def unanswered(self) -> int:
        """How many lines have no answer yet."""
        return len(self._lines)

    @property
    def connected(self) -> bool:
        """Whether the gateway can be reached at the moment."""
        return self._link is not None

    def submit(self, text: str) -> Line:
        """Have a line sent; its `outcome` is set once it is answered. Raises `LineRefusedError`."""
        problem = text_problem(text)
        if problem is None and len(self._lines) >= MAX_UNANSWERED:
            problem = f"{MAX_UNANSWERED} messages wait for an answer already"
        if problem is not None:
            raise LineRefusedError(problem)
        line = Line(self._new_id(), text, asyncio.get_running_loop().create_future())
        self._lines[line.id] = line
        self._own[line.id] = None
        while len(self._own) > MAX_KNOWN:
            self._own.popitem(last=False)
        if self._link is not None:
            self._link.turned.set()
        return line

    async def run(self) -> None:
        """Keep the connection until `leave`. Raises `ChatError` when there is no point in going on."""
        while not self._leaving.is_set():
            connection = await self._connect()
            if connection is None:
                return
            try:
                await self._exchange(_Link(connection))
            finally:
                await _close(connection)
            if not self._leaving.is_set():
                await self._say_lost()
                await self._pause(RETRY_SECONDS)

    def leave(self) -> None:
        """Say good-bye to the gateway and show nothing more; `run` returns soon after."""
        self._leaving.set()
        if self._link is not None:
            self._link.turned.set()

    # --- connecting ------------------------------------------------------------------------------------

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the person leaves meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    async def _connect(self) -> StreamConnection | None:
        """A connection that the gateway has welcomed; None once the person leaves.

        A gateway that starts or stops may refuse for a moment, so every refusal is tried again for a while.
        Raises `GatewayUnavailableError`, `VersionMismatchError`.
        """
        patience = self._patience if self._welcomed else FIRST_CONNECT_SECONDS
        started, pause = self._now(), RETRY_SECONDS
        while not self._leaving.is_set():
            try:
                return await self._attach()
            except _NotReadyError as error:
                if patience is not None and self._now() - started >= patience:
                    raise GatewayUnavailableError(
                        f"the gateway cannot be reached at {self._socket} ({error});"
                        " `hermes-gateway status` says whether it runs, `hermes-gateway run` starts it"
                    ) from error
            await self._pause(pause)
            pause = min(2 * pause, MAX_RETRY_SECONDS)
        return None

    async def _attach(self) -> StreamConnection:
        """One try. Raises `_NotReadyError`, `VersionMismatchError`."""
        try:
            connection = await self._open(str(self._socket))
        except OSError as error:
            raise _NotReadyError(error.strerror or str(error)) from error
        try:
            await self._greet(await self._introduce(connection))
        except BaseException:
            await _close(connection)
            raise
        return connection

    async def _introduce(self, connection: StreamConnection) -> Welcome:
        try:
            await connection.send(self._hello().wire())
            async with asyncio.timeout(WELCOME_SECONDS):
                answer = await self._receive(connection)
        except (ConnectionError, TimeoutError) as error:
            raise _NotReadyError("it does not answer") from error
        if isinstance(answer, Problem):
            raise _NotReadyError(answer.text)
        if not isinstance(answer, Welcome):
            raise _NotReadyError("it ended the connection")
        if answer.version != self._version:
            raise VersionMismatchError(answer.version, self._version)
        return answer

    async def _say_lost(self) -> None:
        if not self._said_lost:
            self._said_lost = True
            await self._screen.report("The connection to the gateway is lost; trying to get it back.")

    def _hello(self) -> Hello:
        newest = list(self._known)[-REMEMBERED_DELIVERIES:]
        return Hello(
            version=self._version,
            client=self._name,
            shown=tuple(newest),
            growing=tuple(id_ for id_ in newest if self._known[id_].digest is None),
            peers=self._peers,
            asked=tuple(self._lines),
        )

    async def _greet(self, welcome: Welcome) -> None:
        if not self._welcomed:
            self._welcomed = True
            await self._screen.welcome(welcome)
        elif self._said_lost:
            await self._screen.report("Connected again.")
        self._said_lost = False

    async def _exchange(self, link: _Link) -> None:
        for line in self._lines.values():
            line.accepted = False
        self._link = link
        sender = asyncio.create_task(self._send_lines(link))
        reader = asyncio.create_task(self._read(link))
        try:
            await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                # What the reader is showing must come to its end: cut off, it would be shown again.
                await asyncio.wait({reader}, timeout=LEAVE_SECONDS if self._leaving.is_set() else None)
        finally:
            self._link = None
            sender.cancel()
            reader.cancel()
            results = await asyncio.gather(sender, reader, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _receive(self, connection: StreamConnection) -> Frame | None:
        """The next frame that this client knows, or None once the gateway has gone."""
        while True:
            try:
                frame = await connection.receive()
                return None if frame is None else read_gateway_frame(frame)
            except FrameError as error:
                if error.fatal:
                    raise ConnectionResetError(str(error)) from error
            except ProtocolError:
                continue

    # --- sending ---------------------------------------------------------------------------------------

    async def _send_lines(self, link: _Link) -> None:
        """Send the lines one after another: the next one once the gateway has said that it has this one,
        so that none overtakes another."""
        pause = RETRY_SECONDS
        while not self._leaving.is_set():
            link.turned.clear()
            line = next((line for line in self._lines.values() if not line.accepted), None)
            if line is None:
                await link.turned.wait()
                continue
            link.busy = False
            await link.connection.send(Message(id=line.id, text=line.text).wire())
            while line.id in self._lines and not line.accepted and not link.busy:
                await link.turned.wait()
                link.turned.clear()
                if self._leaving.is_set():
                    break
            if link.busy:
                await self._pause(pause)
                pause = min(2 * pause, MAX_RETRY_SECONDS)
            else:
                pause = RETRY_SECONDS
        await link.connection.send(Bye().wire())

    async def _send(self, frame: Frame) -> None:
        """Send a frame that answers to nothing. Raises ConnectionError."""
        if self._link is None:
            raise ConnectionResetError("there is no connection to the gateway")
        await self._link.connection.send(frame.wire())

    # --- receiving -------------------------------------------------------------------------------------

    async def _read(self, link: _Link) -> None:
        while (frame := await self._receive(link.connection)) is not None:
            if self._leaving.is_set():
                continue
            match frame:
                case Show() | Grow():
                    await self._take_delivery(link, frame)
                case MessageAccepted():
                    await self._take_receipt(link, frame)
                case MessageRefused():
                    await self._take_refusal(link, frame)
                case MessageBusy():
                    await self._take_busy(link, frame)
                case Peers():
                    self._peers = frame.clients
                case Told():
                    self.questions.take(frame)
                case Problem():
                    await self._screen.report(f"The gateway says: {frame.text}")
                case _:
                    continue

    async def _take_receipt(self, link: _Link, receipt: MessageAccepted) -> None:
        line = self._lines.get(receipt.id)
        if line is not None:
            line.accepted = True
            self._said_busy = False
            outcome = _ENDED.get(receipt.state)
            if receipt.state is InboundState.IGNORED:
                self._end(line.id, LineOutcome.ANSWERED)
            elif outcome is not None and line.settling is None:
                loop = asyncio.get_running_loop()
                line.settling = loop.call_later(SETTLE_SECONDS, self._end, line.id, outcome)
        link.turned.set()

    async def _take_refusal(self, link: _Link, refusal: MessageRefused) -> None:
        line = self._lines.get(refusal.id)
        if line is not None:
            await self._screen.refused(line, refusal.reason)
            self._end(line.id, LineOutcome.REFUSED)
        link.turned.set()

    async def _take_busy(self, link: _Link, busy: MessageBusy) -> None:
        if not self._said_busy:
            self._said_busy = True
            await self._screen.report(f"Not stored yet: {busy.reason}. It is sent again until it is.")
        link.busy = True
        link.turned.set()

    def _end(self, line_id: str, outcome: LineOutcome) -> None:
        line = self._lines.pop(line_id, None)
        if line is None:
            return
        if line.settling is not None:
            line.settling.cancel()
        if not line.outcome.done():
            line.outcome.set_result(outcome)

    # --- deliveries ------------------------------------------------------------------------------------

    async def _take_delivery(self, link: _Link, frame: Show | Grow) -> None:
        known = self._known.get(frame.id)
        if isinstance(frame, Grow) and known is None:
            return
        update = self._update(frame, known)
        if update is not None:
            await self._present(link, update)
            self._remember(update)
        try:
            if frame.ack:
                await link.connection.send(Ack(id=frame.id, final=frame.final).wire())
        finally:  # what is shown is an answer, also if the gateway did not hear of it
            if frame.final:
                outcome = LineOutcome.FAILED if self._kind(frame) == "error" else LineOutcome.ANSWERED
                for answered in frame.answers:
                    self._end(answered, outcome)

    def _kind(self, frame: Show | Grow) -> DeliveryKind:
        return frame.kind if isinstance(frame, Show) else self._known[frame.id].kind

    def _update(self, frame: Show | Grow, known: Known | None) -> Update | None:
        """What the frame changes on the screen; None if it changes nothing."""
        own = self._is_own(frame.answers)
        if known is None:
            assert isinstance(frame, Show)
            new = Known(frame.kind, "", "", frame.session_id, frame.turn_id)
            return change(new, frame, frame.text, own=own, first=True, repeated=frame.repeated and not own)
        if known.digest is not None:
            whole = isinstance(frame, Show) and frame.final and digest(frame.text) != known.digest
            return change(known, frame, frame.text, own=own, replaced=True) if whole else None
        text = frame.text if isinstance(frame, Show) else known.received + frame.text
        known.received = text
        if not frame.final and known.text.startswith(text):
            return None  # a turn that runs again may come to the same words; what is on the screen stays
        return change(known, frame, text, own=own, replaced=not text.startswith(known.text))

    def _is_own(self, answers: tuple[str, ...]) -> bool | None:
        """A reply to a line of this process that is not on its screen has not been seen on it: whatever came
        of an earlier try to deliver it, for the person here it is no repetition."""
        if not answers:
            return None
        return any(answer in self._own for answer in answers)

    async def _present(self, link: _Link, update: Update) -> None:
        """Show it, and let the gateway know that we live while that takes its time. It is shown to its end
        also when the connection is lost meanwhile."""
        showing = asyncio.create_task(self._screen.show(update))
        try:
            while not (await asyncio.wait({showing}, timeout=HELD_SECONDS))[0]:
                await link.connection.send(Held(id=update.id).wire())
        except ConnectionError:
            await asyncio.wait({showing})
        finally:
            if not showing.done():
                showing.cancel()
        await showing

    def _remember(self, update: Update) -> None:
        self._known.pop(update.id, None)
        self._known[update.id] = Known(
            update.kind,
            "" if update.final else update.text,
            "" if update.final else update.text,
            update.session_id,
            update.turn_id,
            digest(update.text) if update.final else None,
        )
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


async def _close(connection: StreamConnection) -> None:
    # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
    with suppress(TimeoutError):  # a gateway that does not read keeps what is unsent
        async with asyncio.timeout(LEAVE_SECONDS):
            await connection.close()
