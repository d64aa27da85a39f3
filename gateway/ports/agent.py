"""The contract between the core and an agent, and the tools that it lends one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from config import AgentConfig, Home
from gateway.ports.clock import Clock
from gateway.ports.inbound import ClientTool
from gateway.source import SessionSource
from gateway.values import value

Message: TypeAlias = Mapping[str, Any]
"""One row of a transcript: `role`, `content`, and optionally `tool_calls`, `tool_call_id`, `tool_name`.

`content` is a text, or a list of parts: `{"type": "text", "text"}`, and for an agent that takes images
`{"type": "image", "path", "media_type"}` with the path of a file, which may be gone when it is read.
`tool_calls` has the OpenAI form: `{"id", "type": "function", "function": {"name", "arguments"}}` with the
arguments as a JSON text."""


@value
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


@value
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
    """Something the person should know that is not part of the answer. `trimmed`: the model did not see all that it was
    given, since its context does not hold that much."""

    text: str
    trimmed: bool = False


@value
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
    """Who a tool call is made for. `call_id` is the same when an idempotent call runs again. What is sent to them goes
    to `reply_thread`, where there is one, else to the thread of `source`."""

    call_id: str
    turn_id: str
    session_id: str
    source: SessionSource
    account: str = "default"
    reply_thread: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may call. `parameters` is a JSON schema of an object.

    Only an idempotent tool runs again when a crash left its outcome unknown. One that `waits` for others has a limit of
    its own: the agent does not count as silent meanwhile.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], ToolContext], Awaitable[str]]
    idempotent: bool = False
    waits: bool = False


@value
class AgentTurn:
    """All that an agent gets for one turn.

    The model sees `system_prompt`, `history`, `inputs`, then `resumed`: what this same turn had done before an
    interruption, tool results included; it goes on from there and does none of it again.
    `run_tool` runs one call and returns its result; a failing tool's error is a result too.
    `take_steering` returns the messages that came in meanwhile, to be appended at a tool boundary; what it
    returned has been absorbed, and it returns nothing twice. `recalled` is what is remembered from earlier
    conversations; it is a part of `system_prompt` already, for agents that use another one. `aside`: this is asked
    beside a conversation, and instructions of the agent's own do not belong to it.

    `client_tools` are run by whoever asks, not here: an agent that calls one yields its `ToolCalls`, runs what other
    calls the step has, and then `Done("tool_calls")`. Their results come with a later turn. An agent may ignore them.
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
    recalled: str = ""
    aside: bool = False
    client_tools: Sequence[ClientTool] = ()


@dataclass(frozen=True, slots=True)
class AgentCapabilities:
    """What an agent can do.

    `resumable`: a turn cut short by a crash may be run again with `AgentTurn.resumed`.
    `steering`: it calls `take_steering` at its tool boundaries.
    `images`: it takes images as parts of a message's content; to others they are named in words.
    `summaries`: it follows instructions well enough to be asked what of a conversation is worth remembering.
    """

    resumable: bool = True
    steering: bool = False
    images: bool = False
    summaries: bool = False


@dataclass(frozen=True, slots=True)
class McpServer:
    """Where an agent in a process of its own finds the session tools by MCP over HTTP: address, and bearer token."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class AgentEnvironment:
    """What the core lends an agent when it is built. `mcp` gives the session tools for one of its turns, by that one's
    id; None where no HTTP is served."""

    name: str
    home: Home
    clock: Clock
    default_system_prompt: str = field(default="You are a helpful assistant.")
    mcp: Callable[[str], McpServer | None] = field(default=lambda _turn_id: None)


class Agent(Protocol):
    """What answers. Built as `cls(config, environment)`; the entry point group is `hermes_gateway.agents`."""

    capabilities: AgentCapabilities

    def __init__(self, config: AgentConfig, environment: AgentEnvironment) -> None: ...

    async def start(self) -> None:
        """Get ready (import what is heavy, start a child process), within 90 seconds. Raises `AgentError`."""

    def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        """Answer one turn. The core stores each event before it asks for the next one: what a ToolCalls or
        ToolStarted event announces is on disk when the generator goes on. Raises `AgentError`."""

    async def close(self) -> None:
        """Release what `start` took, within 10 seconds. Safe to call twice, and without `start`."""
