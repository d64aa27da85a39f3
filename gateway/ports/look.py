"""What somebody at a terminal can look at beside the chat: what a command can become, their sessions, how it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.source import SessionSource


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the last `replaces` characters of what was typed can become; `shown` is how a menu says it, `help` why."""

    text: str
    replaces: int
    shown: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session in a list: what people call it, what is to be known of it, and, of a search, where it matches."""

    id: str
    title: str
    about: str
    here: bool = False
    match: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """How a conversation stands: who answers, which session it is, what that took, and what is going on."""

    agent: str
    doing: str
    model: str | None = None
    session_id: str | None = None
    title: str | None = None
    tokens: int = 0


class Look(Protocol):
    """Looks at what belongs to somebody, and changes nothing. Everything raises `NotStoredError`."""

    async def complete(self, source: SessionSource, text: str) -> Sequence[Suggestion]:
        """What the end of a text that begins a command can become; nothing for any other text."""

    async def sessions(self, source: SessionSource, text: str) -> Sequence[SessionLine]:
        """Their sessions as a list shows them; with a text, those whose name has it, then those where it was said."""

    async def overview(self, source: SessionSource) -> Overview:
        """How the conversation of this place stands."""
