"""The gateway of one trial: the real daemon over a home of its own, and everything that it logs."""

import asyncio
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import entry_points
from inspect import isawaitable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from adapters.testing.conformance.agent import ScriptedAgent
from adapters.testing.conformance.harness import AdapterFactory, Harness
from config import ADAPTER_GROUP, GatewayConfig, Home, Platform, PlatformConfig
from gateway.clock import SystemClock
from gateway.daemon import Daemon
from gateway.delivery import NewDelivery, add_delivery
from gateway.logs import NOISY
from gateway.ports import Adapter, AdapterHost, Button, Capabilities, Target
from gateway.storage.inbound_queries import COUNT_UPDATES
from gateway.storage.words import define_words

PATIENCE: Final = 20.0
"""Seconds that anything awaited may take; the machine may be busy."""

LOOK_SECONDS: Final = 0.005
"""How often what is awaited is looked at."""

LAST_LINES: Final = 40
"""How many lines of the log a wait that failed tells."""

RETRIES: Final = {"attempts": 1000, "retry_seconds": 0.02, "retry_max_seconds": 0.2}
"""Quick, and never so many that anything is given up because of a fault."""

NO_SYNC: Final = {"synchronous": "normal", "reserve_kb": 0}
"""What survives a loss of power is no matter here."""

NO_LIMITS: Final = {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0}
"""What a test does in a second, people do in minutes."""

SILENT: Final = (*NOISY, "markdown_it")
"""Loggers that are heard from warnings on: those that the gateway silences, and one that tells of every line."""

OPEN_STATES: Final = (("inbound", ("pending", "running")), ("outbox", ("pending", "sending")))
"""Where something is under way, in the gateway's status."""


class GatewayRun:
    """Runs the gateway between a harness and a scripted agent. Use as an async context manager."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.agent = ScriptedAgent()
        self.home = Home(Path(tempfile.mkdtemp(prefix="hg-"))).ensure()
        self.expected_errors: tuple[str, ...] = ()
        """The loggers, by the beginning of their names, whose errors are what a test is about."""
        self._platform = Platform(harness.name)
        self._factory = harness.adapter or installed_adapter(harness.name)
        self._adapter: Adapter | None = None
        self._daemon: Daemon | None = None
        self._running: asyncio.Task[None] | None = None
        self.log = Log()

    async def __aenter__(self) -> Self:
        self.log.open()
        await self.harness.start(self.home.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
            self._running = None
        await self.harness.stop()
        self.log.close()
        shutil.rmtree(self.home.path, ignore_errors=True)

    @property
    def capabilities(self) -> Capabilities:
        """What the adapter declares."""
        assert self._adapter is not None
        return self._adapter.capabilities

    # --- the gateway ---------------------------------------------------------------------------------------

    async def start(self, **section: object) -> None:
        """Start the daemon over the home; `section` changes what the harness has in the platform's section. Raises what
        the daemon raises."""
        values = {
            "http": {"enabled": False},
            "sessions": {"reset": {"mode": "none"}},
            "inbox": {"expire_hours": 0},
            "access": {"dm": "allowlist", "group": "allowlist"},
            "limits": NO_LIMITS,
            "turns": RETRIES,
            "delivery": RETRIES,
            "storage": NO_SYNC,
            "drain_seconds": PATIENCE / 2,
            "platforms": {self._platform: {**self.harness.section(), **section}},
        }
        # Both have the shape of the ports but for how they are made.
        agents: dict[str, Any] = {"scripted": self.agent}
        adapters: dict[str, Any] = {self._platform: self._build}
        self._daemon = Daemon(GatewayConfig.model_validate(values), self.home, agents=agents, adapters=adapters)
        ready = asyncio.Event()
        self._running = asyncio.create_task(self._daemon.run(ready.set), name="gateway under trial")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self._running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self._running.result()

    async def connected(self) -> None:
        """Wait until the platform is connected."""
        await self.until(lambda: self.state_is("connected"), "the platform is connected")

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop the daemon: in good order, or without waiting for what is under way."""
        if self._daemon is None or self._running is None:
            return
        self._daemon.stop()
        if at_once:
            self._daemon.stop()
        done, _ = await asyncio.wait({self._running}, timeout=PATIENCE)
        assert done, f"the gateway does not stop; {self.log.tail()}"
        self._running.result()
        self._running = None

    async def restart(self) -> None:
        """Stop the daemon without waiting for what is under way, and start it over the same home."""
        await self.stop(at_once=True)
        await self.start()
        await self.connected()

    def _build(self, config: PlatformConfig, host: AdapterHost) -> Adapter:
        self._adapter = self._factory(config, host)
        return self._adapter

    async def offer(self, text: str, *buttons: Button) -> None:
        """Send a notice, with buttons below it, to the place that the agent was asked in last."""
        assert self._daemon is not None
        parts = self._daemon._parts  # noqa: SLF001 - no command of the gateway makes buttons of any label and text
        assert parts is not None
        source = self.agent.heard[-1].source
        target = Target(self._platform, source.chat_id or "", source.thread_id)
        notice = NewDelivery(target, "notice", text, buttons=(buttons,))
        await parts.database.write(lambda connection: add_delivery(connection, notice, SystemClock().now()))
        parts.outbox.offer(target)

    # --- how it stands -------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        assert self._daemon is not None
        return await self._daemon.status()

    async def state(self) -> dict[str, Any]:
        """What it says of the platform: `state`, `reason`, `next_try`."""
        adapters: dict[str, dict[str, Any]] = (await self.status())["adapters"]
        return adapters[str(self._platform)]

    async def state_is(self, *states: str) -> bool:
        """Whether the platform's connection stands so."""
        return (await self.state())["state"] in states

    async def is_idle(self) -> bool:
        """Whether nothing is to be answered or sent."""
        status = await self.status()
        return not any(status[part][state] for part, states in OPEN_STATES for state in states)

    async def idle(self) -> None:
        """Wait until nothing is to be answered or sent."""
        await self.until(self.is_idle, "nothing is under way")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds, which may be awaitable. Raises AssertionError, which says what did not come."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            value = condition()
            if isawaitable(value):
                value = await value
            if value:
                return
            if self._running is not None and self._running.done():
                self._running.result()
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"it did not come to be that {what}; {self.log.tail()}")
            await asyncio.sleep(LOOK_SECONDS)

    async def taken_in(self, *texts: str) -> None:
        """Wait until what came with these texts has been decided, not only kept as its platform sent it."""
        await self.until(lambda: self._has_taken_in(texts), f"{list(texts)} are taken in")

    def _has_taken_in(self, texts: Sequence[str]) -> bool:
        stored = self.stored()
        with self._database() as connection:
            undecided, _set_aside = connection.execute(COUNT_UPDATES).fetchone()
        return all(text in stored for text in texts) and not undecided

    def stored(self) -> str:
        """Everything in the database, as text. The daemon may run."""
        with self._database() as connection:
            define_words(connection)
            return "\n".join(connection.iterdump())

    def _database(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True))


def installed_adapter(name: str) -> AdapterFactory:
    """What builds the adapter that is installed under a platform's name. Raises LookupError."""
    for entry in entry_points(group=ADAPTER_GROUP, name=name):
        factory: AdapterFactory = entry.load()
        return factory
    raise LookupError(f"no installed package has an adapter for {name} in the entry point group {ADAPTER_GROUP}")


class Log(logging.Handler):
    """Everything that is logged meanwhile, as the gateway would write it without taking secrets out."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.lines: list[str] = []
        self._errors: list[tuple[str, str]] = []
        self._levels: dict[str, int] = {}

    def open(self) -> None:
        """Listen to every logger, as far as any is of use."""
        for name, level in (("", logging.DEBUG), *((name, logging.WARNING) for name in SILENT)):
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            logger.setLevel(level)
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Listen no more; the levels are as they were."""
        logging.getLogger().removeHandler(self)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels.clear()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        line = self.format(record)
        self.lines.append(line)
        if record.levelno >= logging.ERROR:
            self._errors.append((record.name, line))

    def errors(self, expected: Sequence[str]) -> list[str]:
        """What was logged as an error, but for the loggers whose errors are expected."""
        return [line for name, line in self._errors if not name.startswith(tuple(expected) or ("-",))]

    def tail(self) -> str:
        """The end of the log, in words."""
        return "the end of the log:\n" + "\n".join(self.lines[-LAST_LINES:])
