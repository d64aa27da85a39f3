"""How the connection stands, and how long it rests after each failure."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from adapters.base import AdapterHost, AdapterState
from adapters.telegram.constants import Timing

Sleep: TypeAlias = Callable[[float], Awaitable[object]]


class Connection:
    """Tells the host how we stand, and waits between tries: twice as long each time, and not all at the same moment.

    `jitter` gives numbers from 0 to 1, `sleep` waits for seconds.
    """

    def __init__(self, host: AdapterHost, timing: Timing, sleep: Sleep, jitter: Callable[[], float]) -> None:
        self._host = host
        self._timing = timing
        self._sleep = sleep
        self._jitter = jitter
        self._failures = 0
        self.up = False
        """Whether the last that was heard of the server was good."""

    def connecting(self) -> None:
        """The first try begins."""
        self.up = False
        self._host.set_state(AdapterState.CONNECTING)

    def connected(self) -> None:
        """All is well; deliveries that wait go on."""
        self._failures = 0
        self.up = True
        self._host.set_state(AdapterState.CONNECTED)

    def wake(self) -> None:
        """The server was reached after a call could not leave: deliveries that wait go on, if nothing else is wrong."""
        if self.up:
            self._host.set_state(AdapterState.CONNECTED)

    async def pause(self, seconds: float) -> None:
        """Wait, though nothing is wrong."""
        await self._sleep(seconds)

    async def rest(self, state: AdapterState, reason: str, *, at_least: float | None = None) -> None:
        """Say what is wrong, and wait until the next try."""
        self.up = False
        grown = min(self._timing.first_wait * 2.0 ** min(self._failures, 30), self._timing.longest_wait)
        self._failures += 1
        seconds = max(grown * (0.5 + self._jitter() / 2), at_least or 0.0)
        self._host.set_state(state, reason, next_try=self._host.clock.now() + timedelta(seconds=seconds))
        await self._sleep(seconds)
