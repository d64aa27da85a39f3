"""Whether a message whose send had no answer is there: each of ours tells in its metadata which delivery it is."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.base import Delivery, Found, OutcomeUnknownError, RetryLaterError, SearchOutcome
from adapters.markup.slack import SlackMessage
from adapters.slack.client import CallError, Client, SlackError
from adapters.slack.constants import EVENT_TYPE, FIND_PAGES, PAGE, Timing
from adapters.slack.failures import delivery_error
from adapters.slack.positions import micros

_TS: Final = re.compile(r"[0-9]{6,12}\.[0-9]{6}")

_CANNOT_LOOK: Final = frozenset({"missing_scope", "not_in_channel", "channel_not_found", "thread_not_found"})


def metadata_of(delivery: Delivery) -> dict[str, Any]:
    """What our message says of itself, to apps alone (https://docs.slack.dev/messaging/message-metadata)."""
    payload = {"id": delivery.id, "part": delivery.part} | ({"turn": delivery.turn_id} if delivery.turn_id else {})
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def is_message_id(text: str | None) -> bool:
    """Whether an id is one of Slack's messages."""
    return text is not None and _TS.fullmatch(text) is not None


async def find(client: Client, delivery: Delivery, channel: str, timing: Timing, user_id: str) -> Found | SearchOutcome:
    """Look for it among what came after the send began, and once more when what is on its way must have come.

    An answer may have begun as a stream, which tells nothing of itself until it has ended. Deliveries go into a
    conversation one after the other, so one of ours (`user_id`) that is new in the thread and tells nothing is it.

    One that no thread takes is in the conversation itself: it may have been an earlier process that found that out.

    Of a file nothing can be told. Raises `DeliveryError`; a search has shown nothing, so it may be made again.
    """
    if not isinstance(delivery.content, SlackMessage):
        return SearchOutcome.UNKNOWN
    try:
        outcome = await _search(client, delivery, channel, user_id)
        if outcome is not SearchOutcome.ABSENT:
            return outcome
        await asyncio.sleep(timing.settle)
        outcome = await _search(client, delivery, channel, user_id)
        if isinstance(outcome, Found):
            return outcome
        return await _beside(client, delivery, channel, user_id) or outcome
    except SlackError as error:
        if isinstance(error, CallError) and error.error in _CANNOT_LOOK:
            return SearchOutcome.UNKNOWN
        failure = delivery_error(error, delivery.target)
        if isinstance(failure, OutcomeUnknownError):
            raise RetryLaterError(f"the search had no answer: {error}") from None
        raise failure from None


async def _beside(client: Client, delivery: Delivery, channel: str, user_id: str) -> Found | None:
    """The same outside of the thread, where it is not in it. Raises `SlackError`."""
    if delivery.target.thread_id is None:
        return None
    outside = replace(delivery, target=replace(delivery.target, thread_id=None))
    try:
        outcome = await _search(client, outside, channel, user_id)
    except CallError as error:
        if error.error not in _CANNOT_LOOK:
            raise
        return None
    return outcome if isinstance(outcome, Found) else None


async def _search(client: Client, delivery: Delivery, channel: str, user_id: str) -> Found | SearchOutcome:
    wanted, begun = metadata_of(delivery)["event_payload"], None
    span = {"include_all_metadata": True, "limit": PAGE} | _since(delivery)
    for _ in range(FIND_PAGES):
        if delivery.target.thread_id:
            call = client.web.conversations_replies(channel=channel, ts=delivery.target.thread_id, **span)
        else:
            call = client.web.conversations_history(channel=channel, **span)
        answer = await client.call(call)
        for message in answer.get("messages") or ():
            if _payload(message) == wanted:
                return Found(str(message["ts"]))
            if begun is None and message.get("user") == user_id and _is_begun(message, delivery):
                begun = Found(str(message["ts"]))
        cursor = (answer.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return begun or SearchOutcome.ABSENT
        span["cursor"] = cursor
    return SearchOutcome.UNKNOWN


def _since(delivery: Delivery) -> dict[str, Any]:
    """From where on it can be: after all that was there when its send began. Of what it answers that is certain of the
    first alone: others can have come into its turn later."""
    answered = [each for each in delivery.answers if is_message_id(each)]
    known = [*filter(is_message_id, delivery.before), *sorted(answered, key=micros)[:1]]
    return {"oldest": max(known, key=micros)} if known else {}


def _is_begun(message: Mapping[str, Any], delivery: Delivery) -> bool:
    """Whether a message of ours is a stream that has not ended, and may be the beginning of this delivery."""
    ts, known = str(message.get("ts")), (*delivery.before, *delivery.others)
    if delivery.part or delivery.target.thread_id in (None, ts) or ts in known:
        return False
    return not (message.get("metadata") or message.get("files") or message.get("subtype"))


def _payload(message: Mapping[str, Any]) -> object:
    metadata = message.get("metadata") or {}
    return metadata.get("event_payload") if metadata.get("event_type") == EVENT_TYPE else None
