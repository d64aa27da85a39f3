"""Rate limits: how many requests an app may make, and who does not wait when told to."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from adapters.testing.slack.errors import ApiError, too_many_requests
from adapters.testing.slack.method import Rule
from adapters.testing.slack.requests import Request

MINUTE: Final = 60.0
TIERS: Final = {1: 1, 2: 20, 3: 50, 4: 100}
"""Requests a minute by tier (https://docs.slack.dev/apis/web-api/rate-limits). Slack lets short bursts through; how
long is not documented."""
Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests pass, per method, workspace and app; and messages in one conversation.

    Slack says of chat.postMessage that it generally takes one message a second in a conversation.
    """

    tiers: Mapping[int, int] = field(default_factory=lambda: dict(TIERS))
    channel_per_second: float = 1.0
    channel_burst: int = 1


class RateControl:
    """Counts what apps ask. `note` gets the requests that came before their `Retry-After` had passed."""

    def __init__(self, limits: RateLimits | None, monotonic: Callable[[], float], note: Callable[[str], None]) -> None:
        self.limits = limits
        self._monotonic = monotonic
        self._note = note
        self._passed: dict[Key, deque[float]] = {}
        self._closed: dict[Key, float] = {}

    def refuse(self, request: Request, rule: Rule, retry_after: float) -> ApiError:
        """The refusal of a request; what comes for the same limit before `retry_after` seconds is a violation."""
        return self._close(_keys(request, rule)[-1], retry_after)

    def check(self, request: Request, rule: Rule) -> None:
        """Raises `ApiError` (429) for what comes too early or is too much; otherwise it counts."""
        keys = _keys(request, rule)
        for key in keys:
            left = self._closed.get(key, 0.0) - self._monotonic()
            if left > 0:
                self._note(f"{' '.join(key[1:])} came {left:.2f} s before its Retry-After had passed")
                raise too_many_requests(_error(key), math.ceil(left))
        if self.limits is None:
            return
        allowed = [(self.limits.tiers[rule.tier], MINUTE)]
        if rule.per_channel:
            burst = self.limits.channel_burst
            allowed.append((burst, burst / self.limits.channel_per_second))
        spans = list(zip(keys, allowed, strict=True))
        for key, (count, span) in spans:
            self._refuse_if_full(key, count, span)
        for key, _ in spans:
            self._passed.setdefault(key, deque()).append(self._monotonic())

    def _refuse_if_full(self, key: Key, count: int, span: float) -> None:
        now = self._monotonic()
        passed = self._passed.setdefault(key, deque())
        while passed and passed[0] <= now - span:
            passed.popleft()
        if len(passed) >= count:
            raise self._close(key, passed[-count] + span - now)

    def _close(self, key: Key, seconds: float) -> ApiError:
        whole = max(1, math.ceil(seconds))
        self._closed[key] = self._monotonic() + whole
        return too_many_requests(_error(key), whole)


def _keys(request: Request, rule: Rule) -> list[Key]:
    """The limit of the method, and that of the conversation where there is one."""
    owner = request.token or ""
    keys: list[Key] = [(owner, request.method)]
    if rule.per_channel:
        keys.append((owner, request.method, request.channel_id or ""))
    return keys


def _error(key: Key) -> str:
    """`rate_limited` is for too many messages in a conversation, `ratelimited` for everything else."""
    return "ratelimited" if len(key) == len(("owner", "method")) else "rate_limited"
