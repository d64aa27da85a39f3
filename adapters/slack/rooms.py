"""Where a slash command can be answered: people can write one where the bot is not."""

import asyncio
import logging
from typing import Final

from adapters.slack.client import CallError, Client, SlackError
from adapters.slack.constants import Timing
from adapters.slack.normalise import is_dm
from adapters.slack.positions import Positions

log = logging.getLogger(__name__)

_HIDDEN: Final = frozenset({"channel_not_found", "not_in_channel"})
"""What Slack says of conversations that the bot is not let into."""


class Rooms:
    """Finds conversations in which the bot can speak."""

    def __init__(self, client: Client, positions: Positions, timing: Timing) -> None:
        self._client = client
        self._positions = positions
        self._timing = timing

    async def for_command(self, channel: str, user: str) -> str:
        """The conversation itself; where the bot is not in it, its direct messages with who wrote the command."""
        if self._positions.knows(channel):
            return channel
        try:
            async with asyncio.timeout(self._timing.lookup):
                # Of direct messages only those with the bot itself are open to it, and these are opened below.
                if not is_dm(channel, None) and await self._is_in(channel):
                    return channel
                opened = await self._client.call(self._client.web.conversations_open(users=user))
                return str(opened["channel"]["id"])
        except (SlackError, TimeoutError, LookupError) as error:
            log.info("it is not known whether the bot can answer in %s: %s", channel, error)
            return channel

    async def _is_in(self, channel: str) -> bool:
        try:
            answer = await self._client.call(self._client.web.conversations_info(channel=channel))
        except CallError as error:
            if error.error not in _HIDDEN:
                raise
            return False
        there = answer.get("channel") or {}
        return bool(there.get("is_member") or there.get("is_mpim"))
