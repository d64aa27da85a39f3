"""Identifiers: what they look like, and where their randomness comes from."""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_SESSION_ID: Final = re.compile(r"[0-9a-z][0-9a-z_]{0,127}")


class RandomPool:
    """The system's random bytes, fetched many at a time: each call of the system costs more than an id is worth."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._bytes = b""

    def take(self, number: int) -> bytes:
        """So many bytes, fewer than the pool holds; none is given twice. For one thread at a time."""
        if len(self._bytes) < number:
            self._bytes = secrets.token_bytes(self._size)
        taken, self._bytes = self._bytes[:number], self._bytes[number:]
        return taken


class Ids:
    """Makes ids from an injected source of random bytes."""

    def __init__(self, random_bytes: Callable[[int], bytes] | None = None) -> None:
        self._random_bytes = random_bytes or secrets.token_bytes
        self._turn_bytes = random_bytes or RandomPool().take

    def session(self, now: datetime) -> str:
        """A session's id: the UTC second it was made in, and 64 random bits."""
        return f"{now.astimezone(UTC):%Y%m%d_%H%M%S}_{self._random_bytes(8).hex()}"

    def turn(self) -> str:
        """A turn's id: 96 random bits."""
        return self._turn_bytes(12).hex()


def is_session_id(text: object) -> bool:
    """Whether this can be a session's id: digits, small letters and underscores, the first no underscore."""
    return isinstance(text, str) and _SESSION_ID.fullmatch(text) is not None
