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

Taken: TypeAlias = Callable[[str], bool | None]
"""Whether the file of a path is taken; None while that is not known."""


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
    found = {number: path for number, line in enumerate(lines) if (path := _path(line)) is not None}
    # Whether a line is code is decided by those before it: what follows the last of these does not matter.
    inside = code("".join(lines[: max(found) + 1])) if found else ()
    for number, line in enumerate(lines):
        yield line, None if number in inside else found.get(number)


def paths_in(text: str, code: CodeLines = code_lines) -> list[str]:
    """The paths that a whole text names, each once, in order."""
    if MARK not in text:
        return []
    return list(dict.fromkeys(path for _line, path in media_lines(text, code) if path is not None))


def split_media(text: str, taken: Callable[[str], bool], *, more: bool = False, code: CodeLines = code_lines) -> str:
    """A text without the lines whose files are taken; the others stay as they are. `more`: it is not the end."""
    if MARK not in text:
        return text
    whole = "".join(line for line, path in media_lines(text, code) if path is None or not taken(path))
    return whole.rstrip() if len(whole) < len(text) and not more else whole


def to_be_read(text: str) -> str:
    """The beginning of a text that has to be read to find the files that it names: to its last line that may."""
    last = text.rfind(MARK)
    return "" if last < 0 else text[: text.find("\n", last) + 1 or len(text)]


class GrowingMedia:
    """The beginning of a growing text, without the lines whose files are taken. Each line is looked at once."""

    def __init__(self) -> None:
        self._decided, self._shown, self._lines = "", "", 0
        """What is decided: the beginning of the text, what is shown of it, and how many lines it has."""

    def visible(self, text: str, taken: Taken, code: Callable[[str], Collection[int] | None] = code_lines) -> str:
        """What may be shown. It ends before a line that may still become one that names a file, and before one of
        which it is not known yet. What is given for a text is the beginning of what is given for any longer one.

        `taken` says whether a path's file is, None while that is not known. `code` gives the numbers of the lines of a
        text that are code, None while that is not known; it is only asked of texts that may name files.
        """
        if not text.startswith(self._decided):
            self._decided, self._shown, self._lines = "", "", 0
        start = text.rfind("\n") + 1
        if not self._decide(text[:start], taken, code):
            return self._shown
        last = text[start:]
        return self._shown + ("" if _may_become(last) else last)

    def _decide(self, text: str, taken: Taken, code: Callable[[str], Collection[int] | None]) -> bool:
        """Decide on complete lines; whether on all."""
        new = text[len(self._decided) :]
        inside = code(to_be_read(text)) if MARK in new else ()
        position, shown = 0, list[str]()
        while (mark := new.find(MARK, position)) >= 0:
            start = max(new.rfind("\n", position, mark) + 1, position)
            end = new.find("\n", mark) + 1
            verdict = _verdict(new[start:end], self._lines + new.count("\n", 0, start), inside, taken)
            shown.append(new[position:start] if verdict is not False else new[position:end])
            position = start if verdict is None else end
            if verdict is None:
                break
        else:
            shown.append(new[position:])
            position = len(new)
        self._decided += new[:position]
        self._shown += "".join(shown)
        self._lines += new.count("\n", 0, position)
        return position == len(new)


def _verdict(line: str, number: int, code: Collection[int] | None, taken: Taken) -> bool | None:
    """Whether a line is taken off; None while that is not known."""
    path = _path(line)
    if path is None or (code is not None and number in code):
        return False
    return None if code is None else taken(path)


def _path(line: str) -> str | None:
    """The path that a line names, unless it is code."""
    match = _LINE.match(line) if MARK in line else None
    return None if match is None else match[1]


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
