"""How much one person, and one chat, may ask for: token buckets in memory, tokens of a day in the database."""

import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config import GatewayConfig, LiveConfig
from gateway.access.people import person_of
from gateway.ports import Clock, Usage
from gateway.source import SessionSource
from gateway.storage import access_queries

MAX_REMEMBERED: Final = 10_000
"""People and chats whose latest messages are remembered; one that is forgotten was quiet for longer than others."""

MINUTE: Final = 60.0

LATE: Final = timedelta(minutes=1)
"""How old a message is that comes late: nobody wrote it in the last minute."""

LATE_TIMES: Final = 10
"""How many times as many of them are taken."""

CHAT_LIMIT: Final = "chat_messages_per_minute"

NOTICE_SECONDS: Final = 600.0
"""How long nobody is told again what they were told already."""


class Buckets:
    """Token buckets by key: each holds `size` tokens and is full again after `seconds`."""

    def __init__(self, seconds: float = MINUTE, remembered: int = MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._remembered = remembered
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def has(self, key: Hashable, size: int, now: float) -> bool:
        """Whether there is a token; a size of 0 stands for no limit. `now` is monotonic, in seconds."""
        return size == 0 or self._filled(key, size, now) >= 1.0

    def take(self, key: Hashable, size: int, now: float) -> None:
        """Take a token that is there."""
        if size == 0:
            return
        self._left[key] = (self._filled(key, size, now) - 1.0, now)
        self._left.move_to_end(key)
        if len(self._left) > self._remembered:
            self._left.popitem(last=False)

    def _filled(self, key: Hashable, size: int, now: float) -> float:
        left, then = self._left.get(key, (float(size), now))
        return min(float(size), left + (now - then) * size / self._seconds)

    def __len__(self) -> int:
        return len(self._left)


class Recent:
    """What was done lately, so that it is not done again soon."""

    def __init__(self, seconds: float = NOTICE_SECONDS, remembered: int = MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._remembered = remembered
        self._done: OrderedDict[Hashable, float] = OrderedDict()

    def first(self, key: Hashable, now: float) -> bool:
        """Whether this was not done lately; then it counts as done now."""
        done = self._done.get(key)
        if done is not None and now - done < self._seconds:
            return False
        self._done[key] = now
        self._done.move_to_end(key)
        if len(self._done) > self._remembered:
            self._done.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._done)


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit that was reached: its name, the words for who reached it, and what tells this notice from others."""

    limit: str
    words: str
    key: str


class Limits:
    """The limits of the configuration in force."""

    def __init__(self, config: GatewayConfig | LiveConfig, clock: Clock) -> None:
        self._config = LiveConfig.of(config)
        self._clock = clock
        self._buckets = Buckets()
        self._forgot_on: str | None = None
        """The day on which the tokens of earlier ones were forgotten last. Where that commit fails, the next day's does
        as much."""

    def take(self, source: SessionSource, *, urgent: bool = False, late: bool = False) -> Limited | None:
        """Count a message; the limit that keeps it out, if one does.

        Commands that wait for no turn are counted apart: an answer can be stopped by who has written too much. So are
        messages that come late, all at once, because the gateway or its platform was away.
        """
        limits, now = self._config.current.limits, self._clock.monotonic()
        if late:
            more = {name: LATE_TIMES * getattr(limits, name) for name in ("messages_per_minute", CHAT_LIMIT)}
            limits = limits.model_copy(update=more)
        kind = "late" if late else "urgent" if urgent else "message"
        person = (kind, "person", source.platform, person_of(source) or source.chat_id)
        chat = (kind, "chat", source.platform, source.chat_id)
        if not self._buckets.has(person, limits.messages_per_minute, now):
            words = f"You write faster than I may answer: at most {limits.messages_per_minute} messages in a minute."
            return Limited("messages_per_minute", f"{words} Send it again a little later.", "")
        if not self._buckets.has(chat, limits.chat_messages_per_minute, now):
            words = f"This chat is faster than I may answer: at most {limits.chat_messages_per_minute} a minute."
            return Limited(CHAT_LIMIT, f"{words} Send it again a little later.", "")
        self._buckets.take(person, limits.messages_per_minute, now)
        self._buckets.take(chat, limits.chat_messages_per_minute, now)
        return None

    def over_day(self, connection: sqlite3.Connection, source: SessionSource, now: datetime) -> Limited | None:
        """The limit on a day's tokens that is reached, as part of a job of the writer."""
        limits = self._config.current.limits
        for limit, most, kind, holder in (
            ("tokens_per_day", limits.tokens_per_day, "person", person_of(source)),
            ("chat_tokens_per_day", limits.chat_tokens_per_day, "chat", source.chat_id),
        ):
            if not most or holder is None:
                continue
            key = (self._day(now), str(source.platform), kind, holder)
            row = connection.execute(access_queries.GET_TOKENS, key).fetchone()
            if row is not None and row["tokens"] >= most:
                whose = "Your turns have" if kind == "person" else "This chat has"
                words = f"{whose} taken the {most:,} tokens of today. I answer again tomorrow."
                return Limited(limit, words, f"limit:{limit}:{':'.join(key)}")
        return None

    def note_usage(self, connection: sqlite3.Connection, source: SessionSource, usage: Usage, now: datetime) -> None:
        """Count what a turn took, as part of the commit that ends it: to who began it, and to its chat."""
        tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        if not tokens:
            return
        today = self._day(now)
        rows = [(today, *key, tokens) for key in _holders(source)]
        connection.executemany(access_queries.ADD_TOKENS, rows)
        if self._forgot_on != today:
            connection.execute(access_queries.FORGET_TOKENS, (self._day(now - timedelta(days=2)),))
            self._forgot_on = today

    def _day(self, now: datetime) -> str:
        return now.astimezone(self._config.current.zone).date().isoformat()


def _holders(source: SessionSource) -> Iterator[tuple[str, str, str]]:
    """Whom the tokens of a turn count for."""
    if (person := person_of(source)) is not None:
        yield (str(source.platform), "person", person)
    if source.chat_id is not None:
        yield (str(source.platform), "chat", source.chat_id)
