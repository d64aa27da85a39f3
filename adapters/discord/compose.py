"""What a text becomes on Discord: messages in its Markdown, and a file where it is too long for them."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from adapters.base import Composed, OutgoingFile
from adapters.markup.discord import MAX_LENGTH, DiscordMarkup, DiscordMessage, Mentions
from adapters.markup.split import AsFile

REPEATED: Final = "-# (sent again after an interruption; you may have seen it)"
"""Stands in small print before what may have been seen already."""

FILE_NAME: Final = "answer.md"

_MARK_LENGTH: Final = len(REPEATED) + 1

_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class TextFile:
    """A whole text as a file, below the messages with its beginning."""

    text: str
    name: str = FILE_NAME


Part: TypeAlias = DiscordMessage | TextFile | OutgoingFile


def markup(mentions: Mentions) -> DiscordMarkup:
    """Markup whose messages leave room for the mark of a repeat, and for an ellipsis."""
    return DiscordMarkup(mentions=mentions, max_length=MAX_LENGTH - _MARK_LENGTH - len(_ELLIPSIS))


class DiscordComposer:
    """Makes the messages of one text.

    A text that takes more than `max_messages` of them becomes a file once it is complete: its first `max_messages`
    stay, and the file with all of it follows.
    """

    def __init__(self, max_messages: int, mentions: Mentions) -> None:
        self._max_messages = max_messages
        self._draft = markup(mentions).draft()

    def update(self, text: str, *, final: bool, shown: int) -> Composed:
        """The messages for the whole text so far; how many are `shown` changes nothing about them."""
        del shown
        made = self._draft.update(text, final=final)
        assert not isinstance(made, AsFile)
        kept = made.messages[: self._max_messages]
        settled = min(made.settled, len(kept))
        if not final or len(made.messages) <= self._max_messages:
            return Composed(kept, settled)
        return Composed((*kept, TextFile(text)), settled)


def caption_of(text: str, mentions: Mentions, *, repeated: bool) -> str | None:
    """What stands beside a file: Markdown like any text, cut to what one message holds."""
    made = markup(mentions).messages(text)
    assert not isinstance(made, AsFile)
    caption = made.messages[0].content if made.messages else ""
    if len(made.messages) > 1:
        caption += _ELLIPSIS
    return (marked(caption) if repeated else caption) or None


def marked(content: str) -> str:
    """A message with the mark of a repeat in its first line."""
    return f"{REPEATED}\n{content}".strip()
