"""Kills at random, for as long as it takes, while people write on."""

import random
import sys

import pytest

from tests.crash.conftest import RigMaker
from tests.crash.rig import Rig
from tests.crash.test_steps import STEPS
from tests.support.settings import Settings

SECONDS_PER_KILL = 5.0
"""Far more than one takes, on a busy machine too."""

ORDINARY_STEPS = sorted(set(STEPS) - {"turn.steer"})


@pytest.mark.timeout(120 + SECONDS_PER_KILL * Settings.read().crash_kills)
async def test_storm(rig: RigMaker, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(settings.crash_seed)
    try:
        async with rig() as it:
            await blow(it, chance, settings.crash_kills)
            evidence = await it.finish()
    finally:
        with capsys.disabled():
            print(f"\nstorm: HERMES_CRASH_SEED={settings.crash_seed} repeats it", file=sys.stderr)
    with capsys.disabled():
        print(f"storm: {it.summary(evidence)}", file=sys.stderr)
    assert it.kills.total() == settings.crash_kills


async def blow(it: Rig, chance: random.Random, kills: int) -> None:
    it.write_on()
    while it.kills.total() < kills:
        match chance.choices(("step", "twice", "random", "starting", "orderly", "pause"), (40, 10, 25, 10, 10, 5))[0]:
            case "step":
                await it.dies_at_or_after(chance.choice(ORDINARY_STEPS), chance.randint(1, 15), chance.uniform(0.5, 2))
            case "twice":
                step = chance.choice(ORDINARY_STEPS)
                await it.dies_at_or_after(step, chance.randint(1, 8), 1.0)
                if it.kills.total() < kills:
                    await it.dies_at_or_after(step, 1, 1.0)
            case "random":
                await it.dies_after(chance.uniform(0.1, 1.0))
            case "starting":
                await it.dies_after(chance.uniform(0.0, 0.15))
            case "orderly":
                it.start()
                await it.stop()
            case "pause":
                it.pause_long()
        if chance.random() < 0.15:
            await it.client_dies()
