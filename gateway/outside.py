"""Text from outside is data: names, topics, quotes and file names made harmless before they stand among our words.

What stands in a line of ours is one line itself, short, and without characters that cannot be seen, move the cursor or
turn the direction of writing. What stands in several lines has each marked as quoted.
"""

import json
import re
import unicodedata
from typing import Final

ELLIPSIS: Final = "…"

NAME_CHARS: Final = 80
"""Characters of a name in a sentence of ours."""

_DROPPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs"})
# What Unicode calls default ignorable and gives another category: fillers that look like nothing, the
# combining grapheme joiner, and the variation selectors, which can carry hidden text.
_IGNORABLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_HIDDEN: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that turn the direction of writing, that carry hidden text, or that end a line where nobody expects it.
Joiners stay: some scripts need them."""

_BRACKETS: Final = str.maketrans({"[": "(", "]": ")", '"': "'", "`": "'", "<": "(", ">": ")"})
"""What could end the words around a text, or begin a mark of Markdown."""


def one_line(text: str, limit: int | None = None) -> str:
    """The text without characters that cannot be seen, every run of white space as one blank, cut at the limit."""
    line = " ".join(text.split())
    if not (line.isascii() and line.isprintable()):
        visible = "".join(c for c in line if unicodedata.category(c) not in _DROPPED_CATEGORIES)
        line = " ".join(_IGNORABLE.sub("", visible).split())
    if limit is not None and len(line) > limit:
        line = line[: limit - len(ELLIPSIS)] + ELLIPSIS
    return line


def as_value(text: str | None, limit: int) -> str:
    """The text as one short JSON string, for a prompt; empty if there is nothing to see in it."""
    line = one_line(text or "", limit)
    return json.dumps(line, ensure_ascii=False) if line else ""


def in_brackets(text: str | None, limit: int | None = NAME_CHARS) -> str:
    """The text as part of words of ours in brackets or quotes, which nothing in it can end."""
    return one_line((text or "").translate(_BRACKETS), limit)


def as_code(text: str | None, limit: int = NAME_CHARS) -> str:
    """The text as a code span of Markdown, where nothing in it is markup; empty if there is nothing to see in it."""
    line = one_line((text or "").replace("`", "'"), limit)
    return f"`{line}`" if line else ""


def as_quote(text: str, limit: int) -> str:
    """Each line marked as quoted, so that none can pass for anything else; no hidden characters, cut at the limit."""
    text = _HIDDEN.sub("", _plain_lines(text)).strip()
    if len(text) > limit:
        text = f"{text[:limit].rstrip()}{ELLIPSIS}"
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _plain_lines(text: str) -> str:
    """Lines that end with a line feed alone, without other control characters than tabs."""
    lines = "\n".join(text.splitlines())
    if lines.isascii() and lines.replace("\n", "").replace("\t", "").isprintable():
        return lines
    return "".join(c for c in lines if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
