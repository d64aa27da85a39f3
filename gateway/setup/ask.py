"""Owns the conversation with the person at the terminal: what is asked, and how answers and findings look."""

from __future__ import annotations

import getpass
import os
import select
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final, Protocol

import typer

from gateway.cli.output import neutral

_WIDEST: Final = 88
"""Columns that prose takes at most: longer lines are hard to read."""


class Dialogue(Protocol):
    """What the parts of the set-up ask with."""

    def title(self, text: str) -> None:
        """Begin a part."""

    def tell(self, text: str) -> None:
        """Say something; what is indented, such as an address, stays on a line of its own."""

    def good(self, text: str) -> None:
        """Something was found to work."""

    def bad(self, text: str) -> None:
        """Something does not work."""

    def hint(self, text: str) -> None:
        """Something works, and could be better."""

    def ask(self, question: str, default: str = "") -> str:
        """One line; the default if it is empty."""

    def secret(self, question: str) -> str:
        """One line that is not shown."""

    def yes(self, question: str, *, default: bool = True) -> bool:
        """Whether the person says so."""

    def choose(self, question: str, options: Sequence[str], default: int = 0) -> int:
        """The number of one option, from 0."""

    def choose_some(self, question: str, options: Sequence[str]) -> tuple[int, ...]:
        """The numbers of some, none or all options, from 0, in the order of the options."""

    def enter_pressed(self, seconds: float) -> bool:
        """Wait so long for the Enter key; whether it was pressed."""


class Terminal:
    """A person at a terminal. Ctrl-C and the end of input raise KeyboardInterrupt."""

    def __init__(self) -> None:
        self._colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        any_letter = (sys.stdout.encoding or "").lower().startswith("utf")
        self._good, self._bad, self._hint = ("✓", "✗", "!") if any_letter else ("+", "x", "!")

    def title(self, text: str) -> None:
        """Begin a part: an empty line, and the title in bold."""
        typer.echo(f"\n{self._styled(neutral(text), bold=True)}", color=True)

    def tell(self, text: str) -> None:
        """Say something, wrapped."""
        for line in text.split("\n"):
            typer.echo(neutral(line) if line.startswith("  ") else self._wrapped(line, "", ""))

    def good(self, text: str) -> None:
        """Something was found to work, in green."""
        self._mark(self._good, "green", text)

    def bad(self, text: str) -> None:
        """Something does not work, in red."""
        self._mark(self._bad, "red", text)

    def hint(self, text: str) -> None:
        """Something works, and could be better, in yellow."""
        self._mark(self._hint, "yellow", text)

    def ask(self, question: str, default: str = "") -> str:
        """One line; the default, which stands in brackets, if it is empty."""
        shown = f" [{neutral(default)}]" if default else ""
        try:
            return input(f"{neutral(question)}{shown}: ").strip() or default
        except EOFError:
            raise KeyboardInterrupt from None

    def secret(self, question: str) -> str:
        """One line that is not shown."""
        try:
            return getpass.getpass(f"{neutral(question)} (stays hidden): ").strip()
        except EOFError:
            raise KeyboardInterrupt from None

    def yes(self, question: str, *, default: bool = True) -> bool:
        """Whether the person says so: `y` or `n`, in a letter or a word."""
        while True:
            answer = self.ask(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
            if not answer:
                return default
            if "yes".startswith(answer) or "no".startswith(answer):
                return answer.startswith("y")
            self.bad("Please answer y or n.")

    def choose(self, question: str, options: Sequence[str], default: int = 0) -> int:
        """The number of one option, from 0."""
        self._list(options)
        while True:
            answer = self.ask(question, str(default + 1))
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                return int(answer) - 1
            self.bad(f"Please answer with a number from 1 to {len(options)}.")

    def choose_some(self, question: str, options: Sequence[str]) -> tuple[int, ...]:
        """The numbers of some options, from 0: `1 3`, or nothing."""
        self._list(options)
        while True:
            words = self.ask(question).replace(",", " ").split()
            if all(word.isdecimal() and 1 <= int(word) <= len(options) for word in words):
                return tuple(sorted({int(word) - 1 for word in words}))
            self.bad(f"Please answer with numbers from 1 to {len(options)}, such as 1 2, or with nothing.")

    def enter_pressed(self, seconds: float) -> bool:
        """Wait so long for the Enter key; whether it was pressed. Raises KeyboardInterrupt at the end of input."""
        sys.stdout.flush()
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if ready and not sys.stdin.readline():
            raise KeyboardInterrupt
        return bool(ready)

    def _list(self, options: Sequence[str]) -> None:
        for number, option in enumerate(options, 1):
            typer.echo(self._wrapped(option, f"  {number}  ", "     "))

    def _mark(self, mark: str, colour: str, text: str) -> None:
        wrapped = self._wrapped(text, "    ", "    ").removeprefix("    ")
        typer.echo(f"  {self._styled(mark, fg=colour)} {wrapped}", color=True)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool = False) -> str:
        return typer.style(text, fg=fg, bold=bold or None) if self._colours else text

    @staticmethod
    def _wrapped(text: str, first: str, others: str) -> str:
        width = min(_WIDEST, shutil.get_terminal_size((80, 24)).columns) - 1
        return textwrap.fill(
            neutral(text),
            max(30, width),
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )
