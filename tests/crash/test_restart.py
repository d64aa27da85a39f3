"""A daemon that is stopped in good order: nothing is lost, and nothing is marked as a repeat."""

import asyncio

import pytest

from tests.crash.conftest import RigMaker


@pytest.mark.parametrize("terminal_stays", [True, False])
async def test_orderly_restarts(rig: RigMaker, terminal_stays: bool) -> None:
    async with rig() as it:
        it.write_on()
        for pause in (0.15, 0.3, 0.05, 0.2):
            daemon = it.start()
            assert await daemon.ready()
            await asyncio.sleep(pause)
            await it.stop()
            if not terminal_stays:
                await it.client_dies()
        evidence = await it.finish()
    assert evidence.marked == 0
    assert not it.kills
    assert len(evidence.inbound) >= 8


async def test_lines_written_while_the_daemon_is_away_are_answered_once(rig: RigMaker) -> None:
    async with rig() as it:
        it.say("tools")
        await it.dies_at("turn.started")
        for plan in ("say", "/status", "/new", "tools"):
            it.say(plan)
        await it.dies_at("inbox.accepted", 3)
        it.say("say")
        evidence = await it.finish()
    assert [message.text for message in evidence.inbound] == [
        "m1 tools",
        "m2 say",
        "/status",
        "/new",
        "m3 tools",
        "m4 say",
    ]


async def test_session_that_ended_in_a_long_pause_says_so_once(rig: RigMaker) -> None:
    async with rig(traffic=("say",)) as it:
        it.say()
        it.start()
        await it.settle()
        await it.stop()
        it.pause_long()
        it.say()
        await it.dies_at("turn.begun")
        await it.dies_at("turn.ended")
        evidence = await it.finish()
    assert sum(delivery.kind == "notice" for delivery in evidence.outbox) == 1
    assert len(evidence.sessions) == 2
