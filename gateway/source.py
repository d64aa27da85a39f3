"""Where a message came from: `SessionSource`, its serialised form and its description in words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from config import Platform

LOCAL_PLATFORM: Final = "local"
LOCAL_DESCRIPTION: Final = "CLI terminal"

WEBHOOK_PERSON: Final = "webhook:"
"""How the id begins that a webhook writes under, wherever its answers go; no platform gives anybody such a one."""

CHAT_TYPES: Final = ("dm", "group", "channel", "thread")
"""Every kind of place. It is part of a session's key and of what the model is told, so it is never free text."""

UNKNOWN_CHAT_TYPE: Final = "group"
"""How a stored place of an unknown kind is read: as one where people are told apart, and nothing is a person's own."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_ID_FIELDS: Final = ("chat_id", "user_id", "thread_id", "user_id_alt", "chat_id_alt")
_NAME_FIELDS: Final = ("chat_name", "user_name", "chat_topic")


@dataclass(frozen=True, slots=True)
class SessionSource:
    """The place and the person that a message came from.

    Ids are text: integers are turned into it, None stays None. `chat_type` is one of `CHAT_TYPES`; None is a dm.
    `thread_id` is where the answer goes when it is set. The alternative ids are a platform's second, more
    lasting name for the same person or chat; `user_id_alt` is preferred where people are told apart.

    Raises ValueError for an unknown platform or chat type, and for an id that is neither text nor an integer or
    that no database could store (a lone surrogate). Names lose such characters instead.
    """

    platform: Platform
    chat_id: str | None
    chat_name: str | None = None
    chat_type: str = "dm"
    user_id: str | None = None
    user_name: str | None = None
    thread_id: str | None = None
    chat_topic: str | None = None
    user_id_alt: str | None = None
    chat_id_alt: str | None = None

    def __post_init__(self) -> None:
        # What is right already, as nearly everything is, is left alone: lists of sessions make many of these.
        if type(self.platform) is not Platform:
            object.__setattr__(self, "platform", Platform(self.platform))
        if type(self.chat_type) is not str or self.chat_type not in CHAT_TYPES:
            object.__setattr__(self, "chat_type", _chat_type(self.chat_type))
        for name in _ID_FIELDS:
            if not _is_plain(value := getattr(self, name)):
                object.__setattr__(self, name, _identifier(name, value))
        for name in _NAME_FIELDS:
            if not _is_plain(value := getattr(self, name)):
                object.__setattr__(self, name, _name(name, value))

    def __hash__(self) -> int:
        # Enough to tell sources apart, and made again and again: decisions and prompts are remembered by source.
        return hash((self.platform, self.chat_id, self.user_id, self.thread_id))

    @classmethod
    def local_cli(cls) -> "SessionSource":
        """The source of the terminal on this machine."""
        return cls(platform=Platform(LOCAL_PLATFORM), chat_id="cli", chat_name=LOCAL_DESCRIPTION)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, needs_chat: bool = True) -> "SessionSource":
        """Read what `to_dict` wrote, or another maker's record; fields that are not known are ignored.

        A chat type that is not known is read as `UNKNOWN_CHAT_TYPE`: what is stored is not refused for it.
        Raises KeyError if `platform` or `chat_id` is missing, ValueError if one of them is null (the chat only if it
        is needed: a DM may be known by its person alone), or if the platform is not known.
        """
        platform, chat_id = data["platform"], data["chat_id"]
        if platform is None or (chat_id is None and needs_chat):
            raise ValueError("a source needs a platform and a chat_id; neither may be null")
        optional = {name: data.get(name) for name in (*_ID_FIELDS[1:], *_NAME_FIELDS)}
        return cls(platform=platform, chat_id=chat_id, chat_type=_read_chat_type(data.get("chat_type")), **optional)

    def to_dict(self) -> dict[str, str | None]:
        """The source as plain data: nulls included, the alternative ids only where there are any."""
        data: dict[str, str | None] = {
            "platform": str(self.platform.value),
            "chat_id": self.chat_id,
            "chat_name": self.chat_name,
            "chat_type": self.chat_type,
            "user_id": self.user_id,
            "user_name": self.user_name,
            "thread_id": self.thread_id,
            "chat_topic": self.chat_topic,
        }
        if self.user_id_alt:
            data["user_id_alt"] = self.user_id_alt
        if self.chat_id_alt:
            data["chat_id_alt"] = self.chat_id_alt
        return data

    @property
    def is_local(self) -> bool:
        """Whether this is the terminal on this machine."""
        return self.platform == LOCAL_PLATFORM

    @property
    def is_webhook(self) -> bool:
        """Whether no person wrote it, but a webhook for whoever posts to that."""
        return self.user_id is not None and self.user_id.startswith(WEBHOOK_PERSON)

    @property
    def description(self) -> str:
        """The place in a few words, for logs and lists. It holds names as they came: quote it in a prompt."""
        if self.is_local:
            return LOCAL_DESCRIPTION
        words = _place_in_words(self)
        return f"{words}, thread: {self.thread_id}" if self.thread_id else words


def _place_in_words(source: SessionSource) -> str:
    if source.chat_type == "dm":
        return f"DM with {source.user_name or source.user_id or 'user'}"
    name = source.chat_name or source.chat_id or "unknown"
    if source.chat_type in ("group", "channel"):
        return f"{source.chat_type}: {name}"
    return name


def _chat_type(value: object) -> str:
    if value is None:
        return "dm"
    if value not in CHAT_TYPES:
        raise ValueError(f"chat_type must be one of {', '.join(CHAT_TYPES)}, not {value!r}")
    return str(value)


def _read_chat_type(value: object) -> str:
    if not value:
        return "dm"
    return str(value) if value in CHAT_TYPES else UNKNOWN_CHAT_TYPE


def _is_plain(value: object) -> bool:
    """Whether a value needs neither a look at its type nor at its characters."""
    return value is None or (type(value) is str and value.isascii())


def _identifier(field: str, value: object) -> str | None:
    """An id as text. Different ids must stay different, so nothing is repaired here."""
    text = _as_text(field, value)
    if text is not None and _SURROGATES.search(text):
        raise ValueError(f"{field} holds a lone surrogate, which is not valid Unicode text")
    return text


def _name(field: str, value: object) -> str | None:
    text = _as_text(field, value)
    return None if text is None else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _as_text(field: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{field} must be text or an integer, not {type(value).__name__}")  # noqa: TRY004
    return str.__str__(value) if isinstance(value, str) else str(int(value))
