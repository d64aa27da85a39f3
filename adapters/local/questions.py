"""Questions of a terminal to the gateway beside the chat: what a command can become, sessions, how it stands."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from adapters.local.protocol import Ask, Frame, Told

ANSWER_SECONDS: Final = 5.0
"""How long the gateway may take; what is asked is of the moment, and is asked again soon."""

MOST_OPEN: Final = 8
"""Questions that may wait for an answer at once; who types fast asks many that nobody wants to know any more."""

About = Literal["words", "sessions", "state"]


class Questions:
    """Asks, and gives each answer to who waits for it. `send` sends a frame, or raises ConnectionError."""

    def __init__(self, send: Callable[[Frame], Awaitable[None]]) -> None:
        self._send = send
        self._numbers = itertools.count()
        self._open: dict[str, asyncio.Future[Told]] = {}

    async def ask(self, about: About, text: str = "") -> Told | None:
        """The answer; None if there is none in time, or nobody to ask."""
        if len(self._open) >= MOST_OPEN:
            return None
        name = f"q{next(self._numbers)}"
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._open[name] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._send(Ask(id=name, about=about, text=text))
                return await answer
        except (ConnectionError, OSError, TimeoutError):
            return None
        finally:
            del self._open[name]

    def take(self, told: Told) -> None:
        """An answer has come."""
        answer = self._open.get(told.id)
        if answer is not None and not answer.done():
            answer.set_result(told)
