"""Owns what of an address is a secret: its login, and what its query holds under the name of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")

_SECRET: Final = re.compile(
    r"""(?ix)
    (?<=://) [^/?\#\s]+ (?=@)                            # a user and password, which may have an @ too
  | (?P<name> [?&;\#] [\w.%-]*?                           # a parameter
      (?: token | secret | password | passwd | pwd | key | credential | auth | sig | signature )s? = )
    [^&;\#\s]+
    """
)


def address_secrets(value: str) -> Iterator[str]:
    """The secrets of a value that is an address, as they are written there and as they are meant; else none."""
    if not _ADDRESS.fullmatch(value):
        return
    for found in _SECRET.finditer(value):
        secret = _of_login(found[0]) if found["name"] is None else found[0].removeprefix(found["name"])
        yield secret
        yield unquote(secret)


def without_secrets(value: str, mask: str) -> str:
    """The value; where it is an address, with `mask` in the place of each secret."""
    if not _ADDRESS.fullmatch(value):
        return value
    return _SECRET.sub(lambda found: f"{found['name'] or ''}{mask}", value)


def _of_login(login: str) -> str:
    """The password, and where there is none the user, whose name may be a key."""
    user, _, password = login.partition(":")
    return password or user
