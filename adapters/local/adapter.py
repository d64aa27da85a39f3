"""The adapter of the local terminal: the gateway's side of the chat service on its Unix socket."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.local.attachment import MAX_GROWING, Attachment
from adapters.local.protocol import (
    ACKNOWLEDGE_SECONDS,
    SERVICE,
    Ack,
    Ask,
    Bye,
    Frame,
    Held,
    Message,
    MessageAccepted,
    MessageBusy,
    MessageRefused,
    Peers,
    Problem,
    ProtocolError,
    Told,
    Welcome,
    message_id_of,
    read_client_frame,
    read_hello,
    text_problem,
)
from config import PlatformConfig
from gateway.frames import FrameError
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Capabilities,
    Delivery,
    Found,
    FrameConnection,
    InboundMessage,
    NotConnectedError,
    NotStoredError,
    OutcomeUnknownError,
    SearchOutcome,
    StorageBusyError,
)
from gateway.source import SessionSource
from gateway.version import program_version

MAX_CLIENTS: Final = 32
"""Terminals that may be attached at once: each costs a task or three and a copy of every frame."""

MAX_UNSTORED_MESSAGES: Final = 256
"""Messages of one client that may wait to be stored; further ones are answered with *busy*."""

MAX_QUESTIONS: Final = 16
"""Questions of one client that may wait for an answer; further ones get none."""

MAX_REMEMBERED: Final = 4096
"""Deliveries for which it is known which clients may have seen them; `find` needs the newest few."""

MAX_RECENT: Final = 32
"""Complete replies kept for a client that lost its connection while one was delivered to another."""

MAX_DEPARTED: Final = 64
"""Clients that have left and are still known, with what they had shown."""

WATCH_SECONDS: Final = 5.0
"""How often a client's connection is looked at for being stuck."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Awaited:
    """A delivery whose acknowledgement a call is waiting for."""

    delivery: Delivery
    since: float
    written: bool = False
    shown: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class LocalAdapter(Adapter):
    """The terminals of this machine. All of them are one chat, and each shows every delivery.

    `acknowledge_seconds` is how long attached clients may keep silent over a delivery.
    """

    capabilities: Capabilities = Capabilities(
        edit=True, find=True, keeps_messages=False, operator=True, edit_interval=0.0, redactable_ids=False
    )

    def __init__(
        self,
        config: PlatformConfig,  # noqa: ARG002 - the terminal has nothing to set; the port passes it
        host: AdapterHost,
        *,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
        version: str | None = None,
    ) -> None:
        self._host = host
        self._acknowledge_seconds = acknowledge_seconds
        self._version = version or program_version()
        self._serving = False
        self._serials = 0
        self._attached: dict[str, Attachment] = {}
        self._awaited: dict[int, _Awaited] = {}
        self._growing: OrderedDict[int, Delivery] = OrderedDict()
        self._recent: deque[Delivery] = deque(maxlen=MAX_RECENT)
        self._written: OrderedDict[int, dict[str, int]] = OrderedDict()
        self._departed: OrderedDict[str, frozenset[int] | None] = OrderedDict()

    # --- the port --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve terminals until cancelled. Connected means that a terminal can attach."""
        self._serving = True
        self._host.serve(SERVICE, self._serve)
        self._host.set_state(AdapterState.CONNECTED)
        try:
            await asyncio.Event().wait()
        finally:
            self._serving = False
            for attachment in self._attached.values():
                attachment.drop()

    async def send(self, delivery: Delivery) -> str:
        """Show a delivery on every attached terminal; returns once one of them has it on its screen.

        Raises `NotConnectedError` if no terminal is attached, `OutcomeUnknownError` if all of them left or
        kept silent after something had been written to one.
        """
        await self._show(delivery)
        return str(delivery.id)

    async def edit(self, delivery: Delivery) -> None:
        """Make the terminals show the new text. Growth goes out at once and is not waited for; the final
        text is waited for as in `send`. Raises the same errors."""
        if delivery.final:
            await self._show(delivery)
            return
        self._note_growth(delivery)
        if not self._attached:
            raise NotConnectedError("no terminal is attached")
        for attachment in tuple(self._attached.values()):
            attachment.offer(delivery)
        await asyncio.sleep(0)  # so that a reply which comes all at once does not keep the writers waiting

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Whether a terminal has shown the delivery: each attached client has said what it has shown.

        A process that ended without a word cannot be asked, so what it had been sent stays unknown.
        Raises `NotConnectedError` while nobody is attached who could say.
        """
        if not self._attached:
            raise NotConnectedError("no terminal is attached that could say whether it was shown")
        if any(attachment.has(delivery) for attachment in self._attached.values()):
            return Found(str(delivery.id))
        written = self._written.get(delivery.id)
        if written is None:
            absent = self._absent_before_start(delivery)
        else:
            absent = all(self._denies(client, delivery.id, serial) for client, serial in written.items())
        return SearchOutcome.ABSENT if absent else SearchOutcome.UNKNOWN

    # --- finding ---------------------------------------------------------------------------------------

    def _denies(self, client: str, delivery_id: int, serial: int) -> bool:
        """Whether this client, to which the delivery was written on connection `serial`, has said since
        that it is not on its screen."""
        attachment = self._attached.get(client)
        if attachment is None:
            left_with = self._departed.get(client)
            return left_with is not None and delivery_id not in left_with
        return attachment.serial > serial and attachment.remembers(delivery_id)

    def _absent_before_start(self, delivery: Delivery) -> bool:
        """The same for a delivery that an earlier process of the gateway wrote: its clients have told who
        was attached to it, and all of those must be here and say no.

        Between that process and this one there may have been others, so only a client that was there can say.
        """
        witnesses = [a for a in self._attached.values() if a.hello.peers and a.was_there_for(delivery)]
        then = {client for witness in witnesses for client in witness.hello.peers}
        return bool(then) and all(
            client in self._attached and self._attached[client].remembers(delivery.id) for client in then
        )

    def _peers(self) -> Peers:
        """Who may have something on a screen. One that left without a word stays in it, so that a later
        process of the gateway does not take its silence for a no."""
        silent = [client for client, shown in self._departed.items() if shown is None]
        return Peers(clients=(*self._attached, *(c for c in silent if c not in self._attached)))

    # --- delivering ------------------------------------------------------------------------------------

    async def _show(self, delivery: Delivery) -> None:
        if not self._attached:
            raise NotConnectedError("no terminal is attached")
        awaited = _Awaited(delivery, Attachment.now())
        self._awaited[delivery.id] = awaited
        try:
            for attachment in tuple(self._attached.values()):
                attachment.offer(delivery, ack=True)
            await self._acknowledged(awaited)
        finally:
            if self._awaited.get(delivery.id) is awaited:
                del self._awaited[delivery.id]
        if delivery.final:
            self._growing.pop(delivery.id, None)
            self._recent.append(delivery)
        else:
            self._note_growth(delivery)

    async def _acknowledged(self, awaited: _Awaited) -> None:
        while not awaited.shown:
            if not self._attached:
                raise _failure(awaited, "every terminal left before it said that the text is on its screen")
            heard = max(attachment.heard_at for attachment in self._attached.values())
            left = self._acknowledge_seconds - (Attachment.now() - max(heard, awaited.since))
            if left <= 0:
                for attachment in tuple(self._attached.values()):
                    attachment.drop()
                raise _failure(awaited, f"no terminal answered within {self._acknowledge_seconds:g} s")
            awaited.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await awaited.changed.wait()

    def _note_growth(self, delivery: Delivery) -> None:
        self._growing[delivery.id] = delivery
        while len(self._growing) > MAX_GROWING:
            self._growing.popitem(last=False)

    def _note_written(self, attachment: Attachment, delivery_id: int) -> None:
        self._written.setdefault(delivery_id, {})[attachment.client] = attachment.serial
        while len(self._written) > MAX_REMEMBERED:
            self._written.popitem(last=False)
        awaited = self._awaited.get(delivery_id)
        if awaited is not None:
            awaited.written = True

    def _wake_awaited(self) -> None:
        for awaited in self._awaited.values():
            awaited.changed.set()

    # --- clients ---------------------------------------------------------------------------------------

    async def _serve(self, connection: FrameConnection, first: Mapping[str, Any]) -> None:
        """Serve one client until it leaves."""
        try:
            hello = read_hello(first)
        except ProtocolError as error:
            await _tell(connection, Problem(text=f"the first frame is no hello: {error}"))
            return
        if not self._serving:
            await _tell(connection, Problem(text="the gateway is stopping"))
            return
        if len(self._attached) >= MAX_CLIENTS and hello.client not in self._attached:
            await _tell(connection, Problem(text=f"{MAX_CLIENTS} terminals are attached, which is the limit"))
            return
        self._serials += 1
        attachment = Attachment(
            connection, hello, self._serials, lambda delivery: self._note_written(attachment, delivery)
        )
        if hello.version != self._version:
            await _tell(connection, self._welcome())
            return
        attachment.queue(self._welcome())
        await self._attend(connection, attachment)

    def _welcome(self) -> Welcome:
        return Welcome(
            version=self._version,
            banner=tuple(self._host.banner),
            commands=tuple((name, text) for name, text in self._host.commands),
        )

    async def _attend(self, connection: FrameConnection, attachment: Attachment) -> None:
        self._attach(attachment)
        messages: asyncio.Queue[Message] = asyncio.Queue(MAX_UNSTORED_MESSAGES)
        questions: asyncio.Queue[Ask] = asyncio.Queue(MAX_QUESTIONS)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = (
                    group.create_task(self._read(connection, attachment, messages, questions)),
                    group.create_task(self._tell(attachment, questions)),
                    group.create_task(self._store(attachment, messages)),
                    group.create_task(attachment.write()),
                )
                await _until_gone(attachment)
                for task in tasks:
                    task.cancel()
        finally:
            self._detach(attachment)

    def _attach(self, attachment: Attachment) -> None:
        earlier = self._attached.pop(attachment.client, None)
        if earlier is not None:
            earlier.drop()
        self._departed.pop(attachment.client, None)
        self._attached[attachment.client] = attachment
        self._announce_peers()
        for delivery in self._recent:
            if delivery.id in attachment.hello.growing:
                attachment.offer(delivery)
        for delivery in self._growing.values():
            if delivery.id not in self._awaited:
                attachment.offer(delivery)
        for awaited in self._awaited.values():
            attachment.offer(awaited.delivery, ack=True)
        self._host.set_state(AdapterState.CONNECTED)

    def _detach(self, attachment: Attachment) -> None:
        attachment.drop()
        if self._attached.get(attachment.client) is attachment:
            del self._attached[attachment.client]
            self._departed.setdefault(attachment.client, None)
            while len(self._departed) > MAX_DEPARTED:
                self._departed.popitem(last=False)
            self._announce_peers()
        self._wake_awaited()

    def _announce_peers(self) -> None:
        peers = self._peers()
        for attachment in tuple(self._attached.values()):
            attachment.queue(peers)

    async def _read(
        self,
        connection: FrameConnection,
        attachment: Attachment,
        messages: asyncio.Queue[Message],
        questions: asyncio.Queue[Ask],
    ) -> None:
        """Read what the client says until it leaves or its stream cannot be read any more."""
        while not attachment.gone.is_set():
            try:
                frame = await connection.receive()
                if frame is None:
                    break
                self._take(attachment, frame, messages, questions)
            except FrameError as error:
                if error.fatal:
                    await _tell(connection, Problem(text=str(error)))
                    break
                attachment.queue(Problem(text=str(error)))
            await asyncio.sleep(0)  # a client that sends without end must not keep the loop to itself
        attachment.drop()

    def _take(
        self,
        attachment: Attachment,
        frame: Mapping[str, Any],
        messages: asyncio.Queue[Message],
        questions: asyncio.Queue[Ask],
    ) -> None:
        try:
            said = read_client_frame(frame)
        except ProtocolError as error:
            message_id = message_id_of(frame)
            attachment.queue(
                Problem(text=str(error)) if message_id is None else MessageRefused(id=message_id, reason=str(error))
            )
            return
        match said:
            case Message():
                self._queue_message(attachment, said, messages)
            case Ask():
                with suppress(asyncio.QueueFull):
                    questions.put_nowait(said)
            case Ack():
                self._note_shown(attachment, said)
            case Held():
                attachment.heard_at = Attachment.now()
                self._wake_awaited()
            case Bye():
                self._departed[attachment.client] = frozenset(attachment.shown)
                attachment.drop()

    def _queue_message(self, attachment: Attachment, message: Message, messages: asyncio.Queue[Message]) -> None:
        problem = text_problem(message.text)
        if problem is not None:
            attachment.queue(MessageRefused(id=message.id, reason=problem))
            return
        try:
            messages.put_nowait(message)
        except asyncio.QueueFull:
            attachment.queue(MessageBusy(id=message.id, reason="too many messages wait to be stored"))

    def _note_shown(self, attachment: Attachment, ack: Ack) -> None:
        attachment.heard_at = Attachment.now()
        attachment.note_shown(ack.id, complete=ack.final)
        awaited = self._awaited.get(ack.id)
        if awaited is not None and (ack.final or not awaited.delivery.final):
            awaited.shown = True
        self._wake_awaited()

    # --- questions -------------------------------------------------------------------------------------

    async def _tell(self, attachment: Attachment, questions: asyncio.Queue[Ask]) -> None:
        """Answer what is asked beside the chat. A question that cannot be answered gets an empty answer."""
        while True:
            asked = await questions.get()
            try:
                attachment.queue(await self._told(asked))
            except NotStoredError:
                attachment.queue(Told(id=asked.id))
            except Exception:  # noqa: BLE001 - one question must not end the terminal's chat
                _log.exception("a question of a terminal could not be answered")
                attachment.queue(Told(id=asked.id))

    async def _told(self, asked: Ask) -> Told:
        look, source = self._host.look, SessionSource.local_cli()
        if asked.about == "words":
            return Told(id=asked.id, words=tuple(await look.complete(source, asked.text)))
        if asked.about == "sessions":
            return Told(id=asked.id, sessions=tuple(await look.sessions(source, asked.text)))
        return Told(id=asked.id, state=await look.overview(source))

    # --- storing ---------------------------------------------------------------------------------------

    async def _store(self, attachment: Attachment, messages: asyncio.Queue[Message]) -> None:
        while True:
            message = await messages.get()
            attachment.queue(await self._accept(message))
            for delivery in self._recent:
                if message.id in delivery.answers and delivery.id not in attachment.shown:
                    attachment.offer(delivery)

    async def _accept(self, message: Message) -> Frame:
        """Make a message durable; the frame says what became of it."""
        try:
            accepted = await self._host.accept(
                InboundMessage(
                    source=SessionSource.local_cli(),
                    message_id=message.id,
                    text=message.text,
                    sent_at=self._host.clock.now(),
                )
            )
        except StorageBusyError:
            return MessageBusy(id=message.id, reason="the gateway has too much to store")
        except NotStoredError as error:
            return MessageBusy(id=message.id, reason=str(error))
        except Exception:  # noqa: BLE001 - one message that cannot be stored must not end the terminal's chat
            _log.exception("a message from the terminal could not be stored")
            return MessageBusy(id=message.id, reason="the gateway could not store it; its log says why")
        return MessageAccepted(id=message.id, state=accepted.state, duplicate=accepted.duplicate)


def _failure(awaited: _Awaited, reason: str) -> NotConnectedError | OutcomeUnknownError:
    return OutcomeUnknownError(reason) if awaited.written else NotConnectedError(reason)


async def _until_gone(attachment: Attachment) -> None:
    while not attachment.stalled:
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await attachment.gone.wait()
                return
    attachment.drop()


async def _tell(connection: FrameConnection, frame: Frame) -> None:
    try:
        await connection.send(frame.wire())
    except (ConnectionError, OSError):
        return
