"""Answers that grow by Slack's own streaming, in threads of direct messages; what stands in the end is always an edit.

A stream is a preview: what is written to it can never be taken back, and Slack reads it as Markdown. So nothing in it
calls anybody, and the complete answer replaces it as any edit does, in the form that all our messages have. Whatever
goes wrong with a stream, its message is edited from then on.

In channels nothing is streamed: there Slack shows a stream as it grows to one person alone, and to everybody else once
it has ended. In direct messages, only a reply in a thread can be streamed
(https://docs.slack.dev/reference/methods/chat.startStream).
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adapters.base import Delivery, RetryLaterError, UndeliverableError
from adapters.markup.slack import harmless
from adapters.memory import Memory
from adapters.slack import find
from adapters.slack.client import Client, SlackError
from adapters.slack.constants import MAX_STREAM, NO_STREAMS_SECONDS, STREAMS_A_MINUTE
from adapters.slack.failures import delivery_error
from adapters.slack.normalise import is_dm

log = logging.getLogger(__name__)

MINUTE: Final = 60.0


@dataclass(slots=True)
class _Stream:
    """A message that is being streamed. `written` is what it holds; None where nothing may be added any more."""

    delivery_id: int
    written: str | None


class Streams:
    """The streams of one bot; none is begun unless `wanted`. `now` gives seconds that never go back.

    The calls raise `SlackError`.
    """

    def __init__(self, client: Client, now: Callable[[], float], *, wanted: bool) -> None:
        self._client = client
        self._web = client.web
        self._now = now
        self._wanted = wanted
        self._open: Memory[tuple[str, str], _Stream] = Memory()
        """By conversation and message."""
        self._begun: deque[float] = deque(maxlen=STREAMS_A_MINUTE)
        self._not_before = 0.0

    async def begin(self, delivery: Delivery, channel: str) -> str | None:
        """Show the first text of an answer as a stream; its id, None where it has to be a message as any other."""
        if delivery.repeated or not _is_for_stream(delivery, channel) or not self._is_allowed():
            return None
        text, thread = harmless(delivery.text), delivery.target.thread_id or ""
        try:
            answer = await self._client.call(
                self._web.chat_startStream(channel=channel, thread_ts=thread, markdown_text=text)
            )
        except SlackError as error:
            failure = delivery_error(error)
            if not isinstance(failure, RetryLaterError | UndeliverableError):
                raise
            # If it is the place and not the stream that is refused, the message will be refused too, and tell why.
            asked = failure.retry_after if isinstance(failure, RetryLaterError) else None
            self._not_before = self._now() + (NO_STREAMS_SECONDS if asked is None else asked)
            log.info("answers are not streamed for a while, but edited: %s", error)
            return None
        self._begun.append(self._now())
        ts = str(answer["ts"])
        self._open[channel, ts] = _Stream(delivery.id, text)
        return ts

    async def grow(self, delivery: Delivery, channel: str, ts: str) -> bool:
        """Let a stream show the delivery's text; False where its message has to be edited now."""
        stream = self._open.get((channel, ts))
        if stream is None:
            return False
        text, before = harmless(delivery.text), stream.written
        if before is None or not _is_for_stream(delivery, channel) or not text.startswith(before):
            await self.end(delivery, channel, ts)
            return False
        if text == before:
            return True
        # A piece of which nobody knows whether it came, because this is cancelled, say, must not come once more.
        stream.written = None
        try:
            await self._client.call(
                self._web.chat_appendStream(channel=channel, ts=ts, markdown_text=text[len(before) :])
            )
        except SlackError as error:
            failure = delivery_error(error)
            if isinstance(failure, RetryLaterError):
                stream.written = before
            if not isinstance(failure, UndeliverableError):
                raise
            log.info("an answer is not streamed any longer, but edited: %s", error)
            await self.end(delivery, channel, ts)
            return False
        stream.written = text
        return True

    async def end(self, delivery: Delivery, channel: str, ts: str) -> None:
        """End the message's stream, which may be of an earlier process. One that has ended already is no error."""
        try:
            await self._client.call(
                self._web.chat_stopStream(channel=channel, ts=ts, metadata=find.metadata_of(delivery))
            )
        except SlackError as error:
            if not isinstance(delivery_error(error), UndeliverableError):
                raise
            log.debug("a stream had ended already: %s", error)
        self._open.pop((channel, ts), None)

    def outgrown(self, delivery_id: int) -> None:
        """The delivery goes on in a further message: the first one holds less than all of the text from now on."""
        for stream in self._open.values():
            if stream.delivery_id == delivery_id:
                stream.written = None

    def _is_allowed(self) -> bool:
        """Whether Slack takes one more: each that begins has to be ended too, within the same limit."""
        now = self._now()
        is_full = len(self._begun) == STREAMS_A_MINUTE and now - self._begun[0] < MINUTE
        return self._wanted and now >= self._not_before and not is_full


def _is_for_stream(delivery: Delivery, channel: str) -> bool:
    """Whether this is the one message of an answer that still grows, in a thread of direct messages."""
    grows = delivery.kind == "reply" and not delivery.final and delivery.part == 0
    return grows and delivery.target.thread_id is not None and is_dm(channel, None) and _is_short(delivery.text)


def _is_short(text: str) -> bool:
    return bool(text.strip()) and len(text) <= MAX_STREAM
