"""A message as people see it: its characters, and the looks that lie over them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, TypeAlias


class Look(StrEnum):
    """What a span makes of the characters under it."""

    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"
    SPOILER = "spoiler"
    LINK = "link"
    """`value` is the URL. Never cut in two unless it alone is longer than a message."""
    CODE = "code"
    PRE = "pre"
    """Lines of code; `value` is the language, or empty."""
    QUOTE = "quote"
    """`value` is `long` where the platform may fold it."""
    HEADING = "heading"
    """`value` is the level. Only for renderers that ask for it; elsewhere headings are bold."""


NESTABLE: Final = frozenset({Look.BOLD, Look.ITALIC, Look.STRIKE, Look.SPOILER})
"""Looks that lie over and under others."""


@dataclass(frozen=True, slots=True)
class Span:
    """A look over the characters from `start` to before `end`, counted in code points."""

    start: int
    end: int
    look: Look
    value: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text with its spans, which are sorted by start, the longer one first, and nest."""

    text: str
    spans: tuple[Span, ...] = ()

    def __add__(self, other: "Rendered") -> "Rendered":
        shift = len(self.text)
        moved = (replace(span, start=span.start + shift, end=span.end + shift) for span in other.spans)
        return Rendered(self.text + other.text, (*self.spans, *moved))

    def cut(self, start: int, end: int) -> "Rendered":
        """The part from `start` to before `end`; spans that reach beyond it are closed at its borders."""
        spans = tuple(
            Span(max(span.start, start) - start, min(span.end, end) - start, span.look, span.value)
            for span in self.spans
            if span.start < end and span.end > start
        )
        return Rendered(self.text[start:end], spans)


# --- sizes ---------------------------------------------------------------------------------------------

LengthUnit: TypeAlias = Literal["characters", "utf16", "bytes"]
"""What a platform counts: code points, UTF-16 code units, or bytes of UTF-8."""


def length_in(text: str, unit: LengthUnit) -> int:
    """How long a text without lone surrogates is in a unit."""
    if unit == "characters" or text.isascii():
        return len(text)
    if unit == "utf16":
        return len(text.encode("utf-16-le")) // 2
    return len(text.encode())


def sizes_in(text: str, unit: LengthUnit) -> Iterable[int]:
    """The size of each code point in a unit."""
    if unit == "utf16":
        return (2 if char > "\uffff" else 1 for char in text)
    if unit == "bytes":
        return (len(char.encode()) for char in text)
    return (1 for _ in text)


class Writer:
    """Puts a `Rendered` together from left to right.

    Line breaks are asked for and written only before the next character, so that nothing ends with one.
    """

    def __init__(self, *, after_text: bool = False) -> None:
        self._pieces: list[str] = []
        self._spans: list[Span] = []
        self._wanted = 0
        self._begun = after_text
        self._line_begun = False
        self.position = 0
        self.indent = ""
        """Written at the start of every line but those of code."""

    def want_lines(self, count: int) -> None:
        """Let at least so many line feeds stand before what comes next; none at the start of a message."""
        self._wanted = max(self._wanted, count)

    def write(self, text: str, *, indented: bool = True) -> None:
        """Append characters; a line feed among them begins an indented line."""
        if not text:
            return
        self.prepare(indented=indented)
        if indented and self.indent and "\n" in text:
            text = text.replace("\n", f"\n{self.indent}")
        self._append(text)

    def begin(self) -> int:
        """Write the line breaks that stand before the next character; returns where it, or its indent, will be."""
        if self._wanted:
            if self._begun:
                self._append("\n" * self._wanted)
            self._wanted = 0
            self._line_begun = False
        return self.position

    def prepare(self, *, indented: bool = True) -> int:
        """Write the line breaks and the indent that stand before the next character; returns where it will be."""
        self.begin()
        if not self._line_begun:
            self._line_begun = True
            if indented:
                self._append(self.indent)
        return self.position

    def _append(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self.position += len(text)
            self._begun = True

    def span(self, start: int, look: Look, value: str = "") -> None:
        """Lay a look over what was written since `start`; over nothing, there is none."""
        if self.position > start:
            self._spans.append(Span(start, self.position, look, value))

    def finish(self) -> Rendered:
        """What was written."""
        order = list(Look)
        spans = sorted(self._spans, key=lambda span: (span.start, -span.end, -order.index(span.look)))
        return Rendered("".join(self._pieces), tuple(spans))


def outermost(spans: Sequence[Span]) -> Iterator[tuple[Span, Sequence[Span]]]:
    """The spans that lie in no other, each with those within it; they are sorted by where they start."""
    position = 0
    while position < len(spans):
        span = spans[position]
        following = position + 1
        while following < len(spans) and spans[following].start < span.end:
            following += 1
        yield span, spans[position + 1 : following]
        position = following
