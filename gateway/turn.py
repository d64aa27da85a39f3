"""A turn in memory, and what its parts see of agents and adapters."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from config import Platform
from gateway.brought import open_calls
from gateway.commands.table import for_agent
from gateway.inbound import AUTHOR_CHARS, QUOTED_CHARS, InboundRecord
from gateway.journal import Progress
from gateway.media.content import Enclosed, unread, with_files
from gateway.media.outgoing import TurnFiles
from gateway.outbox import Connection
from gateway.outside import as_quote, as_value
from gateway.ports import Agent, Message, Target
from gateway.session.entry import SessionEntry
from gateway.session.key import SlotIdentity
from gateway.session.text import Content
from gateway.session.traits import Traits
from gateway.tools.files import SEND_FILE
from gateway.transcript import TurnEnd


class Roster(Protocol):
    """Where agents come from."""

    @property
    def default(self) -> str:
        """The name of the agent that answers where nothing else is said."""

    def use(self, name: str) -> AbstractAsyncContextManager[tuple[str, Agent]]:
        """The agent of this name, started, or the default one; with its name. It is not closed while it is in use.

        Raises `AgentError`.
        """

    def timeout(self, name: str) -> float:
        """Seconds without progress after which this agent's turn is given up."""


class Connections(Protocol):
    """The adapters, as turns see them."""

    def find(self, platform: Platform, account: str) -> Connection | None:
        """The connection to a platform, if there is an adapter for it."""

    def connected(self) -> Sequence[Platform]:
        """Platforms that can be reached now."""

    def traits(self) -> Mapping[str, Traits]:
        """What the adapters declare about their platforms, by platform; it stays while a connection comes and goes."""


@dataclass(slots=True, eq=False)
class Turn:
    """A turn in memory, from its beginning to its end, over all its attempts.

    `not_before` is set while it is put off, and `due_at` then says the same by the monotonic clock, once that is known.
    `end` is how it has ended, from when that is decided until it is stored.
    """

    id: str
    identity: SlotIdentity
    entry: SessionEntry
    agent: str
    inbound: list[InboundRecord]
    attempts: int = 1
    not_before: datetime | None = None
    due_at: float | None = None
    interrupted: bool = False
    """It was cut short while its agent worked, and has not been taken up again."""
    progress: Progress = field(default_factory=Progress)
    history: Sequence[Message] | None = None
    """What had been said in the session when the turn began, where its first attempt need not ask for it."""
    stop_reason: str | None = None
    stopped: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done once a person has stopped the turn."""
    queued: bool = False
    """It waits for its place among the turns that may run at once."""
    begun: bool = False
    """Its agent was asked in the present attempt."""
    done_reason: str | None = None
    """What the agent said of why its answer ends, once it has."""
    end: TurnEnd | None = None
    enclosed: dict[int, Enclosed] = field(default_factory=dict)
    """What came with the messages, by message, once it was fetched."""
    files: TurnFiles | None = None
    """What the answer names to be sent."""
    spoke_at: datetime | None = None
    """When the agent's first text came, in this process."""
    _target: tuple[InboundRecord, Target] | None = None
    _inputs: tuple[tuple[object, ...], list[Message]] | None = None

    @property
    def first(self) -> InboundRecord:
        """The message that the turn began with."""
        return self.inbound[0]

    @property
    def target(self) -> Target:
        """Where the answer goes."""
        if self._target is None or self._target[0] is not self.first:
            self._target = (self.first, self.first.target)
        return self._target[1]

    @property
    def inputs(self) -> list[Message]:
        """The messages that the turn began with; what it absorbed later stands where it was absorbed."""
        made_of = (*self.inbound, len(self.progress.absorbed), len(self.enclosed))
        if self._inputs is None or self._inputs[0] != made_of:
            own = (record for record in self.inbound if record.id not in self.progress.absorbed)
            made = [message for record in own for message in user_messages(record, self.enclosed.get(record.id))]
            self._inputs = (made_of, made)
        return list(self._inputs[1])

    def stop(self, reason: str) -> None:
        """Ask the turn to end with what it has."""
        self.stop_reason = self.stop_reason or reason
        if not self.stopped.done():
            self.stopped.set_result(None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not come to an answer."""

    words: str
    retryable: bool
    retry_after: float | None = None


def user_messages(record: InboundRecord, enclosed: Enclosed | None = None) -> Sequence[Message]:
    """What a message that came in adds to a transcript: itself, or what its sender brought in its place."""
    brought = record.extra.brought
    if brought is not None and brought.messages:
        return brought.messages
    return (user_message(record, enclosed),)


def user_message(record: InboundRecord, enclosed: Enclosed | None = None) -> Message:
    """A message that came in, as a row of a transcript, with its files as far as they have been fetched."""
    if (content := record.extra.content) is not None:
        return {"role": "user", "content": _with_edits(record, content)}
    return {"role": "user", "content": with_files(_said(record), enclosed or unread(record))}


def has_acted(turn: Turn) -> bool:
    """Whether the agent has sent a file, or asks for a program's tool: that may be all of its answer."""
    messages = turn.progress.messages
    return any(message.get("tool_name") == SEND_FILE for message in messages) or bool(open_calls(messages))


def wanted_agent(record: InboundRecord) -> str | None:
    """The agent that a program has asked for by name."""
    return None if record.extra.brought is None else record.extra.brought.agent


def _said(record: InboundRecord) -> str:
    """What was edited in earlier messages, what this one answers, and what it says."""
    parts = _edits(record)
    if (quote := record.quote) is not None and quote.text.strip():
        whose = "your own message" if quote.ours else f"a message of {_name(quote.author)}"
        parts.append(f"In reply to {whose}:\n{as_quote(quote.text, QUOTED_CHARS)}")
    return "\n\n".join(part for part in (*parts, for_agent(record.text)) if part.strip()) or record.text


def _edits(record: InboundRecord) -> list[str]:
    told = [("The sender", text) for text in record.extra.edits]
    told += [("Somebody else in this conversation", text) for text in record.extra.edits_of_others]
    return [f"{who} has edited an earlier message; it now reads:\n{as_quote(text, QUOTED_CHARS)}" for who, text in told]


def _with_edits(record: InboundRecord, content: Content) -> Content:
    """The content of a message that repeats another, with what was edited since."""
    if not (record.extra.edits or record.extra.edits_of_others):
        return content
    if isinstance(content, str):
        return "\n\n".join([*_edits(record), content])
    return [{"type": "text", "text": "\n\n".join(_edits(record))}, *content]


def _name(author: str | None) -> str:
    """A name from outside, as part of a sentence."""
    return as_value(author, AUTHOR_CHARS) or "somebody else"
