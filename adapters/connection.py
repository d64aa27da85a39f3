"""How a connection to a platform stands, and how long it rests after each failure."""

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeAlias, TypeVar

from adapters.base import AdapterHost, AdapterState, NotStoredError

T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

LONGEST_PAUSE: Final = 86_400.0
"""Seconds that a platform is left alone at most, whatever it asks for."""

NOT_STORED: Final = "what people write cannot be stored: {}"


class Connection:
    """Tells the host how we stand, and waits between tries: twice as long each time, and not all at the same moment.

    The waits grow from `first_wait` to `longest_wait`, in seconds. `jitter` gives numbers from 0 to 1, `sleep` waits
    for seconds.
    """

    def __init__(
        self, host: AdapterHost, *, first_wait: float, longest_wait: float, sleep: Sleep, jitter: Callable[[], float]
    ) -> None:
        self._host = host
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._sleep = sleep
        self._jitter = jitter
        self._failures = 0
        self.up = False
        """Whether the last that was heard of the server was good."""
        self.note: str | None = None
        """What the operator is told though all is well."""

    def connecting(self, reason: str | None = None) -> None:
        """There is no connection, and one is tried now."""
        self.up = False
        self._host.set_state(AdapterState.CONNECTING, reason)

    def connected(self) -> None:
        """All is well; deliveries that wait go on."""
        self._failures = 0
        self.up = True
        self._host.set_state(AdapterState.CONNECTED, self.note)

    def wake(self) -> None:
        """The server was reached after a call could not leave: deliveries that wait go on, if nothing else is wrong."""
        if self.up:
            self._host.set_state(AdapterState.CONNECTED, self.note)

    async def rest(self, state: AdapterState, reason: str, *, at_least: float | None = None) -> None:
        """Say what is wrong, and wait until the next try."""
        self.up = False
        grown = min(self._first_wait * 2.0 ** min(self._failures, 30), self._longest_wait)
        self._failures += 1
        seconds = max(grown * (0.5 + self._jitter() / 2), at_least or 0.0)
        self._host.set_state(state, reason, next_try=self._host.clock.now() + timedelta(seconds=seconds))
        await self._sleep(seconds)

    async def stored(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call to the host, made again until the storage takes it."""
        was_up, failed = self.up, False
        while True:
            try:
                result = await call()
            except NotStoredError as error:
                failed = True
                await self.rest(AdapterState.DEGRADED, NOT_STORED.format(error))
                continue
            if failed and was_up:
                self.connected()
            return result


def pause_of(value: object) -> float | None:
    """The seconds that a platform asks us to wait, as it writes them; None where it says none that can be waited."""
    try:
        seconds = float(str(value))
    except ValueError:
        return None
    return min(seconds, LONGEST_PAUSE) if math.isfinite(seconds) and seconds >= 0 else None
