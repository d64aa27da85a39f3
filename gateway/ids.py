"""Identifiers: what they look like, and where their randomness comes from."""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_SESSION_ID: Final = re.compile(r"[0-9a-z][0-9a-z_]{0,127}")


class Ids:
    """Makes ids from an injected source of random bytes."""

    def __init__(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random_bytes = random_bytes

    def session(self, now: datetime) -> str:
        """A session's id: the UTC second it was made in, and 64 random bits."""
        return f"{now.astimezone(UTC):%Y%m%d_%H%M%S}_{self._random_bytes(8).hex()}"

    def turn(self) -> str:
        """A turn's id: 96 random bits."""
        return self._random_bytes(12).hex()


def is_session_id(text: object) -> bool:
    """Whether this can be a session's id: digits, small letters and underscores, the first no underscore."""
    return isinstance(text, str) and _SESSION_ID.fullmatch(text) is not None
