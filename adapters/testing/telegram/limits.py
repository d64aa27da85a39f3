"""Flood limits: how many messages a bot may send, and who does not wait when told to."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from adapters.testing.telegram.chat import Chat, ChatKind
from adapters.testing.telegram.errors import ApiError, too_many_requests
from adapters.testing.telegram.requests import Request

MINUTE = 60.0
SENDING = ("send", "edit", "copy", "forward")
FREE = frozenset({"sendchataction", "sendmessagedraft"})


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """Messages in a span of time, edits included.

    The figures are those of https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this; short
    bursts in one chat are let through (`chat_burst`), how long is not documented.
    """

    chat_per_second: float = 1.0
    chat_burst: int = 1
    group_per_minute: int = 20
    overall_per_second: int = 30


class FloodControl:
    """Counts what bots send. `violations` are the requests that came before their `retry_after` had passed."""

    def __init__(self, limits: FloodLimits | None, monotonic: Callable[[], float], note: Callable[[str], None]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._note = note
        self._sent: dict[tuple[int, str], deque[float]] = {}
        self._closed: dict[tuple[int, str], float] = {}

    def refuse(self, request: Request, retry_after: int) -> ApiError:
        """The refusal of a request; what comes for the same chat before `retry_after` seconds is a violation."""
        return self._close(self._key(request), retry_after)

    def check(self, request: Request, chat: Chat | None) -> None:
        """Raises `ApiError` (429) for what comes too early or is too much; otherwise it counts."""
        keys = [self._key(request)]
        sends = request.method.lower().startswith(SENDING) and request.method.lower() not in FREE
        if sends:
            keys.append((request.bot.id, ""))
        for key in keys:
            self._still_closed(key, request)
        if sends and self._limits is not None and chat is not None:
            self._count(request, chat, self._limits)

    @staticmethod
    def _key(request: Request) -> tuple[int, str]:
        return request.bot.id, request.chat_id or request.method

    def _close(self, key: tuple[int, str], retry_after: int) -> ApiError:
        self._closed[key] = self._monotonic() + retry_after
        return too_many_requests(retry_after)

    def _still_closed(self, key: tuple[int, str], request: Request) -> None:
        left = self._closed.get(key, 0.0) - self._monotonic()
        if left > 0:
            where = f"chat {request.chat_id}" if request.chat_id else "the bot"
            self._note(f"{request.method} for {where} came {left:.2f} s before its retry_after had passed")
            raise too_many_requests(math.ceil(left))

    def _count(self, request: Request, chat: Chat, limits: FloodLimits) -> None:
        here, everywhere = (request.bot.id, str(chat.id)), (request.bot.id, "")
        spans = [
            (here, limits.chat_burst / limits.chat_per_second, limits.chat_burst),
            (everywhere, 1.0, limits.overall_per_second),
        ]
        if chat.kind is not ChatKind.PRIVATE:
            spans.append((here, MINUTE, limits.group_per_minute))
        now = self._monotonic()
        for key, span, allowed in spans:
            times = self._sent.setdefault(key, deque())
            recent = [at for at in times if at > now - span]
            if len(recent) >= allowed:
                raise self._close(key, max(1, math.ceil(recent[-allowed] + span - now)))
        for key in (here, everywhere):
            times = self._sent[key]
            times.append(now)
            while times[0] <= now - MINUTE:
                times.popleft()
