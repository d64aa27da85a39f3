"""Rate limits: buckets with their headers, the global limit, and who does not wait when told to.

https://docs.discord.com/developers/topics/rate-limits
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from types import MappingProxyType
from typing import Final, TypeAlias

from adapters.testing.discord.errors import ApiError
from adapters.testing.discord.requests import Request

FREE: Final = 10_000
"""What the headers say is allowed where there is no limit."""
MAJOR: Final = ("channel_id", "guild_id", "webhook_id", "interaction_id")
"""A limit counts by what these are in the path."""
UNBOUND: Final = frozenset(
    {"interaction_callback", "create_followup", "get_followup", "edit_followup", "delete_followup"}
)
"""Routes that the global limit does not bind."""


@dataclass(frozen=True, slots=True)
class RouteLimit:
    """So many requests in so many seconds."""

    requests: int
    seconds: float


DEFAULT_ROUTES: Final[Mapping[str, RouteLimit]] = MappingProxyType(
    {
        "create_message": RouteLimit(5, 5),
        "edit_message": RouteLimit(5, 5),
        "delete_message": RouteLimit(5, 1),
        "add_reaction": RouteLimit(1, 0.25),
        "remove_reaction": RouteLimit(1, 0.25),
        "trigger_typing": RouteLimit(5, 5),
        "edit_channel": RouteLimit(2, 600),
    }
)
"""What is seen of the real server. It documents none of them: a client goes by the headers."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a bot may do; times in seconds.

    `overall_per_second` is documented (https://docs.discord.com/developers/topics/rate-limits#global-rate-limit), and
    so are the gateway's: one IDENTIFY in `identify_seconds`, and `events` in `events_seconds` on a connection
    (https://docs.discord.com/developers/events/gateway#rate-limiting).
    """

    routes: Mapping[str, RouteLimit] = field(default_factory=lambda: DEFAULT_ROUTES)
    overall_per_second: int = 50
    identify_seconds: float = 5.0
    events: int = 120
    events_seconds: float = 60.0


Key: TypeAlias = tuple[int, str, str]
"""The bot, the bucket, and the major parameter."""


@dataclass(slots=True)
class _Window:
    opened: float
    used: int = 0


class Buckets:
    """Counts what bots ask for. Times are of `monotonic`, the header's moment of reset of `clock`."""

    def __init__(
        self,
        limits: RateLimits | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._note = note
        self._windows: dict[Key, _Window] = {}
        self._closed: dict[Key, float] = {}
        self._overall: dict[int, deque[float]] = {}

    def check(self, request: Request) -> dict[str, str]:
        """The headers for a request that may pass. Raises `ApiError` (429) for one that comes too early."""
        key = self._key(request)
        self._still_closed(request, key)
        if self._limits is not None:
            self._count_overall(request, self._limits)
        limit = None if self._limits is None else self._limits.routes.get(request.name)
        if limit is None:
            return self._headers(request, FREE, FREE - 1, 1.0)
        now = self._monotonic()
        window = self._windows.get(key)
        if window is None or now >= window.opened + limit.seconds:
            window = self._windows[key] = _Window(now)
        left = window.opened + limit.seconds - now
        if window.used >= limit.requests:
            raise self._close(request, key, left)
        window.used += 1
        return self._headers(request, limit.requests, limit.requests - window.used, left)

    def refuse(self, request: Request, seconds: float, *, everywhere: bool) -> ApiError:
        """The refusal of a request; what comes for the same bucket before its time is a violation."""
        return self._close(request, self._global(request) if everywhere else self._key(request), seconds)

    @staticmethod
    def bucket(request: Request) -> str:
        """The hash in `X-RateLimit-Bucket`: the same for all channels."""
        return blake2s(request.name.encode(), digest_size=16).hexdigest()

    @staticmethod
    def _bot_id(request: Request) -> int:
        return 0 if request.bot is None else request.bot.id

    def _key(self, request: Request) -> Key:
        major = "+".join(request.ids[name] for name in MAJOR if name in request.ids)
        return self._bot_id(request), request.name, major

    def _global(self, request: Request) -> Key:
        return self._bot_id(request), "", ""

    def _still_closed(self, request: Request, key: Key) -> None:
        for each in (key, self._global(request)):
            left = self._closed.get(each, 0.0) - self._monotonic()
            if left > 0 and not (each[1] == "" and request.name in UNBOUND):
                self._note(f"{request.name} {request.path} came {left:.2f} s before its retry_after had passed")
                raise self._error(request, left, everywhere=each[1] == "")

    def _count_overall(self, request: Request, limits: RateLimits) -> None:
        if request.name in UNBOUND:
            return
        times = self._overall.setdefault(self._bot_id(request), deque())
        now = self._monotonic()
        while times and times[0] <= now - 1.0:
            times.popleft()
        if len(times) >= limits.overall_per_second:
            raise self._close(request, self._global(request), times[0] + 1.0 - now)
        times.append(now)

    def _close(self, request: Request, key: Key, seconds: float) -> ApiError:
        self._closed[key] = self._monotonic() + seconds
        return self._error(request, seconds, everywhere=key[1] == "")

    def _error(self, request: Request, seconds: float, *, everywhere: bool) -> ApiError:
        headers = {} if everywhere else self._headers(request, self._allowed(request), 0, seconds)
        headers |= {"Retry-After": str(math.ceil(seconds)), "Via": "1.1 google"}
        headers["X-RateLimit-Scope"] = "global" if everywhere else "user"
        if everywhere:
            headers["X-RateLimit-Global"] = "true"
        body = {"retry_after": _milliseconds(seconds), "global": everywhere}
        return ApiError(429, None, "You are being rate limited.", extra=body, headers=headers)

    def _allowed(self, request: Request) -> int:
        limit = None if self._limits is None else self._limits.routes.get(request.name)
        return 1 if limit is None else limit.requests

    def _headers(self, request: Request, limit: int, remaining: int, left: float) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": f"{_milliseconds(self._clock() + left):.3f}",
            "X-RateLimit-Reset-After": f"{_milliseconds(left):.3f}",
            "X-RateLimit-Bucket": self.bucket(request),
        }


def _milliseconds(seconds: float) -> float:
    """Rounded up: who waits that long has waited enough."""
    return math.ceil(seconds * 1000) / 1000
