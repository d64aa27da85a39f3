"""What turns ask of a memory: the least that they have to know, and what stands there where nothing is remembered."""

import sqlite3
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.ports import Message
from gateway.transcript import TurnEnd
from gateway.turn import Turn


class TurnMemory(Protocol):
    """A memory, as turns see it."""

    def note(self, connection: sqlite3.Connection, turn: Turn, end: TurnEnd, /) -> None:
        """Within the commit that ends a turn: it is to be remembered, if it was answered."""

    def turn_ended(self, turn: Turn, end: TurnEnd, /) -> None:
        """A turn's end is durable."""

    async def recall(self, turn: Turn, inputs: Sequence[Message], /) -> str:
        """What is remembered, as a part of a prompt; empty for nothing. Never raises, and takes a bounded time."""


class _NoMemory:
    """Remembers nothing."""

    def note(self, _connection: sqlite3.Connection, _turn: Turn, _end: TurnEnd, /) -> None:
        pass

    def turn_ended(self, _turn: Turn, _end: TurnEnd, /) -> None:
        pass

    async def recall(self, _turn: Turn, _inputs: Sequence[Message], /) -> str:
        return ""


NO_MEMORY: Final[TurnMemory] = _NoMemory()
"""Where nothing is remembered."""
