"""A method of the Web API: what it is called with, who may call it, and its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from adapters.testing.slack.accounts import Bot, Json
from adapters.testing.slack.channel import Channel, ChannelKind
from adapters.testing.slack.errors import ApiError, missing_scope
from adapters.testing.slack.requests import Request
from adapters.testing.slack.world import World

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request with the world that it acts on."""

    request: Request
    world: World

    @property
    def bot(self) -> Bot:
        """Who calls."""
        assert self.request.bot is not None
        return self.request.bot

    def channel(self, name: str = "channel") -> Channel:
        """The conversation that an argument names. Raises `ApiError`."""
        return self.world.known_channel(self.bot, self.request.needed(name))

    def readable(self, scope: str, name: str = "channel") -> Channel:
        """A conversation that the bot is in, and may read: `scope` is what follows the kind's name, as `history`."""
        channel = self.channel(name)
        self.need(f"{channel.kind.scope}:{scope}")
        if channel.kind is ChannelKind.PUBLIC and self.bot.id not in channel.members:
            raise ApiError("not_in_channel")
        return channel

    def need(self, *scopes: str) -> None:
        """Raise `ApiError` unless the bot has been granted one of these."""
        if not self.bot.scopes.intersection(scopes):
            raise missing_scope(scopes[0], ",".join(sorted(self.bot.scopes)))


Method: TypeAlias = Callable[[Call], Json]
"""Raises `ApiError`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A method, the scopes of which one is needed, and its tier of rate limits.

    `per_channel`: there is a limit for each conversation too. `app_level`: it takes an app's own token.
    """

    run: Method
    scopes: tuple[str, ...] = ()
    tier: int = 3
    per_channel: bool = False
    app_level: bool = False


def page(items: Sequence[T], request: Request, default: int, most: int) -> tuple[list[T], Json]:
    """A page of a list and the field that leads to the next (https://docs.slack.dev/apis/web-api/pagination)."""
    cursor = request.text("cursor")
    try:
        start = int(cursor.removeprefix("next:")) if cursor else 0
    except ValueError:
        raise ApiError("invalid_cursor") from None
    limit = min(max(1, request.integer("limit", default) or default), most)
    end = start + limit
    following = f"next:{end}" if end < len(items) else ""
    return list(items[start:end]), {"response_metadata": {"next_cursor": following}}
