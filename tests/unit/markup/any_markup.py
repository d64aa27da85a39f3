"""What holds for the messages of any platform, whatever its marks."""

import re
from collections.abc import Iterable
from typing import Any, Final

from adapters.markup.messages import Markup, Messages

BLANK: Final = re.compile(
    "[\\s\u200b-\u200f\u2060\u2800\u3000\u3164\ufeff\u00a0\u202a-\u202e\u180e\U000e0000-\U000e007f]*"
)
"""What shows nothing."""


def show_all(texts: Iterable[str], whole: str) -> None:
    """The texts of messages are the whole, in its order; between them nothing that shows is left out."""
    position = 0
    for text in texts:
        found = BLANK.match(whole, position)
        assert found
        start = whole.find(text, position, found.end() + len(text))
        assert start >= 0, f"{text!r} is not what comes next"
        position = start + len(text)
    assert BLANK.fullmatch(whole[position:])


def settle(markup: Markup[Any], text: str, steps: list[int]) -> None:
    """Messages that are settled stay while the text grows, by so many characters at a time; in the end all are those of
    the complete text."""
    draft = markup.draft()
    settled: Messages[Any] = Messages(())
    position = 0
    while position < len(text):
        position += steps[position % len(steps)]
        now = draft.update(text[:position])
        assert isinstance(now, Messages)
        assert now.messages[: settled.settled] == settled.messages[: settled.settled]
        assert now.settled >= settled.settled
        settled = now
    final = draft.update(text, final=True)
    assert isinstance(final, Messages)
    whole = markup.messages(text)
    assert isinstance(whole, Messages)
    assert final.messages == whole.messages


def hold_words(sent: str, text: str) -> None:
    """Every word that is easily found, outside of the lines of fences, is in what is sent."""
    lines = [line for line in text.split("\n") if "```" not in line and "~~~" not in line]
    for word in re.findall(r"[qwxyz]{5,}", "\n".join(lines)):
        assert word in sent
