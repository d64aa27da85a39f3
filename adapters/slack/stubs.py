"""Files of which an event tells no more than the id: what they are is asked for before their message is taken in.

So come the files of people in other workspaces, in channels that are shared with them; a channel's history tells all
(https://docs.slack.dev/apis/slack-connect/#check_file_info). Whatever else comes in the conversation waits behind such
a message, for the sake of order, though only for a moment; other conversations do not wait.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.background import Background
from adapters.base import RawUpdate
from adapters.memory import Memory
from adapters.slack.client import Client, SlackError
from adapters.slack.constants import Timing
from adapters.slack.intake import Intake
from adapters.slack.normalise import completed, stubs_in

log = logging.getLogger(__name__)

Json = Mapping[str, Any]


class Stubs:
    """Asks what files are. One of which that cannot be had in time is left as it came."""

    def __init__(self, client: Client, background: Background, timing: Timing) -> None:
        self._client = client
        self._background = background
        self._timing = timing
        self._known: Memory[str, Json] = Memory()
        """What was told of files, by id; nothing of those that were asked for in vain."""
        self._held: dict[str, list[RawUpdate]] = {}
        """What waits, by conversation."""
        self.intake: Intake | None = None

    def holds(self, channel: str, event: Json, update: RawUpdate) -> bool:
        """Whether the update has to wait; it is then handed on again a moment later."""
        if channel in self._held:
            self._held[channel].append(update)
            return True
        unknown = [each for each in stubs_in(event) if each not in self._known]
        if not unknown or self.intake is None:
            return False
        self._held[channel] = [update]
        if self._background.start(self._ask(channel, unknown, self.intake), f"a look at files in {channel}"):
            return True
        del self._held[channel]
        return False

    def completed(self, event: Json) -> Json:
        """The event with what is known of its files."""
        return completed(event, self._known)

    async def _ask(self, channel: str, files: Sequence[str], intake: Intake) -> None:
        tasks = [asyncio.create_task(self._learn(each), name=f"slack file {each}") for each in files]
        try:
            await asyncio.wait(tasks, timeout=self._timing.lookup)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in files:
                if each not in self._known:
                    log.info("Slack does not tell in time what the file %s is", each)
                    self._known[each] = {}
            intake.put_back(self._held.pop(channel))

    async def _learn(self, file: str) -> None:
        try:
            answer = await self._client.call(self._client.web.files_info(file=file))
        except SlackError as error:
            log.info("what the file %s is cannot be had: %s", file, error)
        else:
            self._known[file] = answer.get("file") or {}
