"""The adapters: found by entry point, run side by side, started again when they fail, and what state each is in."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

from config import ADAPTER_GROUP, GatewayConfig, Platform
from gateway.constants import ADAPTER_RESTART_MAX_SECONDS, ADAPTER_RESTART_SECONDS, ADAPTER_STEADY_SECONDS
from gateway.inbox import Inbox
from gateway.outbox import Connection
from gateway.ports import Accepted, Adapter, AdapterState, Clock, FrameHandler, InboundMessage

log = logging.getLogger(__name__)

ACCOUNT = "default"


class _NotInstalledError(Exception):
    """No installed package has an adapter for the platform."""


@dataclass(frozen=True, slots=True)
class HostServices:
    """What the daemon lends every adapter."""

    clock: Clock
    inbox: Callable[[], Inbox]
    banner: Callable[[], Sequence[str]]
    commands: Callable[[], Sequence[tuple[str, str]]]
    serve: Callable[[str, FrameHandler], None]
    on_connected: Callable[[Platform, str], None]


@dataclass(slots=True)
class _Entry:
    """One adapter and how it stands."""

    platform: Platform
    since: datetime
    adapter: Adapter | None = None
    state: AdapterState = AdapterState.CONNECTING
    reason: str | None = None
    next_try: datetime | None = None


class _Host:
    """The core as one adapter sees it."""

    def __init__(self, pool: "AdapterPool", entry: _Entry, services: HostServices) -> None:
        self._pool = pool
        self._entry = entry
        self._services = services

    @property
    def clock(self) -> Clock:
        return self._services.clock

    @property
    def banner(self) -> Sequence[str]:
        return self._services.banner()

    @property
    def commands(self) -> Sequence[tuple[str, str]]:
        return self._services.commands()

    async def accept(self, message: InboundMessage) -> Accepted:
        adapter = self._entry.adapter
        operator = adapter is not None and adapter.capabilities.operator
        return await self._services.inbox().accept(message, operator=operator)

    def set_state(self, state: AdapterState, reason: str | None = None) -> None:
        self._pool.set_state(self._entry, state, reason)

    def serve(self, service: str, handler: FrameHandler) -> None:
        self._services.serve(service, handler)


class AdapterPool:
    """Runs one adapter for each platform that is switched on. One that fails disturbs no other."""

    def __init__(
        self, config: GatewayConfig, platforms: Sequence[Platform], services: HostServices, counters: Counter[str]
    ) -> None:
        self._config = config
        self._services = services
        self._counters = counters
        now = services.clock.now()
        self._entries = {platform: _Entry(platform, now) for platform in platforms}

    def load(self) -> None:
        """Build the adapters; a platform without one is `failed`, and says what to install."""
        for entry in self._entries.values():
            try:
                entry.adapter = self._build(entry)
            except _NotInstalledError as error:
                self.set_state(entry, AdapterState.FAILED, str(error))
            except Exception as error:
                log.exception("the adapter for %s cannot be built", entry.platform)
                self._counters["adapters.errors"] += 1
                self.set_state(entry, AdapterState.FAILED, f"{type(error).__name__}: {error}")

    async def run(self) -> None:
        """Run all adapters until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for entry in self._entries.values():
                if entry.adapter is not None:
                    tasks.create_task(self._keep_running(entry, entry.adapter), name=f"adapter {entry.platform}")
            await asyncio.Event().wait()

    def find(self, platform: Platform, account: str) -> Connection | None:
        """The connection to a platform, if there is an adapter for it."""
        entry = self._entries.get(platform)
        if entry is None or entry.adapter is None or account != ACCOUNT:
            return None
        return Connection(entry.adapter, entry.state)

    def connected(self) -> list[Platform]:
        """The platforms that can be reached now."""
        usable = (AdapterState.CONNECTED, AdapterState.DEGRADED)
        return [platform for platform, entry in self._entries.items() if entry.state in usable]

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        """How each adapter stands, for an operator."""
        return {
            str(platform): {
                "state": entry.state.value,
                "reason": entry.reason,
                "since": entry.since.isoformat(),
                "next_try": entry.next_try.isoformat() if entry.next_try else None,
            }
            for platform, entry in self._entries.items()
        }

    def set_state(self, entry: _Entry, state: AdapterState, reason: str | None) -> None:
        """Note how an adapter stands; a connection that has come up lets its deliveries go on."""
        if (state, reason) != (entry.state, entry.reason):
            entry.since = self._services.clock.now()
            level = logging.WARNING if state in (AdapterState.FAILED, AdapterState.DEGRADED) else logging.INFO
            log.log(level, "%s is %s%s", entry.platform, state.value, f": {reason}" if reason else "")
        entry.state, entry.reason = state, reason
        if state in (AdapterState.CONNECTED, AdapterState.DEGRADED):
            entry.next_try = None
            self._services.on_connected(entry.platform, ACCOUNT)

    def _build(self, entry: _Entry) -> Adapter:
        found = next(iter(entry_points(group=ADAPTER_GROUP, name=str(entry.platform))), None)
        if found is None:
            raise _NotInstalledError(
                f"no adapter for {entry.platform} is installed; install the package that has one, "
                f"or remove platforms.{entry.platform}"
            )
        factory = found.load()
        adapter: Adapter = factory(self._config.platform(entry.platform), _Host(self, entry, self._services))
        return adapter

    async def _keep_running(self, entry: _Entry, adapter: Adapter) -> None:
        wait = ADAPTER_RESTART_SECONDS
        clock = self._services.clock
        try:
            while True:
                started = clock.monotonic()
                try:
                    await adapter.run()
                    reason = "it ended by itself"
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise
                    reason = "it gave up its own work"
                except Exception as error:
                    log.exception("the adapter for %s failed; it is started again", entry.platform)
                    self._counters["adapters.errors"] += 1
                    reason = f"{type(error).__name__}: {error}"
                if clock.monotonic() - started >= ADAPTER_STEADY_SECONDS:
                    wait = ADAPTER_RESTART_SECONDS
                self.set_state(entry, AdapterState.FAILED, reason)
                entry.next_try = clock.now() + timedelta(seconds=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, ADAPTER_RESTART_MAX_SECONDS)
        finally:
            entry.next_try = None
            self.set_state(entry, AdapterState.STOPPED, None)
