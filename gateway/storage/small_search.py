"""Search in a few texts: words find the same texts as in the index of all, at the cost of these texts alone."""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from gateway.storage.words import apart, snippet, without_separators

CHUNK: Final = 100
"""Texts that are looked at together, the newest first: a common word is found among the first of them."""

_INDEX: Final = "CREATE VIRTUAL TABLE few USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2')"
_ADD: Final = "INSERT INTO few (rowid, content) VALUES (?, ?)"
_SNIPPET: Final = snippet("few", without_separators("few.content"), 16)
_FIND: Final = f"SELECT rowid AS id, {_SNIPPET} AS snippet FROM few WHERE few MATCH ? ORDER BY rowid DESC"  # noqa: S608

_LETTERS: Final = re.compile(r"[a-z0-9]+")


def search_few(texts: Sequence[tuple[int, str]], expression: str, limit: int, offset: int) -> list[tuple[int, str]]:
    """The numbers of the texts that match an FTS5 expression, the highest first, each with the part around the match.

    It blocks for some milliseconds a thousand texts: call it in a thread.
    """
    parts = frozenset(_LETTERS.findall(expression.casefold())) if expression.isascii() else frozenset()
    left = [(number, text) for number, text in sorted(texts, reverse=True) if _may_match(text, parts)]
    found: list[tuple[int, str]] = []
    while left and len(found) < offset + limit:
        found += _matching(left[:CHUNK], expression)
        left = left[CHUNK:]
    return found[offset : offset + limit]


def _may_match(text: str, parts: frozenset[str]) -> bool:
    """Whether it is worth a closer look: what has only plain letters has to have each part of each word as it is."""
    if not text.isascii():
        return True
    lower = text.lower()
    return all(part in lower for part in parts)


def _matching(texts: Sequence[tuple[int, str]], expression: str) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(_INDEX)
        connection.executemany(_ADD, ((number, apart(text)) for number, text in texts))
        found: list[tuple[int, str]] = connection.execute(_FIND, (expression,)).fetchall()
        return found
