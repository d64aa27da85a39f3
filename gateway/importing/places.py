"""Where a session of a Hermes home was held, in this gateway's terms.

The other program's sources are like ours but for these:

==========  =====================================  ==========================================================
platform    there                                  here
==========  =====================================  ==========================================================
Discord     a thread's chat is the thread itself   the chat is the thread's channel, `parent_chat_id` there;
                                                   where that is not told, it is left open until a message
                                                   comes from the thread
Discord     a message that opens a thread has      it was held in that thread
            `prospective_thread_id`
Telegram    a group, or a topic, may be called     a group
            thread or forum
Telegram    a channel post may name a person       nobody: a channel is everybody's who reads it
any         a server's channel may be called       a group, except in Telegram
            channel
cli         the source of the command line         the terminal, which is one place here
==========  =====================================  ==========================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from config import Platform
from gateway.importing.records import Place
from gateway.source import CHAT_TYPES, UNKNOWN_CHAT_TYPE, SessionSource
from gateway.storage.codec import dump

COMMAND_LINE: Final = frozenset({"cli", "local", "tui"})
"""Sources of sessions that somebody held in the terminal of this machine."""

MAX_ORIGIN_CHARACTERS: Final = 32 * 1024
"""The longest origin, as JSON, that is taken for one."""


@dataclass(frozen=True, slots=True)
class Located:
    """A place, the source that the store keeps of it, and whether messages can come from there."""

    place: Place
    origin: dict[str, Any] | None
    routable: bool


NOWHERE: Final = Located(Place(), None, routable=False)
"""A session of which nothing is known but what was said."""


def locate(origin: Mapping[str, Any] | None, key: str | None = None) -> Located:
    """The place that an origin and a session key of the other program name.

    A platform that is not known here keeps its origin as it is, and cannot be routed.
    """
    if not origin or not isinstance(origin.get("platform"), str) or not origin["platform"]:
        return NOWHERE
    if len(dump(origin)) > MAX_ORIGIN_CHARACTERS:
        return NOWHERE
    platform = origin["platform"].strip().lower()
    if platform in COMMAND_LINE:
        source = SessionSource.local_cli()
        return Located(Place(platform="local", chat=source.chat_id or ""), dict(source.to_dict()), routable=True)
    adapted = _adapted(platform, origin)
    try:
        source = SessionSource.from_dict({**adapted, "platform": Platform(platform)}, needs_chat=False)
    except (KeyError, ValueError):
        return _unroutable(platform, origin)
    person = source.user_id_alt or source.user_id or ""
    place = Place(
        platform=platform,
        chat_type=source.chat_type,  # type: ignore[arg-type]  # it is one of these, or the source would not be
        chat=source.chat_id or "",
        thread=source.thread_id or "",
        person=person,
        personal=_was_personal(key, person, source.chat_type),
    )
    return Located(place, dict(source.to_dict()), routable=bool(place.chat or place.thread or place.person))


def _adapted(platform: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The origin as this gateway's adapter would have made it."""
    source = {**origin, "chat_type": _kind(origin.get("chat_type"))}
    source.setdefault("chat_id", None)
    if platform == Platform.DISCORD:
        _adapt_discord(source)
    elif platform == Platform.TELEGRAM:
        _adapt_telegram(source)
    elif source["chat_type"] == "channel":
        source["chat_type"] = "group"
    return source


def _adapt_discord(source: dict[str, Any]) -> None:
    prospective, thread = source.get("prospective_thread_id"), source.get("thread_id")
    if source["chat_type"] == "dm":
        return
    if prospective and not thread:
        source.update(chat_type="thread", thread_id=prospective)
    elif thread or source["chat_type"] == "thread":
        thread = thread or source["chat_id"]
        parent = source.get("parent_chat_id")
        own = str(source["chat_id"] or "") == str(thread)
        source.update(chat_type="thread", thread_id=thread, chat_id=parent if own else source["chat_id"])
    else:
        source["chat_type"] = "group"


def _adapt_telegram(source: dict[str, Any]) -> None:
    if source["chat_type"] == "channel":
        source.update(user_id=None, user_id_alt=None, user_name=None)
    elif source["chat_type"] != "dm":
        source["chat_type"] = "group"
    elif not source.get("user_id"):
        # A private chat has the id of the person (https://core.telegram.org/bots/api#chat).
        source["user_id"] = source["chat_id"]


def _kind(value: object) -> str:
    """The other program's word for the kind of a place; a missing one is a DM."""
    if not value:
        return "dm"
    return str(value) if value in CHAT_TYPES else UNKNOWN_CHAT_TYPE


def _was_personal(key: str | None, person: str, chat_type: str) -> bool:
    """Whether the other program's key ends with the person; in a DM the chat says it all."""
    return bool(key and person and chat_type != "dm" and key.endswith(f":{person}"))


def _unroutable(platform: str, origin: Mapping[str, Any]) -> Located:
    """What can be told of a place on a platform that is not known here, or of a source that makes no sense."""
    person = _text(origin.get("user_id_alt")) or _text(origin.get("user_id"))
    place = Place(
        platform=platform,
        chat_type=_kind(origin.get("chat_type")),  # type: ignore[arg-type]  # the same
        chat=_text(origin.get("chat_id")),
        thread=_text(origin.get("thread_id")),
        person=person,
        personal=bool(person),
    )
    return Located(place, dict(origin), routable=False)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).encode("utf-8", "replace").decode("utf-8")
