"""Telegram, Discord, Slack and terminals in one daemon, each at the other end of a socket, while faults strike: nothing
is lost, nothing is repeated unmarked, and nothing is left behind in memory.

`HERMES_SOAK_SECONDS` is how long it runs, `HERMES_SOAK_SEED` repeats a run's faults.
"""

import asyncio
import os
import secrets
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from statistics import fmean
from typing import Final

import pytest

from config import Home
from tests.soak.four import FAULTS, Four
from tests.soak.people import Verdict
from tests.soak.test_soak import GROWTH, SETTLE_SECONDS, STORMY
from tests.soak.wire import Report

SECONDS: Final = float(os.environ.get("HERMES_SOAK_SECONDS") or 30)
SEED: Final = int(os.environ.get("HERMES_SOAK_SEED") or secrets.randbelow(10**9))

POOL: Final = "asyncio_#"
"""Threads that are begun as they are needed, so many at most, and stay."""

SURE: Final = ("slack", "terminal")
"""Where a message can always be found again, so that none has to be sent in doubt."""


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * SECONDS)
async def test_four_platforms(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nfour: HERMES_SOAK_SECONDS={SECONDS:g} HERMES_SOAK_SEED={SEED} repeats it", file=sys.stderr)
    async with Four(home, SEED) as four:
        await four.begin()
        await _work_through_faults(four, SECONDS * STORMY)
        samples, before, after = await _work_undisturbed(four, SECONDS * (1 - STORMY))
        await four.end(signal.SIGTERM)
        verdicts = await four.verdicts()
        with capsys.disabled():
            print(f"four: {_summary(four, verdicts, samples, after)}", file=sys.stderr)
        assert [fault for verdict in verdicts.values() for fault in verdict.wrong] == []
        assert {name: verdicts[name].marked for name in SURE} == dict.fromkeys(SURE, 0)
        assert list(four.complaints()) == []
        assert _unended(home) == {}
    assert _more(after, before) == {}, "something is left behind"
    for what in ("resident_mb", "blocks"):
        early, late = _mean(samples, what, 1), _mean(samples, what, 3)
        assert late <= early * GROWTH, f"{what} grew from {early:,.0f} to {late:,.0f}"


async def _work_through_faults(four: Four, seconds: float) -> None:
    """People write while faults strike, one after another."""
    names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    deadline = asyncio.get_running_loop().time() + seconds
    await four.write()
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(four.chance.uniform(0.5, 1.5))
        name = four.chance.choices(names, weights)[0]
        await FAULTS[name][1](four)
        four.faults[name] += 1
    await four.quiet()


async def _work_undisturbed(four: Four, seconds: float) -> tuple[list[Report], Report, Report]:
    """One process, from idle to idle; samples while people write."""
    await four.restart()
    await four.write()
    await asyncio.sleep(min(5.0, seconds / 4))
    await four.quiet()
    before = await four.report()
    samples: list[Report] = []
    deadline = asyncio.get_running_loop().time() + seconds
    await four.write()
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(seconds / 40)
        samples.append(await four.report())
    await four.quiet()
    return samples, before, await _idle(four, before)


async def _idle(four: Four, before: Report) -> Report:
    """What the process holds once it holds no more than before; what is about to end gets its time."""
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
    while True:
        now = await four.report()
        if not _more(now, before) or asyncio.get_running_loop().time() > deadline:
            return now
        await asyncio.sleep(0.5)


def _more(now: Report, before: Report) -> dict[str, object]:
    """What there is more of than before."""
    tasks = Counter(now.tasks) - Counter(before.tasks)
    threads = Counter(name for name in now.threads if name != POOL) - Counter(before.threads)
    descriptors = max(0, now.descriptors - before.descriptors)
    return {name: more for name, more in {"tasks": tasks, "threads": threads, "fds": descriptors}.items() if more}


def _mean(samples: Sequence[Report], what: str, quarter: int) -> float:
    size = len(samples) // 4
    return fmean(float(getattr(each, what)) for each in samples[quarter * size : (quarter + 1) * size])


def _unended(home: Home) -> dict[str, int]:
    """What the database says has no end."""
    questions = {
        "inbound": "SELECT count(*) FROM inbound WHERE state NOT IN ('answered', 'ignored')",
        "turns": "SELECT count(*) FROM turns WHERE state <> 'done'",
        "outbox": "SELECT count(*) FROM outbox WHERE state <> 'sent' OR final = 0",
        "updates": "SELECT count(*) FROM updates",
    }
    with closing(sqlite3.connect(f"{home.database.as_uri()}?mode=ro", uri=True)) as connection:
        found = {what: int(connection.execute(question).fetchone()[0]) for what, question in questions.items()}
    return {what: count for what, count in found.items() if count}


def _summary(four: Four, verdicts: Mapping[str, Verdict], samples: Sequence[Report], idle: Report) -> str:
    faults = ", ".join(f"{name} {number}" for name, number in sorted(four.faults.items()))
    people = ", ".join(f"{name} {each.written:,} ({each.marked} marked)" for name, each in verdicts.items())
    memory = " → ".join(f"{_mean(samples, 'resident_mb', quarter):.1f}" for quarter in range(4))
    held = f"{len(idle.tasks)} tasks, {idle.descriptors} descriptors, {len(idle.threads)} threads"
    return f"{people}; {faults}; {memory} MB; {held}"
