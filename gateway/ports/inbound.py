"""What comes in: messages as the core has them, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway.source import SessionSource
from gateway.values import value


@dataclass(frozen=True, slots=True)
class Cursor:
    """A platform's position in its stream of updates, committed together with the message it covers."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RawUpdate:
    """An update as a platform sent it, kept before anyone looks into it. `payload` is JSON."""

    id: str
    payload: str


class MediaKind(StrEnum):
    """What a file is to the people who send it."""

    IMAGE = "image"
    STICKER = "sticker"
    VOICE = "voice"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message. The platform has it under `id`, for `Adapter.fetch`, as long as it keeps it.

    `name` and `media_type` are what the sender's side says: shown to the agent, trusted for nothing. `size` is in
    bytes, where the platform tells it.
    """

    kind: MediaKind
    id: str
    name: str | None = None
    media_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message answers. `ours`: our own account wrote it. `text` is as much of it as the platform sent along."""

    text: str
    author: str | None = None
    ours: bool = False
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool that whoever sent a message runs by themselves. `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@value
class Brought:
    """What a program brings with its message, besides the text.

    `messages` are what the agent gets in place of the text, as rows of a transcript: a conversation so far with what
    is to be answered now, or results of the program's tools. `instructions` stand with the system prompt of this turn
    alone. `tools` are those that the program runs. `agent` names who shall answer.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    instructions: str | None = None
    tools: tuple[ClientTool, ...] = ()
    agent: str | None = None


@value
class InboundMessage:
    """One message from a platform, normalised.

    `message_id` is the platform's own id; with platform, account and chat it is what tells a redelivered message
    from a new one. `addressed` is False for what reached us but was not meant for us. `group_id` joins
    messages that the platform splits (an album); they become one turn. `text` may be empty where there are
    attachments. `update_id` names the kept update that the message comes from: it is deleted in the same commit.

    `reply_thread` is where in the chat the answer goes, where `source.thread_id` does not say so. It has no part in
    which conversation the message belongs to, and comes back as the `thread_id` of the `Target`.

    `roles` are the ids of the roles that the platform gives its author there, `team` is the id of the server or
    workspace that the chat is in, `from_bot` says that a program wrote it: who is let in is decided by them too.
    """

    source: SessionSource
    message_id: str
    text: str
    account: str = "default"
    addressed: bool = True
    sent_at: datetime | None = None
    group_id: str | None = None
    cursor: Cursor | None = None
    attachments: tuple[Attachment, ...] = ()
    quote: Quote | None = None
    update_id: str | None = None
    reply_thread: str | None = None
    roles: tuple[str, ...] = ()
    team: str | None = None
    from_bot: bool = False
    brought: Brought | None = None


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


@value
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


class MediaError(Exception):
    """A file that came with a message cannot be had. `str()` is fit to be shown to the agent and to people."""

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable
        """Whether the file may be had later."""
