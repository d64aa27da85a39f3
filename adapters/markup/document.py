"""What a piece of Markdown says: a frozen tree of blocks and inlines that every renderer walks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias


class Style(StrEnum):
    """A look that a run of text can have; looks nest."""

    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"
    SPOILER = "spoiler"


# --- within a block ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """Characters as they are; a line feed in them is a line break."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Characters of a code span."""

    text: str


@dataclass(frozen=True, slots=True)
class Break:
    """A line break. A soft one stands where the source only wrapped; chats show both as a new line."""

    hard: bool


@dataclass(frozen=True, slots=True)
class Styled:
    """Inlines with a look. No `Styled` lies within another of the same style."""

    style: Style
    children: "tuple[Inline, ...]"


@dataclass(frozen=True, slots=True)
class Link:
    """A label that leads to a URL. `bare` if the source held nothing but the URL; no link lies in a link.

    The URL is whatever the source said: a renderer decides which ones it makes clickable.
    """

    url: str
    children: "tuple[Inline, ...]"
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the source refers to; `alt` is the text that stands for it."""

    url: str
    alt: str


Inline: TypeAlias = Text | Code | Break | Styled | Link | Image


# --- blocks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 6."""

    level: int
    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Lines of code without the last line end. `language` is the first word after the fence, or empty."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """Blocks that are quoted."""

    blocks: "tuple[Placed, ...]"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list, and the line it begins in. `checked` is None where the item is no task; `spaced` if a blank
    line stands before it."""

    blocks: "tuple[Placed, ...]"
    line: int
    checked: bool | None = None
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class List:
    """A list; `start` is the first number of an ordered one and None for bullets."""

    items: tuple[Item, ...]
    start: int | None = None


Alignment: TypeAlias = Literal["left", "center", "right"]
Cell: TypeAlias = tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; each row has as many cells as the header."""

    header: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    alignments: tuple[Alignment, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that parts what stands before it from what follows."""


Block: TypeAlias = Paragraph | Heading | CodeBlock | Quote | List | Table | Rule


@dataclass(frozen=True, slots=True)
class Placed:
    """A block where it stands: the line of the source it begins in, counted from 0, and whether a blank line
    stands before it."""

    block: Block
    line: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A whole text."""

    blocks: tuple[Placed, ...]


def plain_text(inlines: tuple[Inline, ...]) -> str:
    """The characters of inlines without any look; a break is a line feed, an image its alternative text."""
    pieces = []
    pending = list(reversed(inlines))
    while pending:
        inline = pending.pop()
        match inline:
            case Text() | Code():
                pieces.append(inline.text)
            case Break():
                pieces.append("\n")
            case Image():
                pieces.append(inline.alt)
            case Styled() | Link():
                pending.extend(reversed(inline.children))
    return "".join(pieces)
