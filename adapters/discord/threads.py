"""Threads that are opened for a mention."""

import asyncio
import logging
from typing import Final

import discord

from adapters.discord.constants import MAX_THREAD_NAME, THREAD_MINUTES, Timing
from adapters.discord.content import without_call
from adapters.discord.failures import (
    CALL_ERRORS,
    MISSING_PERMISSIONS,
    THREAD_EXISTS,
    in_short,
)
from adapters.discord.permissions import NAMES
from adapters.memory import Memory

log = logging.getLogger(__name__)

NAMELESS: Final = "Conversation"


class ThreadOpener:
    """Opens a thread from a message, where the channel has threads and lets us."""

    def __init__(self, client: discord.Client, timing: Timing) -> None:
        self._client = client
        self._timing = timing
        self._warned: Memory[int, bool] = Memory()

    async def thread_for(self, message: discord.Message, channel: object) -> discord.Thread | None:
        """The thread that hangs on a message, opened if there is none; None where there can be none."""
        if not isinstance(channel, discord.TextChannel):
            return None
        try:
            async with asyncio.timeout(self._timing.thread):
                if message.flags.has_thread:
                    return await self._existing(message)
                return await channel.get_partial_message(message.id).create_thread(
                    name=_name(message, self._client.user), auto_archive_duration=THREAD_MINUTES
                )
        except discord.HTTPException as error:
            if error.code == THREAD_EXISTS:
                return await self._found(message)
            self._warn(channel, error)
            return None if error.status < 500 else await self._found(message)
        except CALL_ERRORS as error:
            log.warning("no thread could be opened in #%s: %s", channel.name, in_short(error))
            return await self._found(message)

    async def _found(self, message: discord.Message) -> discord.Thread | None:
        """The thread of a message of which nobody knows whether it has one."""
        try:
            async with asyncio.timeout(self._timing.thread):
                return await self._existing(message)
        except CALL_ERRORS:
            return None

    async def _existing(self, message: discord.Message) -> discord.Thread | None:
        """A thread has the id of the message on which it hangs."""
        known = self._client.get_channel(message.id) or await self._client.fetch_channel(message.id)
        return known if isinstance(known, discord.Thread) else None

    def _warn(self, channel: discord.TextChannel, error: discord.HTTPException) -> None:
        if channel.id in self._warned:
            return
        self._warned[channel.id] = True
        lacks = f": the bot lacks {NAMES['create_public_threads']}" if error.code == MISSING_PERMISSIONS else ""
        log.warning(
            "mentions in #%s are answered in the channel, for no thread can be opened there%s (%s)",
            channel.name,
            lacks,
            in_short(error),
        )


def _name(message: discord.Message, me: discord.ClientUser | None) -> str:
    """The first line of what was written, without marks."""
    text = without_call(message.clean_content if me is None else message.content, me.id if me else 0)
    line = discord.utils.remove_markdown(text).strip().split("\n")[0].strip()
    if len(line) > MAX_THREAD_NAME:
        line = f"{line[: MAX_THREAD_NAME - 1].rstrip()}…"
    return line or NAMELESS
