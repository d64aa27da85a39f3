"""Kills over the wire: the daemon dies at random, right after an acknowledgement, and once the server has taken a
message, or a piece of a stream, and not yet said so."""

import random
import sys

import pytest

from adapters.testing.slack import SlackServer
from config import Home
from tests.crash.slack_rig import SlackRig
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.settings import Settings
from tests.support.slack import RULES

SECONDS_PER_KILL = 8.0
"""Far more than one takes, on a busy machine too."""

CALLS = {
    "send": ("chat.postMessage", 5),
    "begin": ("chat.startStream", 1),
    "append": ("chat.appendStream", 3),
    "end": ("chat.stopStream", 1),
    "edit": ("chat.update", 3),
    "history": ("conversations.history", 3),
}
"""Calls in which the daemon dies, and how many of each pass before that."""

WEIGHTS = {"send": 25, "begin": 10, "append": 10, "end": 10, "edit": 10, "history": 10}
WEIGHTS |= {"acknowledgement": 15, "random": 20, "starting": 10, "orderly": 5}


@pytest.mark.timeout(120 + SECONDS_PER_KILL * Settings.read().crash_kills)
async def test_slack_storm(
    daemon_launcher: DaemonLauncher, home: Home, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(settings.crash_seed)
    try:
        async with SlackServer(rules=RULES) as server, SlackRig(daemon_launcher, home, server, chance) as rig:
            await rig.begin()
            await blow(rig, chance, settings.crash_kills)
            await rig.finish()
    finally:
        with capsys.disabled():
            print(f"\nslack storm: HERMES_CRASH_SEED={settings.crash_seed} repeats it", file=sys.stderr)
    with capsys.disabled():
        print(f"slack storm: {rig.summary()}", file=sys.stderr)
    assert rig.kills.total() == settings.crash_kills


async def blow(rig: SlackRig, chance: random.Random, kills: int) -> None:
    rig.write_on()
    while rig.kills.total() < kills:
        match chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]:
            case way if way in CALLS:
                call, passed = CALLS[way]
                await rig.dies_in_a_call(call, chance.randint(0, passed))
            case "acknowledgement":
                await rig.dies_after_an_acknowledgement(chance.randint(0, 4))
            case "random":
                await rig.dies_after(chance.uniform(0.3, 1.5))
            case "starting":
                await rig.dies_after(chance.uniform(0.0, 0.3))
            case "orderly":
                rig.start()
                await rig.stop()
