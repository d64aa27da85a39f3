"""Owns `hermes-gateway logs`: the end of the log file, and what is added to it."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer

from gateway.cli.errors import CommandError
from gateway.cli.options import Limit, examples, find_home
from gateway.cli.output import say

LOGS_EXAMPLES: Final = examples(
    "hermes-gateway logs                 the last 50 lines",
    "hermes-gateway logs -f              and then each new one; Ctrl-C ends it",
    "hermes-gateway logs -f --limit 0 | grep telegram",
)

POLL_SECONDS: Final = 0.25
"""How often a followed file is looked at."""

_COLOURS: Final = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "bright_black"}


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each line that is added.")] = False,
    limit: Limit = 50,
) -> None:
    """Show the log.

    It is the file logs/gateway.log in the home folder. With --follow it goes on when the file is put aside for a new
    one, and waits for a gateway that is not started yet.
    """
    from gateway.logs import LOG_FILE_NAME

    path = find_home().path / "logs" / LOG_FILE_NAME
    if not path.exists():
        if not _is_written():
            raise CommandError(
                "no log file is written (logging.file: false): what the gateway says is where it was started, as"
                " `journalctl --user -u hermes-gateway` or `podman logs` show it"
            )
        if not follow:
            raise CommandError(f"there is no log yet: {path} does not exist; `hermes-gateway run` writes it")
        say(f"Waiting for {path} …")
    show = _painted if _in_colours() else typer.echo
    with closing(Tail(path)) as tail:
        for line in last_lines(tail, limit):
            show(line)
        for line in tail.follow() if follow else ():
            show(line)
            sys.stdout.flush()


def last_lines(tail: "Tail", limit: int) -> Iterator[str]:
    """The last complete lines of what is there already; 0 is all of them."""
    if limit == 0:
        return tail.new_lines()
    return iter(deque(tail.new_lines(), maxlen=limit))


class Tail:
    """A log file that grows, is put aside, and comes anew under its name. Each line is given once, when complete."""

    def __init__(self, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep
        self._stream: TextIO | None = None
        self._part = ""

    def new_lines(self) -> Iterator[str]:
        """What has been added since the last call, without line ends."""
        while True:
            if self._stream is None and not self._open():
                return
            # Whether there is a successor is asked before the rest is read: what is written between both is not lost.
            replaced = self._is_replaced()
            yield from self._rest()
            if not replaced:
                return
            self.close()
            if self._part:
                yield self._part
                self._part = ""

    def follow(self) -> Iterator[str]:
        """Each line that is added, for ever."""
        while True:
            yield from self.new_lines()
            self._sleep(POLL_SECONDS)

    def close(self) -> None:
        """Let go of the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> bool:
        try:
            self._stream = self._path.open(encoding="utf-8", errors="backslashreplace", newline="\n")
        except FileNotFoundError:
            return False
        return True

    def _is_replaced(self) -> bool:
        """Whether another file stands under the name, or the file was cut: then it is read anew."""
        assert self._stream is not None
        mine = os.fstat(self._stream.fileno())
        try:
            other = self._path.stat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) != (other.st_dev, other.st_ino) or other.st_size < self._stream.tell()

    def _rest(self) -> Iterator[str]:
        assert self._stream is not None
        while chunk := self._stream.readline():
            self._part += chunk
            if self._part.endswith("\n"):
                line, self._part = self._part[:-1], ""
                yield line


def _is_written() -> bool:
    """The setting, or its default while the configuration is wrong."""
    from config import ConfigError, GatewayConfig, load_settings

    try:
        return load_settings().config.logging.file
    except ConfigError:
        return GatewayConfig().logging.file


def _in_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(line: str) -> None:
    """Print a line; warnings and errors stand out."""
    words = line[:64].split(maxsplit=2)
    colour = _COLOURS.get(words[1]) if len(words) > 1 else None
    typer.echo(typer.style(line, fg=colour) if colour else line, color=True)
