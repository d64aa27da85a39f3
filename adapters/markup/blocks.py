"""Blocks as characters with spans over them: what platforms that show text by spans have in common."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from adapters.markup.document import (
    Block,
    Break,
    Cell,
    Code,
    CodeBlock,
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
from adapters.markup.links import shown_target
from adapters.markup.rendered import Look, Rendered, Writer
from adapters.markup.tables import aligned

INDENT: Final = "  "
"""Before each line of what lies in a list's item."""

QUOTE_MARK: Final = "> "
"""Before each line of a quote in a quote."""

RULE: Final = "———"
BULLETS: Final = ("•", "◦", "▪")
"""By depth; deeper lists go round."""

LONG_QUOTE: Final = 1_000
"""Characters of a quote from which a platform may fold it."""

TAB: Final = " " * 4

_LANGUAGE: Final = re.compile(r"[\w+#.-]{1,40}", re.ASCII)
_LOOKS: Final = {
    Style.BOLD: Look.BOLD,
    Style.ITALIC: Look.ITALIC,
    Style.STRIKE: Look.STRIKE,
    Style.SPOILER: Look.SPOILER,
}
_ON_OWN_LINE: Final = (CodeBlock, Quote, List, Table)
"""Blocks that cannot begin on the line of an item's bullet."""


class BlockRenderer:
    """Renders blocks; what a platform has of its own, it overrides."""

    def __init__(self, *, table_width: int) -> None:
        self._table_width = table_width

    def render(self, blocks: Sequence[Placed], *, after: Block | None = None) -> Rendered:
        """Blocks one below the other. With `after`, the block that stands before them, the result begins with the
        line breaks that part it from them."""
        pen = _Pen(self, Writer(after_text=after is not None), self._table_width)
        pen.blocks(blocks, after)
        return pen.writer.finish()

    def clean(self, text: str) -> str:
        """Text without characters that the platform would not show as they are."""
        return text

    def running_text(self, text: str) -> str:
        """Text outside of code and addresses, made harmless."""
        return text

    def is_link(self, url: str) -> bool:
        """Whether a label may lead to this address; otherwise the address is shown."""
        raise NotImplementedError

    def is_label(self, text: str) -> bool:  # noqa: ARG002 - for those that override it
        """Whether the platform lets this text lead to an address."""
        return True

    def heading_level(self, level: int) -> int | None:  # noqa: ARG002
        """The level at which the platform shows a heading of this one; None where it has none, and it is bold."""
        return None


def replacement(found: re.Match[str]) -> str:
    """What is shown for a character that is not."""
    char = found.group()
    if char in "\u2028\u2029":
        return "\n"
    return " " if char < " " and char != "\r" else ""


class _Pen:
    """Writes the blocks of one text."""

    def __init__(self, renderer: BlockRenderer, writer: Writer, table_width: int) -> None:
        self.writer = writer
        self._renderer = renderer
        self._table_width = table_width
        self._styles: dict[Look, int] = {}
        """The looks that are open, and where each began."""
        self._in_link = False
        self._in_quote = False
        self._depth = 0

    # --- blocks

    def blocks(self, blocks: Iterable[Placed], previous: Block | None = None) -> None:
        for placed in blocks:
            if previous is not None:
                self.writer.want_lines(2 if placed.spaced or _stands_apart(previous, placed.block) else 1)
            self._block(placed.block)
            previous = placed.block

    def _block(self, block: Block) -> None:
        match block:
            case Paragraph():
                self.inlines(block.children)
            case Heading():
                self._heading(block)
            case CodeBlock():
                self._code_block(block)
            case Quote():
                self._quote(block)
            case List():
                self._list(block)
            case Table():
                self._table(block)
            case Rule():
                self.writer.write(RULE)

    def _heading(self, block: Heading) -> None:
        level = self._renderer.heading_level(block.level)
        if level is None:
            self._styled(Look.BOLD, block.children)
            return
        start = self.writer.prepare()
        self.inlines(block.children)
        self.writer.span(start, Look.HEADING, str(level))

    def _code_block(self, block: CodeBlock) -> None:
        language = block.language if _LANGUAGE.fullmatch(block.language) else ""
        self._pre(block.text.expandtabs(len(TAB)), language)

    def _pre(self, text: str, language: str = "") -> None:
        """Code, without blank lines around it."""
        lines = self._renderer.clean(text).split("\n")
        while lines and not lines[0].strip():
            lines.pop(0)
        text = "\n".join(lines).rstrip()
        if text:
            start = self.writer.begin()
            self.writer.write(text, indented=False)
            self.writer.span(start, Look.PRE, language)

    def _quote(self, block: Quote) -> None:
        writer, indent = self.writer, self.writer.indent
        start = writer.begin()
        if self._in_quote:
            writer.indent += QUOTE_MARK
            self.blocks(block.blocks)
        else:
            self._in_quote, writer.indent = True, ""
            self.blocks(block.blocks)
            self._in_quote = False
            writer.span(start, Look.QUOTE, "long" if writer.position - start >= LONG_QUOTE else "")
        writer.indent = indent

    def _list(self, block: List) -> None:
        for number, item in enumerate(block.items):
            if number:
                self.writer.want_lines(2 if item.spaced else 1)
            self.writer.write(self._marker(block, number, item))
            self._item(item)

    def _marker(self, block: List, number: int, item: Item) -> str:
        if item.checked is not None:
            return "☑ " if item.checked else "☐ "
        if block.start is not None:
            return f"{block.start + number}. "
        return f"{BULLETS[self._depth % len(BULLETS)]} "

    def _item(self, item: Item) -> None:
        indent = self.writer.indent
        self.writer.indent += INDENT
        self._depth += 1
        if item.blocks and isinstance(item.blocks[0].block, _ON_OWN_LINE):
            self.writer.want_lines(1)
        self.blocks(item.blocks)
        self._depth -= 1
        self.writer.indent = indent

    def _table(self, table: Table) -> None:
        text = aligned(table, self._table_width, self._cell_text)
        if text is not None:
            self._pre(text)
        elif not table.rows:
            self._record(table.header, [()] * len(table.header))
        for row in table.rows if text is None else ():
            self._record(row, table.header)
            self.writer.want_lines(2)

    def _record(self, row: Sequence[Cell], header: Sequence[Cell]) -> None:
        """A row of a wide table: each cell on a line, after what stands above it."""
        for name, cell in zip(header, row, strict=True):
            if not cell:
                continue
            if name:
                self._styled(Look.BOLD, (*name, Text(":")))
                self.writer.write(" ")
            self.inlines(cell)
            self.writer.want_lines(1)

    def _cell_text(self, cell: Cell) -> str:
        """A cell without looks; an address that could not be clicked on there is written out."""
        pieces = []
        for inline in cell:
            match inline:
                case Link() if not inline.bare:
                    pieces.append(f"{self._cell_text(inline.children)} ({shown_target(inline.url)})")
                case Image():
                    pieces.append(f"{inline.alt} ({inline.url})".strip())
                case Styled() | Link():
                    pieces.append(self._cell_text(inline.children))
                case _:
                    pieces.append(plain_text((inline,)))
        return self._renderer.clean("".join(pieces))

    # --- inlines

    def inlines(self, inlines: Iterable[Inline]) -> None:
        for inline in inlines:
            match inline:
                case Text():
                    self._text(inline.text)
                case Break():
                    self.writer.write("\n")
                case Styled():
                    self._styled(_LOOKS[inline.style], inline.children)
                case Code():
                    self._code(inline.text)
                case Link():
                    self._link(inline)
                case Image():
                    self._labelled(inline.url, (Text(inline.alt or "image"),))

    def _text(self, text: str) -> None:
        self.writer.write(self._renderer.running_text(self._renderer.clean(text)))

    def _styled(self, look: Look, children: Sequence[Inline]) -> None:
        if not children or look in self._styles:
            self.inlines(children)
            return
        self._styles[look] = self.writer.prepare()
        self.inlines(children)
        self.writer.span(self._styles.pop(look), look)

    def _code(self, text: str) -> None:
        """Code neither lies under other looks nor in a link, which keeps its address instead."""
        if self._in_link:
            self._text(text)
            return
        start = self.writer.prepare()
        for look, begun in self._styles.items():
            self.writer.span(begun, look)
        self.writer.write(self._renderer.clean(text))
        self.writer.span(start, Look.CODE)
        self._styles = dict.fromkeys(self._styles, self.writer.position)

    def _link(self, link: Link) -> None:
        text = plain_text(link.children)
        if not link.bare:
            self._labelled(link.url, link.children if text.strip() else (Text(shown_target(link.url)),))
        elif self._renderer.is_link(link.url) and not self._in_link:
            start = self.writer.prepare()
            self.writer.write(self._renderer.clean(text))
            self.writer.span(start, Look.LINK, link.url)
        else:
            self._text(text)

    def _labelled(self, url: str, label: Sequence[Inline]) -> None:
        """A label that leads to an address, or is followed by one that cannot be led to."""
        if self._in_link:
            self.inlines(label)
        elif self._renderer.is_link(url) and self._renderer.is_label(plain_text(tuple(label))):
            start = self.writer.prepare()
            self._in_link = True
            self.inlines(label)
            self._in_link = False
            self.writer.span(start, Look.LINK, url)
        else:
            self.inlines(label)
            if url and shown_target(url) != plain_text(tuple(label)):
                self._text(f" ({shown_target(url)})")


def _stands_apart(previous: Block, block: Block) -> bool:
    """Whether a blank line parts two blocks even where the source has none."""
    return isinstance(block, Heading | Table) or isinstance(previous, Table | Rule)
