"""Gateway sessions: what a bot was sent, numbered, and kept for a while so that it can be sent again."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapters.testing.discord.accounts import Bot, Json
from adapters.testing.discord.intents import Intents, needed

if TYPE_CHECKING:
    from adapters.testing.discord.gateway import Connection

DISPATCH: Final = 0


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One event of a session. `at` is in seconds of the server's monotonic clock."""

    session: str
    sequence: int
    event: str
    data: Json
    at: float

    def frame(self) -> str:
        """The frame on the wire."""
        return json.dumps({"op": DISPATCH, "s": self.sequence, "t": self.event, "d": self.data})


class Session:
    """One session of a bot; it outlives its connections.

    `kept` events can be replayed. `connection` is None while there is none, since `detached_at`.
    """

    def __init__(self, id_: str, bot: Bot, intents: Intents, kept: int) -> None:
        self.id = id_
        self.bot = bot
        self.intents = intents
        self.sequence = 0
        """The number of the last event."""
        self.connection: Connection | None = None
        self.detached_at: float | None = None
        self._kept: deque[Dispatch] = deque(maxlen=kept)

    @property
    def reads_content(self) -> bool:
        """Whether it gets the content of messages."""
        return Intents.MESSAGE_CONTENT in self.intents

    def wants(self, event: str, *, in_guild: bool) -> bool:
        """Whether it has asked for such events."""
        intent = needed(event, in_guild=in_guild)
        return intent in self.intents

    def add(self, event: str, data: Json, at: float) -> Dispatch:
        """Number an event, and send it if there is a connection."""
        self.sequence += 1
        dispatch = Dispatch(self.id, self.sequence, event, data, at)
        self._kept.append(dispatch)
        if self.connection is not None:
            self.connection.send(dispatch.frame())
        return dispatch

    def missed(self, sequence: int) -> list[Dispatch] | None:
        """What came after an event; None if some of it is gone."""
        lost = self.sequence - len(self._kept)
        if sequence < lost:
            return None
        return [dispatch for dispatch in self._kept if dispatch.sequence > sequence]


class Mishaps:
    """What goes wrong with the next events on their way into a session: twice, or in the wrong order."""

    def __init__(self) -> None:
        self._repeat = 0
        self._held: list[Callable[[], None]] = []
        self._hold = 0

    def repeat(self, events: int) -> None:
        """Dispatch each of the next events twice."""
        self._repeat += events

    def reverse(self, events: int) -> None:
        """Hold the next events back until there are so many, and dispatch the last one first."""
        self._hold = events

    def pass_on(self, dispatch: Callable[[], None]) -> None:
        """Let an event happen, as the mishaps have it."""
        if self._hold > 0:
            self._held.append(dispatch)
            if len(self._held) < self._hold:
                return
            held, self._held, self._hold = self._held, [], 0
            for each in reversed(held):
                each()
            return
        dispatch()
        if self._repeat > 0:
            self._repeat -= 1
            dispatch()
