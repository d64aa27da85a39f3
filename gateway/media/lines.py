"""Lines of an answer that name a file to be sent: `MEDIA:/path` alone on a line, outside of code."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeAlias

MARK: Final = "MEDIA:/"

_LINE: Final = re.compile(r" {0,3}MEDIA:(/\S(?:.*\S)?)\s*\Z")
_INDENT: Final = 3
"""Blanks that may stand before; with more the line is code (https://spec.commonmark.org/0.31.2/#indented-code-blocks).
"""

CodeLines: TypeAlias = Callable[[str], Collection[int]]
"""Gives the numbers of the lines of a Markdown text that are code."""


def code_lines(text: str) -> Collection[int]:
    """The numbers of the lines that are code, from 0."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["block"])
    found: set[int] = set()
    for token in parser.parse(text.replace("\r", " ").replace("\0", " ")):
        if token.type in ("fence", "code_block") and token.map is not None:
            found.update(range(*token.map))
    return found


def media_lines(text: str, code: CodeLines = code_lines) -> Iterator[tuple[str, str | None]]:
    """Each line of a text with its ending, and the path that it names, if it is such a line."""
    lines = list(_lines(text))
    found = {number: match[1] for number, line in enumerate(lines) if (match := _LINE.match(line))}
    # Whether a line is code is decided by those before it: what follows the last of these does not matter.
    inside = code("".join(lines[: max(found) + 1])) if found else ()
    for number, line in enumerate(lines):
        yield line, None if number in inside else found.get(number)


def paths_in(text: str) -> list[str]:
    """The paths that a whole text names, each once, in order."""
    return list(dict.fromkeys(path for _line, path in media_lines(text) if path is not None)) if MARK in text else []


def split_media(text: str, taken: Callable[[str], bool], *, more: bool = False) -> str:
    """A text without the lines whose files are taken; the others stay as they are. `more`: it is not the end."""
    if MARK not in text:
        return text
    whole = "".join(line for line, path in media_lines(text) if path is None or not taken(path))
    return whole.rstrip() if len(whole) < len(text) and not more else whole


def visible_media(text: str, taken: Callable[[str], bool | None], code: CodeLines = code_lines) -> str:
    """The beginning of a growing text, without the lines whose files are taken.

    It ends before a line that may still become one, and before one of which it is not known yet (None). What is given
    for a text is the beginning of what is given for any longer one.
    """
    start = text.rfind("\n") + 1
    whole, last = text[:start], text[start:]
    end = "" if _may_become(last) else last
    if MARK not in whole:
        return whole + end
    shown: list[str] = []
    for line, path in media_lines(whole, code):
        verdict = False if path is None else taken(path)
        if verdict is None:
            return "".join(shown)
        if not verdict:
            shown.append(line)
    return "".join(shown) + end


def _may_become(line: str) -> bool:
    """Whether a line that is not complete may become one that names a file."""
    rest = line.lstrip(" ")
    return len(line) - len(rest) <= _INDENT and (rest.startswith(MARK) or MARK.startswith(rest))


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, which end with a line feed alone: other separators do not end a line in Markdown."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
