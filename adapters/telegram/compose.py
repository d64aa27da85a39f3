"""What a text becomes on Telegram: messages with entities, and a file where it is too long for them."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from adapters.base import Composed, OutgoingFile
from adapters.markup.rendered import length_in
from adapters.markup.split import AsFile
from adapters.markup.telegram import MAX_LENGTH, Entity, TelegramDraft, TelegramMarkup, TelegramMessage

REPEATED: Final = "(sent again after an interruption; you may have seen it)"
"""Stands before what may have been seen already."""

FILE_NAME: Final = "answer.md"

_MARK_LENGTH: Final = len(REPEATED) + 1


@dataclass(frozen=True, slots=True)
class TextFile:
    """A whole text as a file, below the messages with its beginning."""

    text: str
    name: str = FILE_NAME


Part: TypeAlias = TelegramMessage | TextFile | OutgoingFile


class TelegramComposer:
    """Makes the messages of one text.

    A text that takes more than `max_messages` of them becomes a file once it is complete: its first `max_messages`
    stay, and the file with all of it follows. Each message leaves room for the mark of a repeat.
    """

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        markup = TelegramMarkup(max_length=MAX_LENGTH - _MARK_LENGTH)
        self._draft: TelegramDraft = markup.draft()

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


def marked(message: TelegramMessage) -> TelegramMessage:
    """A message with the mark of a repeat in its first line."""
    mark = Entity("italic", 0, len(REPEATED))
    moved = (
        Entity(each.type, each.offset + _MARK_LENGTH, each.length, each.url, each.language) for each in message.entities
    )
    return TelegramMessage(f"{REPEATED}\n{message.text}", (mark, *moved))


def shortened(text: str, limit: int) -> str:
    """A text cut to so many UTF-16 code units, with an ellipsis if something is gone."""
    if length_in(text, "utf16") <= limit:
        return text
    cut = text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", "ignore")
    return f"{cut.rstrip()}…"
