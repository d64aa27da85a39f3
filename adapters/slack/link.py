"""One connection of Socket Mode, from its opening to its end, on the library's client."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

from adapters.slack.client import Client, NoAnswerError, NotSentError, in_short, quiet_logger
from adapters.slack.constants import Timing


class Link(SocketModeClient):
    """A connection that is opened once. `take` gets each envelope in the order in which they come.

    The library would close the old connection before it opens the next, begin a task for each envelope, and try for
    ever without a word. So only the connection itself is left to it: its handshake, pings, and frames.
    """

    def __init__(
        self, client: Client, app_token: str, timing: Timing, take: Callable[["Link", Mapping[str, Any]], None]
    ) -> None:
        super().__init__(
            app_token,
            logger=quiet_logger(),
            web_client=client.web,
            auto_reconnect_enabled=False,
            ping_interval=timing.ping,
        )
        self.proxy = client.web.proxy
        self._timing = timing
        self._take = take
        self._hello = asyncio.Event()
        self.leaving = asyncio.Event()
        self.connections = 1
        """How many connections the app has, as Slack counts them."""
        self.reason: str | None = None
        """Why Slack is about to end it (https://docs.slack.dev/apis/events-api/using-socket-mode#disconnect)."""

    @property
    def alive(self) -> bool:
        """Whether frames may still come."""
        return not self.closed and self.current_session is not None and not self.current_session.closed

    async def open(self, url: str) -> None:
        """Connect to an address of `apps.connections.open`, and wait for Slack's hello. Raises `SlackError`."""
        self.wss_uri = url
        try:
            async with asyncio.timeout(self._timing.connect):
                await self.connect()
            async with asyncio.timeout(self._timing.hello):
                await self._until_hello()
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(in_short(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswerError(f"Socket Mode: {in_short(error)}") from None

    async def connect(self) -> None:
        """Open the connection, once."""
        ssl = self.web_client.ssl if self.web_client.ssl is not None else True
        self.current_session = await self.aiohttp_client_session.ws_connect(
            str(self.wss_uri), autoping=False, heartbeat=self.ping_interval, proxy=self.proxy, ssl=ssl
        )
        self.message_receiver = asyncio.ensure_future(self.receive_messages())

    async def _until_hello(self) -> None:
        while not self._hello.is_set():
            if not self.alive or self.leaving.is_set():
                raise ConnectionError(f"it ended before it began ({self.reason or 'without a word'})")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.look):
                    await self._hello.wait()

    async def enqueue_message(self, message: str) -> None:
        """Take a frame in its place; the next one is read after this."""
        try:
            frame = json.loads(message)
        except ValueError:
            return
        if not isinstance(frame, dict):
            return
        match frame.get("type"):
            case "hello":
                given = frame.get("num_connections")
                self.connections = given if isinstance(given, int) else 1
                self._hello.set()
            case "disconnect":
                self.reason = str(frame.get("reason") or "no reason given")
                self.leaving.set()
            case _ if frame.get("envelope_id"):
                self._take(self, frame)

    async def acknowledge(self, envelope_id: str) -> None:
        """Tell Slack that we have an envelope; over a connection that has ended, nothing: Slack will send it again."""
        with suppress(aiohttp.ClientError, OSError):
            await self.send_socket_mode_response(SocketModeResponse(envelope_id))

    async def ended(self) -> None:
        """Wait until nothing comes any more, or Slack says that it is about to be so."""
        while self.alive and not self.leaving.is_set():
            await self._look()

    async def gone(self) -> None:
        """Wait until nothing comes any more."""
        while self.alive:  # noqa: ASYNC110 - the library tells nobody
            await asyncio.sleep(self._timing.look)

    async def _look(self) -> None:
        # The library does not tell of an end that came without a word.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.look):
                await self.leaving.wait()

    async def close(self) -> None:
        """End it, also where the other side does not answer any more."""
        self.closed = True
        tasks = [task for task in (self.message_receiver, self.message_processor) if task is not None]
        try:
            async with asyncio.timeout(self._timing.close):
                if self.current_session is not None:
                    await self.current_session.close()
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.aiohttp_client_session.close()
