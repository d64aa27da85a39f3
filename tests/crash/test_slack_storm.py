"""Kills over the wire: the daemon dies at random, right after an acknowledgement, and once the server has taken a
message and not yet said so."""

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

WAYS = ("send", "edit", "history", "acknowledgement", "random", "starting", "orderly")


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
        match chance.choices(WAYS, (35, 10, 10, 15, 20, 10, 5))[0]:
            case "send":
                await rig.dies_in_a_call("chat.postMessage", chance.randint(0, 5))
            case "edit":
                await rig.dies_in_a_call("chat.update", chance.randint(0, 3))
            case "history":
                await rig.dies_in_a_call("conversations.history", chance.randint(0, 3))
            case "acknowledgement":
                await rig.dies_after_an_acknowledgement(chance.randint(0, 4))
            case "random":
                await rig.dies_after(chance.uniform(0.3, 1.5))
            case "starting":
                await rig.dies_after(chance.uniform(0.0, 0.3))
            case "orderly":
                rig.start()
                await rig.stop()
