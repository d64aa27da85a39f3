"""Whether a message whose send had no answer is there: read from the history of its channel.

For some minutes a nonce keeps a second send from being shown; after that, or where a nonce cannot help, the first of
our own messages of equal content that no other delivery claims is the one.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import discord

from adapters.base import (
    Delivery,
    DeliveryError,
    Found,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    SearchOutcome,
)
from adapters.discord.compose import REPEATED, TextFile
from adapters.discord.constants import FIND_LIMIT, NONCE_SECONDS, Timing
from adapters.discord.failures import CALL_ERRORS, delivery_error, is_blocked
from adapters.discord.permissions import reads_history
from adapters.discord.send import Sender, channel_id
from adapters.markup.discord import DiscordMessage

_NO_HISTORY: Final = (discord.Forbidden, discord.NotFound)


async def find(
    client: discord.Client, sender: Sender, monotonic: Callable[[], float], timing: Timing, delivery: Delivery
) -> Found | SearchOutcome:
    """Look through the messages that came since the last that was there when the send began.

    Where they cannot be read, a message is taken to be absent only while its nonce would keep it from being shown
    twice. Raises `DeliveryError`.
    """
    after = _last_before(delivery)
    if after is None or not reads_history(client, delivery.target):
        return _by_nonce(sender, monotonic, delivery)
    try:
        async with asyncio.timeout(timing.answer):
            return await _look(client, delivery, after)
    except _NO_HISTORY as error:
        if is_blocked(error):
            raise _failure(error) from None
        return _by_nonce(sender, monotonic, delivery)
    except CALL_ERRORS as error:
        raise _failure(error) from None


async def _look(client: discord.Client, delivery: Delivery, after: int) -> Found | SearchOutcome:
    claimed = {*delivery.before, *delivery.others}
    me = client.user.id if client.user is not None else 0
    channel = client.get_partial_messageable(channel_id(delivery.target))
    seen = 0
    async for message in channel.history(limit=FIND_LIMIT, after=discord.Object(after), oldest_first=True):
        seen += 1
        if message.author.id == me and str(message.id) not in claimed and _is_it(message, delivery):
            return Found(str(message.id))
    return SearchOutcome.ABSENT if seen < FIND_LIMIT else SearchOutcome.UNKNOWN


def _is_it(message: discord.Message, delivery: Delivery) -> bool:
    """Whether the message shows what the delivery says, with the mark of a repeat or without it."""
    match delivery.content:
        case DiscordMessage() as part:
            # An answer that grows may have been sent when it was shorter.
            sent = message.content.removeprefix(REPEATED).strip()
            return bool(sent) and part.content.startswith(sent)
        case TextFile() as text:
            return _holds(message, text.name, len(text.text.encode()))
        case OutgoingFile() as file:
            return _holds(message, file.name, None)
    return False


def _holds(message: discord.Message, name: str, size: int | None) -> bool:
    # Discord changes characters in a file's name, but keeps its end.
    suffix = name.rpartition(".")[2]
    return len(message.attachments) == 1 and all(
        each.filename.endswith(suffix) and (size is None or each.size == size) for each in message.attachments
    )


def _last_before(delivery: Delivery) -> int | None:
    """An id below which the message cannot be. Ids grow with time, in all channels alike. Of what it answers only the
    first was surely there when its send began: others can have come into its turn later."""
    known = [int(each) for each in delivery.before if each.isdigit()]
    asked = [int(found) for each in delivery.answers if (found := each.removeprefix("interaction:")).isdigit()]
    return max([*known, *sorted(asked)[:1]], default=None)


def _by_nonce(sender: Sender, monotonic: Callable[[], float], delivery: Delivery) -> SearchOutcome:
    sent_at = sender.sent_at(delivery)
    recent = sent_at is not None and monotonic() - sent_at < NONCE_SECONDS
    return SearchOutcome.ABSENT if recent else SearchOutcome.UNKNOWN


def _failure(error: Exception) -> DeliveryError:
    """A search that had no answer may be made again: it has shown nothing."""
    failure = delivery_error(error)
    if isinstance(failure, OutcomeUnknownError):
        return RetryLaterError(f"the search had no answer: {failure}")
    return failure
