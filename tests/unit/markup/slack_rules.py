"""How Slack reads mrkdwn, written down apart from the renderer.

Where exactly a mark counts is not documented, so a text is read in two ways, and has to mean the same in both: `strict`
takes a mark only beside spaces and a few signs, the other way beside anything but letters and digits.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from adapters.markup.slack import BREAK, JOINER

PRE: Final = re.compile(r"```(?:\n)?([\s\S]*?)(?:\n)?```")
CONTROL: Final = re.compile(r"<([^<>\n]*)>")
LOOKS: Final = {"*": "bold", "_": "italic", "~": "strike", "`": "code"}
BEFORE: Final = frozenset(f" \n{BREAK}([\"'*_~")
AFTER: Final = frozenset(f" \n{BREAK})]\"'.,:;!?*_~")


@dataclass
class Reading:
    """What people see: the text, and each look with what it lies over; `calls` is what notifies or was not meant."""

    text: str = ""
    looks: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


def read(content: str, *, strict: bool) -> Reading:
    """A message as Slack shows it, without the characters that have no width."""
    reading = Reading()
    reading.text = visible(_blocks(content, reading, strict))
    reading.looks = [(look, visible(text)) for look, text in reading.looks]
    return reading


def visible(text: str) -> str:
    """A text without what has no width."""
    return text.replace(JOINER, "").replace(BREAK, "")


def unescaped(text: str) -> str:
    """The three characters that are escaped."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _blocks(source: str, reading: Reading, strict: bool) -> str:
    """Quotes first, a run of their lines at a time; then code; then lines."""
    shown, lines = [], source.split("\n")
    place = 0
    while place < len(lines):
        end = place
        while end < len(lines) and (quoted := re.match(r" *(?:>|&gt;) ?", lines[end])):
            lines[end] = lines[end][quoted.end() :]
            end += 1
        if end > place:
            text = _code_blocks("\n".join(lines[place:end]), reading, strict)
            reading.looks.append(("quote", text))
        else:
            end = place + 1
            while end < len(lines) and (
                "\n".join(lines[place:end]).count("```") % 2 or not re.match(r" *(?:>|&gt;)", lines[end])
            ):
                end += 1
            text = _code_blocks("\n".join(lines[place:end]), reading, strict)
        shown.append(text)
        place = end
    return "\n".join(shown)


def _code_blocks(source: str, reading: Reading, strict: bool) -> str:
    shown, place = "", 0
    for found in PRE.finditer(source):
        shown += _line(source[place : found.start()], reading, strict) + unescaped(found.group(1))
        reading.looks.append(("pre", unescaped(found.group(1))))
        if "<" in found.group(1):
            reading.calls.append(found.group())
        place = found.end()
    return shown + _line(source[place:], reading, strict)


def _line(source: str, reading: Reading, strict: bool) -> str:
    """Running text."""
    shown, place = "", 0
    while place < len(source):
        char = source[place]
        if char == "<" and (found := CONTROL.match(source, place)):
            shown += _control(found.group(1), reading)
            place = found.end()
        elif char in LOOKS and (end := _closing(source, place, strict)) is not None:
            inner = source[place + 1 : end]
            text = unescaped(inner) if char == "`" else _line(inner, reading, strict)
            reading.looks.append((LOOKS[char], text))
            shown += text
            place = end + 1
        else:
            if char in "<>":
                reading.calls.append(source[place : place + 20])
            found = re.match(r"&(?:amp|lt|gt);", source[place:])
            shown += unescaped(found.group()) if found else char
            place += found.end() if found else 1
    return shown


def _control(inside: str, reading: Reading) -> str:
    target, _, label = inside.partition("|")
    if target[:1] in ("@", "#", "!", ""):
        reading.calls.append(inside)
    text = unescaped(label or target)
    reading.looks.append((f"link {unescaped(target)}", text))
    return text


def _opens(source: str, place: int, strict: bool) -> bool:
    before, after = source[place - 1 : place] if place else "", source[place + 1 : place + 2]
    if not after or after.isspace():
        return False
    return before == "" or (before in BEFORE if strict else not before.isalnum() and before != JOINER)


def _closing(source: str, place: int, strict: bool) -> int | None:
    """Where a mark that opens at a place is closed, in the same line."""
    if not _opens(source, place, strict):
        return None
    end = place + 1
    while (end := source.find(source[place], end + 1)) >= 0:
        if "\n" in source[place:end]:
            return None
        after = source[end + 1 : end + 2]
        bounded = after == "" or (after in AFTER if strict else not after.isalnum() and after != JOINER)
        if not source[end - 1].isspace() and bounded:
            return end
    return None
