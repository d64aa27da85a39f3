"""Places: how many may work at once, by a limit that can change while some wait."""

import asyncio
from collections import deque
from collections.abc import Callable


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
