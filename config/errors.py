"""Owns `ConfigError` and the `Problem`s that it carries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in the configuration, and what to write instead.

    Attributes:
        file: the configuration file, or None if the value does not come from it.
        line: line in that file, from 1, or None if no one line is at fault.
        key: dotted key, empty if the fault is the whole file's.
        message: what is wrong; never holds a secret's value.
        advice: what to do about it.
        source: where the value comes from if not from the file, such as `environment TELEGRAM_BOT_TOKEN`.
    """

    file: str | None
    line: int | None
    key: str
    message: str
    advice: str
    source: str | None = None

    @property
    def place(self) -> str:
        """The file and line, or the source, as people read it."""
        if self.file is None:
            return self.source or "configuration"
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.place}: {key}{self.message}; {self.advice}"


class ConfigError(Exception):
    """The configuration is wrong; `problems` names each fault, in the order of the file.

    `files` are those that were read or looked for before the faults were found: a change of one may mend them.
    """

    def __init__(self, problems: Iterable[Problem], files: Iterable[Path] = ()) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.files: tuple[Path, ...] = tuple(files)
        super().__init__("\n".join(str(problem) for problem in self.problems))
