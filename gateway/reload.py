"""Reload: the configuration is read again while the gateway runs, validated whole, and put in force, or left alone."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from config import ConfigError, GatewayConfig, LiveConfig, Platform, Problem, Settings
from config.changes import Changes, compare
from gateway.connections import AdapterPool, AdapterRefusedError
from gateway.constants import CONFIG_RETRY_SECONDS, CONFIG_WATCH_SECONDS
from gateway.logs import Redactor, secrets_of
from gateway.ports import Clock
from gateway.roster import AgentRefusedError, AgentRoster

log = logging.getLogger(__name__)

Trigger: TypeAlias = Literal["signal", "file", "request"]
"""Why the configuration is read again: SIGHUP, a change of its files, or `hermes-gateway config reload`."""

Stamp: TypeAlias = tuple[int, int, int] | None
"""What tells one state of a file from another: its inode, time of change and size; None while it is not there."""


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload came to. Where it is not `ok`, nothing was changed, and `problems` say why.

    `applied` and `needs_restart` are dotted keys whose values are new: in force, and waiting for the next start.
    """

    at: datetime
    trigger: Trigger
    ok: bool
    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "at": self.at.isoformat(),
            "trigger": self.trigger,
            "ok": self.ok,
            "applied": list(self.applied),
            "needs_restart": list(self.needs_restart),
            "problems": list(self.problems),
        }


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where the configuration of a gateway came from, so that it can be read again.

    Attributes:
        load: reads it; runs in a thread. Raises `ConfigError`.
        settings: what it gave first.
        stamps: the state of its files at that time.
    """

    load: Callable[[], Settings]
    settings: Settings
    stamps: Mapping[Path, Stamp]

    @classmethod
    def open(cls, load: Callable[[], Settings]) -> Self:
        """Read the configuration for the first time. Reads files: not for the event loop. Raises `ConfigError`."""
        settings = load()
        return cls(load, settings, stamps_of(settings.files))


class _StoppingError(Exception):
    """The gateway stops: it takes over no configuration any more."""


class Reloader:
    """Reads the configuration again when its files change, on a signal, and on request; one reload at a time.

    The files are looked at every `CONFIG_WATCH_SECONDS`, by name and through links. Notices of the file system would
    come at once, but a folder that holds the configuration beside the database gives one for each commit, one that is
    mounted from elsewhere gives none, and a file that is replaced takes its notices with it.

    `asked` is set to have it read again soon. `platforms` says which platforms a configuration switches on, `on_change`
    is told of one that has come into force.
    """

    def __init__(
        self,
        live: LiveConfig,
        source: ConfigSource | None,
        roster: AgentRoster,
        adapters: AdapterPool,
        clock: Clock,
        counters: Counter[str],
        redact: Redactor,
        *,
        asked: asyncio.Event,
        platforms: Callable[[GatewayConfig], Sequence[Platform]],
        on_change: Callable[[GatewayConfig], object],
    ) -> None:
        self._live = live
        self._source = source
        self._roster = roster
        self._adapters = adapters
        self._clock = clock
        self._counters = counters
        self._redact = redact
        self._platforms = platforms
        self._on_change = on_change
        self._good = dict(source.stamps) if source else {}
        """The files of the configuration in force, as they were when it was read."""
        self._seen = dict(self._good)
        """The files that are watched, as they were when they were last read."""
        self._moving: Mapping[Path, Stamp] | None = None
        self._asked = asked
        self._lock = asyncio.Lock()
        self._closed = False
        self._last: ReloadResult | None = None

    @property
    def last(self) -> ReloadResult | None:
        """What the last reload came to, if there was one."""
        return self._last

    @property
    def file(self) -> Path | None:
        """The file that is read, whether or not it is there."""
        return self._source.settings.files[0] if self._source and self._source.settings.files else None

    def close(self) -> None:
        """Take over nothing any more: the gateway stops."""
        self._closed = True

    async def run(self) -> None:
        """Watch the files until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CONFIG_WATCH_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                pass
            try:
                if self._asked.is_set():
                    self._asked.clear()
                    await self.reload("signal")
                elif await self._has_changed():
                    await self.reload("file")
            except Exception:
                log.exception("the configuration could not be read again; that is tried again when its file changes")
                self._counters["reload.errors"] += 1

    async def reload(self, trigger: Trigger) -> ReloadResult:
        """Read the configuration, and put in force what has changed, all of it or, if anything is wrong, nothing."""
        async with self._lock:
            at = self._clock.now()
            try:
                changes = await self._take_over(patient=trigger != "request")
            except ConfigError as error:
                problems = tuple(self._redact(str(problem)) for problem in error.problems)
                result = ReloadResult(at, trigger, ok=False, problems=problems)
            except _StoppingError:
                result = ReloadResult(at, trigger, ok=False, problems=("the gateway is stopping",))
            else:
                result = ReloadResult(at, trigger, True, changes.applied, changes.needs_restart)
                if trigger != "file":
                    self._adapters.try_again()
            self._last = result
            self._tell(result)
            return result

    # --- watching --------------------------------------------------------------------------------------------

    async def _has_changed(self) -> bool:
        """Whether a file is other than when it was read, and has come to rest: who writes it may be in the middle."""
        if not self._seen:
            return False
        now = await asyncio.to_thread(stamps_of, self._seen)
        at_rest = now == self._moving
        self._moving = None if now == self._seen else now
        return self._moving is not None and at_rest

    # --- reading ---------------------------------------------------------------------------------------------

    async def _read(self, source: ConfigSource, *, patient: bool) -> Settings:
        """Read the files. `patient`: what is wrong may only be unfinished, and is read once more before it counts.

        Raises `ConfigError`.
        """
        stamps = await asyncio.to_thread(stamps_of, self._seen)
        try:
            settings = await asyncio.to_thread(source.load)
            self._check_not_lost(settings, stamps)
        except ConfigError as error:
            # What is missing may come; what holds may come back.
            await self._watch((*error.files, *self._good), stamps)
            if not patient:
                raise
        else:
            await self._watch(settings.files, stamps)
            return settings
        await asyncio.sleep(CONFIG_RETRY_SECONDS)
        return await self._read(source, patient=False)

    async def _watch(self, files: Sequence[Path], stamps: Mapping[Path, Stamp]) -> None:
        """Watch these files. Their stamps are from before they were read: a change in between is one after that."""
        added = await asyncio.to_thread(stamps_of, [file for file in files if file not in stamps])
        self._seen = {file: added[file] if file in added else stamps[file] for file in files}
        self._moving = None

    def _check_not_lost(self, settings: Settings, stamps: Mapping[Path, Stamp]) -> None:
        """A configuration that has vanished is an accident, not the wish to have the defaults. Raises `ConfigError`."""
        if not settings.files:
            return
        file = settings.files[0]
        before, now = self._good.get(file), stamps.get(file)
        if before is None or not before[2] or (now is not None and now[2]):
            return
        what = "there is no such file any more" if now is None else "the file is empty now"
        advice = "put it back; what it said stays in force until the gateway is started again"
        raise ConfigError([Problem(str(file), None, "", what, advice)], settings.files)

    # --- putting in force ------------------------------------------------------------------------------------

    async def _take_over(self, *, patient: bool) -> Changes:
        """Raises `ConfigError`, `_StoppingError`; then nothing has changed."""
        if self._source is None:
            what, advice = "did not come from a file", "start the gateway again with the new one"
            raise ConfigError([Problem(None, None, "", what, advice)])
        settings = await self._read(self._source, patient=patient)
        seen = self._seen
        self._redact.learn(secrets_of(settings.config, os.environ))
        changes = compare(self._live.current, settings.config)
        if changes.applied:
            await self._apply(changes.config, settings)
        self._good = seen
        return changes

    async def _apply(self, config: GatewayConfig, settings: Settings) -> None:
        """Build and start what is new beside what runs; then change over, in one step of the loop."""
        try:
            adapters = await self._adapters.prepare(config, self._platforms(config))
            agents = await self._roster.prepare(config)
        except AgentRefusedError as error:
            raise self._refused(settings, f"agents.{error.name}", error.reason) from error
        except AdapterRefusedError as error:
            raise self._refused(settings, f"platforms.{error.platform}", error.reason) from error
        if self._closed:
            await self._roster.discard(agents)
            raise _StoppingError
        self._live.replace(config)
        self._roster.take_over(agents)
        self._adapters.take_over(adapters)
        self._on_change(config)

    def _refused(self, settings: Settings, key: str, reason: str) -> ConfigError:
        places = (place for name, place in settings.origin.items() if name.startswith(f"{key}."))
        place = next((place for place in places if place != "default"), str(settings.path or "configuration"))
        problem = Problem(None, None, key, reason.rstrip("."), "correct it, or take it out", source=place)
        return ConfigError([problem], settings.files)

    def _tell(self, result: ReloadResult) -> None:
        self._counters["reload.done" if result.ok else "reload.refused"] += 1
        for problem in result.problems:
            log.error("the new configuration is not taken over: %s", problem)
        if result.applied:
            log.info("the configuration was reloaded; changed: %s", ", ".join(result.applied))
        elif result.ok:
            log.info("the configuration was read again; nothing else is in force")
        if result.needs_restart:
            log.warning("changes that need a restart of the gateway: %s", ", ".join(result.needs_restart))


def stamp(file: Path) -> Stamp:
    """The state of a file, through links; None if there is none that can be seen."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """The states of files."""
    return {file: stamp(file) for file in files}
