"""Owns the examination of an installation: what is wrong, and what to do about it. It changes nothing."""

import asyncio
import os
from pathlib import Path

from config import ConfigError, Home, Settings, load_settings
from gateway.clock import as_clock
from gateway.doctor.findings import Finding, Level, error
from gateway.doctor.machine import disk, packages, time
from gateway.doctor.memory import memory
from gateway.doctor.process import exposure, http, process
from gateway.doctor.settings import access, agents, configuration, credentials, secret_files
from gateway.doctor.storage import database, folders, leftovers
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
    running, of_process = await process(home)
    if settings is not None:
        findings += configuration(settings)
        findings += secret_files(settings)
        findings += credentials(settings.config)
        findings += access(settings.config)
        findings += [finding async for finding in agents(settings.config, home)]
        findings += http(settings.config, running=running)
    findings += of_process
    findings += await asyncio.to_thread(
        lambda: [
            *folders(home),
            *(exposure(settings.config, home, running=running) if settings is not None else ()),
            *(memory(settings.config, home) if settings is not None else ()),
            *database(home, now),
            *leftovers(home, running=running),
            *disk(home),
            *packages(),
        ]
    )
    findings += time(settings.config if settings else None, now)
    return [_redacted(finding, settings) for finding in findings]


def _redacted(finding: Finding, settings: Settings | None) -> Finding:
    redact = Redactor(secrets_of(settings.config, os.environ) if settings else ())
    return Finding(finding.level, finding.subject, redact(finding.what), redact(finding.advice))
