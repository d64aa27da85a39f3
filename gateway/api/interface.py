"""The HTTP interface as the daemon builds it: keys, records, requests; HTTP's library is loaded only to serve."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from config import LiveConfig, Platform
from gateway.access import Gate, People
from gateway.api.calls import Calls
from gateway.api.keys import Keys
from gateway.api.ledger import Ledger, is_named
from gateway.api.sending import SERVICE, Sender
from gateway.api.service import ANSWERS_KEPT, Service
from gateway.api.webhooks import Webhooks
from gateway.connections import AdapterFactory
from gateway.control import ControlServer
from gateway.erasure import EraseError, Eraser
from gateway.homes import Homes
from gateway.logs import Redactor
from gateway.mcp.door import ToolDoor
from gateway.metrics.lag import watch_loop
from gateway.metrics.meters import Meters
from gateway.ports import Clock, HttpHandler, StorageBusyError, Target
from gateway.roster import AgentRoster
from gateway.session.errors import SessionError
from gateway.storage import api_queries
from gateway.storage.codec import to_micros
from gateway.storage.database import Database
from gateway.storage.errors import StorageError

log = logging.getLogger(__name__)

PRUNE_SECONDS: Final = 600.0
"""How often what is too old is removed."""

PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Probes:
    """What the daemon tells of itself over HTTP."""

    health: Callable[[], Mapping[str, Any]]
    ready: Callable[[], tuple[bool, Mapping[str, Any]]]
    metrics: Callable[[], Awaitable[bytes]]


class HttpInterface:
    """Keys, requests and answers, and the listener that they come over."""

    def __init__(
        self,
        database: Database,
        config: LiveConfig,
        clock: Clock,
        keys: Keys,
        roster: AgentRoster,
        webhooks: Webhooks,
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self.meters = Meters()
        """What is measured for `/metrics`."""
        self.keys = keys
        self.ledger = Ledger(database, clock)
        self.service = Service(self.ledger, config, clock, roster)
        self.webhooks = webhooks
        self.sender: Sender | None = None
        self._homes: Homes | None = None

    @classmethod
    async def open(
        cls, database: Database, config: LiveConfig, clock: Clock, people: People, gate: Gate, roster: AgentRoster
    ) -> Self:
        """Build it, with the keys that the database has. Raises `StorageError`."""
        keys = Keys(database, config, clock, people, on_change=gate.changed)
        await keys.load()
        # Who else is let in may be read anew, and the configuration may have another key.
        gate.listen(keys.let_in)
        webhooks = Webhooks(Calls(database, clock), config, clock, people, gate)
        return cls(database, config, clock, keys, roster, webhooks)

    def connect(
        self,
        homes: Homes,
        tell: Callable[[Target], object],
        redact: Callable[[str], str],
        control: ControlServer,
    ) -> None:
        """Let programs, and scripts over the socket, send messages to people. See `Sender`. What `redact` leaves of a
        request is kept."""
        self._homes = homes
        self.service.hide(redact)
        self.sender = Sender(self._database, self._config, self._clock, homes, tell, redact)
        control.serve(SERVICE, self.sender.serve)

    async def take_up(self) -> None:
        """Take the keys and the home channels that an outage of the database has hidden. Raises `StorageError`."""
        await self.keys.take_up()
        if self._homes is not None:
            await self._homes.take_up()

    @property
    def adapters(self) -> Mapping[str, AdapterFactory]:
        """What builds the platforms that this is."""
        return {
            str(Platform.API_SERVER): self.service.platform,
            str(Platform.WEBHOOK): self.webhooks.platform,
        }

    @asynccontextmanager
    async def listen(
        self, probes: Probes, requests: Callable[[str], HttpHandler | None], redact: Redactor, door: ToolDoor
    ) -> AsyncIterator[str | None]:
        """Serve HTTP while the context lasts, where it is wanted; the address. Raises `ListenError`.

        `requests` finds what takes a platform's own requests. `door` lets agents in to the session tools.
        """
        http = self._config.current.http
        if not http.enabled:
            yield None
            return
        from gateway.api.app import check_exposure, create_app, serve
        from gateway.api.hook_routes import HookRoutes
        from gateway.api.platforms import PlatformRequests
        from gateway.api.routes import OpenAiRoutes
        from gateway.mcp.http import McpEndpoint

        check_exposure(http.host, self.keys)
        app = create_app(
            health=probes.health,
            ready=probes.ready,
            metrics=probes.metrics,
            keys=self.keys,
            hosts=lambda: self._config.current.http.allowed_hosts,
            redact=redact,
        )
        PlatformRequests(requests).add_to(app)
        OpenAiRoutes(self.service, self._clock).add_to(app)
        HookRoutes(self.webhooks, lambda: self.sender).add_to(app)
        McpEndpoint(door, self.keys, self._config).add_to(app)
        async with watch_loop(self.meters.lag), serve(app, http.host, http.port) as (host, port):
            door.listens_at(host, port)
            yield f"{host}:{port}"

    # --- what has come and gone --------------------------------------------------------------------------------

    async def prune(self, eraser: Eraser, counters: Counter[str]) -> None:
        """Remove what is too old, again and again, until cancelled."""
        while True:
            try:
                await self.prune_once(eraser)
            except (StorageError, StorageBusyError) as error:
                log.warning("old requests cannot be removed at present: %s", error)
                counters["api.prune_errors"] += 1
            await asyncio.sleep(PRUNE_SECONDS)

    async def prune_once(self, eraser: Eraser) -> None:
        """Forget requests and answers that are too old, and the sessions that nobody can go on with any more. A request
        whose session cannot be removed yet stays until it can.

        Raises `StorageError`, `StorageBusyError`.
        """
        before, kept = to_micros(self._clock.now() - ANSWERS_KEPT), 0
        while self._database.state.mode == "sqlite":
            rows = await self._database.read(api_queries.OLD_API_REQUESTS, (before, PAGE, kept))
            if not rows:
                break
            for row in rows:
                if await self._forget_sessions(row["id"], row["chat"], eraser):
                    await self._write(api_queries.REMOVE_API_REQUEST, (row["id"],))
                else:
                    kept += 1
        while await self._write(api_queries.REMOVE_OLD_API_ANSWERS, (before, PAGE)):
            pass
        await self.webhooks.calls.forget_old()

    async def _forget_sessions(self, request_id: str, chat: str, eraser: Eraser) -> bool:
        """Remove the sessions of a conversation that this was the last request of; whether none is left to remove."""
        if is_named(chat):
            return True  # It can be gone on with, whatever its requests were.
        latest = await self._database.read(api_queries.LAST_API_REQUEST, (chat,))
        if latest and latest[0]["id"] != request_id:
            return True
        removed = True
        for row in await self._database.read(api_queries.SESSIONS_OF_CHAT, (str(Platform.API_SERVER), chat)):
            try:
                await eraser.erase(row["id"])
            except (SessionError, EraseError) as error:
                log.info("session %s of an old request stays for now: %s", row["id"], error)
                removed = False
        return removed

    async def _write(self, statement: str, values: tuple[object, ...]) -> int:
        def job(connection: sqlite3.Connection) -> int:
            return connection.execute(statement, values).rowcount

        return await self._database.write(job)
