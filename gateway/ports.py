"""The protocols the core speaks: what an adapter, an agent, a tool and a clock are, and the data they exchange."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from config import AgentConfig, Home, Platform, PlatformConfig
from gateway.source import SessionSource

Message: TypeAlias = Mapping[str, Any]
"""One row of a transcript: `role`, `content`, and optionally `tool_calls`, `tool_call_id`, `tool_name`.

`tool_calls` has the OpenAI form: `{"id", "type": "function", "function": {"name", "arguments"}}` with the
arguments as a JSON text."""


class Clock(Protocol):
    """Where the gateway reads time from."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""


# --- what comes in -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cursor:
    """A platform's position in its stream of updates, committed together with the message it covers."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message from a platform, normalised.

    `message_id` is the platform's own id; with platform, account and chat it is what tells a redelivered message
    from a new one. `addressed` is False for what reached us but was not meant for us. `group_id` joins
    messages that the platform splits (an album); they become one turn.
    """

    source: SessionSource
    message_id: str
    text: str
    account: str = "default"
    addressed: bool = True
    sent_at: datetime | None = None
    group_id: str | None = None
    cursor: Cursor | None = None


class InboundState(StrEnum):
    """Where an inbound message stands. Every state but the first two is an end."""

    PENDING = "pending"
    RUNNING = "running"
    ANSWERED = "answered"
    MERGED = "merged"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"
    DEAD = "dead"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receipt for an inbound message. It exists only once the message is durable.

    `duplicate` says that the same message had been accepted before; it makes no second turn.
    """

    inbound_id: int
    state: InboundState
    duplicate: bool = False
    reason: str | None = None


class NotStoredError(Exception):
    """The message could not be stored, and so was not taken: the platform should send it again, or its sender be told.

    `str()` is fit to be shown to them.
    """


class StorageBusyError(NotStoredError):
    """The queue to the database is full."""


# --- what goes out -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A place that a message can be sent to."""

    platform: Platform
    chat_id: str
    thread_id: str | None = None
    account: str = "default"


DeliveryKind: TypeAlias = Literal["reply", "notice", "error"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One outgoing message as its adapter gets it.

    `text` is Markdown, and always the whole text so far. `final` is False while the reply still grows.
    `message_id` is the platform's id once the message has been sent. `answers` holds the platform ids of the
    inbound messages that this delivery ends. `repeated` asks for a visible mark: the message may have been
    seen before an interruption.
    """

    id: int
    target: Target
    kind: DeliveryKind
    text: str
    final: bool = True
    message_id: str | None = None
    answers: tuple[str, ...] = ()
    repeated: bool = False
    session_id: str | None = None
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The delivery was seen: the platform has it under this id."""

    message_id: str


class SearchOutcome(StrEnum):
    """What else a search for a delivery can come to."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


class DeliveryError(Exception):
    """A delivery did not go through. The subclass says what is known about it."""


class NotConnectedError(DeliveryError):
    """There is no connection to send on; nothing left this process. Tried again once connected."""


class RetryLaterError(DeliveryError):
    """The platform refused for now; nothing was shown."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the platform asks us to wait, where it says so."""


class OutcomeUnknownError(DeliveryError):
    """The call ended without an answer: nobody knows whether the message was shown."""


class UndeliverableError(DeliveryError):
    """The platform refuses this message for good (blocked, chat gone, no permission)."""


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
    max_length: int | None = None
    """The longest message, in `length_unit`; None where there is no limit."""
    length_unit: Literal["characters", "utf16", "bytes"] = "characters"
    edit_interval: float = 1.0
    """Seconds to leave between two edits of one message while a reply streams."""
    splits_text_at: int | None = None
    """Length in characters from which the platform's own clients split what a person pastes."""
    operator: bool = False
    """Whoever writes here holds the machine already (the local terminal): they are the owner."""
    redactable_ids: bool = True
    """Whether ids may be hidden from the model; False where it needs them to mention people."""
    note: str | None = None
    """A sentence for the model about how this platform behaves."""


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

    async def accept(self, message: InboundMessage) -> Accepted:
        """Make a message durable. Acknowledge upstream only after this has returned.

        Receipt order is the order of the calls. Who wrote a message that is refused is told by a delivery: the adapter
        has nothing to add. Raises `NotStoredError`.
        """

    def set_state(self, state: AdapterState, reason: str | None = None) -> None:
        """Report the connection's state; deliveries are sent only while connected or degraded."""

    def serve(self, service: str, handler: FrameHandler) -> None:
        """Take the clients of the gateway's socket whose first frame names this service."""


class Adapter(Protocol):
    """Our connection to one account on one platform.

    Built as `cls(config, host)`; the entry point group is `hermes_gateway.adapters`.
    """

    capabilities: Capabilities

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None: ...

    async def run(self) -> None:
        """Connect and receive until cancelled; reconnect by itself."""

    async def send(self, delivery: Delivery) -> str:
        """Show a new message; returns the platform's id for it. Raises `DeliveryError`."""

    async def edit(self, delivery: Delivery) -> None:
        """Make the message `delivery.message_id` show `delivery.text`. Idempotent. Raises `DeliveryError`."""

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Was this delivery, whose send ended without an answer, shown? Raises `DeliveryError`."""


# --- the agent -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer, to be appended to what came before."""

    delta: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool, as the model asked for it; `arguments` is a JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The model ended a step by asking for tools. `text` is what it said in this step (already yielded)."""

    text: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The call is about to run. An agent yields this right before it runs the tool."""

    call_id: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The call has ended with this result. An agent yields this right after."""

    call_id: str
    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request to a model took; events add up.

    The four counts do not overlap: `input_tokens` are those of the prompt that no cache was read or written for.
    `last_prompt_tokens` is the size of the whole latest prompt.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    last_prompt_tokens: int | None = None
    model: str | None = None
    cost_usd: float | None = None
    cost_status: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know that is not part of the answer (a context that was trimmed)."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete."""

    reason: str = "stop"


AgentEvent: TypeAlias = Text | ToolCalls | ToolStarted | ToolResult | Usage | Notice | Done


class AgentError(Exception):
    """The agent could not answer. `str()` is fit to be shown to the person who asked."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same turn may go through later."""
        self.retry_after = retry_after
        """Seconds that the model's server asks us to wait, where it says so."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who a tool call is made for. `call_id` is the same when an idempotent call runs again."""

    call_id: str
    turn_id: str
    session_id: str
    source: SessionSource


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may call. `parameters` is a JSON schema of an object.

    Only an idempotent tool runs again when a crash left its outcome unknown.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], ToolContext], Awaitable[str]]
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """All that an agent gets for one turn.

    The model sees `system_prompt`, `history`, `inputs`, then `resumed`: what this same turn had done before an
    interruption, tool results included; it goes on from there and does none of it again.
    `run_tool` runs one call and returns its result; a failing tool's error is a result too.
    `take_steering` returns the messages that came in meanwhile, to be appended at a tool boundary; what it
    returned has been absorbed, and it returns nothing twice.
    """

    turn_id: str
    session_id: str
    source: SessionSource
    system_prompt: str
    history: Sequence[Message]
    inputs: Sequence[Message]
    resumed: Sequence[Message]
    tools: Sequence[Tool]
    run_tool: Callable[[Call], Awaitable[str]]
    take_steering: Callable[[], Awaitable[Sequence[Message]]]


@dataclass(frozen=True, slots=True)
class AgentCapabilities:
    """What an agent can do.

    `resumable`: a turn cut short by a crash may be run again with `AgentTurn.resumed`.
    `steering`: it calls `take_steering` at its tool boundaries.
    """

    resumable: bool = True
    steering: bool = False


@dataclass(frozen=True, slots=True)
class AgentEnvironment:
    """What the core lends an agent when it is built."""

    name: str
    home: Home
    clock: Clock
    default_system_prompt: str = field(default="You are a helpful assistant.")


class Agent(Protocol):
    """What answers. Built as `cls(config, environment)`; the entry point group is `hermes_gateway.agents`."""

    capabilities: AgentCapabilities

    def __init__(self, config: AgentConfig, environment: AgentEnvironment) -> None: ...

    async def start(self) -> None:
        """Get ready (import what is heavy, start a child process). Raises `AgentError`."""

    def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        """Answer one turn. The core stores each event before it asks for the next one: what a ToolCalls or
        ToolStarted event announces is on disk when the generator goes on. Raises `AgentError`."""

    async def close(self) -> None:
        """Release what `start` took. Safe to call twice, and without `start`."""
