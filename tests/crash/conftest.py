"""Fixtures of the crash tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from adapters.local import client
from config import Home
from tests.crash.rig import Rig
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.faults import SmallDisk

RigMaker = Callable[..., Rig]
SMALL_DISK_KB = 1024


@pytest.fixture
def rig(daemon_launcher: DaemonLauncher, home: Home, monkeypatch: pytest.MonkeyPatch) -> RigMaker:
    """Makes the one rig of a test. Terminals come back at once: a daemon that was killed is soon there again."""
    monkeypatch.setattr(client, "MAX_RETRY_SECONDS", 0.05)

    def make(launcher: DaemonLauncher = daemon_launcher, **options: Any) -> Rig:
        return Rig(launcher, home, **options)

    return make


@pytest.fixture
def small_disk(
    home: Home, system_tool: Callable[[str], Path], system_missing: Callable[[str], NoReturn]
) -> Iterator[SmallDisk]:
    """The home is alone on a disk of one megabyte."""
    try:
        disk = SmallDisk(home.path, SMALL_DISK_KB, system_tool("mount"))
    except PermissionError as error:
        system_missing(f"a file system cannot be mounted ({error}): run the tests as root")
    home.ensure()
    yield disk
    disk.remove()


@pytest.fixture(scope="session")
def faulty_launcher(system_tool: Callable[[str], Path]) -> Iterator[DaemonLauncher]:
    """Starts daemons whose system calls can be made to fail."""
    with DaemonLauncher(prefix=(system_tool("fiu-run"), "-x", "-f", "")) as launcher:
        yield launcher
