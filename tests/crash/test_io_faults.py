"""Calls of the system fail at random in the daemon, which is killed at times too: nothing acknowledged is lost.

libfiu takes the calls of the C library by their names, whatever they are for. Those left alone are the ones that the
gateway does not store with: sockets have calls of their own (`send`, `recv`), and the interpreter reads its modules
with `read`. `write` is the spool's; `pwrite`, `fdatasync` and `ftruncate` are SQLite's. The test's own log and the
traces of tools are written by `writev`, which does not fail.
"""

import errno
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.crash.conftest import RigMaker
from tests.crash.record import Check
from tests.crash.rig import UNSTORABLE
from tests.crash.test_storm import blow
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.injection import Fault
from tests.support.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.slow]

WRITE: Final = "posix/io/rw/write"
PWRITE: Final = "posix/io/rw/pwrite"
SHORT_WRITE: Final = "posix/io/rw/write/reduce"
SHORT_PWRITE: Final = "posix/io/rw/pwrite/reduce"
FSYNC: Final = "posix/io/sync/fsync"
FDATASYNC: Final = "posix/io/sync/fdatasync"
FTRUNCATE: Final = "posix/io/rw/ftruncate"
UNLINK: Final = "posix/io/dir/unlink"

NOT_READ: Final[tuple[Check, ...]] = ("contexts", "order", "turns", "tools", "answers")
"""What cannot hold if a daemon could not read its database at all (see test_unreadable.py)."""

FAULTS: Final[dict[str, Sequence[Fault]]] = {
    "the database is full at times": [(PWRITE, 0.03, errno.ENOSPC)],
    "the database cannot be synced at times": [(FDATASYNC, 0.05, errno.EIO), (FSYNC, 0.02, errno.EIO)],
    "the spool is full at times too": [(PWRITE, 0.05, errno.ENOSPC), (WRITE, 0.05, errno.ENOSPC)],
    "whatever is written or synced": [
        (PWRITE, 0.02, errno.EIO),
        (SHORT_PWRITE, 0.03, 0),
        (WRITE, 0.03, errno.EIO),
        (SHORT_WRITE, 0.1, 0),
        (FSYNC, 0.05, errno.EIO),
        (FDATASYNC, 0.05, errno.EIO),
        (FTRUNCATE, 0.05, errno.EIO),
        (UNLINK, 0.2, errno.EROFS),
    ],
}


@pytest.mark.timeout(120 + 5 * Settings.read().crash_kills)
@pytest.mark.parametrize("what", FAULTS)
async def test_storm_of_faults(
    rig: RigMaker,
    faulty_launcher: DaemonLauncher,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    what: str,
) -> None:
    chance = random.Random(settings.crash_seed)
    async with rig(launcher=faulty_launcher, beside=tmp_path, **UNSTORABLE) as it:
        it.faults = FAULTS[what]
        await blow(it, chance, max(5, settings.crash_kills // 10))
        it.faults = ()
        if it.log_tells("the database cannot be read"):
            it.unchecked += NOT_READ
        evidence = await it.finish()
    with capsys.disabled():
        print(
            f"\n{what}: HERMES_CRASH_SEED={settings.crash_seed}, {it.outages} outages, {it.summary(evidence)}",
            file=sys.stderr,
        )
    assert it.outages
