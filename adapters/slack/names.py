"""The names of people and channels, asked for once in a while."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from adapters.base import AdapterHost
from adapters.memory import Memory
from adapters.slack.client import Client, SlackError
from adapters.slack.constants import Timing
from adapters.slack.normalise import Names

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 3_600.0
"""How long a name is taken to be right."""

UNKNOWN_SECONDS: Final = 60.0
"""How long nobody asks again for a name that could not be had."""


class NameBook:
    """Looks names up. A name that cannot be had in time is left out: nothing waits for it for long."""

    def __init__(self, client: Client, host: AdapterHost, timing: Timing) -> None:
        self._client = client
        self._host = host
        self._timing = timing
        self._known: Memory[str, tuple[str | None, float]] = Memory()
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def of(self, people: Iterable[str], channels: Iterable[str]) -> Names:
        """The names of these, as far as they can be had."""
        people, channels = {each for each in people if each}, {each for each in channels if each}
        asking = [task for thing in people if (task := self._ask(thing, self._person)) is not None]
        asking += [task for thing in channels if (task := self._ask(thing, self._channel)) is not None]
        if asking:
            await asyncio.wait(asking, timeout=self._timing.lookup)
        known = {thing: self._known.get(thing, (None, 0.0))[0] for thing in people | channels}
        return Names({thing: name for thing, name in known.items() if name})

    def forget(self, thing: str) -> None:
        """A name has changed."""
        self._known.pop(thing, None)

    async def close(self) -> None:
        """End what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, thing: str, look_up: Callable[[str], Awaitable[str | None]]) -> "asyncio.Task[None] | None":
        known = self._known.get(thing)
        now = self._host.clock.monotonic()
        if known is not None and now - known[1] < (FRESH_SECONDS if known[0] else UNKNOWN_SECONDS):
            return None
        if thing not in self._asking:
            task = asyncio.create_task(self._learn(thing, look_up), name=f"slack name {thing}")
            self._asking[thing] = task
            task.add_done_callback(lambda _: self._asking.pop(thing, None))
        return self._asking[thing]

    async def _learn(self, thing: str, look_up: Callable[[str], Awaitable[str | None]]) -> None:
        try:
            name = await look_up(thing)
        except SlackError as error:
            log.debug("the name of %s cannot be had: %s", thing, error)
            name = self._known.get(thing, (None, 0.0))[0]
        self._known[thing] = (name, self._host.clock.monotonic())

    async def _person(self, user: str) -> str | None:
        answer = await self._client.call(self._client.web.users_info(user=user))
        person: Mapping[str, Any] = answer.get("user") or {}
        profile = person.get("profile") or {}
        names = (profile.get("display_name"), profile.get("real_name"), person.get("real_name"), person.get("name"))
        return next((str(name) for name in names if name), None)

    async def _channel(self, channel: str) -> str | None:
        answer = await self._client.call(self._client.web.conversations_info(channel=channel))
        name = (answer.get("channel") or {}).get("name")
        return str(name) if name else None
