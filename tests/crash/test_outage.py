"""The database is out of use at times, and the daemon is killed at times: nothing is lost, doubled or out of order."""

import asyncio
import random
import sys
from contextlib import suppress

import pytest

from config import Home
from tests.crash.conftest import RigMaker
from tests.crash.rig import OUTAGE
from tests.crash.test_steps import SPOOL_STEPS
from tests.crash.test_storm import blow
from tests.support.faults import LockHolder
from tests.support.settings import Settings


async def held_for(holder: LockHolder, seconds: float) -> None:
    async with asyncio.timeout(10):
        while not holder.hold():
            await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
    holder.release()


@pytest.mark.parametrize("step", SPOOL_STEPS)
@pytest.mark.parametrize("hit", [1, 4])
async def test_a_kill_in_an_outage(rig: RigMaker, home: Home, step: str, hit: int) -> None:
    async with rig(**OUTAGE) as it:
        it.start()
        for _ in range(4):
            it.say()
        await it.settle()
        await it.stop()
        holder = LockHolder(home.database)
        it.write_on()
        for _ in range(2):
            outages = asyncio.create_task(holder.come_and_go(random.Random(hit), 0.4))
            try:
                await it.dies_at(step, hit)
            finally:
                outages.cancel()
                with suppress(asyncio.CancelledError):
                    await outages
        await it.finish()
    assert not list(home.sessions_dir.glob("*spool-*"))


async def test_an_outage_from_start_to_end(rig: RigMaker, home: Home) -> None:
    """People talk, the daemon is killed and started again, and the database cannot be written all the while."""
    async with rig(**OUTAGE) as it:
        it.start()
        it.say()
        await it.settle()
        await it.stop()
        holder = LockHolder(home.database)
        assert holder.hold()
        it.write_on()
        for _ in range(3):
            it.start()
            await it.answers(3)
            await it.kill()
        it.be_quiet()
        it.start()
        await it.settle()
        holder.release()
        evidence = await it.finish()
    assert len(evidence.inbound) >= 10


@pytest.mark.timeout(120 + 5 * Settings.read().crash_kills)
async def test_storm_with_outages(
    rig: RigMaker, home: Home, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(settings.crash_seed + 1)
    holder = LockHolder(home.database)
    async with rig(**OUTAGE) as it:
        outages = asyncio.create_task(holder.come_and_go(chance, 1.0))
        try:
            await blow(it, chance, max(10, settings.crash_kills // 2))
        finally:
            outages.cancel()
            with suppress(asyncio.CancelledError):
                await outages
        evidence = await it.finish()
    with capsys.disabled():
        print(
            f"\noutages: HERMES_CRASH_SEED={settings.crash_seed}, {holder.times} outages, {it.summary(evidence)}",
            file=sys.stderr,
        )
