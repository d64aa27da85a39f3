"""The command table: names, aliases, typed arguments, help, and whether a command waits for the running turn."""

import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from gateway.access import Role
from gateway.inbound import Extra, InboundRecord
from gateway.ports import Button, OutgoingFile

PREFIX: Final = "/"

ESCAPE: Final = PREFIX * 2
"""Before a word in place of the prefix: this is for the agent, and it gets the word with the prefix."""

NEAR: Final = 0.75
"""How alike two words are, by difflib's ratio, where one is taken for the other misspelt: three letters in four."""

SHOWN_WORD: Final = 60
"""Characters that are shown back of a word that could not be read."""

_ESCAPED: Final = re.compile(rf"\s*{PREFIX}(?={PREFIX}[A-Za-z]+(\s|\Z))")
_WORD: Final = re.compile(r"(\S+)\s+")
_MODE: Final = re.compile(rf"\s*{PREFIX}(queue|steer)\s+(?=\S)", re.IGNORECASE)

Buttons: TypeAlias = tuple[tuple[Button, ...], ...]
Busy: TypeAlias = Literal["queue", "steer", "interrupt"]
"""What a message does while a turn runs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command answers: Markdown, buttons in rows, and perhaps a file, which comes first.

    Nothing may be said by the buttons alone: not every platform has them. `then` is called right after the commit.
    """

    text: str
    buttons: Buttons = ()
    file: OutgoingFile | None = None
    then: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """The command's message becomes one for the agent: it waits on, says this, and has its turn next."""

    text: str
    extra: Extra


Effect: TypeAlias = Callable[[sqlite3.Connection], str | Reply | Resend]
"""What a command does to the database, in the commit that ends its message; returns the reply.

It raises `CommandRefusedError` or a `SessionError` for what cannot be done: nothing of it is kept then.
"""

Value: TypeAlias = str | int


class CommandRefusedError(Exception):
    """A command cannot be carried out as it was given; `reply` says why, and what to write instead."""

    def __init__(self, text: str, buttons: Buttons = ()) -> None:
        super().__init__(text)
        self.reply = Reply(text, buttons)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a command. A `text` takes the rest of the line, and of all lines after it.

    `names` says, for completion, what may stand there where that is not fixed. A number lies in `least` to `most`.
    """

    name: str
    kind: Literal["word", "number", "choice", "text"] = "word"
    choices: tuple[str, ...] = ()
    required: bool = False
    least: int = 1
    most: int = 1_000
    names: Callable[[], Sequence[str]] = tuple

    @property
    def usage(self) -> str:
        """How it stands in a command's usage: in brackets unless it has to be there."""
        word = "|".join(self.choices) if self.kind == "choice" else self.name
        word = f"{word}…" if self.kind == "text" else word
        return f"<{word}>" if self.required else f"[{word}]"

    def read(self, word: str) -> Value | None:
        """The value of a word; None if it is none."""
        if self.kind == "number":
            fits = word.isascii() and word.isdigit() and len(word) <= len(str(self.most))
            return int(word) if fits and self.least <= int(word) <= self.most else None
        if self.kind == "choice":
            return word.casefold() if word.casefold() in self.choices else None
        return word

    @property
    def unlike(self) -> str:
        """What a word is that is no value of it."""
        if self.kind == "number":
            return f"not a number from {self.least} to {self.most:,}"
        return f"none of {', '.join(self.choices)}" if len(self.choices) > 1 else f"not {self.choices[0]}"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What stands after a command's name, by the names of its parameters; what was left out is not there. `whole` is
    all of it as it was written: a name may begin like another argument."""

    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    whole: str = ""

    def text(self, name: str) -> str:
        """A word, choice or text; empty if it was left out."""
        return str(self.values.get(name, ""))

    def number(self, name: str, default: int) -> int:
        """A number."""
        return int(self.values.get(name, default))


Run: TypeAlias = Callable[[InboundRecord, Arguments], Effect | Awaitable[Effect]]
"""Runs a command: looks at what it needs, and says what it does. Raises `CommandRefusedError`."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. An `immediate` one does not wait for the turn that runs in its session.

    `help` is one line; `note` is another, for those who ask about this one. A `hidden` one works, and stands in no
    menu. It is for people of a role and those above it.
    """

    name: str
    help: str
    run: Run
    aliases: tuple[str, ...] = ()
    immediate: bool = False
    parameters: tuple[Parameter, ...] = ()
    family: str = "This chat"
    hidden: bool = False
    role: Role = Role.GUEST
    note: str = ""

    @property
    def usage(self) -> str:
        """How to write it."""
        return " ".join([f"{PREFIX}{self.name}", *(parameter.usage for parameter in self.parameters)])

    def parse(self, rest: str) -> Arguments:
        """The arguments in the text after the name. An optional one that a word does not fit is left out, and the word
        is the next one's. Raises `CommandRefusedError`."""
        values: dict[str, Value] = {}
        whole = rest
        unread: list[tuple[str, Parameter]] = []
        for parameter in self.parameters:
            if rest and parameter.kind == "text":
                values[parameter.name], rest = rest, ""
            elif rest:
                word, *after = rest.split(maxsplit=1)
                value = parameter.read(word)
                if value is None:
                    unread.append((word, parameter))
                else:
                    values[parameter.name], rest = value, after[0] if after else ""
            if parameter.required and parameter.name not in values:
                raise self._refuse(_problem(unread) or f"“{parameter.name}” is missing.")
        if rest:
            takes = "takes nothing after it" if not self.parameters else "does not take all of that"
            raise self._refuse(_problem(unread) or f"{PREFIX}{self.name} {takes}.")
        return Arguments(MappingProxyType(values), whole)

    def _refuse(self, problem: str) -> CommandRefusedError:
        return CommandRefusedError(f"{problem} Write it as `{self.usage}`.")


def _problem(unread: Sequence[tuple[str, Parameter]]) -> str:
    """Why the first word that could not be read is a value of none of the parameters that it may have been for; empty
    if each could be read."""
    if not unread:
        return ""
    word = unread[0][0]
    shown = word if len(word) <= SHOWN_WORD else f"{word[:SHOWN_WORD]}…"
    return f"“{shown}” is {', and '.join(parameter.unlike for each, parameter in unread if each == word)}."


class CommandTable:
    """Finds the command that a text names. Raises ValueError for two commands of one name."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = tuple(commands)
        """All of them, in the order in which help lists them."""
        self._by_name = {name: command for command in commands for name in (command.name, *command.aliases)}
        if len(self._by_name) < sum(1 + len(command.aliases) for command in commands):
            raise ValueError("two commands have one name")

    def find(self, text: str) -> tuple[Command, str] | None:
        """The command and the text after it; None for a text that is for the agent.

        A single word of letters that is nearly a command's name finds one that says so. Anything else that begins with
        the prefix is for the agent: a path, a word that is like no command's name, what is escaped, and what only says
        how it is to be taken (`busy_of`).
        """
        if not text.lstrip().startswith(PREFIX) or _MODE.match(text):
            return None
        word, *rest = text.split(maxsplit=1)
        name = word.removeprefix(PREFIX).casefold()
        command = self._by_name.get(name) or self._nearest(name)
        return None if command is None else (command, rest[0].strip() if rest else "")

    def named(self, name: str) -> Command | None:
        """The command of this name or alias, the prefix left out or not."""
        return self._by_name.get(name.removeprefix(PREFIX).casefold())

    def places(self, text: str) -> list[tuple[Parameter, str]]:
        """The parameters that the end of a command's text may be a value of, each with what is typed of that.

        There are several where the first of them may be left out.
        """
        name, space, rest = text.partition(" ")
        command = self.named(name) if space and text.startswith(PREFIX) else None
        if command is None:
            return []
        rest, left = rest.lstrip(), list(command.parameters)
        while left and left[0].kind != "text" and (word := _WORD.match(rest)) is not None:
            parameter = left.pop(0)
            if parameter.read(word[1]) is not None:
                rest = rest[word.end() :]
            elif parameter.required:
                return []
        return [(each, rest) for each in _next_ones(left)]

    def _nearest(self, name: str) -> Command | None:
        """A command that answers a misspelt name with the right one, and has its name: it is for the same people."""
        if not (name.isascii() and name.isalpha()):
            return None
        near = next(iter(get_close_matches(name, self._by_name, n=1, cutoff=NEAR) or self._swapped(name)), None)
        if near is None:
            return None
        words = (
            f"There is no command {PREFIX}{name}. Did you mean {PREFIX}{near}? "
            f"To tell it to the agent, write {ESCAPE}{name}."
        )
        # It waits for no turn: what was meant may be to stop that one.
        anything = Parameter("words", "text")
        meant = self._by_name[near].name
        return Command(meant, words, lambda _record, _given: say(words), immediate=True, parameters=(anything,))

    def _swapped(self, name: str) -> list[str]:
        """The names of three letters in which two neighbours stand the other way round: too short for `NEAR`."""
        ways = (f"{name[1]}{name[0]}{name[2]}", f"{name[0]}{name[2]}{name[1]}") if len(name) == 3 else ()
        return [way for way in ways if way in self._by_name]

    @property
    def menu(self) -> list[tuple[str, str]]:
        """Name and help of each command that is for whoever is let in by name, in the table's order. Guests see some
        that they may not use, and are told so: platforms show everybody one menu."""
        return self.menu_for(Role.USER)

    @property
    def names(self) -> frozenset[str]:
        """Every name and alias, also of what stands in no menu."""
        return frozenset(self._by_name)

    def menu_for(self, role: Role) -> list[tuple[str, str]]:
        """The same of each that is for people of a role."""
        return [(one.name, one.help) for one in self.commands if not one.hidden and one.role <= role]


def _next_ones(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """Those that may come next: each that may be left out, and the first that may not, or that takes all the rest."""
    for parameter in parameters:
        yield parameter
        if parameter.required or parameter.kind == "text":
            return


def say(text: str, buttons: Buttons = ()) -> Effect:
    """An effect that changes nothing and replies with this."""
    return lambda _connection: Reply(text, buttons)


def for_agent(text: str) -> str:
    """What the agent gets of a text that is no command: one that is escaped, or says how it is to be taken, loses the
    mark of that."""
    mode = _MODE.match(text)
    text = text if mode is None else text[mode.end() :]
    escaped = _ESCAPED.match(text)
    return text if escaped is None else text[escaped.end() :]


def as_message(table: CommandTable, text: str) -> str:
    """A text for the agent, written so that nothing takes it for a command."""
    if table.find(text) is None and for_agent(text) == text:
        return text
    return f"{PREFIX}{text.lstrip()}"


def busy_of(text: str, configured: Busy) -> tuple[Busy, bool]:
    """What a message does while a turn runs, and whether it says so itself."""
    mode = _MODE.match(text)
    if mode is None:
        return configured, False
    return ("steer" if mode[1].casefold() == "steer" else "queue"), True


def in_family(family: str, commands: Sequence[Command]) -> list[Command]:
    """The commands as members of one family, under which help lists them."""
    return [replace(command, family=family) for command in commands]


def buttons(*rows: Sequence[tuple[str, str]]) -> Buttons:
    """Rows of buttons from their labels and commands; empty rows are left out."""
    return tuple(tuple(Button(label, command) for label, command in row) for row in rows if row)
