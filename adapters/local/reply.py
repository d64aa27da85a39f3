"""A reply on its way to the screen: which part of it is printed for good, and which may still change."""

from adapters.local.markup import MarkdownBlocks, plain
from adapters.local.screen import Update


class GrowingReply:
    """The text of one reply. What `take_…` has returned is printed and stays; `tail` is the rest."""

    def __init__(self) -> None:
        self._text = ""
        self._taken = 0
        self._blocks = MarkdownBlocks()

    @property
    def tail(self) -> str:
        """What is not printed yet."""
        return self._text[self._taken :]

    @property
    def begun(self) -> bool:
        """Whether anything of it is printed."""
        return self._taken > 0

    def grow(self, update: Update) -> bool:
        """Take in what is new. Returns True if something printed is no longer right: all is printed again."""
        if not update.replaced:
            self._text += plain(update.piece)
            return False
        text = plain(update.text)
        kept = text.startswith(self._text[: self._taken])
        self._text = text
        if not kept:
            self._taken = 0
        return not kept

    def take_complete(self) -> str:
        """The blocks that cannot change any more."""
        return self._take(self._blocks.complete_length(self.tail))

    def take_all(self) -> str:
        """All that is left."""
        return self._take(len(self.tail))

    def _take(self, length: int) -> str:
        taken = self._text[self._taken : self._taken + length]
        self._taken += length
        return taken
