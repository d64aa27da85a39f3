"""Owns how the command line prints: what a terminal may get, tables that fit, JSON, files written whole."""

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST: Final = 60
"""Columns that a table takes at least; a terminal with fewer wraps its lines."""

WIDEST: Final = 200
"""Columns that a table takes at most, and where no terminal sets a limit."""

_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""What words of many scripts, and many emoji, are written with. They steer nothing."""


def prepare_streams() -> None:
    """Have any text pass through the standard streams.

    One that whoever started the program has closed leads nowhere from now on: a database or a connection that is opened
    takes its number else, and gets what is written to it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Whoever read our output has gone: send what is still buffered to nowhere, so that the exit is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say(text: str) -> None:
    """Tell the person something that is not the command's result: on standard error, on lines of its own."""
    with suppress(BrokenPipeError):
        typer.echo("\n".join(neutral(line) for line in text.split("\n")), err=True)


def neutral(text: str) -> str:
    """The text on one line, without what could steer a terminal or turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in _JOINERS else " " if letter.isspace() else "�" for letter in text
    )


def neutral_lines(text: str) -> str:
    """The same for text of several lines, which stay."""
    return "\n".join(neutral(line.replace("\t", "    ")) for line in text.splitlines())


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON: indented for a person, on one line for a program. ASCII, so that any text can pass."""
    typer.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def width() -> int:
    """Columns to fill: of the terminal, or of the variable COLUMNS, within `NARROWEST` and `WIDEST`."""
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def console(columns: int | None = None) -> "Console":
    """Standard output with styles, which come out on a terminal only, and not where NO_COLOR is set."""
    from rich.console import Console

    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=sys.stdout,
        width=columns or width(),
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. An elastic one is cut, with "…", where the table is too wide."""

    title: str
    elastic: bool = False
    justify: Literal["left", "right"] = "left"
    style: str = ""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, dim: Sequence[bool] = ()) -> None:
    """Print rows under their titles, no line wider than the terminal; `dim` tells which rows matter less."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, justify=column.justify, style=column.style, no_wrap=not column.elastic)
    for number, row in enumerate(rows):
        style = "dim" if number < len(dim) and dim[number] else ""
        cells = (Text(neutral(cell), no_wrap=True, overflow="ellipsis") for cell in row)
        table.add_row(*cells, style=style)
    out = console()
    with out.capture() as captured:
        out.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")), color=True)


def age(instant: datetime, now: datetime) -> str:
    """How long ago something was, at most ten characters; from a week on the local date."""
    passed = now - instant
    if passed < timedelta(minutes=1):
        return "just now"
    if passed < timedelta(hours=1):
        return f"{passed // timedelta(minutes=1)} min ago"
    if passed < timedelta(days=1):
        return f"{passed // timedelta(hours=1)} h ago"
    if passed < timedelta(days=7):
        return f"{passed // timedelta(days=1)} d ago"
    return f"{instant.astimezone():%Y-%m-%d}"


def local_time(instant: datetime) -> str:
    """An instant on the clock of this machine, to the second."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def counted(number: int, one: str, several: str | None = None) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that its owner alone can read: all of it or nothing, also if the machine stops meanwhile.

    What is there already is replaced; a device or pipe is written to. Raises OSError.
    """
    path = path.resolve()
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too; where folders cannot be synced, the system does it in its time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
