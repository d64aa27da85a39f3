"""Drawing the live area of the chat again after the window has changed its width.

Most terminals fold long lines anew when they become narrower. What was drawn then takes more rows than it
was drawn in, and all of them have to be taken back.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from prompt_toolkit.data_structures import Size
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import Renderer

if TYPE_CHECKING:
    from prompt_toolkit.application import Application
    from prompt_toolkit.layout import Layout
    from prompt_toolkit.layout.screen import Char

_CUTTING_TERMS: Final = ("rxvt", "linux", "vt")


def folds_lines(environ: Mapping[str, str]) -> bool:
    """Whether the terminal folds lines anew when it becomes narrower; xterm, rxvt, GNU screen and the
    console cut them off."""
    if "TMUX" in environ:
        return True
    if "XTERM_VERSION" in environ or "STY" in environ:
        return False
    return not environ.get("TERM", "").startswith(_CUTTING_TERMS)


class TerminalOutput(Vt100_Output):
    """The terminal. It is not asked where its cursor stands: the answer would come between what is typed."""

    def __init__(self, stdout: TextIO, get_size: Callable[[], Size], *, term: str | None) -> None:
        super().__init__(stdout, get_size, term=term, enable_cpr=False)

    def erase_down(self) -> None:
        """Clear from the cursor to the end of the screen, in two steps: some terminals take a clearing of the whole
        screen at once for a wish to keep it, and put a copy of it into the scrollback."""
        self.write_raw("\x1b7\x1b[K\x1b[B\r\x1b[J\x1b8")


def terminal_output(stdout: TextIO, environ: Mapping[str, str]) -> TerminalOutput:
    """The terminal behind a stream; one that does not know its size counts as 80 by 24."""

    def size() -> Size:
        try:
            columns, rows = os.get_terminal_size(stdout.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return Size(rows=rows or 24, columns=columns or 80)

    return TerminalOutput(stdout, size, term=environ.get("TERM"))


class FoldingRenderer(Renderer):
    """A renderer that finds the start of what it drew also when the terminal has folded it."""

    def erase(self, leave_alternate_screen: bool = True) -> None:
        """Take back all that is drawn."""
        size = self.output.get_size()
        if self._last_size is not None and size.columns < self._last_size.columns:
            self.output.cursor_up(self._folded_rows(size))
        super().erase(leave_alternate_screen)

    def render(self, app: "Application[Any]", layout: "Layout", is_done: bool = False) -> None:
        """Draw; from scratch if the size has changed."""
        if self._last_size is not None and self._last_size != self.output.get_size():
            self.erase(leave_alternate_screen=False)
        super().render(app, layout, is_done)

    def _folded_rows(self, size: Size) -> int:
        """How many rows more than it was drawn in now stand above the cursor."""
        screen = self.last_rendered_screen
        if screen is None:
            return 0
        above = sum(extra_rows(screen.data_buffer[row], size.columns) for row in range(self._cursor_pos.y))
        return above + self._cursor_pos.x // size.columns


def extra_rows(row: "Mapping[int, Char]", columns: int) -> int:
    """How many rows more than one a row of cells takes in a window of so many columns."""
    used = [column for column, cell in row.items() if cell.char.strip()]
    extra, position = 0, 0
    for column in range(max(used) + 1 if used else 0):
        width = row[column].width if column in row else 1
        if position + width > columns:
            extra, position = extra + 1, 0
        position += width
    return extra
