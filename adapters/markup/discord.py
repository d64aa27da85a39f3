"""Markdown for Discord: Discord's own Markdown, in which nothing means more than the text does.

Discord's dialect is not CommonMark: its marks are found by regular expressions (those of simple-markdown, which its
clients use), so what is written here keeps to the forms that these read in one way only. Characters that could be
marks are escaped; an address stands in angle brackets, which end it where it ends; italics are written with `_`,
whose rule knows of escapes, and with `*` where an address in them holds an underscore.
https://support.discord.com/hc/en-us/articles/210298617 tells what there is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from adapters.markup.blocks import BlockRenderer
from adapters.markup.draft import Draft
from adapters.markup.links import is_web_link
from adapters.markup.messages import GrowingMessages, Messages
from adapters.markup.parse import MarkdownParser
from adapters.markup.rendered import Look, Rendered, Span
from adapters.markup.split import AsFile, Limits, split

MAX_LENGTH: Final = 2_000
"""Characters of one message, counted as code points of what is sent, marks included
(https://docs.discord.com/developers/resources/message#create-message)."""

TABLE_WIDTH: Final = 56
"""Cells of the widest table that is shown as one; a phone folds longer lines."""

DEEPEST_HEADING: Final = 3
"""Headings of lower levels are bold."""

MAX_URL: Final = 1_000
"""Characters of an address as it is sent; a longer one is shown, so that it can be cut."""

SLACK: Final = 4
"""Characters that a message has to spare: a form can be longer by as much though its text is shorter."""

JOINER: Final = "\N{WORD JOINER}"
"""Has no width; stands where two marks must not touch, and in what would call somebody."""

Mentions = Literal["neutralise", "users"]

_CALLS: Final = re.compile(r"@(?=everyone|here|[!&]?[0-9]|\Z)")
_CALLS_BUT_USERS: Final = re.compile(r"@(?=everyone|here|&[0-9]|\Z)")
_REMOVED: Final = re.compile("[\x00-\x09\x0b-\x1f\u2028\u2029\u202a-\u202e]")
_USER: Final = r"<@!?[0-9]{15,20}>"
_SPECIAL: Final = re.compile(
    r"(?P<mark>[\\*_~|`\[\]<]|(?<=\])\()"
    r"|:(?P<address>(?=//))"
    r"|:(?=[\w+-]+:)"
    r"|^ *(?P<start>-(?=#? )|#|>(?=\s|>>)|[0-9]+\.(?=\s))",
    re.MULTILINE,
)
_USER_OR_SPECIAL: Final = re.compile(rf"(?P<user>{_USER})|{_SPECIAL.pattern}", re.MULTILINE)
_IN_URL: Final = re.compile(r"[*~|`<>()\[\]\\\"\s]")
_BRACKETS: Final = re.compile(r"[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*")
"""Text whose brackets come in pairs, none within another: the label of a link may hold no others."""

_BLANK: Final = re.compile("[\\s\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2800\u3164\ufeff\U000e0000-\U000e007f]*")
"""A text that shows nothing. Discord refuses one of white space as empty."""

_MARKS: Final = {Look.BOLD: "**", Look.STRIKE: "~~", Look.SPOILER: "||"}
_OUTERMOST: Final = (Look.QUOTE, Look.HEADING)
_SPACE: Final = " \n"


@dataclass(frozen=True, slots=True)
class DiscordMessage:
    """One message: its `content` as it is sent, and the `text` that people see."""

    content: str
    text: str


class DiscordRenderer(BlockRenderer):
    """Lays looks over blocks.

    `mentions`: `neutralise` puts a `JOINER` after each @ of running text that Discord could make a mention of, so that
    no model can call people; `users` leaves those of single people alone.
    """

    def __init__(self, *, mentions: Mentions = "neutralise", table_width: int = TABLE_WIDTH) -> None:
        super().__init__(table_width=table_width)
        self._calls = _CALLS if mentions == "neutralise" else _CALLS_BUT_USERS

    def clean(self, text: str) -> str:
        """The text without control characters and overrides of direction."""
        return _REMOVED.sub(_replacement, text)

    def running_text(self, text: str) -> str:
        """Text outside of code, in which Discord looks for mentions."""
        return self._calls.sub(f"@{JOINER}", text)

    def is_link(self, url: str) -> bool:
        """Whether Discord makes a link of this address."""
        return is_web_link(url) and len(_address(url)) <= MAX_URL

    def is_label(self, text: str) -> bool:
        """Discord makes no link of a label that looks like another address, nor of one with stray brackets."""
        return "://" not in text and _BRACKETS.fullmatch(text) is not None

    def heading_level(self, level: int) -> int | None:
        """Discord has three levels."""
        return level if level <= DEEPEST_HEADING else None


def _replacement(found: re.Match[str]) -> str:
    char = found.group()
    if char in "\u2028\u2029":
        return "\n"
    return " " if char < " " and char != "\r" else ""


class DiscordMarkup:
    """Turns Markdown into Discord's messages.

    `max_parts` is the number of messages that one text may become before it is sent as a file instead. One thread at
    a time may use this and its drafts.
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
        self._renderer = DiscordRenderer(mentions=mentions, table_width=table_width)
        self._wire = _Wire(mentions)
        self._limits = Limits(max_length - SLACK, max_parts=max_parts, wire=self._wire.content)

    def render(self, text: str) -> Rendered:
        """A complete text, not yet cut into messages."""
        return self._renderer.render(self._parser.parse(text).blocks)

    def messages(self, text: str) -> Messages[DiscordMessage] | AsFile:
        """A complete text. Without anything visible in it, there is no message."""
        parts = split(self.render(text), self._limits)
        return parts if isinstance(parts, AsFile) else Messages(self._wire.shown(parts.parts))

    def draft(self) -> GrowingMessages[DiscordMessage]:
        """For one text that grows."""
        return GrowingMessages(Draft(self._parser, self._renderer), self._limits, self._wire.shown)


# --- looks to marks ------------------------------------------------------------------------------------


class _Wire:
    """Writes looks as Discord's marks."""

    def __init__(self, mentions: Mentions) -> None:
        self._special = _SPECIAL if mentions == "neutralise" else _USER_OR_SPECIAL

    def shown(self, parts: Sequence[Rendered]) -> tuple[DiscordMessage, ...]:
        """The messages of parts, but for those that would show nothing."""
        return tuple(
            DiscordMessage(self.content(part), part.text.strip(_SPACE))
            for part in parts
            if not _BLANK.fullmatch(part.text)
        )

    def content(self, part: Rendered) -> str:
        """What is sent for a part."""
        spans = sorted(part.spans, key=lambda span: (span.start, -span.end, _depth(span)))
        return self._written(part.text, 0, len(part.text), spans).strip(_SPACE)

    def _written(self, text: str, start: int, end: int, spans: Sequence[Span]) -> str:
        """A stretch of the text with the spans within it."""
        written, position = "", start
        for span, within in _outermost(spans):
            written = _joined(written, self._escaped(text, position, span.start))
            after = text[span.end : span.end + 1]
            written = _joined(written, self._marked(text, span, within, after))
            position = span.end
        return _joined(written, self._escaped(text, position, end))

    def _marked(self, text: str, span: Span, within: Sequence[Span], after: str) -> str:
        covered = text[span.start : span.end]
        if span.look is Look.PRE:
            return f"```{span.value}\n{_unfenced(covered)}\n```"
        if span.look is Look.CODE:
            return _code(covered)
        if span.look is Look.LINK and _address(span.value) == _address(covered) and not within:
            return f"<{_address(span.value)}>"
        inner = self._written(text, span.start, span.end, within)
        if _BLANK.fullmatch(covered):
            return inner
        match span.look:
            case Look.QUOTE:
                return _prefixed(inner, "> ")
            case Look.HEADING:
                return self._heading(text, span, inner)
            case Look.LINK:
                return f"[{inner}]({_address(span.value)})"
            case Look.ITALIC:
                return _italic(inner, after)
        mark = _MARKS[span.look]
        return f"{mark}{_apart(inner, mark)}{mark}"

    def _heading(self, text: str, span: Span, inner: str) -> str:
        """Discord reads one only at the start of a line, and takes number signs off its end."""
        if not _begins_line(text, span.start):
            return f"**{_apart(inner, '**')}**"
        if inner.rstrip().endswith("#"):
            inner += JOINER
        return _prefixed(inner, f"{'#' * int(span.value)} ")

    def _escaped(self, text: str, start: int, end: int) -> str:
        """Characters that stand for themselves."""
        if start >= end:
            return ""
        piece = text[start:end]
        if not _begins_line(text, start):
            # What only means something at the start of a line must not be found at the start of this piece.
            return self._special.sub(_escape, "\0" + piece)[1:]
        return self._special.sub(_escape, piece)


def _depth(span: Span) -> int:
    """How far inside a look stands among those over the same text: a quote's mark comes first in its line."""
    return _OUTERMOST.index(span.look) if span.look in _OUTERMOST else len(_OUTERMOST)


def _outermost(spans: Sequence[Span]) -> Iterator[tuple[Span, Sequence[Span]]]:
    """The spans that lie in no other, each with those within it."""
    position = 0
    while position < len(spans):
        span = spans[position]
        following = position + 1
        while following < len(spans) and spans[following].start < span.end:
            following += 1
        yield span, spans[position + 1 : following]
        position = following


def _escape(found: re.Match[str]) -> str:
    matched = found.group()
    groups = found.groupdict()
    if groups.get("user"):
        return matched
    start = groups["start"]
    if start is None:
        return ":\\" if groups["address"] is not None else f"\\{matched}"
    mark = start if start in "-#>" else "."
    head = matched[: len(matched) - len(mark)]
    return f"{head}\\{mark}"


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip(" ")


def _joined(before: str, after: str) -> str:
    """Two pieces, kept apart where the end of one and the start of the other would be read as one mark."""
    if before and after and before[-1] == after[0] and after[0] in "*_~|`":
        return f"{before}{JOINER}{after}"
    return before + after


def _apart(inner: str, mark: str) -> str:
    """The inside of a mark, of which no end is taken for a part of it."""
    before = JOINER if inner[0] == mark[0] else ""
    after = JOINER if inner[-1] == mark[0] else ""
    return f"{before}{inner}{after}"


def _italic(inner: str, after: str) -> str:
    """`_` ends italics only before what is no letter; `*` knows of no escapes. Where neither serves, there is none."""
    if not re.match(r"\w", after, re.ASCII) and not re.search(r"(?<!\\)_", inner):
        return f"_{_apart(inner, '_')}_"
    if "\\*" not in inner and inner.strip() == inner:
        return f"*{_apart(inner, '*')}*"
    return f"{JOINER}{inner}{JOINER}"


def _code(text: str) -> str:
    """Code within a line: its fence is one that it does not hold."""
    runs = set(map(len, re.findall("`+", text)))
    if {1, 2} <= runs or any(run > 2 for run in runs):
        text, runs = _unfenced(text), {1, 2}
        text = re.sub("``", f"`{JOINER}`", text)
        runs = {1}
    fence = "``" if 1 in runs else "`"
    if not text.strip():
        return text
    before = " " if text[0] == "`" else ""
    after = " " if text[-1] == "`" else ""
    return f"{fence}{before}{text}{after}{fence}"


def _unfenced(text: str) -> str:
    """Code in which no fence ends it."""
    while "```" in text:
        text = text.replace("```", f"``{JOINER}`")
    return f"{text}{JOINER}" if text.endswith("`") else text


def _prefixed(text: str, prefix: str) -> str:
    return "\n".join(f"{prefix}{line}" for line in text.split("\n"))


def _address(url: str) -> str:
    """An address as it is sent: characters that could end it, or be marks, are percent-encoded."""
    return _IN_URL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), url)
