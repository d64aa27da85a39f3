"""Tables where a platform has none: columns of equal width in characters of equal width."""

from collections.abc import Callable, Sequence
from typing import Final

from wcwidth import width as display_width

from adapters.markup.document import Alignment, Cell, Table

_BETWEEN: Final = " | "
_CROSSING: Final = "-+-"


def aligned(table: Table, max_width: int, text_of: Callable[[Cell], str]) -> str | None:
    """A table as lines of equal width, or None if one would be wider than `max_width` cells.

    Widths are those of a terminal: a Chinese character and most emoji take two cells.
    """
    rows = [[_one_line(text_of(cell)) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(1, *(display_width(row[column]) for row in rows)) for column in range(len(table.header))]
    lines = [_line(row, widths, table.alignments) for row in rows]
    if not any(rows[0]):
        lines = lines[1:]
    else:
        lines.insert(1, _CROSSING.join("-" * width for width in widths))
    if lines and lines[0].startswith(" "):
        # Space before the first character of a message is cut off, and would push its first line to the left.
        lines = [("|-" if line.startswith("-") and number == 1 else "| ") + line for number, line in enumerate(lines)]
    if not lines or max(map(display_width, lines)) > max_width:
        return None
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line(row: Sequence[str], widths: Sequence[int], alignments: Sequence[Alignment]) -> str:
    cells = (_filled(*each) for each in zip(row, widths, alignments, strict=True))
    return _BETWEEN.join(cells).rstrip()


def _filled(text: str, width: int, alignment: Alignment) -> str:
    room = width - display_width(text)
    left = {"left": 0, "center": room // 2, "right": room}[alignment]
    return " " * left + text + " " * (room - left)
