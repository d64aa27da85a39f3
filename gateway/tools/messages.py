"""The tool that sends a message to people, elsewhere than in the answer."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from config import LiveConfig, Platform
from gateway.access import Gate, Role
from gateway.delivery import NewDelivery, add_delivery
from gateway.homes import ANSWERS_ALONE, Homes, places_to_send
from gateway.outside import one_line
from gateway.ports import Clock, Target
from gateway.storage.codec import clean_text
from gateway.storage.database import Database
from gateway.storage.probe import Probe
from gateway.tools.caller import Caller
from gateway.tools.durable import carried_out
from gateway.tools.requests import SendMessage, ToolError

ORIGIN: Final = "origin"
MAX_CHARS: Final = 100_000
"""Characters of one message: what is longer is for a file."""

NAME_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class MessageDesk:
    """Puts messages of agents into the outbox, each once. `tell` is told where there is something to deliver."""

    database: Database
    config: LiveConfig
    clock: Clock
    gate: Gate
    homes: Homes
    tell: Callable[[Target], object]
    redact: Callable[[str], str]
    probe: Probe

    async def send(self, request: SendMessage, caller: Caller) -> dict[str, Any]:
        """Send it to this chat, to a platform's home channel, or (for admins) to any chat.

        Raises `ToolError`, `StorageError`.
        """
        text = self.redact(clean_text(request.message))
        if not text.strip():
            raise ToolError("No message provided")
        if len(text) > MAX_CHARS:
            raise ToolError(f"The message has {len(text):,} characters; at most {MAX_CHARS:,} are taken.")
        target, named = self._target(request.target.strip() or ORIGIN, caller)
        delivery = NewDelivery(target, "notice", text, session_id=caller.session_id, key=f"message:{caller.key}")
        now = self.clock.now()

        def job(connection: sqlite3.Connection) -> None:
            add_delivery(connection, delivery, now)

        await carried_out(self.database.write(job), lambda _done: self.tell(target))
        self.probe("tools.message")
        self.tell(target)
        return {"target": request.target, "results": f"The message is on its way to {named}."}

    def _target(self, wanted: str, caller: Caller) -> tuple[Target, str]:
        """Where it goes, and how that is called. Raises `ToolError`."""
        if wanted.casefold() == ORIGIN:
            if caller.record.source.platform in ANSWERS_ALONE:
                raise ToolError("Nothing but your answer is seen in this conversation: say it there.")
            return caller.record.target, "this chat"
        role = self.gate.role(caller.record) or Role.GUEST
        name, _, place = wanted.partition(":")
        platform = self._platform(name)
        if not place:
            if role < Role.USER:
                raise ToolError('Guests may send to "origin" alone.')
            home = None if platform is None else self.homes.get(platform)
            if platform is None or home is None:
                raise ToolError(f"There is no home channel '{one_line(wanted, NAME_CHARS)}'. {self._choices()}")
            return Target(platform, home.chat_id, home.thread_id), f"the home channel of {platform}"
        if role < Role.ADMIN:
            raise ToolError(f"Only admins may send to any chat. {self._choices()}")
        chat, _, thread = place.partition(":")
        if platform is None or not chat or len(place) > NAME_CHARS:
            raise ToolError(f"'{one_line(wanted, NAME_CHARS)}' is no chat of a connected platform. {self._choices()}")
        return Target(platform, chat, thread or None), f"{platform}:{one_line(place, NAME_CHARS)}"

    def _platform(self, name: str) -> Platform | None:
        return next((one for one in places_to_send(self.config.current) if str(one) == name.casefold()), None)

    def _choices(self) -> str:
        homes = [str(one) for one in places_to_send(self.config.current) if self.homes.get(one) is not None]
        return f"There are: {', '.join([ORIGIN, *homes])}."
