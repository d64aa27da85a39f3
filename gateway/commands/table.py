"""The command table: names, aliases, help, and whether a command waits for the running turn."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.inbox import InboundRecord

Effect: TypeAlias = Callable[[sqlite3.Connection], str]
"""What a command does to the database, in the commit that ends its message; returns the reply."""

Run: TypeAlias = Callable[[InboundRecord, str], Effect]
"""Runs a command: the message, and the text after the command's name."""

PREFIX: Final = "/"


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
        """The command and the text after it; None for a text that is no command of ours (a path, say)."""
        word, *rest = text.split(maxsplit=1) or [""]
        if not word.startswith(PREFIX):
            return None
        command = self._by_name.get(word.removeprefix(PREFIX).casefold())
        return None if command is None else (command, rest[0].strip() if rest else "")

    @property
    def menu(self) -> list[tuple[str, str]]:
        """Name and help of each command, in the table's order."""
        return [(command.name, command.help) for command in self._commands]


def say(text: str) -> Effect:
    """An effect that changes nothing and replies with this."""
    return lambda _connection: text
