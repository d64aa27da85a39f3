"""The machine's clock is put forwards and back, also while the daemon runs: nothing waits for ever, order holds.

The clock that measures durations (CLOCK_MONOTONIC) is not touched, as no machine touches it.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from config import Home
from tests.crash.conftest import RigMaker
from tests.crash.rig import OUTAGE
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.faults import LockHolder

pytestmark = pytest.mark.system

HOURS: Final = 3600


class FakeClock:
    """What time it is for the daemons, in seconds from the real time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        """Put the clock; daemons that run see it at once."""
        new = self.path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.path)


@pytest.fixture(scope="module")
def fake_clock(tmp_path_factory: pytest.TempPathFactory) -> FakeClock:
    return FakeClock(tmp_path_factory.mktemp("clock") / "now")


@pytest.fixture(scope="module")
def clocked_launcher(system_tool: Callable[[str], Path], fake_clock: FakeClock) -> Iterator[DaemonLauncher]:
    environ = {
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(fake_clock.path),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # On, this mend for some old C libraries ends each wait for the interpreter's lock at once: threads spin.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
    prefix = (system_tool("faketime"), "-f", "+0")
    with DaemonLauncher(prefix=("env", f"LD_PRELOAD={libfaketime(prefix[0])}"), environ=environ) as launcher:
        yield launcher


def libfaketime(program: Path) -> str:
    """Where the library is that `faketime` preloads: the program itself would set a time that no file can change."""
    (found, *_) = sorted(program.parent.parent.glob("lib/*/faketime/libfaketimeMT.so.1"))
    return str(found)


@pytest.mark.parametrize("hours", [(5, -3, 2), (-5, 3, -2)])
async def test_the_clock_jumps_across_restarts_and_while_the_daemon_runs(
    rig: RigMaker, clocked_launcher: DaemonLauncher, fake_clock: FakeClock, hours: tuple[int, ...]
) -> None:
    """Each jump forwards is longer than a session may be idle, so it may end one; those back end none."""
    fake_clock.set(0)
    async with rig(launcher=clocked_launcher) as it:
        it.jumps = 2 * sum(hour > before for before, hour in zip((0, *hours), hours, strict=False))
        it.write_on()
        for hour in hours:
            it.start()
            await it.answers(2)
            fake_clock.set(hour * HOURS)
            await it.answers(4)
            await it.kill()
        await it.dies_at("turn.result")
        fake_clock.set(0)
        await it.finish()


async def test_what_waits_for_its_time_does_not_wait_for_the_clock(
    rig: RigMaker, clocked_launcher: DaemonLauncher, fake_clock: FakeClock
) -> None:
    """A turn is put off, the clock goes back by hours, and the daemon is killed: the turn is tried again soon."""
    fake_clock.set(6 * HOURS)
    async with rig(launcher=clocked_launcher, traffic=("flaky", "flaky-tools")) as it:
        it.write_on()
        it.start()
        await it.answers(2)
        fake_clock.set(0)
        await it.answers(4)
        fake_clock.set(6 * HOURS)
        await it.answers(2)
        await it.kill()
        fake_clock.set(0)
        it.jumps = 2
        await it.dies_after(0.5)
        it.start()
        await it.answers(4)
        await it.finish()


async def test_spools_keep_their_order_when_the_clock_goes_back(
    rig: RigMaker, home: Home, clocked_launcher: DaemonLauncher, fake_clock: FakeClock
) -> None:
    fake_clock.set(5 * HOURS)
    holder = LockHolder(home.database)
    async with rig(launcher=clocked_launcher, **OUTAGE) as it:
        it.jumps = 1
        it.write_on()
        it.start()
        await it.answers(2)
        async with asyncio.timeout(10):
            while not holder.hold():
                await asyncio.sleep(0.01)
        for hour in (1, 0):
            await it.answers(3)
            fake_clock.set(hour * HOURS)
            await it.answers(3)
            await it.kill()
            it.start()
        await it.answers(3)
        holder.release()
        await it.finish()
