"""A message of Discord as the core has it. Pure: it makes no call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import discord

from adapters.base import Cursor, InboundMessage, SessionSource
from adapters.discord.content import attachments_in, is_bots, is_written, mentions_us, quote_of, text_of
from config import Platform

CHANNEL: Final = "channel:"
"""Before a channel's or thread's id: the name of the position in it, which is the id of its last message."""

DM: Final = "dm:"
"""The same for a conversation with one person."""

Channel: TypeAlias = discord.abc.GuildChannel | discord.Thread | discord.abc.PrivateChannel | discord.PartialMessageable
"""Where something was written. What the library knows nothing about is a conversation with one person, for places in
guilds are asked for before."""

Author: TypeAlias = discord.User | discord.Member


@dataclass(frozen=True, slots=True)
class Rules:
    """When a message in a guild is for us."""

    require_mention: bool = True
    free_channels: frozenset[str] = frozenset()


def cursor_name(channel: Channel) -> str:
    """The name of the position in a place."""
    return f"{DM if is_dm(channel) else CHANNEL}{_id(channel)}"


def is_dm(channel: Channel) -> bool:
    """Whether it is a conversation with one person."""
    if isinstance(channel, discord.PartialMessageable):
        return channel.guild_id is None
    return isinstance(channel, discord.abc.PrivateChannel)


def roles_of(author: Author) -> tuple[str, ...]:
    """The ids of somebody's roles on the server; the one that everybody has is none."""
    return tuple(str(role.id) for role in getattr(author, "roles", ()) if not role.is_default())


def team_of(channel: Channel) -> str | None:
    """The id of the server that a channel is on."""
    guild = getattr(channel, "guild", None)
    return None if guild is None else str(guild.id)


def chat_of(channel: Channel) -> str:
    """The id of the chat that something was written in: of a thread, that of its channel."""
    return str(channel.parent_id if isinstance(channel, discord.Thread) else _id(channel))


def place(channel: Channel, author: Author) -> SessionSource:
    """Where something was written, and by whom."""
    names = {"user_id": str(author.id), "user_name": author.display_name}
    if isinstance(channel, discord.Thread):
        parent = channel.parent
        where = parent.name if parent is not None else str(channel.parent_id)
        return SessionSource(
            Platform.DISCORD,
            str(channel.parent_id),
            f"{channel.guild.name} / #{where} / {channel.name}",
            "thread",
            thread_id=str(channel.id),
            chat_topic=getattr(parent, "topic", None),
            **names,
        )
    if isinstance(channel, discord.abc.GuildChannel):
        return SessionSource(
            Platform.DISCORD,
            str(channel.id),
            f"{channel.guild.name} / #{channel.name}",
            "group",
            chat_topic=getattr(channel, "topic", None),
            **names,
        )
    return SessionSource(Platform.DISCORD, str(_id(channel)), author.display_name, "dm", **names)


def _id(channel: Channel) -> int:
    return int(channel.id)


@dataclass(frozen=True, slots=True)
class Reading:
    """A message of another, and whether it calls us by name where others write too."""

    message: InboundMessage
    called: bool


class Normaliser:
    """Reads the messages that one account gets. `commands` gives the names of the core's commands."""

    def __init__(self, me: Callable[[], int], rules: Rules, commands: Callable[[], Sequence[str]]) -> None:
        self._me = me
        self._rules = rules
        self._commands = commands

    def read(self, message: discord.Message, channel: Channel, *, advances: bool = True) -> Reading | None:
        """A message as the core has it; None for what nobody wrote, or we did.

        `advances`: the position goes with it.
        """
        me = self._me()
        if not is_written(message, me):
            return None
        text = text_of(message, me)
        called = not is_dm(channel) and mentions_us(message, me)
        quote = quote_of(message, me)
        cursor = Cursor(cursor_name(channel), str(message.id)) if advances else None
        return Reading(
            InboundMessage(
                source=place(channel, message.author),
                message_id=str(message.id),
                text=text,
                addressed=is_dm(channel)
                or called
                or (quote is not None and quote.ours)
                or self._is_command(text)
                or self._is_free(channel),
                sent_at=message.created_at,
                cursor=cursor,
                attachments=attachments_in(message),
                quote=quote,
                roles=roles_of(message.author),
                team=team_of(channel),
                from_bot=is_bots(message),
            ),
            called,
        )

    def _is_command(self, text: str) -> bool:
        """Whether the text begins with a command of ours, as people write it where no menu offers it."""
        first = text.split(maxsplit=1)[0] if text.startswith("/") else ""
        return first.removeprefix("/").lower() in self._commands() if first else False

    def _is_free(self, channel: Channel) -> bool:
        """Whether nobody has to name us here: by the rules, or because we opened this thread for the purpose."""
        if not self._rules.require_mention:
            return True
        ids = {str(channel.id)}
        if isinstance(channel, discord.Thread):
            if channel.owner_id == self._me():
                return True
            ids.add(str(channel.parent_id))
            category = channel.parent.category_id if channel.parent is not None else None
        else:
            category = getattr(channel, "category_id", None)
        return bool((ids | {str(category)}) & self._rules.free_channels)
