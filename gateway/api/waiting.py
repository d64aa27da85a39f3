"""Those who wait for an answer over HTTP: each sees the newest text as it grows, and the answer once it stands."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from gateway.api.ledger import Answer, Asked


class TooManyWaitingError(Exception):
    """As many clients wait as may."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that somebody waits for. `text` is all of the answer that is known so far; there is no queue, so one
    who reads slowly costs no more than the answer itself."""

    id: str
    chat: str
    text: str = ""
    answer: Answer | None = None
    asked: Asked | None = None
    noted_as: int | None = None
    """Its number among those that were noted while somebody waited for them."""
    clients: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def grow(self, text: str) -> None:
        """There is more of the answer."""
        self.text = text
        self._touch()

    def finish(self, answer: Answer) -> None:
        """The answer stands."""
        self.answer = answer
        self._touch()

    def wake(self) -> None:
        """There is something to be told that is neither."""
        self._touch()

    async def change(self, seconds: float) -> bool:
        """Wait until there is news, but no longer than this; whether there is."""
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()
        return changed.is_set()

    def _touch(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()


class WaitingRoom:
    """Everyone who waits, by request and by conversation."""

    def __init__(self) -> None:
        self._clients = 0
        self._waiters: dict[str, Waiter] = {}
        self._chats: dict[str, dict[str, Waiter]] = {}
        self.noted = 0
        """How many have been noted while somebody waited for them."""

    def __len__(self) -> int:
        return self._clients

    @contextmanager
    def enter(self, request_id: str, chat: str, limit: int) -> Iterator[Waiter]:
        """Wait for a request; several can for the same. Raises `TooManyWaitingError`."""
        if len(self) >= limit:
            raise TooManyWaitingError
        waiter = self._waiters.setdefault(request_id, Waiter(request_id, chat))
        self._chats.setdefault(chat, {})[request_id] = waiter
        waiter.clients += 1
        self._clients += 1
        try:
            yield waiter
        finally:
            waiter.clients -= 1
            self._clients -= 1
            if not waiter.clients:
                self._leave(waiter)

    def _leave(self, waiter: Waiter) -> None:
        del self._waiters[waiter.id]
        there = self._chats[waiter.chat]
        del there[waiter.id]
        if not there:
            del self._chats[waiter.chat]

    def find(self, request_id: str) -> Waiter | None:
        """Who waits for a request."""
        return self._waiters.get(request_id)

    def wake(self) -> None:
        """Have everyone look what there is."""
        for waiter in self._waiters.values():
            waiter.wake()

    def note(self, waiter: Waiter, asked: Asked) -> None:
        """What was asked is on disk. Of one that was there before nothing is new."""
        if not asked.noted and waiter.noted_as is None:
            self.noted += 1
            waiter.noted_as = self.noted
        waiter.asked = replace(asked, noted=True)

    def has_newer(self, asked: Asked, following: str, seen: int) -> bool:
        """Whether anybody waits for what was asked in a conversation after this, and was not on disk yet when so many
        had been `noted`; but for the one with this id. Whoever looks there meanwhile need not see what is noted since.
        """
        return any(
            waiter.id not in (asked.id, following)
            and waiter.asked is not None
            and (not waiter.asked.noted or (waiter.noted_as or 0) > seen)
            for waiter in self._chats.get(asked.chat, {}).values()
        )
