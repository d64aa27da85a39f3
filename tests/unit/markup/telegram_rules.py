"""What Telegram's server takes, written down apart from the renderer: a message that breaks a rule fails here."""

import re
from itertools import combinations
from urllib.parse import urlsplit

from adapters.markup.telegram import Entity, TelegramMessage

STYLES = {"bold", "italic", "underline", "strikethrough", "spoiler"}
QUOTES = {"blockquote", "expandable_blockquote"}
CODE = {"code", "pre"}
TYPES = STYLES | QUOTES | CODE | {"text_link"}
CHANGED_BY_SERVER = re.compile("[\x00-\x09\x0b-\x20\u0333\u033f\u030a\u2028-\u202e]")


def units(text: str) -> list[int]:
    """A text as UTF-16 code units; raises for a lone surrogate."""
    raw = text.encode("utf-16-le")
    return [raw[index] | raw[index + 1] << 8 for index in range(0, len(raw), 2)]


def covered(message: TelegramMessage, entity: Entity) -> str:
    """The characters under an entity; raises where it cuts one in two."""
    raw = message.text.encode("utf-16-le")
    return raw[entity.offset * 2 : (entity.offset + entity.length) * 2].decode("utf-16-le")


def check_message(message: TelegramMessage, limit: int = 4096) -> None:
    length = len(units(message.text))
    assert 0 < length <= limit
    assert len(message.text.encode()) <= 35_000
    assert not CHANGED_BY_SERVER.search(message.text.replace(" ", "")), "the server would change the text"
    assert message.text == message.text.strip(" \n"), "the server would trim the text"
    assert len(message.entities) <= 100
    order = [(entity.offset, -entity.length) for entity in message.entities]
    assert order == sorted(order)
    for entity in message.entities:
        check_entity(message, entity, length)
    for first, second in combinations(message.entities, 2):
        check_pair(first, second)


def check_entity(message: TelegramMessage, entity: Entity, length: int) -> None:
    assert entity.type in TYPES
    assert entity.offset >= 0
    assert entity.length > 0
    assert entity.offset + entity.length <= length
    text = covered(message, entity)
    assert text == text.strip(" \n"), "the server would trim the entity"
    assert (entity.url is not None) == (entity.type == "text_link")
    assert entity.language is None or entity.type == "pre"
    if entity.url is not None:
        check_url(entity.url)


def check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme.lower() in ("http", "https"):
        assert parts.hostname
        assert "." in parts.hostname
        assert parts.username is None
        assert parts.port is None or 0 < parts.port < 65536
        assert not re.search(r"\s", url)
    else:
        assert parts.scheme == "tg"
        assert parts.netloc in ("resolve", "join", "addstickers", "addemoji", "addlist", "privatepost")


def check_pair(first: Entity, second: Entity) -> None:
    """`second` does not begin before `first`, nor is it longer where both begin together."""
    if second.offset >= first.offset + first.length:
        return
    assert second.offset + second.length <= first.offset + first.length, "entities cross"
    if first.type in CODE or second.type in CODE:
        assert first.type in QUOTES, "code with another entity over or under it"
        assert second.type in CODE
        return
    assert first.type != second.type, "an entity in one of its kind"
    assert not (first.type in QUOTES and second.type in QUOTES)
    assert not (first.type not in QUOTES and second.type in QUOTES and first.type == "text_link")


def annotated(message: TelegramMessage) -> str:
    """The text with its entities written in, for a person to compare: `⟦bold⟧text⟦/bold⟧`."""
    inserts: list[tuple[int, int, int, str]] = []
    for number, entity in enumerate(message.entities):
        detail = entity.url or entity.language or ""
        name = f"{entity.type} {detail}".strip()
        end = entity.offset + entity.length
        inserts.append((entity.offset, 1, number, f"⟦{name}⟧"))
        inserts.append((end, 0, -number, f"⟦/{entity.type}⟧"))
    raw, shown, position = message.text.encode("utf-16-le"), "", 0
    for offset, _, _, tag in sorted(inserts):
        shown += raw[position * 2 : offset * 2].decode("utf-16-le") + tag
        position = offset
    return shown + raw[position * 2 :].decode("utf-16-le")
