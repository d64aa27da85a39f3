"""A route of the REST API: what its handler is called with, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.channel import Channel, Guild, ThreadState
from adapters.testing.discord.errors import missing_access, missing_permissions, unauthorized, unknown
from adapters.testing.discord.intents import Intents
from adapters.testing.discord.message import Message
from adapters.testing.discord.permissions import Permission
from adapters.testing.discord.requests import Request
from adapters.testing.discord.world import World


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server was told to be like; times in seconds. `gateway_url` is asked, because the port is known late."""

    nonce_seconds: float
    answer_seconds: float
    token_seconds: float
    monotonic: Callable[[], float]
    gateway_url: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a status of its own."""

    status: int
    body: Any


Result: TypeAlias = Json | list[Json] | Reply | None
"""None is answered with 204."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request with the world that it acts on. All methods raise `ApiError`."""

    request: Request
    world: World
    settings: Settings

    @property
    def bot(self) -> Bot:
        """Who asks."""
        if self.request.bot is None:
            raise unauthorized()
        return self.request.bot

    @property
    def reads_content(self) -> bool:
        """Whether the application has the content of messages: what a connection asked for does not matter here
        (https://docs.discord.com/developers/events/gateway#http-restrictions)."""
        return Intents.MESSAGE_CONTENT in self.bot.privileged

    def channel(self, *needed: Permission) -> Channel:
        """The channel of the path, if the bot sees it and may do these things there."""
        channel = self.world.channels.get(self.request.id("channel_id"))
        if channel is None:
            raise unknown("Channel")
        self.require(channel, *needed)
        return channel

    def require(self, channel: Channel, *needed: Permission) -> None:
        """Refuse who does not see a channel, or may not do these things there."""
        held = channel.permissions(self.bot.id)
        if Permission.VIEW_CHANNEL not in held:
            raise missing_access()
        if any(permission not in held for permission in needed):
            raise missing_permissions()

    def message(self, channel: Channel) -> Message:
        """The message of the path."""
        message = channel.find(self.request.id("message_id"))
        if message is None or message.ephemeral_for is not None:
            raise unknown("Message")
        return message

    def thread(self, *needed: Permission) -> tuple[Channel, ThreadState]:
        """The channel of the path, which has to be a thread."""
        channel = self.channel(*needed)
        if channel.thread is None:
            raise unknown("Channel")
        return channel, channel.thread

    def guild(self) -> Guild:
        """The guild of the path, if the bot is in it."""
        guild = self.world.guilds.get(self.request.id("guild_id"))
        if guild is None:
            raise unknown("Guild")
        if self.bot.id not in guild.members:
            raise missing_access()
        return guild

    def show(self, message: Message, *, nonce: bool = False) -> Json:
        """A message as the answer to the bot."""
        return self.world.view.shown(message, self.bot, reads_content=self.reads_content, nonce=nonce)


Handler: TypeAlias = Callable[[Call], Result]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `name` is what tests call it by; `path` is below `/api/v10`; `open_`: it needs no token."""

    name: str
    method: str
    path: str
    handler: Handler
    open_: bool = False
