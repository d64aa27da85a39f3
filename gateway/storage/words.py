"""What the search index takes for words: in scripts that are written without spaces, each character is one.

The index's tokenizer takes a run of letters for a word, which a search finds by its beginning. In Chinese or Thai such
a run is a whole sentence. So its characters are put apart before the tokenizer sees them, in what is indexed and in
what is looked for: a word of such a script is then a phrase of characters, and is found wherever it stands.
"""

import re
import sqlite3
from typing import Final

SEPARATOR: Final = "\x01"
"""What is put between characters: no part of a word to the tokenizer, and nothing that people write. Zero width spaces
are: they part words in Thai and Khmer texts, and would be missing where such a text is shown."""

NAME: Final = "apart"
"""The name by which SQL calls `apart_stored`."""

TRUST_VIEWS: Final = "PRAGMA trusted_schema = ON"
"""Lets the view of what is indexed call a function of ours, also where SQLite was built to refuse that
(https://www.sqlite.org/pragma.html#pragma_trusted_schema). No database comes from anybody else."""

MOST_WORDS: Final = 64
"""Words that FTS5 shows around a match at most (https://www.sqlite.org/fts5.html#the_snippet_function)."""

_SCRIPTS: Final = (
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u1000", "\u109f"),  # Burmese, and others of its script
    ("\u1780", "\u17ff"),  # Khmer
    ("\u3005", "\u9fff"),  # Kana, Bopomofo, single Jamo, Han
    ("\ua9e0", "\ua9ff"),  # Burmese, continued
    ("\uaa60", "\uaa7f"),
    ("\uac00", "\ud7a3"),  # Hangul: endings are written to the words without a space
    ("\uf900", "\ufaff"),  # Han, for compatibility
    ("\uff66", "\uffdc"),  # Kana and Jamo of half the width
    ("\U0001aff0", "\U0001b16f"),  # Kana, continued
    ("\U00020000", "\U0003ffff"),  # Han, continued
)
"""First and last characters. Marks and signs among them are no letters to the tokenizer, wherever they stand. What the
index has depends on it: whoever changes it adds a migration that makes the index anew."""

_CHARACTER: Final = "[" + "".join(f"{first}-{last}" for first, last in _SCRIPTS) + "]"
_RUN: Final = re.compile(f"{_CHARACTER}+")
_LAST: Final = re.compile(rf"(?={_CHARACTER})[^\W_][\W_]*\Z")


def apart(text: str) -> str:
    """The text with `SEPARATOR` around each character of a script without spaces; without them it is as it was."""
    return text if text.isascii() else _RUN.sub(_separated, text)


def apart_stored(text: bytes) -> str:
    """`apart` of a text as SQLite hands it over. What damage has left of one is indexed too: it stops no indexer."""
    return apart(text.decode("utf-8", "replace"))


def ends_whole(text: str) -> bool:
    """Whether a text ends with a word that is one character, and so cannot be the beginning of a longer one."""
    return not text.isascii() and _LAST.search(text) is not None


def define_words(connection: sqlite3.Connection) -> None:
    """Have SQL know `apart_stored`: what changes the search index, or shows what it has found, calls it."""
    connection.execute(TRUST_VIEWS)
    connection.create_function(NAME, 1, apart_stored, deterministic=True)


def snippet(index: str, text: str, words: int, marks: str = "'', ''") -> str:
    """SQL for the part of a text around what an index has found in it: so many words. A character is less than a word:
    where most take three bytes, as those of these scripts do, it is three times as many."""
    more = min(3 * words, MOST_WORDS)
    number = f"iif(length(CAST({text} AS BLOB)) > 2 * length({text}), {more}, {words})"
    return without_separators(f"snippet({index}, 0, {marks}, '…', {number})")


def without_separators(text: str) -> str:
    """SQL for a text as people wrote it."""
    return f"replace({text}, char({ord(SEPARATOR)}), '')"


def _separated(run: re.Match[str]) -> str:
    return f"{SEPARATOR}{SEPARATOR.join(run[0])}{SEPARATOR}"
