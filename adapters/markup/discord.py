"""Markdown for Discord: Discord's own Markdown, in which nothing means more than the text does.

Discord's dialect is not CommonMark: its marks are found by regular expressions (those of simple-markdown, which its
clients use), so what is written here keeps to the forms that these read in one way only. Characters that could be
marks are escaped; an address stands in angle brackets, which end it where it ends; italics are written with `_`,
whose rule knows of escapes, and with `*` where an address in them holds an underscore.
https://support.discord.com/hc/en-us/articles/210298617 tells what there is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from adapters.markup.blocks import BlockRenderer, replacement
from adapters.markup.links import is_web_link
from adapters.markup.messages import Markup
from adapters.markup.rendered import Look, Rendered, Span, outermost
from adapters.markup.split import Limits

MAX_LENGTH: Final = 2_000
"""Characters of one message, counted as code points of what is sent, marks included
(https://docs.discord.com/developers/resources/message#create-message)."""

TABLE_WIDTH: Final = 56
"""Cells of the widest table that is shown as one; a phone folds longer lines."""

DEEPEST_HEADING: Final = 3
"""Headings of lower levels are bold."""

URL_SHARE: Final = 2
"""An address takes at most one in so many of a message's characters; a longer one is shown, so that it can be cut."""

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

    def __init__(
        self, *, mentions: Mentions = "neutralise", table_width: int = TABLE_WIDTH, max_length: int = MAX_LENGTH
    ) -> None:
        super().__init__(table_width=table_width)
        self._max_url = max_length // URL_SHARE
        self._calls = _CALLS if mentions == "neutralise" else _CALLS_BUT_USERS

    def clean(self, text: str) -> str:
        """The text without control characters and overrides of direction."""
        return _REMOVED.sub(replacement, text)

    def running_text(self, text: str) -> str:
        """Text outside of code, in which Discord looks for mentions."""
        return self._calls.sub(f"@{JOINER}", text)

    def is_link(self, url: str) -> bool:
        """Whether Discord makes a link of this address."""
        return is_web_link(url) and len(_address(url)) <= self._max_url

    def is_label(self, text: str) -> bool:
        """Discord makes no link of a label that looks like another address, nor of one with stray brackets."""
        return "://" not in text and _BRACKETS.fullmatch(text) is not None

    def heading_level(self, level: int) -> int | None:
        """Discord has three levels."""
        return level if level <= DEEPEST_HEADING else None


class DiscordMarkup(Markup[DiscordMessage]):
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
        wire = _Wire(mentions)
        super().__init__(
            DiscordRenderer(mentions=mentions, table_width=table_width, max_length=max_length),
            Limits(max_length - SLACK, max_parts=max_parts, wire=wire.content),
            wire.shown,
        )


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
        for span, within in outermost(spans):
            written = _joined(written, self._escaped(text, position, span.start))
            after = text[span.end : span.end + 1]
            written = _joined(written, self._marked(text, span, within, after))
            position = span.end
        return _joined(written, self._escaped(text, position, end))

    def _marked(self, text: str, span: Span, within: Sequence[Span], after: str) -> str:
        covered = text[span.start : span.end]
        if span.look is Look.PRE:
            return f"```{span.value}\n{_unlinked(_unfenced(covered))}\n```"
        if span.look is Look.CODE:
            return _unlinked(_code(covered))
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
        """Discord reads one only at the start of a line, and takes number signs off the line's end."""
        if not _begins_line(text, span.start):
            return f"**{_apart(inner, '**')}**"
        mark = "#" * int(span.value)
        return "\n".join(f"{mark} {_ended(line)}" if line.strip() else line for line in inner.split("\n"))

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


def _ended(line: str) -> str:
    """The text of a heading, of which no number sign is taken for the heading's end."""
    return f"{line}{JOINER}" if line.rstrip().endswith("#") else line


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
    # Clients take off one space at an end at which nothing but spaces parts the fence from a backtick.
    before = " " if text.lstrip(" ")[0] == "`" else ""
    after = " " if text.rstrip(" ")[-1] == "`" else ""
    return f"{fence}{before}{text}{after}{fence}"


def _unfenced(text: str) -> str:
    """Code in which no fence ends it."""
    while "```" in text:
        text = text.replace("```", f"``{JOINER}`")
    return f"{text}{JOINER}" if text.endswith("`") else text


def _unlinked(code: str) -> str:
    """Code in which no link ends that begins before it: a client looks for that end without regard to code, up to the
    next bracket that opens."""
    head, bracket, rest = code.partition("[")
    return head.replace("](", f"]{JOINER}(") + bracket + rest


def _prefixed(text: str, prefix: str) -> str:
    return "\n".join(f"{prefix}{line}" for line in text.split("\n"))


def _address(url: str) -> str:
    """An address as it is sent: characters that could end it, or be marks, are percent-encoded."""
    return _IN_URL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), url)
