"""Cutting a message that is too long into parts, where a reader would cut it.

Joined, the parts are the whole text but for white space at its ends and at the cuts. Of a cut between lines of code,
the indent of the next line stays.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from wcwidth import grapheme_boundary_before, iter_graphemes

from adapters.markup.rendered import LengthUnit, Look, Rendered, Span, length_in, sizes_in

LOOKAHEAD: Final = 64
"""Characters after the longest possible part that a cut may depend on: the rest of a cluster, spaces, a blank line."""

_SPACE: Final = " \t\n"
_PARAGRAPH: Final = re.compile(r"\n{2,}")
_LINE: Final = re.compile(r"\n")
_SENTENCE: Final = re.compile(r"[.!?…][\"'”’)\]]*(?=[ \n])|[。！？｡][」』）”’]*")
_WORD: Final = re.compile(r"[ \t\n]+|(?<=[，、；：])")
_ANY_SPACE: Final = re.compile(r"[ \t\n]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may hold. `max_length` is counted in `unit` and must leave room for a character.

    A text that takes more than `max_parts` messages becomes a file. `max_spans` bounds the spans of one message.
    `wire`, where a platform's spans are written as characters, gives what is sent: that is then what is counted.
    """

    max_length: int | None
    unit: LengthUnit = "characters"
    max_parts: int | None = None
    max_spans: int | None = None
    wire: Callable[[Rendered], str] | None = None

    def holds(self, rendered: Rendered) -> bool:
        """Whether one message holds all of this."""
        if self.max_spans is not None and len(rendered.spans) > self.max_spans:
            return False
        if self.max_length is None:
            return True
        text = self.wire(rendered) if self.wire else rendered.text
        return length_in(text, self.unit) <= self.max_length


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts in order. The first `settled` of them stay as they are when text is appended to the whole; the one
    after them begins at `resume`."""

    parts: tuple[Rendered, ...]
    settled: int = 0
    resume: int = 0


@dataclass(frozen=True, slots=True)
class AsFile:
    """The text takes more than `max_parts` messages: send it as a file."""

    max_parts: int


def split(rendered: Rendered, limits: Limits, *, settled: int = 0, start: int = 0) -> Parts | AsFile:
    """Cut a message into parts within the limits.

    A cut stands, if possible, between paragraphs, else between lines, sentences, words, and at worst between what
    a reader takes for characters. Spans that it goes through are closed before and opened again after it; a link
    moves to the next part whole. Only a link, or a character, that is longer than a message is cut itself.

    `settled` is the number of characters from the start that will not change when the text grows. With `start`, the
    `resume` of an earlier result, only the parts from there on are made.
    """
    if limits.max_length is None and limits.max_spans is None:
        return Parts((rendered,) if rendered.text.strip(_SPACE) else ())
    parts: list[Rendered] = []
    stable = 0
    for part, seen, following in _Splitter(rendered, limits).parts(start):
        if limits.max_parts is not None and len(parts) == limits.max_parts:
            return AsFile(limits.max_parts)
        if stable == len(parts) and seen <= settled:
            stable, start = stable + 1, following
        parts.append(part)
    return Parts(tuple(parts), stable, start)


class _Splitter:
    """Cuts one message, from its start to its end."""

    def __init__(self, rendered: Rendered, limits: Limits) -> None:
        self._rendered = rendered
        self._text = rendered.text
        self._limits = limits
        self._links = _Ranges(span for span in rendered.spans if span.look is Look.LINK)
        self._code = _Ranges(span for span in rendered.spans if span.look is Look.PRE)

    def parts(self, start: int) -> Iterator[tuple[Rendered, int, int]]:
        """Each part, how far into the text one has to look to know that it is this one, and where the next begins."""
        start, end = start or self._skip(0), len(self._text.rstrip(_SPACE))
        while start < end:
            reach = self._reach(start, end)
            if reach >= end:
                yield self._rendered.cut(start, end), len(self._text) + 1, end
                return
            cut = self._cut(start, reach)
            following = self._skip(cut)
            yield self._rendered.cut(start, self._trim(start, cut)), self._seen(reach), following
            start = following

    def _seen(self, reach: int) -> int:
        """A cut also depends on where code that begins before it ends, if it may end in the next part."""
        seen = reach + LOOKAHEAD
        code = self._code.over(reach)
        return max(seen, code.end + 1) if code and self._fits(code) else seen

    # --- how far a part may reach

    def _reach(self, start: int, end: int) -> int:
        """Where a part from `start` ends at the latest."""
        reach = self._longest(start, end)
        if self._limits.max_spans is not None:
            reach = self._within_spans(start, reach, self._limits.max_spans)
        return reach

    def _longest(self, start: int, end: int) -> int:
        limit = self._limits.max_length
        if limit is None:
            return end
        if self._limits.wire is not None:
            return self._longest_on_wire(start, end)
        window = self._text[start : min(end, start + limit)]
        if length_in(window, self._limits.unit) <= limit:
            return start + len(window)
        total = 0
        for count, total in enumerate(accumulate(sizes_in(window, self._limits.unit))):
            if total > limit:
                return start + max(count, 1)
        return start + len(window)

    def _longest_on_wire(self, start: int, end: int) -> int:
        """The most characters whose written form fits. Written forms grow with the text, but for a few characters."""
        assert self._limits.max_length is not None
        low, high = start + 1, min(end, start + self._limits.max_length)
        while low < high:
            middle = (low + high + 1) // 2
            if self._limits.holds(self._rendered.cut(start, middle)):
                low = middle
            else:
                high = middle - 1
        return low

    def _within_spans(self, start: int, reach: int, most: int) -> int:
        count = 0
        for span in self._rendered.spans:
            if span.start >= reach:
                break
            count += span.end > start
            if count > most:
                return max(span.start, start + 1)
        return reach

    # --- where to cut

    def _cut(self, start: int, reach: int) -> int:
        """The best place after `start` and not after `reach`."""
        link = self._links.over(reach)
        if link and link.start > start:
            reach = link.start
        half = start + (reach - start) // 2
        code = self._code.over(reach)
        if code and code.start > start + (reach - start) // 4 and self._fits(code):
            reach = half = code.start  # code that the next part can hold stays whole
        for earliest in (half, start + 1):
            for places in (self._gaps, self._code_lines, self._sentences, self._words):
                found = next(places(earliest, reach), None)
                if found is not None and found > start:
                    return found
        place = self._between_clusters(start, reach)
        link = self._links.over(place)  # one may end within a cluster that reaches too far
        return link.start if link and link.start > start and self._is_boundary(link.start) else place

    def _fits(self, span: Span) -> bool:
        return self._limits.holds(self._rendered.cut(span.start, span.end))

    def _gaps(self, earliest: int, reach: int) -> Iterator[int]:
        """Between paragraphs, then between lines; not within code."""
        for pattern in (_PARAGRAPH, _LINE):
            for place in self._last(pattern, earliest, reach, before=True):
                if not self._code.over(place):
                    yield place

    def _code_lines(self, earliest: int, reach: int) -> Iterator[int]:
        """Between lines of code; first where one begins that is not indented."""
        lines = [place for place in self._last(_LINE, earliest, reach, before=True) if self._code.over(place)]
        yield from (place for place in lines if self._text[place + 1 : place + 2] not in ("", *_SPACE))
        yield from lines

    def _sentences(self, earliest: int, reach: int) -> Iterator[int]:
        return (place for place in self._last(_SENTENCE, earliest, reach) if not self._code.over(place))

    def _words(self, earliest: int, reach: int) -> Iterator[int]:
        return self._last(_WORD, earliest, reach, before=True)

    def _last(self, pattern: re.Pattern[str], earliest: int, reach: int, *, before: bool = False) -> Iterator[int]:
        """Where cuts at a pattern may be, the last one first: after it, or before it if it is white space."""
        matches = list(pattern.finditer(self._text, earliest, min(reach + 1, len(self._text))))
        for found in reversed(matches):
            place = found.start() if before else found.end()
            if earliest <= place <= reach and self._may_cut(place):
                yield place

    def _may_cut(self, place: int) -> bool:
        return not self._links.over(place) and self._is_boundary(place)

    def _is_boundary(self, place: int) -> bool:
        """Whether a cluster of characters ends here (Unicode Standard Annex 29)."""
        text = self._text
        if place <= 0 or place >= len(text) or (text[place].isascii() and text[place - 1].isascii()):
            return True
        return bool(grapheme_boundary_before(text, place + 1) == place)

    def _between_clusters(self, start: int, reach: int) -> int:
        """The last boundary of clusters; within one only if it is longer than a part."""
        place = start
        for cluster in iter_graphemes(self._text[start : reach + LOOKAHEAD]):
            if place + len(cluster) > reach:
                break
            place += len(cluster)
        return place if place > start else reach

    # --- white space at a cut

    def _trim(self, start: int, cut: int) -> int:
        return start + len(self._text[start:cut].rstrip(_SPACE))

    def _skip(self, cut: int) -> int:
        """Where the next part begins: within code, the indent of its first line stays."""
        text = self._text
        found = _ANY_SPACE.match(text, cut)
        begin = found.end() if found else cut
        begin = self._code.first_start(cut, begin)
        if self._code.over(cut) and "\n" in text[cut:begin]:
            begin = text.rindex("\n", cut, begin) + 1
        while begin > cut and not self._is_boundary(begin):
            begin -= 1  # a combining mark may stand on a space
        return begin


class _Ranges:
    """Spans that do not overlap, in order."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = list(spans)
        self._starts = [span.start for span in self._spans]

    def over(self, place: int) -> Span | None:
        """The span that a cut at this place would go through."""
        index = bisect_left(self._starts, place) - 1
        return self._spans[index] if index >= 0 and place < self._spans[index].end else None

    def first_start(self, begin: int, end: int) -> int:
        """Where the first span begins that does so from `begin` to before `end`; else `end`."""
        index = bisect_left(self._starts, begin)
        return min(end, self._starts[index]) if index < len(self._starts) else end
