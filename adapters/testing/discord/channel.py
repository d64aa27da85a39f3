"""Guilds and channels: text channels, conversations, forums and threads, with their members."""

from dataclasses import dataclass, field
from enum import IntEnum

from adapters.testing.discord.accounts import Json, User
from adapters.testing.discord.message import Message
from adapters.testing.discord.permissions import EVERYTHING, NOTHING, Overwrite, Permission, resolve


class ChannelType(IntEnum):
    """https://docs.discord.com/developers/resources/channel#channel-object-channel-types"""

    GUILD_TEXT = 0
    DM = 1
    GUILD_CATEGORY = 4
    GUILD_ANNOUNCEMENT = 5
    ANNOUNCEMENT_THREAD = 10
    PUBLIC_THREAD = 11
    PRIVATE_THREAD = 12
    GUILD_FORUM = 15


THREADS = frozenset({ChannelType.ANNOUNCEMENT_THREAD, ChannelType.PUBLIC_THREAD, ChannelType.PRIVATE_THREAD})
WRITABLE = THREADS | {ChannelType.GUILD_TEXT, ChannelType.DM, ChannelType.GUILD_ANNOUNCEMENT}


@dataclass(slots=True, eq=False)
class Role:
    """A role of a guild; the one with the guild's id is everyone's."""

    id: int
    name: str
    permissions: Permission
    managed_by: int | None = None
    """The bot whose own role it is."""


@dataclass(slots=True, eq=False)
class Member:
    """A user in a guild."""

    user: User
    joined_at: float
    roles: list[int] = field(default_factory=list)
    nick: str | None = None


@dataclass(slots=True, eq=False)
class Guild:
    """A server, as people call it."""

    id: int
    name: str
    owner_id: int
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    channels: "dict[int, Channel]" = field(default_factory=dict)
    threads: "dict[int, Channel]" = field(default_factory=dict)

    @property
    def everyone(self) -> Role:
        """The role that everyone has."""
        return self.roles[self.id]

    def permissions(self, user_id: int) -> Permission:
        """What a member may do where no channel says otherwise."""
        member = self.members.get(user_id)
        if member is None:
            return NOTHING
        if user_id == self.owner_id:
            return EVERYTHING
        held = self.everyone.permissions
        for role in member.roles:
            held |= self.roles[role].permissions
        return EVERYTHING if Permission.ADMINISTRATOR in held else held


@dataclass(slots=True, eq=False)
class ThreadState:
    """What only a thread has; times are in seconds since 1970."""

    owner_id: int
    created_at: float
    archived: bool = False
    archived_at: float = 0.0
    locked: bool = False
    auto_archive_minutes: int = 4320
    members: dict[int, float] = field(default_factory=dict)
    """When each user joined, by their id."""
    tags: list[int] = field(default_factory=list)
    sent: int = 0
    """How many messages were ever sent, without the one that opened it."""


@dataclass(slots=True, eq=False)
class Typing:
    """Somebody was shown as typing at a time (seconds since 1970)."""

    user: User
    at: float


@dataclass(slots=True, eq=False)
class Channel:
    """Where messages are; a conversation with a bot is one too."""

    id: int
    type: ChannelType
    name: str = ""
    guild: Guild | None = None
    parent: "Channel | None" = None
    """The channel of a thread."""
    recipients: tuple[User, ...] = ()
    """The two of a conversation: the person, and the bot."""
    topic: str | None = None
    overwrites: list[Overwrite] = field(default_factory=list)
    tags: list[Json] = field(default_factory=list)
    """The tags that a forum has for its posts."""
    thread: ThreadState | None = None
    messages: list[Message] = field(default_factory=list)
    """Everything that was ever sent here, deleted or not, in order."""
    typing: list[Typing] = field(default_factory=list)
    deleted: bool = False

    @property
    def is_dm(self) -> bool:
        """Whether it is a conversation with a bot."""
        return self.type is ChannelType.DM

    @property
    def mention(self) -> str:
        """The markup that names it."""
        return f"<#{self.id}>"

    def find(self, message_id: int) -> Message | None:
        """A message that is not deleted."""
        found = (each for each in self.messages if each.id == message_id and each.deleted_at is None)
        return next(found, None)

    def permissions(self, user_id: int) -> Permission:
        """What a user may do here. A thread's come from its channel, where sending is a permission of its own
        (https://docs.discord.com/developers/topics/permissions#inherited-permissions)."""
        if self.guild is None:
            return EVERYTHING if user_id in {user.id for user in self.recipients} else NOTHING
        where = self if self.parent is None else self.parent
        member = self.guild.members.get(user_id)
        if member is None:
            return NOTHING
        base = self.guild.permissions(user_id)
        if base == EVERYTHING:
            return base
        held = resolve(base, self.guild.id, member.roles, user_id, where.overwrites)
        if self.thread is None:
            return held
        hidden = self.type is ChannelType.PRIVATE_THREAD and user_id not in self.thread.members
        if hidden and Permission.MANAGE_THREADS not in held:
            return NOTHING
        sends = Permission.SEND_MESSAGES_IN_THREADS in held
        return held | Permission.SEND_MESSAGES if sends else held & ~Permission.SEND_MESSAGES

    def overwrite(self, target: int, *, is_role: bool) -> Overwrite:
        """The overwrite of a role or member, made if there is none."""
        for each in self.overwrites:
            if each.target == target:
                return each
        made = Overwrite(target, is_role)
        self.overwrites.append(made)
        return made
