"""Kills over the wire: the daemon dies at random, and once the server has taken a message and not yet said so."""

import random
import sys

import pytest

from adapters.testing.discord import DiscordServer
from config import Home
from tests.crash.discord_rig import DiscordRig
from tests.support.daemon_launcher import DaemonLauncher
from tests.support.settings import Settings

SECONDS_PER_KILL = 8.0
"""Far more than one takes, on a busy machine too."""

HEARTBEAT = 3.0


@pytest.mark.timeout(120 + SECONDS_PER_KILL * Settings.read().crash_kills)
async def test_discord_storm(
    daemon_launcher: DaemonLauncher, home: Home, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(settings.crash_seed)
    try:
        async with (
            DiscordServer(heartbeat_seconds=HEARTBEAT) as server,
            DiscordRig(daemon_launcher, home, server, chance) as rig,
        ):
            await rig.begin()
            await blow(rig, chance, settings.crash_kills)
            await rig.finish()
    finally:
        with capsys.disabled():
            print(f"\ndiscord storm: HERMES_CRASH_SEED={settings.crash_seed} repeats it", file=sys.stderr)
    with capsys.disabled():
        print(f"discord storm: {rig.summary()}", file=sys.stderr)
    assert rig.kills.total() == settings.crash_kills
    assert rig.late_sends, "no restart after the window of nonces followed a send that was cut off"


async def blow(rig: DiscordRig, chance: random.Random, kills: int) -> None:
    rig.write_on()
    hows = ("send", "edit", "history", "random", "starting", "orderly")
    while rig.kills.total() < kills:
        # The case that the nonces cannot help with comes in the shortest of storms too.
        match chance.choices(hows, (40, 10, 10, 25, 10, 5))[0] if rig.late_sends else "send":
            case "send":
                await rig.dies_in_a_call("create_message", chance.randint(0, 5))
            case "edit":
                await rig.dies_in_a_call("edit_message", chance.randint(0, 3))
            case "history":
                await rig.dies_in_a_call("get_messages", chance.randint(0, 3))
            case "random":
                await rig.dies_after(chance.uniform(0.3, 1.5))
            case "starting":
                await rig.dies_after(chance.uniform(0.0, 0.3))
            case "orderly":
                rig.start()
                await rig.stop()
