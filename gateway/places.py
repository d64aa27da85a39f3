"""Places: how many may work at once, by a limit that can change while some wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol


class Places:
    """A semaphore whose limit is asked for anew each time. Who waits longest comes first.

    A limit that falls sends nobody away: places that become free are not given out until few enough are taken.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a place or waits for one."""
        return not self._taken and not any(not place.done() for place in self._waiting)

    def take(self) -> bool:
        """Take a place if there is one now; whether there was."""
        if self._waiting or self._taken >= self._limit():
            return False
        self._taken += 1
        return True

    async def acquire(self) -> None:
        """Take a place, as soon as there is one."""
        if self.take():
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # Given away in the very moment: the next one has it.
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        self._taken -= 1
        self.refresh()

    def refresh(self) -> None:
        """Hand out what is free; to be called when the limit may have changed."""
        while self._waiting and self._taken < self._limit():
            place = self._waiting.popleft()
            if not place.done():
                self._taken += 1
                place.set_result(None)


class Waiter(Protocol):
    """What waits for places: a turn."""

    queued: bool
    history: Any
    stopped: "asyncio.Future[None]"


class Held:
    """A place among each of these, one after the other, as soon as there is one; none of those for which the turn still
    waits when it is stopped. Use as an async context manager."""

    def __init__(self, turn: Waiter, wanted: Sequence[Places]) -> None:
        self._turn = turn
        self._wanted = wanted
        self._taken: list[Places] = []

    async def __aenter__(self) -> None:
        try:
            for places in self._wanted:
                if places.take() or await self._wait(places):
                    self._taken.append(places)
        except asyncio.CancelledError:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    async def _wait(self, places: Places) -> bool:
        """Wait for a place, until the turn is stopped; whether it has one."""
        acquired = asyncio.ensure_future(places.acquire())
        self._turn.queued = True
        self._turn.history = None  # by the time that it has its place, more may have been said
        try:
            await asyncio.wait({acquired, self._turn.stopped}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if acquired.done():
                places.release()
            raise
        finally:
            self._turn.queued = False
            if not acquired.done():
                acquired.cancel()
        return acquired.done()

    def _release(self) -> None:
        while self._taken:
            self._taken.pop().release()
