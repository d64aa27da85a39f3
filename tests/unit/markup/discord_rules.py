"""How Discord's clients read a message, written down apart from the renderer.

The rules are those of simple-markdown as Discord uses it: regular expressions that are tried in order at each place.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from adapters.markup.discord import JOINER

CODE_BLOCK: Final = re.compile(r"```(?:([a-z0-9_+\-.#]+?)\n)?\n*([^\n][\s\S]*?)\n*```", re.IGNORECASE)
QUOTE: Final = re.compile(r"(?: *>(?!>>) +[^\n]*(?:\n *>(?!>>) +[^\n]*)*\n?)|(?: *>>> [\s\S]*)")
HEADING: Final = re.compile(r" *(#{1,3})\s+((?!#+)[^\n]+?)#*\s*(?:\n|\Z)")
SUBTEXT: Final = re.compile(r" *-# +[^\n]")
LIST: Final = re.compile(r" *(?:[*-]|\d+\.) +\S")
ESCAPE: Final = re.compile(r"\\([^0-9A-Za-z\s])")
AUTOLINK: Final = re.compile(r"<([^: >]+:/[^ >]+)>")
URL: Final = re.compile(r"(?:https?|steam|discord)://[^\s<]+[^<.,:;\"'\]\s]")
LINK: Final = re.compile(
    r"\[((?:\[[^\]]*\]|[^\[\]]|\](?=[^\[]*\]))*)\]\(\s*<?((?:[^\s\\)]|\\.)*?)>?(?:\s+['\"][\s\S]*?['\"])?\s*\)"
)
CALL: Final = re.compile(r"<@[!&]?\d+>|<#\d+>|<a?:\w+:\d+>|<t:-?\d+(?::\w)?>|<id:\w+>|</[^>]+:\d+>|@everyone|@here")
EMOJI: Final = re.compile(r":([\w+-]+(?:::skin-tone-\d)?):")
ITALIC: Final = re.compile(
    r"\b_((?:__|\\[\s\S]|[^\\_])+?)_\b|\*(?=\S)((?:\*\*|\s+(?:[^*\s]|\*\*)|[^\s*])+?)\*(?!\*)", re.ASCII
)
STRONG: Final = re.compile(r"\*\*((?:\\[\s\S]|[^\\])+?)\*\*(?!\*)")
UNDERLINE: Final = re.compile(r"__((?:\\[\s\S]|[^\\])+?)__(?!_)")
STRIKE: Final = re.compile(r"~~([\s\S]+?)~~(?!_)")
SPOILER: Final = re.compile(r"\|\|([\s\S]+?)\|\|")
CODE: Final = re.compile(r"(`+)([\s\S]*?[^`])\1(?!`)")
TEXT: Final = re.compile(r"[\s\S]+?(?=[^0-9A-Za-z\s\u00c0-\uffff]|\n\n| {2,}\n|\w+:\S|\Z|\n)")


@dataclass
class Reading:
    """What people see: the text, and each look with what it lies over; `calls` is what notifies or was not meant."""

    text: str = ""
    looks: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


def read(content: str) -> Reading:
    """A message as a client shows it, without the characters that have no width."""
    reading = Reading()
    reading.text = _read(content, reading, begins_line=True, quoted=False).replace(JOINER, "")
    reading.looks = [(look, text.replace(JOINER, "")) for look, text in reading.looks]
    return reading


def _read(source: str, reading: Reading, *, begins_line: bool, quoted: bool) -> str:
    shown, place = "", 0
    while place < len(source):
        at_start = begins_line if place == 0 else source[place - 1] == "\n"
        length, piece = _next(source[place:], reading, at_start=at_start, quoted=quoted)
        shown += piece
        place += length
    return shown


def _inner(found: re.Match[str], look: str, reading: Reading, group: int, *, quoted: bool) -> tuple[int, str]:
    text = _read(found.group(group), reading, begins_line=False, quoted=quoted)
    reading.looks.append((look, text))
    return found.end(), text


def _next(source: str, reading: Reading, *, at_start: bool, quoted: bool) -> tuple[int, str]:
    """How much the next rule takes, and what it shows."""
    if found := CODE_BLOCK.match(source):
        reading.looks.append((f"pre {found.group(1) or ''}".strip(), found.group(2)))
        return found.end(), found.group(2)
    if at_start and (taken := _at_line_start(source, reading, quoted=quoted)):
        return taken
    if found := ESCAPE.match(source):
        return found.end(), found.group(1)
    if found := AUTOLINK.match(source) or URL.match(source):
        url = found.group(1) if found.re is AUTOLINK else found.group()
        if found.re is URL:
            reading.calls.append(url)
        reading.looks.append((f"link {url}", url))
        return found.end(), url
    if (found := LINK.match(source)) and "://" not in found.group(1):
        return _inner(found, f"link {found.group(2)}", reading, 1, quoted=quoted)
    for rule in (CALL, EMOJI):
        if found := rule.match(source):
            reading.calls.append(found.group())
            return found.end(), found.group()
    return _emphasis(source, reading, quoted=quoted)


def _at_line_start(source: str, reading: Reading, *, quoted: bool) -> tuple[int, str] | None:
    if not quoted and (found := QUOTE.match(source)):
        inner = re.sub(r"^ *> ?", "", found.group(), flags=re.MULTILINE)
        text = _read(inner, reading, begins_line=True, quoted=True)
        reading.looks.append(("quote", text.rstrip("\n")))
        return found.end(), text
    if found := HEADING.match(source):
        text = _read(found.group(2), reading, begins_line=False, quoted=quoted)
        reading.looks.append((f"heading {len(found.group(1))}", text))
        return found.end(), text + ("\n" if found.group().endswith("\n") else "")
    for rule in (SUBTEXT, LIST):
        if found := rule.match(source):
            reading.calls.append(found.group())
    return None


def _emphasis(source: str, reading: Reading, *, quoted: bool) -> tuple[int, str]:
    candidates = {name: rule.match(source) for name, rule in (("italic", ITALIC), ("bold", STRONG), ("u", UNDERLINE))}
    best = max(candidates, key=lambda name: found.end() if (found := candidates[name]) else 0)
    if found := candidates[best]:
        return _inner(found, best, reading, 2 if best == "italic" and found.group(1) is None else 1, quoted=quoted)
    if found := STRIKE.match(source):
        return _inner(found, "strike", reading, 1, quoted=quoted)
    if found := CODE.match(source):
        code = re.sub(r"^ (?= *`)|(` *) $", r"\1", found.group(2))
        reading.looks.append(("code", code))
        return found.end(), code
    if found := SPOILER.match(source):
        return _inner(found, "spoiler", reading, 1, quoted=quoted)
    found = TEXT.match(source)
    assert found
    return found.end(), found.group()
