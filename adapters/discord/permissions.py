"""What the bot may do in a place: the permissions that it needs, and the words for those that it lacks."""

from collections.abc import Iterable
from typing import Final

import discord

from adapters.base import Target

NAMES: Final = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "attach_files": "Attach Files",
    "read_message_history": "Read Message History",
    "create_public_threads": "Create Public Threads",
    "add_reactions": "Add Reactions",
}
"""Permissions as Discord's settings call them."""

ALWAYS: Final = ("view_channel", "send_messages", "send_messages_in_threads", "attach_files", "read_message_history")
"""What every set-up needs; what else is needed follows from the settings."""


def missing_permissions(client: discord.Client, channel_id: int, *wanted: str) -> list[str]:
    """The names of those of these permissions that the bot lacks in a channel, as far as is known."""
    channel = client.get_channel(channel_id)
    held = permissions_in(channel) if isinstance(channel, discord.abc.GuildChannel | discord.Thread) else None
    return [] if held is None else _lacking(held, wanted)


def permissions_in(channel: discord.abc.GuildChannel | discord.Thread) -> discord.Permissions | None:
    """What the bot may do in a channel. A thread has the permissions of its parent, of which the library may know
    nothing, as of channels of a kind that is newer than itself: then None."""
    if isinstance(channel, discord.Thread) and channel.parent is None:
        return None
    return channel.permissions_for(channel.guild.me)


def reads_history(client: discord.Client, target: Target) -> bool:
    """Whether the bot may read what was written in a place, as far as is known. Where it may not, Discord shows an
    empty history without a word, and takes no message that answers another."""
    places = (target.chat_id, target.thread_id or "")
    return not any(missing_permissions(client, int(each), "read_message_history") for each in places if each.isdigit())


def missing_on_server(guild: discord.Guild, wanted: Iterable[str]) -> list[str]:
    """The names of those that its roles do not give the bot on a server; single channels may."""
    me: discord.Member | None = guild.me
    return [] if me is None else _lacking(me.guild_permissions, wanted)


def _lacking(held: discord.Permissions, wanted: Iterable[str]) -> list[str]:
    return [NAMES[name] for name in wanted if not getattr(held, name)]
