"""One page of notes: a Markdown file that a person can read and edit, as text and as its parts. Pure functions.

What the gateway wrote is one line for each piece, which ends with a mark, a comment of HTML that names the session and
the turns it is from. A line without a mark is a person's, and stays as it is, wherever it stands.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.outside import one_line

NOTES: Final = "## Notes"
TALKS: Final = "## Conversations"
LINE_CHARS: Final = 500
"""Characters of one line that the gateway writes."""

_MARK: Final = re.compile(r"\s*<!-- from \"(?P<session>[^\"]*)\" (?P<first>\d+)-(?P<last>\d+) -->\s*$")
_COMMENT: Final = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_HEADING: Final = re.compile(r"#{1,6}\s")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a line is from: the turns `first` to `last` of a session."""

    session_id: str
    first: int
    last: int

    @property
    def mark(self) -> str:
        """The comment that ends the line."""
        return f'<!-- from "{self.session_id}" {self.first}-{self.last} -->'


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of a page, as they stand in the file."""

    lines: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Page":
        """Read a file's text; every text is a page."""
        return cls(tuple(text.removeprefix("\ufeff").splitlines()))

    @classmethod
    def blank(cls, label: str) -> "Page":
        """The page of somebody of whom nothing is known yet."""
        return cls((
            f"# What is remembered: {one_line(label, LINE_CHARS)}",
            "",
            "<!-- The agent is given these notes in conversations here, and nowhere else. Edit them as you like:",
            "lines of your own are never removed. A comment like this is not given to the agent; the one at the end",
            "of a line says which conversation it is from. -->",
            "",
            NOTES,
            "",
            TALKS,
            "",
        ))  # fmt: skip

    @property
    def text(self) -> str:
        """The file's text."""
        return "\n".join(self.lines) + "\n"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.text.encode("utf-8", "replace"))

    # --- what stands in it ------------------------------------------------------------------------------------

    def noted(self) -> list[str]:
        """The lines under the heading of notes that the gateway wrote, without their marks."""
        start, end = _section(self.lines, NOTES)
        return [_MARK.sub("", line).removeprefix("- ") for line in self.lines[start:end] if _MARK.search(line)]

    def recall(self, max_chars: int) -> str:
        """What the agent is given: what people wrote in the file first, then the newest of the rest, as room lasts.

        The lines keep the order in which they stand; headings that nothing is left under are left out.
        """
        visible = _COMMENT.sub("", "\n".join(_MARK.sub("\0", line) for line in self.lines)).split("\n")
        rows = [(line.rstrip("\0").rstrip(), line.endswith("\0")) for line in visible]
        title = next((n for n, (line, _ours) in enumerate(rows) if line.startswith("# ")), None)
        content = [n for n, (line, _) in enumerate(rows) if line.strip() and not _HEADING.match(line) and n != title]
        talks, _end = _section([line for line, _ours in rows], TALKS)
        order = [
            *(n for n in content if not rows[n][1]),
            *reversed([n for n in content if rows[n][1] and n < talks]),
            *reversed([n for n in content if rows[n][1] and n >= talks]),
        ]
        kept: set[int] = set()
        room = max_chars - sum(len(line) + 1 for n, (line, _) in enumerate(rows) if _HEADING.match(line) and n != title)
        for number in order:
            room -= len(rows[number][0]) + 1
            if room < 0:
                break
            kept.add(number)
        lines = [line for n, (line, _) in enumerate(rows) if n in kept or (_HEADING.match(line) and n != title)]
        return "\n".join(_without_empty_sections(lines)).strip()[:max_chars]

    # --- changes ----------------------------------------------------------------------------------------------

    def without(self, session_id: str, first: int | None = None) -> "Page":
        """The page without what is from a session, or from its turns that begin with this one."""
        return Page(tuple(line for line in self.lines if not _is_from(line, session_id, first)))

    def without_notes(self, notes: Iterable[str]) -> "Page":
        """The page without these notes that the gateway wrote."""
        gone = {note.casefold() for note in notes}
        kept = (
            line for line in self.lines
            if not (_MARK.search(line) and _MARK.sub("", line).removeprefix("- ").casefold() in gone)
        )  # fmt: skip
        return Page(tuple(kept))

    def with_notes(self, notes: Sequence[str], origin: Origin) -> "Page":
        """The page with these notes at the end of the others; one that stands there already is not added again."""
        known = {_MARK.sub("", line).strip().removeprefix("- ").casefold() for line in self.lines}
        fresh = {line.casefold(): line for note in reversed(notes) if (line := _plain(note))}
        added = [line for key, line in reversed(fresh.items()) if key not in known]
        return self._add(NOTES, [f"- {line} {origin.mark}" for line in added])

    def with_talk(self, day: str, said: Sequence[str], origin: Origin) -> "Page":
        """The page with what people said in a conversation, in one line for all of it.

        What is added to a line that is full already shows by its end alone.
        """
        start, end = _section(self.lines, TALKS)
        quotes = ", ".join(f"“{_plain(text)}”" for text in said)
        for number in range(start, end):
            found = _MARK.search(self.lines[number])
            if found is None or found["session"] != origin.session_id:
                continue
            words = one_line(f"{self.lines[number][: found.start()]}, {quotes}", LINE_CHARS)
            whole = replace(origin, first=int(found["first"]))
            return Page((*self.lines[:number], f"{words} {whole.mark}", *self.lines[number + 1 :]))
        words = one_line(f"- {day}: the user wrote {quotes}", LINE_CHARS)
        return self._add(TALKS, [f"{words} {origin.mark}"])

    def fitted(self, max_bytes: int) -> "Page":
        """The page without the oldest that the gateway wrote, conversations first, as far as it is too large."""
        page = self
        while page.size > max_bytes and (victim := page._oldest()) is not None:
            page = replace(page, lines=(*page.lines[:victim], *page.lines[victim + 1 :]))
        return page

    def _oldest(self) -> int | None:
        """The line that goes first when there is no room."""
        talks, _end = _section(self.lines, TALKS)
        ours = [n for n, line in enumerate(self.lines) if _MARK.search(line)]
        return next((n for n in ours if n >= talks), ours[0] if ours else None)

    def _add(self, heading: str, added: Sequence[str]) -> "Page":
        if not added:
            return self
        lines = self.lines if heading in self.lines else (*self.lines, "", heading, "")
        start, end = _section(lines, heading)
        body = list(lines[start:end])
        while body and not body[0].strip():
            body.pop(0)
        while body and not body[-1].strip():
            body.pop()
        return Page((*lines[:start], "", *body, *added, "", *lines[end:]))


def _section(lines: Sequence[str], heading: str) -> tuple[int, int]:
    """The lines below a heading, up to the next one of its rank or above; at the end if there is none."""
    if heading not in lines:
        return len(lines), len(lines)
    start = lines.index(heading) + 1
    ends = (n for n in range(start, len(lines)) if lines[n].startswith(("# ", "## ")))
    return start, next(ends, len(lines))


def _is_from(line: str, session_id: str, first: int | None) -> bool:
    found = _MARK.search(line)
    return found is not None and found["session"] == session_id and (first is None or int(found["first"]) == first)


def _plain(text: str) -> str:
    """Words as one line, in which nothing can end a comment or begin one, nor a heading."""
    return one_line(text.replace("<!--", "(").replace("-->", ")").replace("\0", ""), LINE_CHARS).lstrip("#- *").strip()


def _without_empty_sections(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else "#"
        if not (_HEADING.match(line) and following.startswith("#")):
            kept.append(line)
    return kept
