"""What a message answers, asked for where Discord has not told it."""

import asyncio
import logging

import discord

from adapters.discord.constants import Timing
from adapters.discord.failures import CALL_ERRORS, UNKNOWN_MESSAGE, in_short
from adapters.discord.normalise import Channel

log = logging.getLogger(__name__)


class AnsweredMessages:
    """Completes messages that answer one of which nothing is told."""

    def __init__(self, client: discord.Client, timing: Timing) -> None:
        self._client = client
        self._timing = timing

    async def complete(self, message: discord.Message, where: Channel) -> None:
        """Look up what a message answers. Where `referenced_message` is left out, Discord has not looked for it; only
        where it is null was it deleted (https://docs.discord.com/developers/resources/message#message-object).

        It stays unknown where it cannot be had in time: others wait behind this message.
        """
        reference = message.reference
        if reference is None or reference.message_id is None or message.type is not discord.MessageType.reply:
            return
        if reference.resolved is not None or reference.cached_message is not None:
            return
        try:
            async with asyncio.timeout(self._timing.lookup):
                reference.resolved = await self._place(reference, where).fetch_message(reference.message_id)
        except CALL_ERRORS as error:
            log.info("what message %d of Discord answers cannot be looked up: %s", message.id, in_short(error))
            if isinstance(error, discord.NotFound) and error.code == UNKNOWN_MESSAGE:
                reference.resolved = discord.DeletedReferencedMessage(reference)

    def _place(self, reference: discord.MessageReference, where: Channel) -> discord.abc.Messageable:
        if reference.channel_id == where.id and isinstance(where, discord.abc.Messageable):
            return where
        return self._client.get_partial_messageable(reference.channel_id, guild_id=reference.guild_id)
