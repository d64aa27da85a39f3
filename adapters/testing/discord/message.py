"""One message as people see it, with everything it has been before."""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from adapters.testing.discord.accounts import Json, User
from adapters.testing.discord.files import Attachment

if TYPE_CHECKING:
    from adapters.testing.discord.channel import Channel


class MessageType(IntEnum):
    """https://docs.discord.com/developers/resources/message#message-object-message-types"""

    DEFAULT = 0
    THREAD_CREATED = 18
    REPLY = 19
    CHAT_INPUT_COMMAND = 20
    THREAD_STARTER_MESSAGE = 21


SYSTEM: frozenset[MessageType] = frozenset({MessageType.THREAD_CREATED, MessageType.THREAD_STARTER_MESSAGE})
"""Messages that nobody has written."""


class MessageFlags(IntFlag):
    """https://docs.discord.com/developers/resources/message#message-object-message-flags"""

    SUPPRESS_EMBEDS = 1 << 2
    HAS_THREAD = 1 << 5
    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    SUPPRESS_NOTIFICATIONS = 1 << 12
    IS_VOICE_MESSAGE = 1 << 13
    IS_COMPONENTS_V2 = 1 << 15


NO_FLAGS = MessageFlags(0)


@dataclass(frozen=True, slots=True)
class Mentions:
    """Who a message calls."""

    users: tuple[User, ...] = ()
    roles: tuple[int, ...] = ()
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a message shows."""

    text: str = ""
    embeds: tuple[Json, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    components: tuple[Json, ...] = ()
    mentions: Mentions = Mentions()
    flags: MessageFlags = NO_FLAGS

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.text or self.embeds or self.attachments or self.components)


@dataclass(frozen=True, slots=True)
class Version:
    """What a message showed from `at` on (seconds since 1970)."""

    content: Content
    at: float


@dataclass(slots=True, eq=False)
class Message:
    """One message of a channel; the newest of its `versions` is what people see."""

    id: int
    channel: "Channel"
    author: User
    versions: list[Version]
    type: MessageType = MessageType.DEFAULT
    reply_to: "Message | None" = None
    nonce: str | int | None = None
    thread: "Channel | None" = None
    """The thread that was opened from it."""
    interaction: Json | None = None
    """The `interaction_metadata` of an answer to an interaction."""
    ephemeral_for: int | None = None
    """The id of the only person who sees it."""
    deleted_at: float | None = None
    reactions: dict[str, list[User]] = field(default_factory=dict)
    """Who has reacted, by emoji: a character, or `name:id`."""

    @property
    def content(self) -> Content:
        """What it shows now."""
        return self.versions[-1].content

    @property
    def text(self) -> str:
        """The text that it shows now."""
        return self.content.text

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that it has shown, oldest first."""
        return tuple(version.content.text for version in self.versions)

    @property
    def sent_at(self) -> float:
        """Seconds since 1970."""
        return self.versions[0].at

    @property
    def flags(self) -> MessageFlags:
        """Its flags now."""
        flags = self.content.flags
        if self.thread is not None and self.type is not MessageType.THREAD_CREATED:
            flags |= MessageFlags.HAS_THREAD
        return flags if self.ephemeral_for is None else flags | MessageFlags.EPHEMERAL
