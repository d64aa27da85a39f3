"""What a terminal chat is started with."""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from gateway.version import program_version

LEAVE_COMMANDS: Final = frozenset({"/quit", "/exit"})
"""What a person can write to leave; the client sees to it, the gateway never gets it."""


def random_id() -> str:
    """128 random bits: no two clients or messages share one."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How to chat, and with what.

    `socket` is the gateway's Unix socket, `home` its home folder (for the history of what was typed).
    `message` is the one message to send; without it standard input is read. `interactive` says whether a
    person sits at a terminal; None finds out. `patience` is for how many seconds a lost gateway is waited
    for; None waits for ever at a terminal, and for two minutes in a script.
    """

    socket: Path
    home: Path
    message: str | None = None
    json_mode: bool = False
    interactive: bool | None = None
    stdin: TextIO | None = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    version: str = field(default_factory=program_version)
    new_id: Callable[[], str] = random_id
    patience: float | None = None

    @property
    def at_terminal(self) -> bool:
        """Whether to open the interactive chat."""
        if self.interactive is not None:
            return self.interactive
        if self.json_mode or self.message is not None or self.stdin is None:
            return False
        return self.stdin.isatty() and self.stdout.isatty()

    @property
    def dumb(self) -> bool:
        """Whether the terminal can only show one line after another."""
        return self.environ.get("TERM", "") in ("dumb", "unknown", "")
