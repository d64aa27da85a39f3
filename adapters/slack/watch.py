"""Whether our token is good and the Web API can be reached, asked for now and then, and whenever there is doubt."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from adapters.base import AdapterState
from adapters.connection import Connection, Sleep
from adapters.slack.client import CallError, Client, SlackError
from adapters.slack.constants import Timing
from adapters.slack.failures import bot_refused, refuses_token

log = logging.getLogger(__name__)


class Watch:
    """Asks `auth.test`. `answers_for_connection`: there is no other connection that tells how we stand, because Slack
    posts what it has."""

    def __init__(
        self, client: Client, connection: Connection, timing: Timing, sleep: Sleep, *, answers_for_connection: bool
    ) -> None:
        self._client = client
        self._connection = connection
        self._timing = timing
        self._sleep = sleep
        self._alone = answers_for_connection
        self._doubt = asyncio.Event()

    def suspect(self) -> None:
        """Something went wrong that may be the token, or the way to Slack."""
        self._doubt.set()

    async def run(self, missed: Callable[[], None]) -> None:
        """Ask until cancelled; `missed` is called after a time in which Slack could not be reached. Raises
        `AccountError`."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.check):
                    await self._doubt.wait()
            doubted = self._doubt.is_set()
            self._doubt.clear()
            if await self._until_reached() and self._alone:
                missed()
                self._connection.connected()
            elif doubted and self._connection.up:
                # Deliveries that wait for a connection go on.
                self._connection.connected()

    async def _until_reached(self) -> bool:
        """Ask until it is answered as it should; whether it was not at first. Raises `AccountError`."""
        wait, failed = self._timing.first_wait, False
        while True:
            try:
                await self._client.call(self._client.web.auth_test())
            except SlackError as error:
                if isinstance(error, CallError) and refuses_token(error):
                    raise bot_refused(error) from None
                failed = True
                log.info("the Web API of Slack cannot be used: %s", error)
                if self._alone:
                    await self._connection.rest(AdapterState.CONNECTING, f"Slack cannot be reached: {error}")
                else:
                    await self._sleep(wait)
                    wait = min(2 * wait, self._timing.longest_wait)
                continue
            return failed
