"""Answers as they grow: server-sent events, written as fast as each client reads and no faster."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from aiohttp import web

from gateway.api.emission import Emission
from gateway.api.errors import ApiError
from gateway.api.ledger import Answer
from gateway.api.service import Service, Submission, failure

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 30.0
"""How long a client may take no byte before it is let go; its answer is made and kept all the same."""

ALIVE: Final = b": still here\n\n"
"""A comment, which programs skip; proxies between see that the connection lives."""

DONE: Final = b"data: [DONE]\n\n"

HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Events(Protocol):
    """What makes the events of one answer."""

    def begin(self) -> Iterator[Mapping[str, Any]]:
        """Before there is any text."""

    def text(self, piece: str) -> Iterator[Mapping[str, Any]]:
        """A piece of the answer."""

    def end(self, answer: Answer, sent: str) -> Iterator[Mapping[str, Any]]:
        """What is left once all of the text has been sent."""

    def failed(self, error: ApiError) -> Iterator[Mapping[str, Any]]:
        """In place of what is left, where there is no answer to be had."""


class EventWriter:
    """Writes events to one client. `named`: each tells its type in a line of its own."""

    def __init__(self, response: web.StreamResponse, *, named: bool, seconds: float = WRITE_SECONDS) -> None:
        self._response = response
        self._named = named
        self._seconds = seconds

    async def write(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write events, all that there are in one go. Raises ConnectionError once the client has gone, or takes nothing
        any more."""
        await self.raw(b"".join(map(self._line, events)))

    def _line(self, event: Mapping[str, Any]) -> bytes:
        name = f"event: {event['type']}\n" if self._named and "type" in event else ""
        return f"{name}data: {json.dumps(event)}\n\n".encode()

    async def raw(self, data: bytes) -> None:
        """Write bytes; the next piece is not made before these are on their way."""
        await self._within(self._response.write(data))

    async def end(self) -> None:
        """Write what ends the response. Raises the same."""
        await self._within(self._response.write_eof())

    async def _within(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await writing
        except TimeoutError:
            raise ConnectionResetError("the client reads nothing") from None


async def stream(
    request: web.Request,
    service: Service,
    submission: Submission,
    events: Events,
    *,
    named: bool,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Write an answer while it grows. A client that leaves ends this and nothing else."""
    response = web.StreamResponse(headers={**HEADERS, **headers})
    try:
        await response.prepare(request)
        writer = EventWriter(response, named=named)
        await writer.write(events.begin())
        await _follow(service, submission, events, writer, named=named)
        await writer.end()
    except ConnectionError as error:
        log.info("a client left %s before its answer was complete: %s", submission.asked.id, error)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _follow(
    service: Service, submission: Submission, events: Events, writer: EventWriter, *, named: bool
) -> None:
    emission, waiter = Emission(), submission.waiter
    try:
        while (answer := waiter.answer) is None:
            if piece := emission.more(waiter.text):
                await writer.write(events.text(piece))
            elif not await service.news(submission):
                await writer.raw(ALIVE)
        rest: list[Mapping[str, Any]] = []
        if piece := emission.last(answer.text):
            rest += events.text(piece)
        failed = failure(answer)
        rest += events.end(answer, emission.sent) if failed is None or named else events.failed(failed)
        await writer.write(rest)
    except ApiError as error:
        await writer.write(events.failed(error))
    if not named:
        await writer.raw(DONE)
