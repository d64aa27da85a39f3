"""Owns the examination of an installation: what is wrong, and what to do about it. It changes nothing."""

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from config import ConfigError, Home, Settings, load_settings
from gateway.clock import as_clock
from gateway.doctor.findings import Finding, Level, error
from gateway.doctor.machine import disk, packages, time
from gateway.doctor.memory import memory
from gateway.doctor.process import exposure, http, process
from gateway.doctor.settings import access, agents, configuration, credentials, secret_files
from gateway.doctor.storage import barred, database, folders, leftovers
from gateway.logs import Redactor, secrets_of
from gateway.ports import Clock

__all__ = ["Finding", "Level", "examine"]


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
    of_home = await asyncio.to_thread(barred, home)
    running, of_process = (False, []) if of_home is not None else await process(home)
    if settings is not None:
        findings += configuration(settings)
        findings += secret_files(settings)
        findings += credentials(settings.config)
        findings += access(settings.config)
        findings += [finding async for finding in agents(settings.config, home)]
        findings += http(settings.config, running=running)
    findings += of_process
    if of_home is not None:
        findings.append(of_home)
    else:
        findings += await asyncio.to_thread(lambda: list(_in_home(home, settings, now, running=running)))
    findings += packages()
    findings += time(settings.config if settings else None, now)
    return [_redacted(finding, settings) for finding in findings]


def _in_home(home: Home, settings: Settings | None, now: datetime, *, running: bool) -> Iterator[Finding]:
    """What lies in the home, and on the disk that it is on."""
    yield from folders(home)
    if settings is not None:
        yield from exposure(settings.config, home, running=running)
        yield from memory(settings.config, home)
    yield from database(home, now)
    yield from leftovers(home, running=running)
    yield from disk(home)


def _redacted(finding: Finding, settings: Settings | None) -> Finding:
    redact = Redactor(secrets_of(settings.config, os.environ) if settings else ())
    return Finding(finding.level, finding.subject, redact(finding.what), redact(finding.advice))
