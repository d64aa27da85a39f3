"""Looks at the machine: disk, clock, time zones, and what else goes by the names of our packages."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from config import GatewayConfig, Home
from gateway.doctor.findings import Finding, error, ok, size_text, warning

DISK_ERROR_BYTES: Final = 100 * 1024 * 1024
"""With less free space than this the next backup or checkpoint may fail."""

DISK_WARNING_BYTES: Final = 1024 * 1024 * 1024
"""With less free space than this it is time to make room."""

EARLIEST_NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that says an earlier time has not been set: the program is younger."""

PACKAGES: Final = ("config", "gateway", "adapters", "hermes_gateway")
"""The names under which Python imports this program."""


def disk(home: Home) -> Iterator[Finding]:
    """Whether there is room: for what comes, and for a copy of the database."""
    folder = next((path for path in (home.path, *home.path.parents) if path.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    inodes = os.statvfs(folder)
    database = home.database.stat().st_size if home.database.exists() else 0
    what = f"{size_text(free)} free at {folder}"
    if free < DISK_ERROR_BYTES:
        yield error("disk", what, "make room, or move the home to a larger disk")
    elif inodes.f_files and not inodes.f_favail:
        yield error(
            "disk", f"no file can be created at {folder}: all inodes are taken", "delete files that are not needed"
        )
    elif free < DISK_WARNING_BYTES:
        yield warning("disk", what, "make room before it is gone")
    elif free < database:
        yield warning(
            "disk",
            f"{what}, less than the database's {size_text(database)}",
            "make room: a new version, a backup and a repair need a copy of the database",
        )
    else:
        yield ok("disk", what)


def time(config: GatewayConfig | None, now: datetime) -> Iterator[Finding]:
    """Whether the clock has been set, and what it says where the configuration counts days."""
    if now < EARLIEST_NOW:
        yield error("clock", f"it says {now:%Y-%m-%d %H:%M} UTC", "set this machine's clock (timedatectl set-ntp true)")
    if not available_timezones():
        yield error("time zones", "there are no time zone data", "install the package tzdata")
    elif config is not None:
        there = now.astimezone(ZoneInfo(config.timezone))
        yield ok("clock", f"it is {there:%Y-%m-%d %H:%M} in {config.timezone}; compare that with your watch")


def packages(search: Sequence[str] | None = None) -> Iterator[Finding]:
    """Whether anything else on the path (`search`, or this process's own) has the name of a package of ours.

    The names are common words. Python takes the first that it finds, so that one of the two is hidden.
    """
    ours = Path(__file__).resolve().parents[2]
    for name in PACKAGES:
        for place in _places(name, sys.path if search is None else search):
            if not place.is_relative_to(ours):
                yield warning(
                    "packages",
                    f"{place} has the name of the gateway's own {name} in {ours}: Python takes what comes first",
                    "install the gateway into an environment of its own: python -m venv DIR, then DIR/bin/pip install",
                )


def _places(name: str, search: Sequence[str]) -> list[Path]:
    """Where Python would find a module or package of this name; a folder without code does not count."""
    found: dict[Path, None] = {}
    for entry in search:
        spec = PathFinder.find_spec(name, [entry or "."])
        if spec is not None and spec.has_location and spec.origin is not None:
            found[Path(spec.origin).resolve()] = None
    return list(found)
