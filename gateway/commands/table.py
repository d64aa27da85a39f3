"""The command table: names, aliases, help, and whether a command waits for the running turn."""

import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias

from gateway.inbound import InboundRecord

Effect: TypeAlias = Callable[[sqlite3.Connection], str]
"""What a command does to the database, in the commit that ends its message; returns the reply."""

Run: TypeAlias = Callable[[InboundRecord, str], Effect]
"""Runs a command: the message, and the text after the command's name."""

PREFIX: Final = "/"

ESCAPE: Final = PREFIX * 2
"""Before a word in place of the prefix: this is for the agent, and it gets the word with the prefix."""

NEAR: Final = 0.75
"""How alike two words are, by difflib's ratio, where one is taken for the other misspelt: three letters in four."""

_ESCAPED: Final = re.compile(rf"\s*{PREFIX}(?={PREFIX}[A-Za-z]+(\s|\Z))")


@dataclass(frozen=True, slots=True)
class Command:
    """One command. An `immediate` one does not wait for the turn that runs in its session."""

    name: str
    help: str
    run: Run
    aliases: tuple[str, ...] = ()
    immediate: bool = False


class CommandTable:
    """Finds the command that a text names."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._commands = tuple(commands)
        self._by_name = {name: command for command in commands for name in (command.name, *command.aliases)}

    def find(self, text: str) -> tuple[Command, str] | None:
        """The command and the text after it; None for a text that is for the agent.

        A single word of letters that is nearly a command's name finds one that says so. Anything else that begins with
        the prefix is for the agent: a path, a word that is like no command's name, what is escaped.
        """
        word, *rest = text.split(maxsplit=1) or [""]
        if not word.startswith(PREFIX):
            return None
        name = word.removeprefix(PREFIX).casefold()
        command = self._by_name.get(name) or self._nearest(name)
        return None if command is None else (command, rest[0].strip() if rest else "")

    def _nearest(self, name: str) -> Command | None:
        """A command that answers a misspelt name with the right one."""
        if not (name.isascii() and name.isalpha()):
            return None
        near = next(iter(get_close_matches(name, self._by_name, n=1, cutoff=NEAR)), None)
        if near is None:
            return None
        words = (
            f"There is no command {PREFIX}{name}. Did you mean {PREFIX}{near}? "
            f"To tell it to the agent, write {ESCAPE}{name}."
        )
        # It waits for no turn: what was meant may be to stop that one.
        return Command(name, words, lambda _record, _rest: say(words), immediate=True)

    @property
    def menu(self) -> list[tuple[str, str]]:
        """Name and help of each command, in the table's order."""
        return [(command.name, command.help) for command in self._commands]


def say(text: str) -> Effect:
    """An effect that changes nothing and replies with this."""
    return lambda _connection: text


def for_agent(text: str) -> str:
    """What the agent gets of a text that is no command: one that is escaped loses the mark of that."""
    escaped = _ESCAPED.match(text)
    return text if escaped is None else text[escaped.end() :]
