"""One request to a model: what its server answers, event by event, with whatever cannot be read told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Final

from pydantic_ai.messages import ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models import StreamedResponse

from gateway.agents.errors import UnreadableAnswerError

_MISREADINGS: Final = (AttributeError, LookupError, TypeError, ValueError)
"""What the providers' libraries raise where an answer, or a part of its stream, has another shape than they know."""


async def read_answer(
    request: AbstractAsyncContextManager[StreamedResponse], timeout: float
) -> AsyncGenerator[ModelResponseStreamEvent | ModelResponse, None]:
    """Make the request; its events as they come, and at last the whole answer.

    Raises `RequestError`: `TimeoutError` after so many seconds without an event, `UnreadableAnswerError`.
    """
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(timeout):
            with _reading():
                stream = await stack.enter_async_context(request)
        events = aiter(stream)
        while True:
            try:
                async with asyncio.timeout(timeout):
                    with _reading():
                        event = await anext(events)
            except StopAsyncIteration:
                break
            yield event
        with _reading():
            answer = stream.get()
        yield answer


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _MISREADINGS as error:
        raise UnreadableAnswerError(type(error).__name__) from error
