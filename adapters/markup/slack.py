"""Markdown for Slack: mrkdwn in which nothing means more than the text does.

Everything that Slack gives a meaning to stands between raw angle brackets: mentions, calls of a whole channel, links,
dates. So `&`, `<` and `>` are escaped wherever they are text, code included, and the only raw brackets are those of
links that are written here (https://docs.slack.dev/messaging/formatting-message-text).

mrkdwn knows of no escapes for its own marks. One counts only where it touches neither a letter outside nor a space
inside, so a `JOINER` keeps a mark that is text from counting, and a `BREAK` lets one count beside a letter. A mark ends
with its line. Code has no language, and no backtick in it. How exactly Slack finds marks is not documented; a mistake
about it costs looks, never a mention.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from adapters.markup.blocks import BlockRenderer, replacement
from adapters.markup.links import is_web_link
from adapters.markup.messages import Markup
from adapters.markup.rendered import Look, Rendered, Span, outermost
from adapters.markup.split import Limits, Parts, split

MAX_LENGTH: Final = 4_000
"""Characters of one message, escapes and marks included: what chat.update takes, and what Slack advises for
chat.postMessage, which splits longer ones by itself. Slack does not say what a character is, so UTF-16 code units are
counted, which are never fewer (https://docs.slack.dev/reference/methods/chat.update)."""

TABLE_WIDTH: Final = 64
"""Cells of the widest table that is shown as one; a narrow window folds longer lines."""

MAX_URL: Final = 1_500
"""Characters of an address as it is sent, and no more than half of a message; a longer one is shown, so that it can be
cut."""

SPARE: Final = 16
"""Characters that a message has to spare: a form can be longer by as much though its text is shorter."""

JOINER: Final = "\N{WORD JOINER}"
"""Has no width, and is neither a space nor a letter: beside it, a mark does not count."""

BREAK: Final = "\N{ZERO WIDTH SPACE}"
"""Has no width, and is a space to Slack: beside it, a mark counts."""

Mentions = Literal["neutralise", "users"]

_REMOVED: Final = re.compile("[\x00-\x09\x0b-\x1f\u2028\u2029\u202a-\u202e]")
_USER: Final = r"<@[UW][A-Z0-9]{4,20}>"
_MARK: Final = re.compile(r"[*_~`]|^(?=[ ]*>)", re.MULTILINE)
_MAIL: Final = re.compile(r"mailto:[\w.+-]+@[\w.-]+")
_IN_URL: Final = re.compile(r"[<>|\"\s`\\]")
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_PARTED: Final = str.maketrans({char: f"{char}{JOINER}" for char in "<@]&"})
_MARKS: Final = {Look.BOLD: "*", Look.ITALIC: "_", Look.STRIKE: "~"}
_RANKS: Final = {Look.QUOTE: 0, Look.LINK: 2, Look.CODE: 2, Look.PRE: 2}
"""Of looks over the same characters, which lies within which."""

_WRAPPED: Final = frozenset({*_MARKS, Look.CODE})
"""Looks whose marks have to be parted from letters beside them."""

_BLANK: Final = re.compile("[\\s\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2800\u3164\ufeff\U000e0000-\U000e007f]*")
"""A text that shows nothing. Slack refuses one of white space as `no_text`."""

_SIGNS: Final = frozenset({*_MARKS.values(), "`"})
_SPACE: Final = " \n"
_BEFORE: Final = frozenset(" \n([\"'")
_AFTER: Final = frozenset(" \n)]\"'.,:;!?")
"""What may stand beside a mark without keeping it from counting."""


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """One message: its `content` as it is sent, and the `text` that people see."""

    content: str
    text: str
    rendered: Rendered = field(compare=False, repr=False)

    def pieces(self, length: int) -> tuple[str, ...]:
        """The content in pieces of at most so many characters, for fields that take less than a message."""
        if len(self.content) <= length:
            return (self.content,)
        wire = _Wire("neutralise")
        parts = split(self.rendered, Limits(length - SPARE, "utf16", wire=wire.content))
        assert isinstance(parts, Parts)
        return tuple(message.content for message in wire.shown(parts.parts))


class SlackRenderer(BlockRenderer):
    """Lays looks over blocks."""

    def __init__(self, *, table_width: int = TABLE_WIDTH, max_length: int = MAX_LENGTH) -> None:
        super().__init__(table_width=table_width)
        self._max_url = min(MAX_URL, max_length // 2)

    def clean(self, text: str) -> str:
        """The text without control characters and overrides of direction."""
        return _REMOVED.sub(replacement, text)

    def is_link(self, url: str) -> bool:
        """Whether Slack makes a link of this address."""
        return (is_web_link(url) or _MAIL.fullmatch(url) is not None) and len(_address(url)) <= self._max_url

    def is_label(self, text: str) -> bool:
        """A label that looks like another address would only mislead."""
        return "://" not in text


class SlackMarkup(Markup[SlackMessage]):
    """Turns Markdown into Slack's messages.

    `mentions`: `neutralise` lets no model call people; `users` leaves `<@U…>`, the mention of one person, alone.
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
            SlackRenderer(table_width=table_width, max_length=max_length),
            Limits(max_length - SPARE, "utf16", max_parts=max_parts, wire=wire.content),
            wire.shown,
        )


def escaped(text: str) -> str:
    """A text in which no character has a meaning but those of marks."""
    return text.translate(_ESCAPES)


def harmless(text: str) -> str:
    """Markdown in which nothing calls anybody, and no address hides behind other words.

    For what Slack reads as Markdown itself: what it makes there of `<!channel>` or `<@U…>` is not documented, so a
    `JOINER` parts what could begin one, an address of a link, or an entity that stands for a bracket. Each character is
    decided by itself: as a text grows, its harmless form only grows too.
    """
    return _REMOVED.sub(replacement, text).translate(_PARTED)


# --- looks to marks ------------------------------------------------------------------------------------


class _Wire:
    """Writes looks as marks."""

    def __init__(self, mentions: Mentions) -> None:
        self._user = re.compile(f"({_USER})") if mentions == "users" else None

    def shown(self, parts: Sequence[Rendered]) -> tuple[SlackMessage, ...]:
        """The messages of parts, but for those that would show nothing."""
        return tuple(
            SlackMessage(self.content(part), part.text.strip(_SPACE), part)
            for part in parts
            if not _BLANK.fullmatch(part.text)
        )

    def content(self, part: Rendered) -> str:
        """What is sent for a part."""
        spans = sorted(part.spans, key=lambda span: (span.start, -span.end, _RANKS.get(span.look, 1)))
        return self._written(part.text, 0, len(part.text), spans).strip(_SPACE)

    def _written(self, text: str, start: int, end: int, spans: Sequence[Span]) -> str:
        """A stretch of the text with the spans within it."""
        pieces, position = [], start
        for span, within in outermost(spans):
            pieces += [(self._plain(text, position, span.start), None), (self._marked(text, span, within), span.look)]
            position = span.end
        pieces.append((self._plain(text, position, end), None))
        return _joined(pieces)

    def _marked(self, text: str, span: Span, within: Sequence[Span]) -> str:
        covered = text[span.start : span.end]
        match span.look:
            case Look.PRE:
                return f"```\n{escaped(_unfenced(covered))}\n```"
            case Look.CODE if "`" not in covered:
                return "\n".join(_around(escaped(line), "`") for line in covered.split("\n"))
            case Look.CODE:
                return self._plain(text, span.start, span.end)
            case Look.LINK:
                return self._link(covered, span.value)
        inner = self._written(text, span.start, span.end, within)
        if span.look is Look.QUOTE:
            return "\n".join(f"> {line}" for line in inner.split("\n"))
        mark = _MARKS.get(span.look)
        return inner if mark is None else "\n".join(_around(line, mark) for line in inner.split("\n"))

    def _link(self, label: str, url: str) -> str:
        """A label is one line, and holds no looks."""
        address = escaped(_address(url))
        label = " ".join(label.split())
        shown = label.removeprefix("mailto:")
        if shown in (url, url.removeprefix("mailto:")) and address == escaped(url):
            return f"<{address}>" if shown == url else f"<{address}|{escaped(shown)}>"
        return f"<{address}|{self._plain(label, 0, len(label))}>" if not _BLANK.fullmatch(label) else f"<{address}>"

    def _plain(self, text: str, start: int, end: int) -> str:
        """Characters that stand for themselves."""
        piece = _without_marks(text, start, end)
        if self._user is None:
            return escaped(piece)
        pieces = self._user.split(piece)
        return "".join(each if number % 2 else escaped(each) for number, each in enumerate(pieces))


def _without_marks(text: str, start: int, end: int) -> str:
    """A piece of text in which no character counts as a mark. At its ends, anything may stand beside it."""
    written, position = "", start
    for found in _MARK.finditer(text, start, end):
        place = found.start()
        before = text[place - 1] if place > start else ""
        if not found.group():  # what would make a quote of the line
            if not before or before == "\n":
                written += f"{text[position:place]}{JOINER}"
                position = place
            continue
        after = text[place + 1] if place + 1 < end else ""
        written += text[position:place]
        position = place + 1
        tick = found.group() == "`"
        if before.isspace() and after.isspace() and not tick:
            written += found.group()
            continue
        left = "" if before.isalnum() and not tick else JOINER
        right = "" if after.isalnum() and not tick else JOINER
        written += f"{left}{found.group()}{right}"
    return written + text[position:end]


def _joined(pieces: Iterable[tuple[str, Look | None]]) -> str:
    """Pieces, parted where a mark at the end of one would not count beside the other."""
    written, marked = "", False
    for piece, look in pieces:
        if not piece:
            continue
        begins, ends = (look in _WRAPPED and piece[place] in _SIGNS for place in (0, -1))
        if written and ((begins and written[-1] not in _BEFORE) or (marked and piece[0] not in _AFTER)):
            written += BREAK
        written, marked = written + piece, ends
    return written


def _around(line: str, mark: str) -> str:
    """A line between two marks, which touch no space inside."""
    inner = line.strip()
    if _BLANK.fullmatch(inner):
        return line
    before = line[: len(line) - len(line.lstrip())]
    after = line[len(line.rstrip()) :]
    # Beside white space of other kinds than a plain space a mark may not count.
    parted = BREAK if before and before[-1] not in _BEFORE else ""
    ended = BREAK if after and after[0] not in _AFTER else ""
    return f"{before}{parted}{mark}{inner}{mark}{ended}{after}"


def _unfenced(code: str) -> str:
    """Code in which no fence ends it."""
    while "```" in code:
        code = code.replace("```", f"``{JOINER}`")
    return f"{code}{JOINER}" if code.endswith("`") else code


def _address(url: str) -> str:
    """An address as it is sent: characters that could end it are percent-encoded."""
    return _IN_URL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), url)
