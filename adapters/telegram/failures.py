"""What a refused or broken call means for a delivery."""

from typing import Final

from telegram.error import TelegramError

from adapters.base import (
    AdapterHost,
    ChatMovedError,
    DeliveryError,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    Target,
    UndeliverableError,
)
from adapters.telegram.client import SERVER_FAULT, CallError, NotSentError

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
TOO_LARGE: Final = 413
FLOOD: Final = 429

NOT_MODIFIED: Final = "message is not modified"
_UNRESOLVED: Final = "resolve host"
"""Of a webhook's address: the server asks for it on the spot, and a name service that is out for the moment answers
"Temporary failure in name resolution" (https://github.com/yagop/node-telegram-bot-api/issues/747), or as if there were
no such name (https://github.com/Olegt0rr/telegram-local/issues/1)."""

_TOPIC_GONE: Final = ("message thread not found", "TOPIC_DELETED", "TOPIC_ID_INVALID")
_TOPIC_CLOSED: Final = ("TOPIC_CLOSED", "topic is closed")
_CHAT_GONE: Final = ("chat not found", "PEER_ID_INVALID", "user is deactivated", "group chat was deactivated")
_NO_RIGHTS: Final = (
    "not enough rights",
    "have no rights",
    "administrator rights",
    "CHAT_WRITE_FORBIDDEN",
    "RESTRICTED",
)
_NOT_OURS: Final = ("message can't be edited", "message to edit not found", "MESSAGE_ID_INVALID")
_ENTITIES: Final = (
    "can't parse entities",
    "can't parse MessageEntity",
    "entity begin",
    "incorrect offset",
    "incorrect length",
    "ENTITY_",
    "ENTITIES_",
)
_FORM: Final = (
    "PHOTO_",
    "IMAGE_",
    "VIDEO_",
    "VOICE_",
    "AUDIO_",
    "MEDIA_",
    "voice message",
    "file is too big",
    "wrong file",
    "wrong type",
    "unsupported",
)
_NO_DRAFTS: Final = ("method not found", "not supported", "DRAFT_PEER_INVALID")


def refuses_token(error: TelegramError) -> bool:
    """Whether the server does not know the account: a wrong token, or one that was revoked.

    A token that cannot be one is answered as an address that is not there. What a proxy says is no word on it.
    """
    if not isinstance(error, CallError) or not error.is_verdict:
        return False
    unknown = error.code in (UNAUTHORIZED, NOT_FOUND) and not error.says("method not found")
    return unknown or error.says("logged out")


def refuses_webhook(error: CallError) -> bool:
    """Whether the server will not take the address of a webhook, or its secret, until the operator has changed them."""
    return error.code == BAD_REQUEST and error.is_verdict and not error.says(_UNRESOLVED)


def refuses_entities(error: CallError) -> bool:
    """Whether the server does not take the looks of a text."""
    return error.code == BAD_REQUEST and error.says(*_ENTITIES)


def refuses_form(error: CallError) -> bool:
    """Whether a file is not taken as what it was sent as: its format or shape, or the person takes no such thing."""
    return error.code == BAD_REQUEST and error.says(*_FORM)


def has_no_drafts(error: CallError) -> bool:
    """Whether the chat, or the server, has no drafts."""
    return error.code in (BAD_REQUEST, NOT_FOUND) and error.is_verdict and error.says(*_NO_DRAFTS)


def is_too_long(error: CallError) -> bool:
    """Whether the text is longer than a message may be."""
    return error.code == BAD_REQUEST and error.says("message is too long", "MESSAGE_TOO_LONG")


async def delivery_error(error: TelegramError, target: Target, host: AdapterHost) -> DeliveryError:
    """The error in the words of the core. A chat that has moved is told to the host first."""
    if isinstance(error, NotSentError):
        return NotConnectedError(f"Telegram cannot be reached: {error}")
    if not isinstance(error, CallError):
        return OutcomeUnknownError(f"no answer from Telegram: {error}")
    if error.migrate_to is not None:
        await host.move_chat(target.chat_id, str(error.migrate_to))
        return ChatMovedError(f"the group is the supergroup {error.migrate_to} now")
    if error.code == FLOOD:
        return RetryLaterError(error.message, error.retry_after)
    if refuses_token(error):
        return NotConnectedError("Telegram does not know the token any more")
    if error.code == CONFLICT:
        return RetryLaterError(error.message)
    if error.code >= SERVER_FAULT or not (error.is_verdict or error.code == TOO_LARGE):
        return OutcomeUnknownError(f"Telegram's server failed: {error.message}")
    return UndeliverableError(_in_words(error, target))


def _in_words(error: CallError, target: Target) -> str:
    said = f"Telegram says: {error.message}"
    if error.says(*_TOPIC_GONE):
        return f"the topic {target.thread_id} is gone ({said})"
    if error.says(*_TOPIC_CLOSED):
        return f"the topic {target.thread_id} is closed; let the bot manage topics, or open it ({said})"
    if error.says(*_CHAT_GONE):
        return f"there is no such chat for the bot ({said})"
    if error.says(*_NO_RIGHTS):
        return f"the bot may not write there; make it an administrator, or give it the right ({said})"
    if error.says(*_NOT_OURS):
        return f"the message cannot be edited any more ({said})"
    if error.says("blocked by the user"):
        return f"the person has blocked the bot ({said})"
    if error.code == FORBIDDEN:
        return f"the bot is not in the chat, or may not write to it ({said})"
    if error.code == TOO_LARGE:
        return f"the file is larger than Telegram takes ({said})"
    return said
