"""Owns the way from a question for a token to one that its platform takes, or to none."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.setup.ask import Dialogue
from gateway.setup.draft import Draft, Key
from gateway.setup.web import UnreachableError

T = TypeVar("T")

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class RefusedError(Exception):
    """The platform does not take a token; `str()` says so, and what to do."""


def tested(draft: Draft, talk: Dialogue, key: Key, question: str, test: Callable[[str], T]) -> tuple[str, T | None]:
    """Ask for a secret until its platform takes it; put it in the draft.

    The secret and what `test` made of it are returned; None instead of the latter where it is kept untested, and an
    empty secret where the person leaves it out. `test` raises `RefusedError` and `UnreachableError`.
    """
    offered = _at_hand(draft, talk, key)
    while True:
        given = offered or talk.secret(f"{question}; Enter leaves it out")
        offered = ""
        if not given:
            return "", None
        secret = _value(draft, talk, given)
        if not secret:
            continue
        found: T | None = None
        try:
            found = test(secret)
        except RefusedError as error:
            talk.bad(str(error))
            continue
        except UnreachableError as error:
            talk.bad(f"{error}.")
            answer = talk.choose("What now", ("try again", "keep it without a test", "leave it out"))
            if answer == 0:
                offered = given
                continue
            if answer == 2:
                return "", None
        if given != draft.written(*key):
            draft.put_secret(key, given)
        return secret, found


def _at_hand(draft: Draft, talk: Dialogue, key: Key) -> str:
    """What the environment or the file holds already, if the person wants that; the first as a reference to it."""
    variable = draft.variable(*key)
    if variable and talk.yes(f"{variable} is set in the environment. Use that, and keep it out of the file?"):
        talk.hint(f"The gateway needs {variable} in its environment too, wherever it is started.")
        return f"${{{variable}}}"
    held = "" if variable else draft.written(*key)
    return held if held and talk.yes("There is one in the file already. Keep it?") else ""


def _value(draft: Draft, talk: Dialogue, given: str) -> str:
    """The secret itself, of what was typed: `${NAME}` stands for what the environment holds."""
    reference = _REFERENCE.fullmatch(given)
    if reference:
        value = draft.environ.get(reference[1], "").strip()
        if not value:
            talk.bad(f"{reference[1]} is not set in the environment here.")
        return value
    if not given.isascii() or not given.isprintable() or " " in given:
        talk.bad("That has characters which no token has. Copy it once more, and only it.")
        return ""
    return given
