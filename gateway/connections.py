"""The adapters: found by entry point, run side by side, started again when they fail, and what state each is in."""

import asyncio
import functools
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from typing import Any, Final, TypeAlias

from config import ADAPTER_GROUP, GatewayConfig, LiveConfig, Platform, PlatformConfig
from gateway.constants import (
    ADAPTER_HANDOVER_SECONDS,
    ADAPTER_RESTART_MAX_SECONDS,
    ADAPTER_RESTART_SECONDS,
    ADAPTER_STEADY_SECONDS,
    ADAPTER_STOP_SECONDS,
)
from gateway.host import ACCOUNT, Host, HostServices
from gateway.outbox import Connection
from gateway.ports import AccountError, Adapter, AdapterHost, AdapterState, HttpHandler
from gateway.session.traits import Traits

log = logging.getLogger(__name__)

USABLE: Final = (AdapterState.CONNECTED, AdapterState.DEGRADED)
"""States in which deliveries are sent."""

AdapterFactory: TypeAlias = Callable[[PlatformConfig, AdapterHost], Adapter]
"""What builds an adapter: its class, as a rule."""


class _NotInstalledError(Exception):
    """No installed package has an adapter for the platform."""


class AdapterRefusedError(Exception):
    """The adapter of a new configuration cannot be built; nothing of it was kept."""

    def __init__(self, platform: Platform, reason: str) -> None:
        super().__init__(f"platforms.{platform}: {reason}")
        self.platform = platform
        self.reason = reason


@dataclass(slots=True, eq=False)
class _Entry:
    """One adapter, how it stands, and the task that runs it. `mended` is set once an account that was refused may be
    tried again."""

    platform: Platform
    since: datetime
    adapter: Adapter | None = None
    state: AdapterState = AdapterState.CONNECTING
    reason: str | None = None
    next_try: datetime | None = None
    task: asyncio.Task[None] | None = None
    http: HttpHandler | None = None
    mended: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: Connection | None = None

    @property
    def connection(self) -> Connection | None:
        """The adapter and how it stands, for those who send; None without an adapter."""
        seen = self._seen
        if self.adapter is None:
            return None
        if seen is None or seen.state is not self.state or seen.adapter is not self.adapter:
            self._seen = seen = Connection(self.adapter, self.state)
        return seen


@dataclass(frozen=True, slots=True)
class _Station:
    """An adapter's place in the pool, as its host sees it."""

    pool: "AdapterPool"
    entry: _Entry

    @property
    def platform(self) -> Platform:
        return self.entry.platform

    @property
    def is_operator(self) -> bool:
        adapter = self.entry.adapter
        return adapter is not None and adapter.capabilities.operator

    def report(self, state: AdapterState, reason: str | None, next_try: datetime | None) -> None:
        self.pool.set_state(self.entry, state, reason, next_try)

    def serve_http(self, handler: HttpHandler) -> None:
        self.pool.serve_http(self.entry, handler)


@dataclass(frozen=True, slots=True)
class AdapterChange:
    """Adapters that were built for a configuration that is not in force yet: new ones, and ones in the place of
    others. `removed` are platforms that it does not have any more."""

    built: Mapping[Platform, _Entry]
    removed: tuple[Platform, ...]


class AdapterPool:
    """Runs one adapter for each platform that is switched on. One that fails disturbs no other.

    `given` builds adapters, by platform, in place of what is installed. `chance` gives a number from 0 to 1, which a
    wait before the next try depends on, so that many gateways do not come back at the same moment.
    """

    def __init__(
        self,
        config: GatewayConfig | LiveConfig,
        platforms: Sequence[Platform],
        services: HostServices,
        counters: Counter[str],
        given: Mapping[str, AdapterFactory] | None = None,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._chance = chance
        self._config = LiveConfig.of(config)
        self._given = dict(given or {})
        self._services = services
        self._counters = counters
        now = services.clock.now()
        self._entries = {platform: _Entry(platform, now) for platform in platforms}
        self._tasks: asyncio.TaskGroup | None = None
        self._handovers: dict[Platform, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Build the adapters; a platform without one is `failed`, and says what to install."""
        for entry in self._entries.values():
            try:
                entry.adapter = self._build(entry, self._config.current, self._factory(entry.platform))
            except _NotInstalledError as error:
                self.set_state(entry, AdapterState.FAILED, str(error))
            except Exception as error:
                log.exception("the adapter for %s cannot be built", entry.platform)
                self._counters["adapters.errors"] += 1
                self.set_state(entry, AdapterState.FAILED, _words(error))

    async def run(self) -> None:
        """Run all adapters until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for entry in self._entries.values():
                    self._start(entry)
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def try_again(self) -> None:
        """Start the adapters again whose accounts were refused: their operator may have acted where no file says so."""
        for entry in self._entries.values():
            entry.mended.set()

    # --- a change of the configuration -----------------------------------------------------------------------

    async def prepare(self, config: GatewayConfig, platforms: Sequence[Platform]) -> AdapterChange:
        """Build the adapters that a new configuration adds or changes; none of them is started, none is touched.

        Raises `AdapterRefusedError`.
        """
        built: dict[Platform, _Entry] = {}
        for platform in platforms:
            if platform not in self._entries or _differs(self._config.current, config, platform):
                built[platform] = await self._built_for(config, platform)
        return AdapterChange(built, tuple(platform for platform in self._entries if platform not in platforms))

    def take_over(self, change: AdapterChange) -> None:
        """Replace the adapters that a configuration changes, in the moment in which it comes into force.

        Each that leaves is stopped once what is on its way through it is through, and its successor started after
        that. Its platform's other deliveries wait meanwhile. No other adapter is touched.
        """
        for platform in change.removed:
            self._hand_over(platform, self._entries.pop(platform), None)
        for platform, entry in change.built.items():
            before = self._entries.get(platform)
            self._entries[platform] = entry
            self._hand_over(platform, before, entry)

    async def _built_for(self, config: GatewayConfig, platform: Platform) -> _Entry:
        entry = _Entry(platform, self._services.clock.now())
        try:
            # Its package may be imported for the first time, which takes long.
            factory = await asyncio.to_thread(self._factory, platform)
            entry.adapter = self._build(entry, config, factory)
        except _NotInstalledError as error:
            raise AdapterRefusedError(platform, str(error)) from error
        except Exception as error:
            log.exception("the adapter for %s of the new configuration cannot be built", platform)
            raise AdapterRefusedError(platform, f"its adapter cannot be built: {_words(error)}") from error
        return entry

    def _hand_over(self, platform: Platform, before: _Entry | None, after: _Entry | None) -> None:
        if self._tasks is None:
            return
        earlier = self._handovers.get(platform)
        task = self._tasks.create_task(self._replace(earlier, before, after), name=f"handing over {platform}")
        self._handovers[platform] = task
        task.add_done_callback(lambda done: self._forget_handover(platform, done))

    def _forget_handover(self, platform: Platform, done: "asyncio.Task[None]") -> None:
        if self._handovers.get(platform) is done:
            del self._handovers[platform]

    async def _replace(self, earlier: "asyncio.Task[None] | None", before: _Entry | None, after: _Entry | None) -> None:
        """Stop an adapter, then start the other: two connections of one account would disturb each other."""
        if earlier is not None:
            await asyncio.wait({earlier})
        if before is not None and before.task is not None:
            await self._stop(before, before.task)
        if after is not None and self._entries.get(after.platform) is after:
            self._start(after)

    async def _stop(self, entry: _Entry, task: "asyncio.Task[None]") -> None:
        try:
            async with asyncio.timeout(ADAPTER_HANDOVER_SECONDS):
                await self._services.settled(entry.platform, ACCOUNT)
        except TimeoutError:
            log.warning("a delivery to %s takes long; its adapter is stopped all the same", entry.platform)
        task.cancel()
        await asyncio.wait({task})

    def _start(self, entry: _Entry) -> None:
        if self._tasks is not None and entry.adapter is not None:
            running = self._keep_running(entry, entry.adapter)
            entry.task = self._tasks.create_task(running, name=f"adapter {entry.platform}")

    # --- how they stand --------------------------------------------------------------------------------------

    def find(self, platform: Platform, account: str) -> Connection | None:
        """The connection to a platform, if there is an adapter for it."""
        entry = self._entries.get(platform)
        return None if entry is None or account != ACCOUNT else entry.connection

    def connected(self) -> list[Platform]:
        """The platforms that can be reached now."""
        return [platform for platform, entry in self._entries.items() if entry.state in USABLE]

    def http_handler(self, platform: str) -> HttpHandler | None:
        """What takes a platform's requests at present. Raises KeyError for a platform that takes none."""
        entry = next((entry for name, entry in self._entries.items() if str(name) == platform), None)
        if entry is None or (entry.http is None and entry.state in USABLE):
            raise KeyError(platform)
        return entry.http

    def serve_http(self, entry: _Entry, handler: HttpHandler) -> None:
        """Take an adapter's requests to what it gives."""
        entry.http = handler
        if not self._config.current.http.enabled:
            log.warning("%s waits for requests, but http.enabled is false: none can come", entry.platform)

    def traits(self) -> Mapping[str, Traits]:
        """What the adapters declare about their platforms, by platform; it stays while a connection comes and goes."""
        entries = self._entries.items()
        return {str(platform): entry.adapter.capabilities for platform, entry in entries if entry.adapter is not None}

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

    def set_state(
        self, entry: _Entry, state: AdapterState, reason: str | None, next_try: datetime | None = None
    ) -> None:
        """Note how an adapter stands; a connection that has come up lets its deliveries go on."""
        if (state, reason) != (entry.state, entry.reason):
            entry.since = self._services.clock.now()
            level = logging.WARNING if state in (AdapterState.FAILED, AdapterState.DEGRADED) else logging.INFO
            log.log(level, "%s is %s%s", entry.platform, state.value, f": {reason}" if reason else "")
        entry.state, entry.reason, entry.next_try = state, reason, next_try
        if state in USABLE:
            self._services.on_connected(entry.platform, ACCOUNT)

    def _factory(self, platform: Platform) -> AdapterFactory:
        return self._given.get(str(platform)) or _installed(platform)

    def _build(self, entry: _Entry, config: GatewayConfig, factory: AdapterFactory) -> Adapter:
        return factory(config.platform(entry.platform), Host(_Station(self, entry), self._services))

    async def _keep_running(self, entry: _Entry, adapter: Adapter) -> None:
        wait = ADAPTER_RESTART_SECONDS
        clock = self._services.clock
        try:
            while True:
                started = clock.monotonic()
                try:
                    reason = await self._run_once(entry, adapter)
                except AccountError as error:
                    await self._operator_acts(entry, error)
                    wait = ADAPTER_RESTART_SECONDS
                    continue
                if clock.monotonic() - started >= ADAPTER_STEADY_SECONDS:
                    wait = ADAPTER_RESTART_SECONDS
                seconds = wait * (0.5 + 0.5 * self._chance())
                self.set_state(entry, AdapterState.FAILED, reason, clock.now() + timedelta(seconds=seconds))
                await asyncio.sleep(seconds)
                wait = min(wait * 2, ADAPTER_RESTART_MAX_SECONDS)
        finally:
            self.set_state(entry, AdapterState.STOPPED, None)

    async def _run_once(self, entry: _Entry, adapter: Adapter) -> str:
        """Run an adapter to its end; why it ended. Raises `AccountError`."""
        running = asyncio.create_task(adapter.run(), name=f"connection {entry.platform}")
        try:
            await asyncio.wait({running})
        finally:
            await self._let_go(entry, running)
        if running.cancelled():
            return "it gave up its own work"
        error = running.exception()
        if isinstance(error, AccountError):
            raise error
        if error is None:
            return "it ended by itself"
        log.error("the adapter for %s failed; it is started again", entry.platform, exc_info=error)
        self._counters["adapters.errors"] += 1
        return _words(error)

    async def _let_go(self, entry: _Entry, running: "asyncio.Task[None]") -> None:
        """Cancel an adapter that runs, and go on without it if it does not end."""
        if running.done():
            return
        running.cancel()
        self._stopping.add(running)
        running.add_done_callback(functools.partial(self._stopped, entry.platform))
        _, alive = await asyncio.wait({running}, timeout=ADAPTER_STOP_SECONDS)
        if alive:
            log.error("the adapter for %s does not end when it is cancelled; it is left behind", entry.platform)
            self._counters["adapters.abandoned"] += 1

    def _stopped(self, platform: Platform, running: "asyncio.Task[None]") -> None:
        """An adapter that was told to has ended, be it after it was left behind."""
        self._stopping.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            log.warning("the adapter for %s did not end cleanly: %s", platform, _words(error))

    async def _operator_acts(self, entry: _Entry, error: AccountError) -> None:
        """Leave an adapter alone that its platform refuses, until somebody may have mended what is wrong."""
        self._counters["adapters.refused"] += 1
        self.set_state(entry, AdapterState.FAILED, str(error))
        entry.mended.clear()
        await entry.mended.wait()
        self.set_state(entry, AdapterState.CONNECTING, None)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _differs(before: GatewayConfig, after: GatewayConfig, platform: Platform) -> bool:
    """Whether a platform's section changes in what its adapter was built with."""
    old, new = before.platform(platform), after.platform(platform)
    return old.model_dump(exclude=set(old.core_keys)) != new.model_dump(exclude=set(new.core_keys))


def _installed(platform: Platform) -> AdapterFactory:
    found = next(iter(entry_points(group=ADAPTER_GROUP, name=str(platform))), None)
    if found is None:
        raise _NotInstalledError(
            f"no adapter for {platform} is installed; install the package that has one, or remove platforms.{platform}"
        )
    factory: AdapterFactory = found.load()
    return factory
