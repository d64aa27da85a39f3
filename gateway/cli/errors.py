"""Owns how a failure ends the program: the lines that a person reads, and the exit code."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FAILED: Final = 1
USAGE: Final = 2
MISCONFIGURED: Final = 78
"""The configuration is wrong: EX_CONFIG of sysexits.h."""

PROGRAM: Final = "hermes-gateway"


@dataclass(slots=True)
class Invocation:
    """What the options of the program itself say about this call of it."""

    debug: bool = False


class CommandError(Exception):
    """A command cannot do what it was asked to; `str()` is one sentence for the person who asked."""


def explain(error: BaseException) -> tuple[tuple[str, ...], int] | None:
    """The lines and the exit code of an error that was foreseen, None for any other."""
    from config import ConfigError
    from gateway.api import ListenError
    from gateway.control import ControlError
    from gateway.inspection import SessionNotFoundError
    from gateway.lock import LockHeldError
    from gateway.status import StatusError
    from gateway.storage.errors import StorageError

    foreseen = (CommandError, ListenError, ControlError, LockHeldError, SessionNotFoundError, StatusError, StorageError)
    for leaf in _leaves(error):
        if isinstance(leaf, ConfigError):
            return tuple(str(problem) for problem in leaf.problems), MISCONFIGURED
        if isinstance(leaf, foreseen):
            return (f"{PROGRAM}: {leaf}",), FAILED
        if isinstance(leaf, OSError) and leaf.strerror:
            place = f"{leaf.filename}: " if leaf.filename else ""
            return (f"{PROGRAM}: {place}{leaf.strerror}",), FAILED
    return None


def unforeseen(error: BaseException) -> str:
    """The line for an error that nobody foresaw; what has the form of a secret is taken out."""
    from gateway.logs import Redactor

    first = next(_leaves(error))
    words = " ".join(Redactor()(str(first)).split())[:300]
    detail = f"{type(first).__name__}: {words}" if words else type(first).__name__
    return f"{PROGRAM}: an error inside the program ({detail}); run it with --debug for the details"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, or the one error."""
    if isinstance(error, BaseExceptionGroup):
        for below in error.exceptions:
            yield from _leaves(below)
    else:
        yield error
