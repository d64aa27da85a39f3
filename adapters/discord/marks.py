"""The mark below a message that somebody waits for an answer to: it is put there once the message is stored, and taken
away as the answer begins."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

import discord

from adapters.background import Background
from adapters.base import Delivery
from adapters.connection import Sleep
from adapters.discord.constants import Timing
from adapters.discord.failures import CALL_ERRORS, in_short
from adapters.discord.permissions import missing_permissions
from adapters.memory import Memory

log = logging.getLogger(__name__)

WAITING: Final = "👀"

PAUSE: Final = 0.2
"""Seconds between two marks: they are the least of what a bot may ask for in a second."""


@dataclass(slots=True, eq=False)
class _Mark:
    """Where a mark is, once it is known whether it could be put there."""

    channel_id: int
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    there: bool = False
    gone: bool = False


class Marks:
    """Puts marks below messages and takes them away. Nothing waits for it, and nothing fails with it."""

    def __init__(self, client: discord.Client, background: Background, timing: Timing, sleep: Sleep) -> None:
        self._client = client
        self._background = background
        self._timing = timing
        self._sleep = sleep
        self._pace = asyncio.Lock()
        self._marks: Memory[int, _Mark] = Memory()
        self._warned: Memory[int, bool] = Memory()

    def waiting(self, message: discord.Message) -> None:
        """A message is stored, and will be answered."""
        mark = _Mark(message.channel.id)
        if self._background.start(self._put(message.id, mark), "a reaction in Discord"):
            self._marks[message.id] = mark

    def answered(self, delivery: Delivery) -> None:
        """Some of the answer can be seen."""
        target = delivery.target
        for message_id in delivery.answers:
            if not message_id.isdigit():
                continue
            mark = self._marks.get(int(message_id))
            if mark is None:
                # It was put there by an earlier process, if by any.
                mark = _Mark(int(target.thread_id or target.chat_id), there=True)
                mark.tried.set()
                self._marks[int(message_id)] = mark
            if not mark.gone:
                mark.gone = self._background.start(self._take(int(message_id), mark), "a reaction in Discord")

    async def _put(self, message_id: int, mark: _Mark) -> None:
        try:
            await self._paced()
            if mark.gone:
                return
            async with asyncio.timeout(self._timing.answer):
                await self._message(message_id, mark).add_reaction(WAITING)
            mark.there = True
        except CALL_ERRORS as error:
            self._tell(mark.channel_id, error)
        finally:
            mark.tried.set()

    async def _take(self, message_id: int, mark: _Mark) -> None:
        me = self._client.user
        await mark.tried.wait()
        if not mark.there or me is None:
            return
        await self._paced()
        try:
            async with asyncio.timeout(self._timing.answer):
                await self._message(message_id, mark).remove_reaction(WAITING, me)
        except CALL_ERRORS as error:
            log.debug("a reaction in channel %d stays: %s", mark.channel_id, in_short(error))

    async def _paced(self) -> None:
        """Wait for one's turn."""
        async with self._pace:
            await self._sleep(PAUSE)

    def _message(self, message_id: int, mark: _Mark) -> discord.PartialMessage:
        return self._client.get_partial_messageable(mark.channel_id).get_partial_message(message_id)

    def _tell(self, channel_id: int, error: Exception) -> None:
        lacking = missing_permissions(self._client, channel_id, "add_reactions", "read_message_history")
        if lacking and channel_id not in self._warned:
            self._warned[channel_id] = True
            log.warning("messages in channel %d get no reaction: the bot lacks %s", channel_id, " and ".join(lacking))
        else:
            log.debug("a reaction in channel %d could not be set: %s", channel_id, in_short(error))
