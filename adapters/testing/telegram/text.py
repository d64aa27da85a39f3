"""Text as the network takes it: lengths in UTF-16 units, entities checked, trimmed and found."""

import re
from collections.abc import Iterable, Sequence

from adapters.testing.telegram.accounts import Json
from adapters.testing.telegram.errors import bad_request

MAX_TEXT = 4096
"""The longest text in UTF-16 units, after entities parsing (https://core.telegram.org/bots/api#sendmessage)."""
MAX_CAPTION = 1024
"""The longest caption, the same way (https://core.telegram.org/bots/api#sendphoto)."""

STYLES = frozenset(
    {
        "bold",
        "italic",
        "underline",
        "strikethrough",
        "spoiler",
        "blockquote",
        "expandable_blockquote",
        "code",
        "pre",
        "text_link",
        "text_mention",
        "custom_emoji",
        "date_time",
    }
)
"""The entities that a bot sets."""
FOUND = frozenset({"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number"})
"""The entities that the server finds in a text; what a bot says of them is ignored."""
CODES = frozenset({"code", "pre"})
QUOTES = frozenset({"blockquote", "expandable_blockquote"})
REQUIRED = {"text_link": "url", "text_mention": "user", "custom_emoji": "custom_emoji_id"}

PATTERNS = (
    ("url", re.compile(r"\b(?:https?|tg)://[^\s<>]*[^\s<>.,;:!?'\")\]]")),
    ("email", re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")),
    ("bot_command", re.compile(r"(?<![\w/<])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/>])")),
    ("mention", re.compile(r"(?<!\w)@[A-Za-z0-9_]{4,32}\b")),
    ("hashtag", re.compile(r"(?<![\w&/])#\w*[^\W\d]\w*")),
)


def utf16_length(text: str) -> int:
    """The length in the units in which the Bot API counts."""
    return len(text) + sum(character > "\uffff" for character in text)


def boundaries(text: str) -> dict[int, int]:
    """From each UTF-16 offset at which a character begins (and from the end) to its index in the text."""
    found = {}
    offset = 0
    for index, character in enumerate(text):
        found[offset] = index
        offset += 2 if character > "\uffff" else 1
    found[offset] = len(text)
    return found


def check_entities(text: str, raw: object) -> tuple[tuple[Json, ...], tuple[str, ...]]:
    """The entities that a bot may set, in order, and what is wrong with them though the server tolerates it.

    What the server refuses raises `ApiError`: an unknown type, a missing field, a range outside of the text or one
    that begins or ends inside of a character. What it mends by itself, at the price of a style that is lost, is told:
    entities out of order, that overlap, or that are nested against the rules
    (https://core.telegram.org/bots/api#formatting-options).
    """
    if not isinstance(raw, list):
        raise bad_request("can't parse entities: expected an Array of MessageEntity")
    offsets = boundaries(text)
    entities = [entity for entity in (_parse(each, offsets) for each in raw) if entity is not None]
    ordered = sorted(entities, key=lambda entity: (entity["offset"], -entity["length"]))
    complaints = [] if ordered == entities else ["entities are not sorted by offset, the longer first"]
    return tuple(ordered), (*complaints, *_nesting(ordered))


def _parse(raw: object, offsets: dict[int, int]) -> Json | None:
    if not isinstance(raw, dict):
        raise bad_request("can't parse MessageEntity: expected an Object")
    kind = raw.get("type")
    if kind not in STYLES | FOUND:
        raise bad_request("can't parse MessageEntity: Unsupported type specified")
    offset, length = (_integer(raw, name) for name in ("offset", "length"))
    _check_range(offset, length, offsets)
    needed = REQUIRED.get(str(kind))
    if needed is not None and not raw.get(needed):
        raise bad_request(f"can't parse MessageEntity: Can't find field \"{needed}\"")
    if kind in FOUND or length == 0:
        return None
    return {name: value for name, value in raw.items() if value is not None} | {"offset": offset, "length": length}


def _integer(raw: Json, name: str) -> int:
    try:
        return int(raw[name])
    except (KeyError, TypeError, ValueError):
        raise bad_request(f"can't parse MessageEntity: Can't find field \"{name}\"") from None


def _check_range(offset: int, length: int, offsets: dict[int, int]) -> None:
    end = max(offsets)
    if offset < 0:
        raise bad_request(f"receive an entity with incorrect offset {offset}")
    if length < 0:
        raise bad_request(f"receive an entity with incorrect length {length}")
    if offset > end:
        raise bad_request(f"entity begins after the end of the text at UTF-16 offset {offset}")
    if offset + length > end:
        raise bad_request(
            f"entity beginning at UTF-16 offset {offset} ends after the end of the text at "
            f"UTF-16 offset {offset + length}"
        )
    if offset not in offsets:
        raise bad_request("entity begins in a middle of a UTF-16 symbol")
    if offset + length not in offsets:
        raise bad_request(f"entity beginning at UTF-16 offset {offset} ends in a middle of a UTF-16 symbol")


def _nesting(ordered: Sequence[Json]) -> list[str]:
    complaints = []
    for index, outer in enumerate(ordered):
        for inner in ordered[index + 1 :]:
            if inner["offset"] >= outer["offset"] + outer["length"]:
                break
            pair = f"{outer['type']} and {inner['type']}"
            kinds = {outer["type"], inner["type"]}
            if inner["offset"] + inner["length"] > outer["offset"] + outer["length"]:
                complaints.append(f"{pair} overlap")
            elif kinds & CODES or kinds <= QUOTES:
                complaints.append(f"{pair} may not be nested")
    return complaints


def trimmed(text: str, entities: Iterable[Json]) -> tuple[str, tuple[Json, ...]]:
    """Text and entities without the white space at both ends, which the server takes away.

    White space at the start stays where an entity covers it.
    """
    entities = tuple(entities)
    text = "".join(" " if character < " " and character != "\n" else character for character in text)
    first = min((entity["offset"] for entity in entities), default=utf16_length(text))
    room = len(text[: boundaries(text)[first]]) if first else 0
    cut = min(len(text) - len(text.lstrip()), room)
    shorter = text[cut:].rstrip()
    end = utf16_length(shorter)
    kept = []
    for entity in entities:
        offset = entity["offset"] - cut
        length = min(entity["length"], end - offset)
        if length > 0:
            kept.append(entity | {"offset": offset, "length": length})
    return shorter, tuple(kept)


def with_found(text: str, entities: Iterable[Json]) -> tuple[Json, ...]:
    """The entities and those that the server finds by itself: commands, mentions, addresses, hashtags."""
    entities = tuple(entities)
    taken = [
        (each["offset"], each["offset"] + each["length"]) for each in entities if each["type"] in CODES | {"text_link"}
    ]
    found = []
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text):
            start = utf16_length(text[: match.start()])
            end = start + utf16_length(match.group())
            if all(end <= begun or start >= ended for begun, ended in taken):
                taken.append((start, end))
                found.append({"type": kind, "offset": start, "length": end - start})
    return tuple(sorted((*entities, *found), key=lambda each: (each["offset"], -each["length"])))
