"""A method of the Bot API: what it is called with, and its result."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.requests import Request
from adapters.testing.telegram.world import World

Result: TypeAlias = Json | list[Json] | bool | int


@dataclass(frozen=True, slots=True)
class Call:
    """A request with the world that it acts on. `note` takes what is wrong though the server tolerates it."""

    request: Request
    world: World
    note: Callable[[str], None]


Method: TypeAlias = Callable[[Call], Result | Awaitable[Result]]
"""Raises `ApiError`."""
