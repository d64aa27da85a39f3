"""Owns what the service manager is told: that the gateway is ready, is alive, and is stopping.

The protocol is systemd's (https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html): lines in a datagram
to the socket that the environment names. Without one, nothing is sent.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

log = logging.getLogger(__name__)

PINGS_A_PERIOD: Final = 3
"""How often the watchdog is told within the time after which it would restart the gateway."""


class ServiceManager:
    """The one that started this process, if it wants to hear from it."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        named = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the null byte of an abstract address.
        self._address = f"\0{named[1:]}" if named.startswith("@") else named
        self._period = _period(environ) if self._address else None

    @property
    def listens(self) -> bool:
        """Whether anybody wants to hear."""
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Send assignments such as `READY=1`. One that cannot be sent is dropped: the gateway goes on."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("the service manager cannot be told: %s", error)

    def ready(self, status: str) -> None:
        """The gateway takes messages; `status` is one line for people."""
        self.tell("READY=1", f"STATUS={' '.join(status.split())}")

    def stopping(self) -> None:
        """The gateway finishes what is under way."""
        self.tell("STOPPING=1", "STATUS=finishing what is under way")

    @asynccontextmanager
    async def watched(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> AsyncIterator[None]:
        """While the context lasts, have the event loop itself say that it is alive: one that hangs is restarted."""
        if self._period is None:
            yield
            return
        task = asyncio.create_task(self._ping(self._period / PINGS_A_PERIOD, sleep), name="watchdog")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _ping(self, seconds: float, sleep: Callable[[float], Awaitable[object]]) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await sleep(seconds)


def _period(environ: Mapping[str, str]) -> float | None:
    """Seconds of silence after which the manager would restart this very process; None if it does not watch it."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
        watched = int(environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and watched == os.getpid() else None
