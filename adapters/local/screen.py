"""What a chat shows and where: lines and what becomes of them, updates of deliveries, and the errors that end it."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from adapters.local.protocol import Welcome
from gateway.ports import DeliveryKind


class ChatError(Exception):
    """The chat cannot go on. `str()` says why, and what to do."""


class GatewayUnavailableError(ChatError):
    """The gateway cannot be reached."""


class VersionMismatchError(ChatError):
    """The gateway is of another version than this client."""

    def __init__(self, gateway: str, client: str) -> None:
        super().__init__(
            f"the running gateway is version {gateway} and this chat is version {client}:"
            " restart the gateway, or start the chat from the gateway's own installation"
        )
        self.gateway = gateway
        self.client = client


class ScreenClosedError(ChatError):
    """Whoever read what the chat shows has gone (a closed pipe, a closed terminal)."""


class ScreenFailedError(ScreenClosedError):
    """What the chat shows is to be kept, and cannot be (a full disk). `str()` says why."""


class LineRefusedError(ChatError):
    """What was written cannot be sent. `str()` says why."""


class LineOutcome(StrEnum):
    """What became of a line."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    ELSEWHERE = "elsewhere"
    """The answer went to another terminal while this one had no connection."""
    UNANSWERED = "unanswered"
    """The gateway gave up on it, and no word about that came."""


OUTCOME_WORDS: Final = {
    LineOutcome.ELSEWHERE: "The reply was shown on another terminal while this one was cut off.",
    LineOutcome.UNANSWERED: "The gateway gave up on a message; `hermes-gateway unanswered` says why.",
}
"""What to tell the person about an outcome that nothing on the screen tells."""


@dataclass(slots=True)
class Line:
    """Something a person wrote, until it is answered."""

    id: str
    text: str
    outcome: asyncio.Future[LineOutcome]
    accepted: bool = False
    settling: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What a screen is to show. `text` is the whole text so far and `piece` what is new in it.

    `first` says that nothing of this delivery has been shown, `replaced` that what has been shown of it is
    no longer right. `own` says whether it answers lines of this client: None where that is not known yet.
    """

    id: int
    kind: DeliveryKind
    text: str
    piece: str
    final: bool
    first: bool
    replaced: bool
    repeated: bool
    own: bool | None
    session_id: str | None
    turn_id: str | None


class Screen(Protocol):
    """Where a client shows what comes. A method returns once the text has left the program."""

    async def welcome(self, welcome: Welcome) -> None:
        """The first connection stands."""

    async def show(self, update: Update) -> None:
        """A delivery, or more of it."""

    async def refused(self, line: Line, reason: str) -> None:
        """The gateway did not take a line, and will not."""

    async def report(self, text: str) -> None:
        """Something about the connection, for the person."""
