"""Hours of work in a minute: many sessions, many people at once, kills, restarts and faults; and nothing is lost,
repeated, out of order, or left behind in memory.

`HERMES_SOAK_SECONDS` is how long it runs, `HERMES_SOAK_SEED` repeats a run's faults.
"""

import asyncio
import os
import random
import secrets
import signal
import sys
from statistics import fmean
from typing import Final

import pytest

from config import Home
from tests.soak.rig import FAULTS, Rig
from tests.soak.wire import Report

SECONDS: Final = float(os.environ.get("HERMES_SOAK_SECONDS") or 45)
SEED: Final = int(os.environ.get("HERMES_SOAK_SEED") or secrets.randbelow(10**9))
SESSIONS: Final = int(min(10_000, 20 * SECONDS))
WRITERS: Final = 50
STORMY: Final = 0.4
"""The share of the time in which faults strike; then one process works on undisturbed, and its memory is looked at."""

GROWTH: Final = 1.10
"""Memory in the last quarter of the quiet time, compared with the second."""

SETTLE_SECONDS: Final = 60.0


@pytest.mark.slow
@pytest.mark.timeout(240 + 3 * SECONDS)
async def test_soak(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nsoak: HERMES_SOAK_SECONDS={SECONDS:g} HERMES_SOAK_SEED={SEED} repeats it", file=sys.stderr)
    async with Rig(home, random.Random(SEED), SESSIONS, WRITERS) as rig:
        await rig.start()
        await _work_through_faults(rig, SECONDS * STORMY)
        samples, idle = await _work_undisturbed(rig, SECONDS * (1 - STORMY))
        await rig.end(signal.SIGTERM)
        with capsys.disabled():
            print(f"soak: {_summary(rig, samples, idle)}", file=sys.stderr)
        assert rig.violations() == []
    _assert_level(samples)
    _assert_nothing_left(*idle)


async def _work_through_faults(rig: Rig, seconds: float) -> None:
    """People write while faults strike, one after another."""
    names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    deadline = asyncio.get_running_loop().time() + seconds
    rig.let_people_write()
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(rig.chance.uniform(0.2, 1.0))
        name = rig.chance.choices(names, weights)[0]
        await FAULTS[name][1](rig)
        rig.tally.faults[name] += 1
    await rig.quiet()


async def _work_undisturbed(rig: Rig, seconds: float) -> tuple[list[Report], tuple[Report, Report]]:
    """One process, from idle to idle; samples while people write."""
    await rig.restart()
    rig.let_people_write()
    await asyncio.sleep(min(5.0, seconds / 4))
    await rig.quiet()
    before = await _idle(rig)
    samples: list[Report] = []
    deadline = asyncio.get_running_loop().time() + seconds
    rig.let_people_write()
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(seconds / 40)
        samples.append(await rig.platform.report())
    await rig.quiet()
    return samples, (before, await _idle(rig, like=before))


async def _idle(rig: Rig, like: Report | None = None) -> Report:
    """What the process holds once nothing goes on in it; what is about to end gets its time."""
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
    last = await rig.platform.report()
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        now = await rig.platform.report()
        if _held(now) == _held(like or last) and not _is_working(now):
            return now
        last = now
    return last


def _is_working(report: Report) -> bool:
    """Whether conversations are being worked on: those that a long pause has ended are closed one after another."""
    return any(name.startswith("lane ") for name in report.tasks)


def _held(report: Report) -> tuple[list[str], int, list[str]]:
    return report.tasks, report.descriptors, report.threads


def _assert_level(samples: list[Report]) -> None:
    """Memory in the last quarter is that of the second."""
    second, last = _quarter(samples, 1), _quarter(samples, 3)
    for what, values in (("resident_mb", "MB"), ("blocks", "blocks")):
        early, late = (fmean(float(getattr(report, what)) for report in part) for part in (second, last))
        assert late <= early * GROWTH, f"memory grew from {early:,.0f} to {late:,.0f} {values}"


def _quarter(samples: list[Report], number: int) -> list[Report]:
    size = len(samples) // 4
    return samples[number * size : (number + 1) * size]


def _assert_nothing_left(before: Report, after: Report) -> None:
    assert after.tasks == before.tasks
    assert after.threads == before.threads
    assert after.descriptors == before.descriptors


def _summary(rig: Rig, samples: list[Report], idle: tuple[Report, Report]) -> str:
    faults = ", ".join(f"{name} {number}" for name, number in sorted(rig.tally.faults.items()))
    calls = ", ".join(f"{name} {number}" for name, number in sorted(rig.platform.calls.items()))
    memory = " → ".join(f"{fmean(report.resident_mb for report in _quarter(samples, n)):.1f}" for n in range(4))
    blocks = " → ".join(f"{fmean(report.blocks for report in _quarter(samples, n)):,.0f}" for n in range(4))
    return (
        f"{len(rig.platform.written):,} messages in {SESSIONS:,} sessions; {faults}; {calls};"
        f" {rig.platform.repeated} marked repeats; {memory} MB; {blocks} blocks;"
        f" {len(idle[1].tasks)} tasks, {idle[1].descriptors} descriptors, {len(idle[1].threads)} threads"
    )
