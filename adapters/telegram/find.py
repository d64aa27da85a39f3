"""Whether a message whose send had no answer is there.

A bot cannot read a chat. But it can ask for an edit that changes nothing, and the refusal tells what is under an id:
"message is not modified" for one of its own, "message can't be edited" for somebody else's, "message to edit not
found" for none. This is observed behaviour of the Bot API server, not documented: any other answer leaves it unknown.
"""

from enum import Enum, auto
from typing import Final

from telegram.error import TelegramError

from adapters.base import (
    AdapterHost,
    Delivery,
    Found,
    OutcomeUnknownError,
    RetryLaterError,
    SearchOutcome,
)
from adapters.telegram.client import SERVER_FAULT, CallError, Client
from adapters.telegram.constants import FIND_BEYOND, FIND_WINDOW
from adapters.telegram.failures import NOT_MODIFIED, delivery_error
from adapters.telegram.send import keyboard

_OTHERS: Final = ("message can't be edited",)
_NOTHING: Final = ("message to edit not found", "MESSAGE_ID_INVALID")

_OWN_IDS: Final = "-100"
"""How the ids of supergroups and channels begin (https://core.telegram.org/api/bots/ids)."""


class _Seen(Enum):
    """What is under an id."""

    OURS = auto()
    OTHERS = auto()
    NOTHING = auto()
    UNCLEAR = auto()


async def find(client: Client, host: AdapterHost, delivery: Delivery) -> Found | SearchOutcome:
    """Look under the ids that the message can have: those above the highest that was there when its send began.

    It is absent only in a supergroup or a channel, whose ids follow one another, if there is nothing behind an id that
    came later. In other chats the ids are those of all such chats of the bot together
    (https://core.telegram.org/constructor/message), so what is known to have come may have come before it, and nothing
    under the ids behind tells that it is not there. No one sees the search. Raises `DeliveryError`.
    """
    known = _numbers(delivery.before) | _numbers(delivery.others)
    lowest = max(_numbers(delivery.before) or _numbers(delivery.answers), default=None)
    if lowest is None:
        return SearchOutcome.UNKNOWN
    later = max((number for number in known if number > lowest), default=None)
    if later is not None and later - lowest > FIND_WINDOW:
        return SearchOutcome.UNKNOWN
    certain = later is not None and delivery.target.chat_id.startswith(_OWN_IDS)
    empty = 0
    for number in range(lowest + 1, lowest + FIND_WINDOW + FIND_BEYOND + 1):
        seen = _Seen.OTHERS if number in known else await _look(client, host, delivery, number)
        if seen is _Seen.OURS:
            return Found(str(number))
        certain = certain and seen is not _Seen.UNCLEAR
        empty = empty + 1 if seen is _Seen.NOTHING else 0
        if certain and later is not None and number > later and empty >= FIND_BEYOND:
            return SearchOutcome.ABSENT
    return SearchOutcome.UNKNOWN


async def _look(client: Client, host: AdapterHost, delivery: Delivery, number: int) -> _Seen:
    """What is under an id. The keyboard is the one that the message was sent with, so that nothing changes."""
    try:
        await client.bot.edit_message_reply_markup(delivery.target.chat_id, number, reply_markup=keyboard(delivery))
    except CallError as error:
        if error.says(NOT_MODIFIED):
            return _Seen.OURS
        if error.says(*_OTHERS):
            return _Seen.OTHERS
        if error.says(*_NOTHING):
            return _Seen.NOTHING
        if error.migrate_to is not None or error.retry_after is not None or error.code >= SERVER_FAULT:
            raise await _failure(error, delivery, host) from None
        return _Seen.UNCLEAR
    except TelegramError as error:
        raise await _failure(error, delivery, host) from None
    # It did change something, so the message is ours, and nobody knew of it.
    return _Seen.OURS


async def _failure(error: TelegramError, delivery: Delivery, host: AdapterHost) -> Exception:
    """A search that had no answer may be made again: it has shown nothing."""
    failure = await delivery_error(error, delivery.target, host)
    if isinstance(failure, OutcomeUnknownError):
        return RetryLaterError(f"the search had no answer: {error}")
    return failure


def _numbers(ids: tuple[str, ...]) -> set[int]:
    return {int(each) for each in ids if each.isdigit()}
