"""A text that grows: only its end is parsed and rendered again, and what can no longer change is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from adapters.markup.document import Block, CodeBlock, List, Placed
from adapters.markup.parse import MarkdownParser, normalised
from adapters.markup.rendered import Rendered


class Renderer(Protocol):
    """What makes the blocks of one platform visible."""

    def render(self, blocks: Sequence[Placed], *, after: Block | None = None) -> Rendered:
        """Blocks one below the other, with what parts them from the block before."""


class Draft:
    """The rendering of one growing text.

    The last block of a text may still become anything, and so may the one before it while the last line has no
    end: a line that begins like a list may turn out to go on with a paragraph. All before them is settled.
    """

    def __init__(self, parser: MarkdownParser, renderer: Renderer) -> None:
        self._parser = parser
        self._renderer = renderer
        self.begun_anew = 0
        """How often a text came that did not go on from the one before."""
        self._forget()

    def _forget(self) -> None:
        self._source = ""
        self._settled = Rendered("")
        self._previous: Block | None = None
        self._next_number: int | None = None
        self._open: tuple[Placed, ...] = ()

    def update(self, text: str, *, complete: bool) -> Rendered:
        """The whole text so far, rendered. Text that does not go on from the last update is taken up anew.

        What is incomplete is shown with the emphasis at its end closed already.
        """
        source = normalised(text)
        if not source.startswith(self._source):
            self.begun_anew += 1
            self._forget()
        blocks = self._parse(source, complete)
        unsure = 1 if source.endswith("\n") else 2
        sure = self._sure(blocks, unsure)
        if sure:
            blocks = self._settle(source, blocks, sure)
        if blocks and isinstance(blocks[0].block, List) and len(blocks[0].block.items) > unsure:
            blocks = self._settle_items(source, blocks, len(blocks[0].block.items) - unsure)
        self._open = blocks
        return self._settled + self._renderer.render(blocks, after=self._previous)

    def _parse(self, source: str, complete: bool) -> tuple[Placed, ...]:
        """The blocks after what is settled."""
        blocks = self._parser.parse(source[len(self._source) :], complete=complete).blocks
        if not blocks or self._previous is None:
            return blocks
        before = self._source.removesuffix("\n").rpartition("\n")[2]
        first = replace(blocks[0], spaced=blocks[0].spaced or not before.strip(" \t>"))
        if self._next_number is not None and isinstance(first.block, List):
            first = replace(first, block=replace(first.block, start=self._next_number))
        return (first, *blocks[1:])

    def _sure(self, blocks: Sequence[Placed], unsure: int) -> int:
        """How many blocks can be settled. The last of them shows something: how a block is parted from one before
        it that shows nothing is known only to who renders both."""
        sure = max(0, len(blocks) - unsure)
        while sure and not self._renderer.render(blocks[sure - 1 : sure]).text:
            sure -= 1
        return sure

    def _settle(self, source: str, blocks: tuple[Placed, ...], sure: int) -> tuple[Placed, ...]:
        """Take the first blocks as settled; returns the others."""
        self._take(source, blocks[:sure], blocks[sure].line)
        self._next_number = None
        return _moved(blocks[sure:], blocks[sure].line)

    def _settle_items(self, source: str, blocks: tuple[Placed, ...], sure: int) -> tuple[Placed, ...]:
        """Take the first items of the list that comes next as settled; returns the others, and what follows."""
        whole = blocks[0].block
        assert isinstance(whole, List)
        line, spaced = whole.items[sure].line, whole.items[sure].spaced
        self._take(source, (replace(blocks[0], block=replace(whole, items=whole.items[:sure])),), line)
        self._next_number = None if whole.start is None else whole.start + sure
        rest = replace(whole, items=whole.items[sure:], start=self._next_number)
        return _moved((Placed(rest, line, spaced), *blocks[1:]), line)

    def _take(self, source: str, blocks: Sequence[Placed], lines: int) -> None:
        end = len(self._source)
        for _ in range(lines):
            end = source.index("\n", end) + 1
        self._settled += self._renderer.render(blocks, after=self._previous)
        self._previous = blocks[-1].block
        self._source = source[:end]

    def settled_length(self) -> int:
        """How many characters from the start of the last rendering stay as they are however the text goes on, but that
        the last of them may become part of a larger cluster. Code that is still open only gets longer."""
        if self._open and isinstance(self._open[0].block, CodeBlock):
            return len((self._settled + self._renderer.render(self._open[:1], after=self._previous)).text)
        return len(self._settled.text)


def _moved(blocks: Sequence[Placed], lines: int) -> tuple[Placed, ...]:
    """Blocks as they stand in a source that begins so many lines later."""
    return tuple(
        replace(placed, line=placed.line - lines, block=_moved_items(placed.block, lines)) for placed in blocks
    )


def _moved_items(block: Block, lines: int) -> Block:
    if not isinstance(block, List):
        return block
    return replace(block, items=tuple(replace(item, line=item.line - lines) for item in block.items))
