"""The contract between the core and an adapter."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from config import PlatformConfig
from gateway.ports.clock import Clock
from gateway.ports.inbound import Accepted, Attachment, Cursor, InboundMessage, MediaError, RawUpdate
from gateway.ports.look import Look
from gateway.ports.outbound import Composer, Delivery, Found, Rate, SearchOutcome, Target, UndeliverableError, WholeText


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do. The core decides from these values alone, never from a platform's name."""

    edit: bool = False
    delete: bool = False
    react: bool = False
    typing: bool = False
    threads: bool = False
    buttons: bool = False
    drafts: bool = False
    media: bool = False
    find: bool = False
    backfill: bool = False
    keeps_messages: bool = True
    """An edit changes a message where it stands; False where a client has only what it was shown itself."""
    told_when_complete: bool = True
    """A last edit tells that a reply is complete even where it changes nothing; False saves that call."""
    max_length: int | None = None
    """The longest message, in `length_unit`; None where there is no limit."""
    length_unit: Literal["characters", "utf16", "bytes"] = "characters"
    edit_interval: float = 1.0
    """Seconds to leave between two edits of one message while a reply streams."""
    rate: Rate | None = None
    """What the platform takes of one account in all chats together; None where it does not say."""
    typing_seconds: float = 4.0
    """How often "is typing" has to be said again so that people go on seeing it."""
    splits_text_at: int | None = None
    """Length in characters from which the platform's own clients split what a person pastes."""
    operator: bool = False
    """Whoever writes here holds the machine already (the local terminal): they are the owner."""
    redactable_ids: bool = True
    """Whether ids may be hidden from the model; False where it needs them to mention people."""
    note: str | None = None
    """A sentence for the model about how this platform behaves."""


class AccountError(Exception):
    """The account cannot be used before its operator acts: a wrong token, a missing permission.

    Raised by `Adapter.run`, which is then not called again until the configuration changes. `str()` says what is wrong,
    and names the setting to mend.
    """


class AdapterState(StrEnum):
    """The state of one connection to a platform."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPED = "stopped"


class FrameConnection(Protocol):
    """One client on the gateway's Unix socket; frames are JSON objects."""

    async def receive(self) -> dict[str, Any] | None:
        """The next frame, or None once the client has gone. Raises `FrameError` (`gateway.frames`)."""

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Write one frame. Raises ConnectionError once the client has gone."""


FrameHandler: TypeAlias = Callable[[FrameConnection, Mapping[str, Any]], Awaitable[None]]
"""Serves one client until it leaves; gets the connection and the client's first frame."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request of a platform to our HTTP listener. Names of headers are in lower case; `path` is what follows the
    platform's own prefix, without a slash before it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer to it."""

    status: int
    body: str = ""
    content_type: str = "text/plain"


HttpHandler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Serves a platform's requests. It checks who sent them by itself: nothing before it has."""


class AdapterHost(Protocol):
    """What the core lends an adapter."""

    @property
    def clock(self) -> Clock:
        """The injected clock."""

    @property
    def banner(self) -> Sequence[str]:
        """Lines that tell the operator at a terminal which agent answers, and how to get a better one."""

    @property
    def commands(self) -> Sequence[tuple[str, str]]:
        """Name and one line of help for each command, for menus and completion."""

    @property
    def command_names(self) -> frozenset[str]:
        """Every name and alias of a command, also of those that stand in no menu: what tells a command from a text."""

    @property
    def look(self) -> Look:
        """What somebody at a terminal can look at beside the chat. It is for whoever the source is, and asks nobody
        whether they are let in: for a platform whose people are (`Capabilities.operator`)."""

    async def accept(self, message: InboundMessage) -> Accepted:
        """Make a message durable. Acknowledge upstream only after this has returned.

        Receipt order is the order of the calls. Who wrote a message that is refused is told by a delivery: the adapter
        has nothing to add. Raises `NotStoredError`.
        """

    def admits(self, message: InboundMessage) -> bool:
        """Whether who wrote a message is let in at present and the message is meant for us: for what people see before
        it is accepted (a thread that is opened for it). Nothing is stored, and nothing is counted."""

    def bars(self, message: InboundMessage) -> bool:
        """Whether who wrote a message is not let in, for sure. While the database is out of use it may not be known who
        was paired: then somebody is neither admitted nor barred, and what they did is to be handed over again later."""

    async def identify(self, account_id: str) -> None:
        """Say which account of the platform this connection is; to be called before anything is received or sent.

        If it was another one before, its past is set aside: its messages' ids, its position in the stream and the
        updates that were kept of it mean nothing here, and what it had begun to show is sent anew. Raises
        `NotStoredError`.
        """

    async def is_group_known(self, chat_id: str, group_id: str) -> bool:
        """Whether another message of this group (an album, say) was taken in lately, and not ignored: then the rest of
        it is addressed as well, though an earlier process saw its beginning. Raises `NotStoredError`."""

    async def known(self, chat_id: str, message_ids: Collection[str]) -> frozenset[str]:
        """Those of these messages of a chat that were taken in already: what is fetched again after a gap need not all
        be handed over again. Raises `NotStoredError`."""

    async def cursor(self, name: str) -> str | None:
        """A position that was committed earlier; None if there is none. Raises `NotStoredError`."""

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        """Every position that was committed under a name that begins so, by name. Raises `NotStoredError`."""

    async def keep(self, updates: Sequence[RawUpdate], cursor: Cursor | None = None) -> None:
        """Make updates durable as they came, in their order and once, in one commit with the position that covers them.

        After it the platform may be told that we have them. Each stays kept until a message that names it is accepted
        or amended, the deletion or the chat's move that it told of is done, or `settle` is called. Raises
        `NotStoredError`.
        """

    async def kept(self) -> Sequence[RawUpdate]:
        """The updates that are kept and not set aside, in the order in which they came: what an earlier process left.
        Raises `NotStoredError`."""

    async def settle(self, update_id: str, problem: str | None = None) -> None:
        """There is nothing in this update to accept: delete it. With a `problem` it is set aside for the operator to
        look at instead, and counted. Raises `NotStoredError`."""

    async def amend(self, message: InboundMessage) -> None:
        """The sender has changed a message: the new text takes the place of the old one if its turn has not begun, else
        the agent is told of it with the session's next turn. Nothing happens for a message that was never accepted.
        Raises `NotStoredError`."""

    async def withdraw(self, chat_id: str, message_id: str, update_id: str | None = None) -> None:
        """A message was deleted, by its sender or by whoever may do that on the platform: if its turn has not begun, it
        is not answered, and nothing of it is kept but its id. Else nothing happens, nor for a message that was never
        accepted. The chat is that of the message's source. Raises `NotStoredError`."""

    async def move_chat(self, old: str, new: str, update_id: str | None = None) -> None:
        """A chat has another id from now on: its sessions, and what waits for it, go with it. Raises
        `NotStoredError`."""

    def handle_http(self, handler: HttpHandler) -> None:
        """Serve `/platforms/<platform>/…` of the gateway's HTTP listener."""

    def set_state(self, state: AdapterState, reason: str | None = None, *, next_try: datetime | None = None) -> None:
        """Report the connection's state; deliveries are sent only while connected or degraded.

        `next_try` says when a connection that is not there is tried again.
        """

    def serve(self, service: str, handler: FrameHandler) -> None:
        """Take the clients of the gateway's socket whose first frame names this service."""


class Adapter(Protocol):
    """Our connection to one account on one platform.

    Built as `cls(config, host)`; the entry point group is `hermes_gateway.adapters`. Derive from it: what has a body
    here need only be written where the capabilities say that the platform can do it.
    """

    capabilities: Capabilities

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None: ...

    async def run(self) -> None:
        """Connect and receive until cancelled; reconnect by itself. Raises `AccountError` where that is of no use."""

    async def send(self, delivery: Delivery) -> str:
        """Show `delivery.content` as a new message; returns the platform's id for it. Raises `DeliveryError`."""

    async def edit(self, delivery: Delivery) -> None:
        """Make the message `delivery.message_id` show `delivery.content`. Idempotent. Raises `DeliveryError`."""
        raise UndeliverableError("messages cannot be edited here")

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Was this delivery, whose send ended without an answer, shown? Raises `DeliveryError`."""
        return SearchOutcome.UNKNOWN

    async def delete(self, delivery: Delivery) -> None:
        """Take the message `delivery.message_id` away; one that is gone is no error. Raises `DeliveryError`."""
        raise UndeliverableError("messages cannot be deleted here")

    async def draft(self, delivery: Delivery) -> bool:
        """Show `delivery.content` as a preview that passes by itself; False if this chat has no such previews. Raises
        `DeliveryError`."""
        return False

    async def typing(self, target: Target) -> None:
        """Let people see that an answer is being written; it passes by itself. Raises `DeliveryError`."""
        raise UndeliverableError("nobody can be shown here that an answer is being written")

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Read a file, and hand it on piece by piece. What `write` raises ends it. Raises `MediaError`."""
        raise MediaError("this platform has no files")

    def composer(self) -> Composer:
        """What makes the messages of one text."""
        return WholeText()

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """What the platform takes in one chat; all of them hold."""
        return ()
