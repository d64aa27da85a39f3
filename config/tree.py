"""Owns the common form of all sources: a tree of entries, each of which knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from config.errors import Problem

Scalar: TypeAlias = str | int | float | bool | None


class Rank(IntEnum):
    """Precedence of the sources: a higher one wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    COMMAND_LINE = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: a line of a file, an environment variable, or the command line."""

    rank: Rank
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        match self.rank:
            case Rank.FILE:
                return self.name if self.line is None else f"{self.name}:{self.line}"
            case Rank.ENVIRONMENT:
                return f"environment {self.name}"
            case Rank.COMMAND_LINE:
                return "command line"
            case _:
                return "default"

    def problem(self, key: str, message: str, advice: str) -> Problem:
        """Return a problem at this place."""
        if self.rank is Rank.FILE:
            return Problem(self.name, self.line, key, message, advice)
        return Problem(None, None, key, message, advice, source=str(self))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value: as YAML types it, and letter by letter.

    `unset` names the environment variable that the value refers to and that is not set.
    """

    value: Scalar
    text: str
    unset: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a key, with its place."""

    content: Leaf | Sequence[Entry] | Mapping[str, Entry]
    origin: Origin

    @property
    def is_null(self) -> bool:
        """Whether nothing was written: the same as leaving the key out."""
        return isinstance(self.content, Leaf) and self.content.value is None and self.content.unset is None


Tree: TypeAlias = Mapping[str, Entry]


def merged(low: Tree, high: Tree) -> Tree:
    """Return both trees as one: sections are joined, anything else of `high` replaces that of `low`."""
    result = dict(low)
    for key, entry in high.items():
        below = result.get(key)
        if below is None:
            result[key] = entry
        elif isinstance(below.content, Mapping) and isinstance(entry.content, Mapping):
            result[key] = Entry(merged(below.content, entry.content), below.origin)
        elif not entry.is_null:
            result[key] = entry
    return result


def at_path(path: Sequence[str], entry: Entry) -> Tree:
    """Return a tree that holds `entry` at `path` and nothing else."""
    for key in reversed(path[1:]):
        entry = Entry({key: entry}, entry.origin)
    return {path[0]: entry}


def find(tree: Tree, path: Sequence[str | int]) -> Entry | None:
    """Return the entry at `path`, or the nearest one above it that was written."""
    entry: Entry | None = None
    content: Leaf | Sequence[Entry] | Tree = tree
    for key in path:
        below = _below(content, key)
        if below is None:
            break
        entry, content = below, below.content
    return entry


def _below(content: Leaf | Sequence[Entry] | Tree, key: str | int) -> Entry | None:
    if isinstance(content, Leaf):
        return None
    if isinstance(content, Mapping):
        return content.get(key) if isinstance(key, str) else None
    return content[key] if isinstance(key, int) and key < len(content) else None


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: `platforms.telegram.allowed_users[0]`.

    What a key holds is the writer's: it is cut and kept to one line.
    """
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            shown = "".join(letter if letter.isprintable() else "�" for letter in key[:80])
            text += f".{shown}" if text else shown
    return text
