"""The mark on a message that waits for its answer: it is put there once the message is stored, and taken away as the
answer comes."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from adapters.background import Background
from adapters.base import Delivery
from adapters.memory import Memory
from adapters.slack.client import CallError, Client, SlackError
from adapters.slack.find import is_message_id

log = logging.getLogger(__name__)

WAITING: Final = "eyes"


@dataclass(slots=True, eq=False)
class _Mark:
    """One mark, once it is known whether it could be put there."""

    tried: asyncio.Event = field(default_factory=asyncio.Event)
    there: bool = False
    gone: bool = False


class Marks:
    """Puts marks on messages and takes them away. Nothing waits for it, and nothing fails with it."""

    def __init__(self, client: Client, background: Background) -> None:
        self._client = client
        self._background = background
        self._marks: Memory[tuple[str, str], _Mark] = Memory()
        self._allowed = True

    def waiting(self, channel: str, ts: str) -> None:
        """A message is stored, and will be answered."""
        mark = _Mark()
        if self._allowed and self._background.start(self._put(channel, ts, mark), "a reaction in Slack"):
            self._marks[channel, ts] = mark

    def answered(self, delivery: Delivery) -> None:
        """Some of the answer can be seen."""
        channel = delivery.target.chat_id
        for ts in delivery.answers:
            if not self._allowed or not is_message_id(ts):
                continue
            mark = self._marks.get((channel, ts))
            if mark is None:
                # It was put there by an earlier process, if by any.
                mark = self._marks[channel, ts] = _Mark(there=True)
                mark.tried.set()
            if not mark.gone:
                mark.gone = self._background.start(self._take(channel, ts, mark), "a reaction in Slack")

    async def _put(self, channel: str, ts: str, mark: _Mark) -> None:
        try:
            if not mark.gone:
                await self._client.call(self._client.web.reactions_add(channel=channel, timestamp=ts, name=WAITING))
                mark.there = True
        except SlackError as error:
            self._tell(error)
        finally:
            mark.tried.set()

    async def _take(self, channel: str, ts: str, mark: _Mark) -> None:
        await mark.tried.wait()
        if not mark.there:
            return
        try:
            await self._client.call(self._client.web.reactions_remove(channel=channel, timestamp=ts, name=WAITING))
        except SlackError as error:
            self._tell(error)

    def _tell(self, error: SlackError) -> None:
        if isinstance(error, CallError) and error.error == "missing_scope" and self._allowed:
            self._allowed = False
            log.warning("messages get no reaction: the bot lacks the scope %s", error.needed or "reactions:write")
        else:
            log.debug("a reaction could not be changed: %s", error)
