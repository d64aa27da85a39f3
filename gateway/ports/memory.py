"""The contract between the core and what remembers: the data that a memory is handed, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from config import Home
from gateway.ports.agent import Message
from gateway.ports.clock import Clock


@dataclass(frozen=True, slots=True)
class MemoryScope:
    """Whose memory it is: one person's in private, or a chat's (or one person's in it).

    What was remembered in one scope must never be recalled in another. `subject` names the scope, and is the same
    for as long as its platform's ids are; `label` says in words, for people, whose it is: it holds names from outside.
    """

    subject: str
    platform: str
    chat_type: str
    label: str

    @property
    def is_private(self) -> bool:
        """Whether only one person takes part in it."""
        return self.chat_type == "dm"


@dataclass(frozen=True, slots=True)
class Recall:
    """What a turn wants to know: `query` is what was said to the agent. At most `max_chars` are used of the answer."""

    scope: MemoryScope
    session_id: str
    query: str
    max_chars: int


@dataclass(frozen=True, slots=True)
class RememberedTurn:
    """One turn that was answered, with its messages in their order."""

    scope: MemoryScope
    session_id: str
    turn_id: str
    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class MemorySegment:
    """A part of a conversation that is to be remembered: the turns `first` to `last` of a session, counted from 1.

    `agent` is who answered in them, and may be asked by `MemoryEnvironment.ask`. `messages` are those that are still in
    the transcript, and `ended_at` is when the session was last used. `repeated`: the same turns have been handed over
    before, and whether they were taken is not known. A segment of the same session and `first` replaces that one.
    """

    scope: MemoryScope
    session_id: str
    title: str
    agent: str
    first: int
    last: int
    messages: Sequence[Message]
    ended_at: datetime
    repeated: bool = False


class RememberError(Exception):
    """What remembers could not. `str()` says why, and is fit for an operator."""


Ask: TypeAlias = Callable[[MemorySegment, str, str], Awaitable[str | None]]
"""Asks the model of a segment's agent: instructions, and what they are about. None: that agent is not to be asked.
Raises `AgentError`."""


@dataclass(frozen=True, slots=True)
class MemoryEnvironment:
    """What the core lends a provider when it is built. `options` are the configuration's for it."""

    home: Home
    clock: Clock
    ask: Ask
    max_file_bytes: Callable[[], int]
    options: Mapping[str, Any] = field(default_factory=dict)


class MemoryProvider(Protocol):
    """What remembers. Built as `cls(environment)`; the entry point group is `hermes_gateway.memory`.

    Every call has a time limit, after which it is cancelled. One that raises is logged and counted; the conversation
    goes on. Calls for different sessions come side by side.
    """

    wants_turns: bool
    """Whether `sync` is to be called."""

    async def start(self) -> None:
        """Get ready. Raises an error if it cannot; it is tried again later."""

    async def recall(self, request: Recall) -> str:
        """What is known in this scope, as Markdown, before a turn; empty for nothing. Nothing of another scope."""

    async def sync(self, turn: RememberedTurn) -> None:
        """A turn was answered. Each is told once, soon, and lost if the program ends before; `extract` has them all."""

    async def extract(self, segment: MemorySegment) -> None:
        """Remember a part of a conversation that has come to a rest. Once this returns, it counts as remembered.

        One that raises has taken nothing, and the same turns come again, perhaps with later ones. So they do after
        the program, or this call, was ended half way; `MemorySegment.repeated` says so.
        """

    async def forget(self, session_id: str) -> int:
        """Remove everything that is known from one session; how many pieces that were."""

    async def close(self) -> None:
        """Release what `start` took. Safe to call twice, and without `start`."""
