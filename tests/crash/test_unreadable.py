"""The database cannot even be read when the daemon starts: people talk on, and what was there joins in later.

What cannot hold then, and is left unchecked: which session the agent sees, because a slot's own is not known until it
joins (`contexts`), and that what was written before is answered before (`order`, `turns`). What a platform hands over
again is taken as new, because nobody can know it; if its answer lay ready and had not been shown, people see two.
"""

from typing import Any

import pytest

from config import Home
from tests.crash.conftest import RigMaker
from tests.crash.record import Evidence
from tests.crash.rig import OUTAGE, Rig
from tests.support.faults import LockHolder
from tests.support.settings import Settings

UNREADABLE: dict[str, Any] = {**OUTAGE, "unchecked": ("contexts", "order", "turns")}


async def talk_unread(it: Rig, home: Home, kills: int) -> Evidence:
    """People write, and the daemon is killed and started again, while it cannot read its database."""
    holder = LockHolder(home.database, whole=True)
    assert holder.hold()
    try:
        it.write_on()
        for _ in range(kills):
            await it.dies_after(0.5)
        it.start()
        storage = await it.storage_is("spool")
        assert "locked" in storage["reason"]
        await it.answers(3)
        it.be_quiet()
    finally:
        holder.release()
    await it.storage_is("sqlite")
    evidence = await it.finish()
    assert not list(home.sessions_dir.glob("*spool-*"))
    assert len({turn.session_id for turn in evidence.turns}) == 1, "the provisional session did not join the live one"
    return evidence


@pytest.mark.parametrize("kills", [0, max(2, Settings.read().crash_kills // 50)])
async def test_what_was_open_before_is_taken_up_after_the_merge(rig: RigMaker, home: Home, kills: int) -> None:
    async with rig(traffic=("tools", "say", "/status", "silent"), **UNREADABLE) as it:
        it.start()
        it.say()
        await it.settle()
        await it.stop()
        it.write_on()
        await it.dies_at("turn.result", 1)  # a turn is open, and messages wait behind it
        it.be_quiet()
        await it.client_dies()
        evidence = await talk_unread(it, home, kills)
    assert any("unknown" not in message.text and message.message_id.startswith("client0") for message in evidence.asked)


async def test_what_is_handed_over_again_while_nobody_knows_it_is_answered_once(rig: RigMaker, home: Home) -> None:
    """A terminal hands over its lines again. The turn that had begun with one has no message any more, and ends."""
    errors = (*UNREADABLE["expected_errors"], "gateway.turns")
    async with rig(traffic=("say",), **{**UNREADABLE, "expected_errors": errors}) as it:
        it.start()
        it.say()
        await it.settle()
        await it.stop()
        it.write_on()
        await it.dies_at("turn.begun")
        it.be_quiet()
        await talk_unread(it, home, kills=1)
