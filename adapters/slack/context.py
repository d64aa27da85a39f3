"""What was said in a thread before we were called into it."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from adapters.base import Quote, in_brackets
from adapters.slack.client import Client, SlackError
from adapters.slack.constants import PAGE, Timing
from adapters.slack.names import NameBook
from adapters.slack.normalise import Written
from adapters.slack.positions import micros
from adapters.slack.wording import Account, people_in, plain

log = logging.getLogger(__name__)

MESSAGES: Final = 30
CHARACTERS: Final = 950
"""How much of a thread is told: the newest of it. The core keeps a thousand characters of what a message answers."""

Json = Mapping[str, Any]


class ThreadContext:
    """Reads the threads of others."""

    def __init__(self, client: Client, account: Account, names: NameBook, timing: Timing) -> None:
        self._client = client
        self._account = account
        self._names = names
        self._timing = timing

    async def before(self, written: Written) -> Quote | None:
        """What stands in the message's thread above it; None where nothing does, or where it cannot be had in time."""
        if written.thread is None:
            return None
        try:
            async with asyncio.timeout(self._timing.lookup):
                earlier = await self._newest(written.channel, written.thread, written.ts)
        except (SlackError, TimeoutError) as error:
            log.info("what was said before in a thread cannot be had: %s", error)
            return None
        return await self._quoted(earlier)

    async def _newest(self, channel: str, thread: str, ts: str) -> Sequence[Json]:
        """The newest messages of a thread before one, which come on the last of its pages. Raises `SlackError`."""
        found, more = dict[str, Json](), dict[str, Any]()
        while True:
            call = self._client.web.conversations_replies(
                channel=channel, ts=thread, latest=ts, inclusive=False, limit=PAGE, **more
            )
            answer = await self._client.call(call)
            found |= {str(each.get("ts")): each for each in answer.get("messages") or ()}
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
            more = {"cursor": cursor}
        earlier = sorted((each for each in found if micros(each) < micros(ts)), key=micros)
        return [found[each] for each in earlier[-MESSAGES:]]

    async def _quoted(self, messages: Sequence[Json]) -> Quote | None:
        people = {str(each.get("user") or "") for each in messages}
        people |= {person for each in messages for person in people_in(str(each.get("text") or ""))}
        names = await self._names.of(people, ())
        text = "\n".join(self._lines(messages, names.known))
        if len(text) > CHARACTERS:
            text = f"…{text[-CHARACTERS:]}"
        return Quote(text, author="this thread so far") if text else None

    def _lines(self, messages: Sequence[Json], names: Mapping[str, str]) -> Iterator[str]:
        for message in messages:
            text = plain(str(message.get("text") or ""), names.get).strip()
            if text and message.get("subtype") != "tombstone":
                user = str(message.get("user") or "")
                who = "you" if user == self._account.user_id else f"@{in_brackets(names.get(user)) or user or 'bot'}"
                # What follows the first line stands further in, so that none can pass for what another has said.
                yield f"{who}: {text}".replace("\n", "\n    ")
