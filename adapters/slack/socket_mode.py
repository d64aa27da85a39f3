"""Socket Mode: a connection is held open, and the next one is there before Slack ends it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.background import Background
from adapters.base import AccountError, AdapterState, NotStoredError
from adapters.connection import Connection
from adapters.slack.client import CallError, Client, NotSentError, SlackError
from adapters.slack.constants import Timing
from adapters.slack.failures import APPS, REFUSED_TOKEN, app_refused
from adapters.slack.intake import Intake
from adapters.slack.link import Link

log = logging.getLogger(__name__)

SWITCHED_OFF: Final = "Socket Mode is not turned on"
"""What `apps.connections.open` warns of, though it gives an address."""

SHARED: Final = (
    "Slack counts %d other connections of this app: if another program holds one (not only an earlier run of this one),"
    " each of the two gets only some of the events; give one of them an app of its own"
)
OFF: Final = f"Socket Mode is off for the app: switch it on at {APPS}, Socket Mode, or set platforms.slack.mode: http"


class SocketMode:
    """Holds a connection until cancelled. `missed` is called when one is there after a time without."""

    def __init__(
        self,
        client: Client,
        app_token: str,
        intake: Intake,
        connection: Connection,
        background: Background,
        timing: Timing,
        missed: Callable[[], None],
    ) -> None:
        self._client = client
        self._app_token = app_token
        self._intake = intake
        self._connection = connection
        self._background = background
        self._timing = timing
        self._missed = missed
        self._link: Link | None = None
        self._acknowledging: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Hold a connection. Raises `AccountError`.

        One that is lost is had anew at once; but if one after the other is lost soon, not as fast as that goes.
        """
        loop, soon = asyncio.get_running_loop(), 0
        try:
            while True:
                self._link = link = await self._until_open()
                begun = loop.time()
                if link.connections > 1:
                    log.warning(SHARED, link.connections - 1)
                self._missed()
                self._connection.connected()
                reason = await self._until_lost(link)
                await self._link.close()
                self._connection.connecting(reason)
                if self._link.reason == "link_disabled":
                    raise AccountError(OFF)
                soon = soon + 1 if loop.time() - begun < self._timing.steady else 0
                if soon > 1:
                    wait = min(self._timing.first_wait * 2.0 ** min(soon - 2, 30), self._timing.longest_wait)
                    await self._connection.rest(AdapterState.CONNECTING, reason, at_least=wait)
        finally:
            if self._link is not None:
                await self._link.close()
            for task in self._acknowledging:
                task.cancel()
            await asyncio.gather(*self._acknowledging, return_exceptions=True)

    async def _until_lost(self, link: Link) -> str:
        """Change over to a new connection whenever Slack asks for it; why there is none any more."""
        while True:
            await link.ended()
            if not link.leaving.is_set():
                return "the connection to Slack broke off"
            reason = f"Slack ends the connection ({link.reason})"
            if link.reason in ("link_disabled", "too_many_websockets"):
                return reason
            following = await self._next()
            if following is None:
                await link.gone()
                return reason
            was_alive, old = link.alive, link
            self._link = link = following
            if not self._background.start(self._retire(old), "the end of a connection to Slack"):
                await old.close()
            if not was_alive:
                # Nobody listened for a moment.
                self._missed()

    async def _next(self) -> Link | None:
        """The next connection, beside the old one; None where it cannot be had now."""
        try:
            return await self._open()
        except SlackError as error:
            log.info("there is no next connection to Slack yet: %s", error)
            return None

    async def _retire(self, link: Link) -> None:
        """Let an old connection deliver what is on its way over it."""
        try:
            async with asyncio.timeout(self._timing.retire):
                await link.gone()
        except TimeoutError:
            pass
        finally:
            await link.close()

    async def _until_open(self) -> Link:
        """A connection, tried for until it is there. Raises `AccountError`."""
        while True:
            try:
                return await self._open()
            except CallError as error:
                if error.error in REFUSED_TOKEN or error.error == "missing_scope":
                    raise app_refused(error) from None
                reason = f"Slack gives no connection: {error}"
                await self._connection.rest(AdapterState.CONNECTING, reason, at_least=error.retry_after)
            except NotSentError as error:
                await self._connection.rest(AdapterState.CONNECTING, f"Slack cannot be reached: {error}")
            except SlackError as error:
                await self._connection.rest(AdapterState.CONNECTING, f"no answer from Slack: {error}")

    async def _open(self) -> Link:
        answer = await self._client.call(self._client.web.apps_connections_open(app_token=self._app_token))
        warnings = (answer.get("response_metadata") or {}).get("messages") or ()
        if any(SWITCHED_OFF in str(each) for each in warnings):
            raise AccountError(OFF)
        link = Link(self._client, self._app_token, self._timing, self._take)
        try:
            await link.open(str(answer.get("url")))
        except BaseException:
            await link.close()
            raise
        return link

    def _take(self, link: Link, frame: Mapping[str, Any]) -> None:
        """Give an envelope its place in line; it is acknowledged once it is stored."""
        taking = self._intake.take(str(frame.get("type")), frame.get("payload") or {})
        task = asyncio.create_task(self._acknowledge(link, str(frame["envelope_id"]), taking), name="slack envelope")
        self._acknowledging.add(task)
        task.add_done_callback(self._acknowledging.discard)

    async def _acknowledge(self, link: Link, envelope_id: str, taking: "asyncio.Future[None]") -> None:
        try:
            await taking
        except NotStoredError as error:
            log.warning("an event from Slack is left with Slack, which sends it again: %s", error)
            return
        except Exception:
            log.exception("an event from Slack could not be taken; Slack sends it again")
            return
        await link.acknowledge(envelope_id)
