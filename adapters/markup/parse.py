"""From a Markdown text to its tree. Nothing is lost on the way, and no text is an error."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from markdown_it import MarkdownIt
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

from adapters.markup.document import (
    Alignment,
    Block,
    Break,
    Cell,
    Code,
    CodeBlock,
    Document,
    Heading,
    Image,
    Inline,
    Item,
    Link,
    List,
    Paragraph,
    Placed,
    Quote,
    Rule,
    Style,
    Styled,
    Table,
    Text,
    plain_text,
)
from adapters.markup.rules import add_rules, parse_inline

_STYLES: Final = {
    "strong_open": Style.BOLD,
    "em_open": Style.ITALIC,
    "s_open": Style.STRIKE,
    "spoiler_open": Style.SPOILER,
}
_CLOSERS: Final = {"strong_close", "em_close", "s_close", "spoiler_close", "link_close"}
_TASK: Final = re.compile(r"\[([ xX])\](?=\s)\s*")
_HALF_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\Z")
_MARKERS: Final = ("*", "_", "~", "|", "`")
_TICKS: Final = re.compile(r"`+")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def normalised(text: str) -> str:
    """The text with one kind of line end, and no half characters."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


class MarkdownParser:
    """Parses Markdown: CommonMark with tables, strikethrough, task lists, spoilers, bare URLs, and the rules of
    `adapters.markup.rules`.

    HTML is text. So are definitions of references and headings underlined with dashes: each would change what
    was said, and perhaps shown, before it. Any thread may use it.
    """

    def parse(self, text: str, *, complete: bool = True) -> Document:
        """The tree of a text; that of an incomplete one has the emphasis at its end closed already, so that a
        reader sees it while it is being written."""
        source = normalised(text)
        env: dict[str, Any] = {}
        tokens = _of_thread().parse(source, env)
        if not complete:
            self._close_last(tokens)
        return Document(_Reader(tokens, source.split("\n"), lambda cell: self._inline(cell, {})).blocks())

    def _close_last(self, tokens: list[Token]) -> None:
        """Close what the last paragraph or heading has left open."""
        index = len(tokens) - 1
        while index > 0 and tokens[index].nesting < 0:
            index -= 1
        if index < 1 or tokens[index].type != "inline" or tokens[index - 1].type == "th_open":
            return
        content = self._closed(tokens[index].content)
        if content != tokens[index].content:
            tokens[index].children = self._inline(content, {})

    def _closed(self, content: str) -> str:
        """The content with the ends that are missing; a marker that opens nothing yet is left out."""
        ticks = _open_ticks(content)
        if ticks:
            content = content.rstrip("`") + ticks
        else:
            tokens = parse_inline(_of_thread(), content, {})
            if tokens and tokens[-1].type == "text" and tokens[-1].content.endswith(_MARKERS):
                content = content.rstrip("".join(_MARKERS)).rstrip()
            content = _HALF_LINK.sub(lambda found: found.group(1), content)
        env: dict[str, Any] = {"unclosed": []}
        parse_inline(_of_thread(), content, env)
        return content + "".join(reversed(env["unclosed"]))

    def _inline(self, content: str, env: dict[str, Any]) -> list[Token]:
        return [_as_text(token) for token in parse_inline(_of_thread(), content, env)]


def _as_text(token: Token) -> Token:
    if token.type == "text_special":
        token.type = "text"
    return token


def _open_ticks(content: str) -> str:
    """The backticks that opened a code span which has no end yet; empty if there is none."""
    runs = list(_TICKS.finditer(content))
    index = 0
    while index < len(runs):
        opener = runs[index].group()
        partner = next((later for later in range(index + 1, len(runs)) if runs[later].group() == opener), None)
        if partner is None:
            return opener if runs[index].end() < len(content) else ""
        index = partner + 1
    return ""


_MADE: Final = threading.local()
"""The `MarkdownIt` of each thread: making one takes longer than parsing a message, and it serves one at a time."""


def _of_thread() -> MarkdownIt:
    made: MarkdownIt | None = getattr(_MADE, "md", None)
    if made is None:
        made = _MADE.md = _markdown_it()
    return made


def _markdown_it() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "linkify": True})
    md.enable(["table", "strikethrough"])
    md.disable(["reference", "html_block", "html_inline", "lheading"])
    md.inline.ruler.enable("linkify")
    for schema in ("//", "ftp:", "mailto:"):
        cast("Any", md.linkify).add(schema, None)
    cast("Any", md).validateLink = lambda _url: True
    cast("Any", md).normalizeLinkText = lambda url: url
    add_rules(md)
    return md


class _Reader:
    """Reads the tokens of blocks, one after the other."""

    def __init__(
        self, tokens: Sequence[Token], lines: Sequence[str], parse_inline: Callable[[str], list[Token]]
    ) -> None:
        self._tokens = tokens
        self._lines = lines
        self._parse_inline = parse_inline
        self._next = 0

    def blocks(self) -> tuple[Placed, ...]:
        """The blocks up to the end of what holds them."""
        blocks = []
        while self._next < len(self._tokens) and self._tokens[self._next].nesting >= 0:
            token = self._take()
            line = token.map[0] if token.map else 0
            blocks.append(Placed(self._block(token), line, self._is_spaced(line)))
        return tuple(blocks)

    def _take(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _is_spaced(self, line: int) -> bool:
        return line > 0 and not self._lines[line - 1].strip(" \t>")

    def _block(self, token: Token) -> Block:
        match token.type:
            case "paragraph_open":
                return Paragraph(self._inlines())
            case "heading_open":
                return Heading(int(token.tag[1:]), self._inlines())
            case "fence" | "code_block":
                info = token.info.split(maxsplit=1) if token.type == "fence" else []
                return CodeBlock(token.content.removesuffix("\n"), info[0] if info else "")
            case "verbatim":
                return Paragraph((Text(token.content),))
            case "blockquote_open":
                blocks = self.blocks()
                self._take()
                return Quote(blocks)
            case "bullet_list_open" | "ordered_list_open":
                return self._list(token)
            case "table_open":
                return self._table()
            case "hr":
                return Rule()
        raise AssertionError(f"markdown-it made a block of type {token.type!r}")

    def _inlines(self) -> tuple[Inline, ...]:
        content = self._take()
        self._take()
        return read_inlines(content.children or [])

    def _list(self, opening: Token) -> List:
        items: list[Item] = []
        while (token := self._take()).type == "list_item_open":
            line = token.map[0] if token.map else 0
            blocks = self.blocks()
            self._take()
            items.append(_item(blocks, line, spaced=bool(items) and self._is_spaced(line)))
        start = int(opening.attrs.get("start", 1)) if opening.type == "ordered_list_open" else None
        return List(tuple(items), start)

    def _table(self) -> Table:
        """A table. Cells beyond the header's last, which GitHub drops, get columns without a heading."""
        rows: list[tuple[Cell, ...]] = []
        alignments: list[Alignment] = []
        cells: list[Cell] = []
        line = 0
        while (token := self._take()).type != "table_close":
            match token.type:
                case "tr_open":
                    line = token.map[0] if token.map else 0
                case "th_open":
                    alignments.append(_alignment(token))
                    cells.append(self._inlines())
                case "td_open":
                    cells.append(self._inlines())
                case "tr_close":
                    surplus = _cells(self._lines[line])[len(alignments) :]
                    rows.append((*cells, *(read_inlines(self._parse_inline(cell)) for cell in surplus)))
                    cells = []
        width = max(map(len, rows))
        filled = [(*row, *((),) * (width - len(row))) for row in rows]
        alignments += ["left"] * (width - len(alignments))
        return Table(filled[0], tuple(filled[1:]), tuple(alignments))


def _cells(line: str) -> list[str]:
    """The cells of a row of a table, as markdown-it parts them."""
    cells = escapedSplit(line.strip(" \t>"))
    if cells and not cells[0]:
        cells = cells[1:]
    if cells and not cells[-1]:
        cells = cells[:-1]
    return [cell.strip() for cell in cells]


def _alignment(token: Token) -> Alignment:
    style = str(token.attrs.get("style", ""))
    if "right" in style:
        return "right"
    return "center" if "center" in style else "left"


def _item(blocks: tuple[Placed, ...], line: int, *, spaced: bool) -> Item:
    """An item, of a task list if its text begins with a box."""
    if blocks and isinstance(paragraph := blocks[0].block, Paragraph) and paragraph.children:
        first = paragraph.children[0]
        found = _TASK.match(first.text) if isinstance(first, Text) else None
        if found and isinstance(first, Text):
            children = (Text(first.text[found.end() :]), *paragraph.children[1:])
            rest = (Placed(Paragraph(children), blocks[0].line, blocks[0].spaced), *blocks[1:])
            return Item(rest, line, checked=found.group(1) != " ", spaced=spaced)
    return Item(blocks, line, spaced=spaced)


# --- inlines -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A pair of tags whose end is not yet read."""

    style: Style | None = None
    url: str = ""
    bare: bool = False
    children: list[Inline] = field(default_factory=list)


def read_inlines(tokens: Sequence[Token]) -> tuple[Inline, ...]:
    """The inlines of a token stream. Without recursion: nothing bounds how deep emphasis lies in emphasis."""
    stack = [_Open()]
    active: list[Style] = []
    for token in tokens:
        if token.type in _STYLES:
            style = _STYLES[token.type]
            stack.append(_Open(style=None if style in active else style))
            active.append(style)
        elif token.type == "link_open":
            url = str(token.attrs.get("href", ""))
            stack.append(_Open(url=url, bare=token.markup in ("linkify", "autolink")))
        elif token.type in _CLOSERS:
            closed = stack.pop()
            if token.type != "link_close":
                active.pop()
            stack[-1].children.extend(_closed_inlines(closed, token.type == "link_close"))
        else:
            stack[-1].children.append(_leaf(token))
    return tuple(_joined(stack[0].children))


def _closed_inlines(closed: _Open, is_link: bool) -> Sequence[Inline]:
    children = tuple(_joined(closed.children))
    if is_link:
        return [Link(closed.url, children, closed.bare)]
    return [Styled(closed.style, children)] if closed.style else children


def _leaf(token: Token) -> Inline:
    match token.type:
        case "code_inline":
            return Code(token.content)
        case "softbreak" | "hardbreak":
            return Break(token.type == "hardbreak")
        case "image":
            return Image(str(token.attrs.get("src", "")), plain_text(read_inlines(token.children or [])))
    return Text(token.content)


def _joined(inlines: Sequence[Inline]) -> Iterator[Inline]:
    """Neighbouring texts as one; none of them empty."""
    waiting = ""
    for inline in inlines:
        if isinstance(inline, Text):
            waiting += inline.text
            continue
        if waiting:
            yield Text(waiting)
            waiting = ""
        yield inline
    if waiting:
        yield Text(waiting)
