"""What a text becomes on Telegram: messages with entities, and a file where it is too long for them."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from adapters.base import Composed, OutgoingFile
from adapters.markup.split import AsFile
from adapters.markup.telegram import MAX_LENGTH, Entity, TelegramDraft, TelegramMarkup, TelegramMessage
from adapters.telegram.constants import MAX_CAPTION

REPEATED: Final = "(sent again after an interruption; you may have seen it)"
"""Stands before what may have been seen already."""

FILE_NAME: Final = "answer.md"

_MARK_LENGTH: Final = len(REPEATED) + 1

_ELLIPSIS: Final = "…"

_LONGEST_CAPTION: Final = 8 * MAX_CAPTION
"""Characters of Markdown of a caption that are looked at; what a caption holds takes far fewer."""


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


def caption_of(text: str, *, repeated: bool) -> TelegramMessage:
    """What stands below a file: Markdown like any text, cut to what a caption holds."""
    room = MAX_CAPTION - len(_ELLIPSIS) - (_MARK_LENGTH if repeated else 0)
    made = TelegramMarkup(max_length=room).messages(text[:_LONGEST_CAPTION])
    assert not isinstance(made, AsFile)
    first = next(iter(made.messages), TelegramMessage(""))
    if len(made.messages) > 1 or len(text) > _LONGEST_CAPTION:
        first = TelegramMessage(f"{first.text}{_ELLIPSIS}", first.entities)
    return marked(first) if repeated else first


def marked(message: TelegramMessage) -> TelegramMessage:
    """A message with the mark of a repeat in its first line."""
    mark = Entity("italic", 0, len(REPEATED))
    moved = (
        Entity(each.type, each.offset + _MARK_LENGTH, each.length, each.url, each.language) for each in message.entities
    )
    return TelegramMessage(f"{REPEATED}\n{message.text}".rstrip(), (mark, *moved))
