"""Markdown for Telegram: text with message entities, in messages that its server takes as they are.

The rules are those of the Bot API, "Formatting options" and `MessageEntity`, and of what TDLib does to a text
before it is sent (`fix_formatted_text` in `MessageEntity.cpp`): offsets and lengths in UTF-16 code units; `pre` and
`code` neither hold nor lie in others, save that a quote may hold them; no quote in a quote; white space at the ends
of a message and of an entity is cut off; control characters, bidirectional overrides and three combining marks are
removed; an address that is not one fails the whole message.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from adapters.markup.blocks import BlockRenderer, replacement
from adapters.markup.draft import Draft
from adapters.markup.links import is_web_link
from adapters.markup.messages import GrowingMessages
from adapters.markup.parse import MarkdownParser
from adapters.markup.rendered import Look, Rendered, Span, sizes_in
from adapters.markup.split import AsFile, Limits, split

MAX_LENGTH: Final = 4_096
"""UTF-16 code units of one message (`sendMessage`: 1 to 4096 characters after entities parsing)."""

MAX_ENTITIES: Final = 100
"""Entities of one message; TDLib's `MAX_USER_ENTITY_COUNT`, beyond which they are dropped without an error."""

TABLE_WIDTH: Final = 48
"""Cells of the widest table that is shown as one; a phone folds longer lines, and then nothing stands in columns."""

JOINER: Final = "\N{WORD JOINER}"
"""Stands after an @ that Telegram would otherwise make a mention of, which notifies people."""

_MENTION: Final = re.compile(r"(?<!\w)@(?=[A-Za-z0-9_]|\Z)")
_REMOVED: Final = re.compile("[\x00-\x09\x0b-\x1f\u0333\u033f\u030a\u2028-\u202e]")
_RINGED: Final = re.compile("[^\\W\\d_]\u030a")
"""A letter with a ring above, which the server would take off; as one character it stays."""

_TYPES: Final = {
    Look.BOLD: "bold",
    Look.ITALIC: "italic",
    Look.STRIKE: "strikethrough",
    Look.SPOILER: "spoiler",
    Look.LINK: "text_link",
    Look.CODE: "code",
    Look.PRE: "pre",
    Look.QUOTE: "blockquote",
}
_SPACE: Final = " \n"
"""All that Telegram's server takes for white space."""

_BLANK: Final = re.compile(
    "[\\s\u1680\u180e\u2000-\u200f\u202e\u202f\u205f\u2800\u3000\ufffc\ufeff\u00a0\U000e0000-\U000e007f]*"
)
"""A text that the server refuses as empty (`is_empty_string` in `misc.cpp`)."""

_TG_LINK: Final = re.compile(r"tg://(?:resolve|join|addstickers|addemoji|addlist|privatepost)\?[\w=&%.-]+", re.ASCII)
"""Addresses within Telegram that lead to a place; `tg://user` is a mention, and others act."""

Mentions = Literal["neutralise", "keep"]


@dataclass(frozen=True, slots=True)
class Entity:
    """A `MessageEntity`; `offset` and `length` in UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: str | None = None
    language: str | None = None

    def to_dict(self) -> dict[str, str | int]:
        """The entity as the Bot API takes it."""
        fields: dict[str, str | int] = {"type": self.type, "offset": self.offset, "length": self.length}
        if self.url is not None:
            fields["url"] = self.url
        if self.language is not None:
            fields["language"] = self.language
        return fields


@dataclass(frozen=True, slots=True)
class TelegramMessage:
    """One message: its text, to be sent without `parse_mode`, and its entities."""

    text: str
    entities: tuple[Entity, ...] = ()


@dataclass(frozen=True, slots=True)
class TelegramMessages:
    """What to show, in order. The first `settled` messages stay as they are however the text goes on."""

    messages: tuple[TelegramMessage, ...]
    settled: int = 0


class TelegramRenderer(BlockRenderer):
    """Shows blocks by entities.

    `mentions`: `neutralise` puts a `JOINER` after each @ of running text that could begin a username, so that no
    model can call people; `keep` leaves them alone.
    """

    def __init__(self, *, mentions: Mentions = "neutralise", table_width: int = TABLE_WIDTH) -> None:
        super().__init__(table_width=table_width)
        self._neutralises = mentions == "neutralise"

    def clean(self, text: str) -> str:
        """The text without what the server would remove; what it would replace is replaced."""
        if not _REMOVED.search(text):
            return text
        return _REMOVED.sub(replacement, _RINGED.sub(_composed, text))

    def running_text(self, text: str) -> str:
        """Text outside of code, in which Telegram looks for mentions."""
        return _MENTION.sub(f"@{JOINER}", text) if self._neutralises else text

    def is_link(self, url: str) -> bool:
        """Whether Telegram takes this address, and nobody is called by it."""
        return is_web_link(url) or _TG_LINK.fullmatch(url) is not None


def _composed(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", found.group())


class TelegramMarkup:
    """Turns Markdown into Telegram's messages.

    `max_parts` is the number of messages that one text may become before it is sent as a file instead. One thread at
    a time may use this and its drafts. A whole text takes about 2 ms a kilobyte, most of it in the parser.
    """

    def __init__(
        self,
        *,
        mentions: Mentions = "neutralise",
        table_width: int = TABLE_WIDTH,
        max_length: int = MAX_LENGTH,
        max_parts: int | None = None,
    ) -> None:
        self._parser = MarkdownParser()
        self._renderer = TelegramRenderer(mentions=mentions, table_width=table_width)
        self._limits = Limits(max_length, "utf16", max_parts=max_parts, max_spans=MAX_ENTITIES)

    def render(self, text: str) -> Rendered:
        """A complete text, not yet cut into messages."""
        return self._renderer.render(self._parser.parse(text).blocks)

    def messages(self, text: str) -> TelegramMessages | AsFile:
        """A complete text. Without anything visible in it, there is no message."""
        parts = split(self.render(text), self._limits)
        return parts if isinstance(parts, AsFile) else TelegramMessages(_shown(parts.parts))

    def draft(self) -> "TelegramDraft":
        """For one text that grows."""
        return TelegramDraft(Draft(self._parser, self._renderer), self._limits)


class TelegramDraft:
    """The messages of one text that grows. Settled ones are made once."""

    def __init__(self, draft: Draft, limits: Limits) -> None:
        self._growing = GrowingMessages(draft, limits, _shown)

    def update(self, text: str, *, final: bool = False) -> TelegramMessages | AsFile:
        """The messages for the whole text so far. It becomes a file only once it is final; until then, show no more
        messages than may be."""
        made = self._growing.update(text, final=final)
        return made if isinstance(made, AsFile) else TelegramMessages(made.messages, made.settled)


def _shown(parts: Sequence[Rendered]) -> tuple[TelegramMessage, ...]:
    """The messages of parts, but for those that the server would refuse as empty."""
    return tuple(message_of(part) for part in parts if not _BLANK.fullmatch(part.text))


# --- spans to entities ---------------------------------------------------------------------------------


def message_of(part: Rendered) -> TelegramMessage:
    """A part with its entities."""
    text = _with_indents(part)
    end = len(text.rstrip(_SPACE))
    spans = [span for span in _trimmed(text, part.spans, end) if span.end > span.start]
    start = min(len(text) - len(text.lstrip(_SPACE)), min((span.start for span in spans), default=end))
    text = text[start:end]
    if len(text) == len(text.encode("utf-16-le")) // 2:
        offsets: Sequence[int] = range(len(text) + 1)
    else:
        offsets = list(accumulate(sizes_in(text, "utf16"), initial=0))
    entities = [_entity(span, offsets[span.start - start], offsets[span.end - start]) for span in spans]
    entities.sort(key=lambda entity: (entity.offset, -entity.length))
    return TelegramMessage(text, tuple(entities))


def _with_indents(part: Rendered) -> str:
    """The text with a no-break space where code begins with a space, which would otherwise be cut off."""
    text = part.text
    for span in part.spans:
        if span.look is Look.PRE and text[span.start] == " ":
            text = f"{text[: span.start]}\N{NO-BREAK SPACE}{text[span.start + 1 :]}"
    return text


def _trimmed(text: str, spans: Sequence[Span], end: int) -> Iterator[Span]:
    for span in spans:
        covered = text[span.start : min(span.end, end)]
        stripped = covered.lstrip(_SPACE)
        start = span.start + len(covered) - len(stripped)
        yield Span(start, start + len(stripped.rstrip(_SPACE)), span.look, span.value)


def _entity(span: Span, start: int, end: int) -> Entity:
    if span.look is Look.QUOTE and span.value:
        return Entity("expandable_blockquote", start, end - start)
    return Entity(
        _TYPES[span.look],
        start,
        end - start,
        url=span.value if span.look is Look.LINK else None,
        language=span.value or None if span.look is Look.PRE else None,
    )
