"""The record of a session: `SessionEntry`, its serialised form, and how records of other makers are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import isfinite
from typing import Any, Final

from config import Platform
from gateway.source import SessionSource

_COUNTERS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "last_prompt_tokens",
    "message_count",
)
_TEXTS: Final = (
    "display_name",
    "auto_reset_reason",
    "model",
    "title",
    "predecessor_id",
    "successor_id",
    "end_reason",
)
_FLAGS: Final = ("was_auto_reset", "reset_had_activity")


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """The store's record of one session: an immutable snapshot.

    Times are aware and kept in UTC; a naive one is a ValueError. Tokens are counts, `last_prompt_tokens` the
    size of the latest prompt. The cost is in US dollars; `cost_status` says what it is worth. The three
    reset fields tell the first turn of a session that its predecessor was ended by the reset policy, why,
    and whether anything had been said in it.
    """

    session_key: str
    session_id: str
    created_at: datetime
    updated_at: datetime
    origin: SessionSource | None = None
    display_name: str | None = None
    platform: Platform | None = None
    chat_type: str = "dm"
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    last_prompt_tokens: int = 0
    estimated_cost_usd: float = 0.0
    cost_status: str = "unknown"
    was_auto_reset: bool = False
    auto_reset_reason: str | None = None
    reset_had_activity: bool = False
    message_count: int = 0
    model: str | None = None
    title: str | None = None
    predecessor_id: str | None = None
    successor_id: str | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    unknown_platform: str | None = None
    """The platform's name as it was read, where it is not a known one: the entry is kept, and unroutable."""
    unknown_origin: Mapping[str, Any] | None = None
    """The origin as it was read, where no source could be made of it."""

    def __post_init__(self) -> None:
        ended = self.ended_at
        if self.created_at.tzinfo is UTC is self.updated_at.tzinfo and (ended is None or ended.tzinfo is UTC):
            return
        for name in ("created_at", "updated_at", "ended_at"):
            instant = getattr(self, name)
            if instant is not None:
                object.__setattr__(self, name, _in_utc(instant, name))

    @property
    def total_tokens(self) -> int:
        """Input, output, cache read and cache write tokens together."""
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def is_live(self) -> bool:
        """Whether the session has not ended."""
        return self.ended_at is None

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain data; times in ISO 8601. `from_dict` reads it back to an equal entry."""
        origin = self.origin.to_dict() if self.origin else self.unknown_origin
        return {
            "session_key": self.session_key,
            "session_id": self.session_id,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "origin": origin,
            "platform": self.platform.value if self.platform else self.unknown_platform,
            "chat_type": self.chat_type,
            **{name: getattr(self, name) for name in (*_COUNTERS, *_TEXTS, *_FLAGS)},
            "total_tokens": self.total_tokens,
            "estimated_cost_usd": self.estimated_cost_usd,
            "cost_status": self.cost_status,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], naive_zone: tzinfo = UTC) -> "SessionEntry":
        """Read an entry: its own form, or the index of an earlier gateway of this kind.

        What is missing or null has its default; a platform that is not known, or an origin that cannot be
        read, is kept aside, not an error. `naive_zone` is the zone of times that name none. Raises KeyError
        if the key, the id or the time of creation is missing, ValueError if a value is not what its name
        says.
        """
        origin, unknown_origin = _origin(data.get("origin"))
        platform, unknown_platform = _platform(data.get("platform"))
        created_at = _instant(data["created_at"], "created_at", naive_zone)
        updated_at, ended_at = data.get("updated_at"), data.get("ended_at")
        rest: dict[str, Any] = {name: _count(data, name) for name in _COUNTERS}
        rest |= {name: _text(data, name) for name in _TEXTS}
        rest |= {name: data.get(name) is True for name in _FLAGS}
        return cls(
            session_key=_required_text(data, "session_key"),
            session_id=_required_text(data, "session_id"),
            created_at=created_at,
            updated_at=_instant(updated_at, "updated_at", naive_zone) if updated_at else created_at,
            ended_at=_instant(ended_at, "ended_at", naive_zone) if ended_at else None,
            origin=origin,
            unknown_origin=unknown_origin,
            platform=platform,
            unknown_platform=unknown_platform,
            chat_type=_text(data, "chat_type") or "dm",
            estimated_cost_usd=_cost(data.get("estimated_cost_usd")),
            cost_status=_text(data, "cost_status") or "unknown",
            **rest,
        )


def read_origin(text: str | None, platform: Platform | None) -> tuple[SessionSource | None, Mapping[str, Any] | None]:
    """An origin as it is stored, or what stands there where no source can be made of that (any more)."""
    if not text:
        return None, None
    try:
        data = json.loads(text)
    except ValueError:
        return None, {"unreadable": text}
    if not data:
        return None, None
    if not isinstance(data, dict):
        return None, {"unreadable": text}
    if platform is None:
        return None, data
    try:
        return SessionSource.from_dict(data, needs_chat=False), None
    except (KeyError, ValueError):
        return None, data


def _origin(value: object) -> tuple[SessionSource | None, Mapping[str, Any] | None]:
    if not isinstance(value, Mapping):
        return None, None
    try:
        return SessionSource.from_dict(value), None
    except (KeyError, ValueError):
        return None, dict(value)


def _platform(value: object) -> tuple[Platform | None, str | None]:
    if not isinstance(value, str) or not value:
        return None, None
    try:
        return Platform(value), None
    except ValueError:
        return None, value


def _required_text(data: Mapping[str, Any], name: str) -> str:
    value = data[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be text that is not empty")
    return value


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{name} must be text, not {type(value).__name__}")


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number that is not negative, not {value!r}")
    return value


def _cost(value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"estimated_cost_usd must be a finite number, not {value!r}")
    return float(value)


def _instant(value: object, name: str, naive_zone: tzinfo) -> datetime:
    if not isinstance(value, str | datetime):
        raise ValueError(f"{name} must be a time in ISO 8601, not {type(value).__name__}")  # noqa: TRY004
    instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return instant if instant.tzinfo else instant.replace(tzinfo=naive_zone)


def _in_utc(instant: datetime, name: str) -> datetime:
    if instant.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime: without a zone it names no instant")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{name} lies outside the calendar") from error
