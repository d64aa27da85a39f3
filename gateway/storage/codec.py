"""How values stand in the database: instants, JSON, transcript messages, text that any database can hold."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encode_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_encode_strictly: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def to_micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC of an aware instant."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def optional_instant(micros: int | None) -> datetime | None:
    """The instant, where there is one."""
    return None if micros is None else from_micros(micros)


def clean_text(text: str) -> str:
    """The text with what no platform means to send, lone surrogates and NUL, replaced by U+FFFD."""
    if text.isascii():
        return text.replace("\0", "�") if "\0" in text else text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "�")


def key_part(text: str) -> str:
    """A part of a session key: "%" is written %25 and ":" is written %3A."""
    return text.replace("%", "%25").replace(":", "%3A")


def dump(value: Any) -> str:  # noqa: ANN401 - JSON
    """JSON, ASCII only, so that lone surrogates pass."""
    return _encode_json(value)


def encode_message(message: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Role, plain text, and the rest as JSON. A message without a role has the role "unknown".

    Raises TypeError, ValueError or RecursionError for what JSON cannot hold, NaN and the infinities included.
    """
    if len(message) == 2:
        # Most messages are a role and a text: they need no copy and no JSON.
        role, content = message.get("role"), message.get("content")
        if type(role) is str and role and type(content) is str:
            return clean_text(role), clean_text(content), None
    rest = dict(message)
    role = clean_text(str(rest.pop("role", None) or "unknown"))
    if not isinstance(rest.get("content"), str):
        return role, None, _encode_strictly(rest) if rest else None
    content = clean_text(rest.pop("content"))
    return role, content, _encode_strictly(rest) if rest else None


def decode_message(role: str, content: str | None, data: str | None) -> dict[str, Any]:
    """The message that `encode_message` took apart; a content in the JSON is the one that counts."""
    message: dict[str, Any] = {"role": role}
    if content is not None:
        message["content"] = content
    if data is not None:
        message.update(json.loads(data))
    return message
