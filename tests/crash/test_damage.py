"""The database file is damaged, between two runs or under the daemon: it is set aside whole, and people talk on.

What was settled before the damage may have been on the damaged pages, so nothing is asked of it. All that people write
afterwards is accounted for as ever, but for what a session had before: which one goes on (`contexts`, `notices`), and
what it has counted (`counters`, `usage`).
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from config import Home
from gateway.storage.salvage import set_aside_databases
from tests.crash.conftest import RigMaker
from tests.crash.record import Check, Evidence
from tests.crash.rig import OUTAGE, Rig
from tests.support.gateway_client import Said
from tests.support.settings import Settings

PAGE: Final = 4096
UNKNOWN: Final[tuple[Check, ...]] = ("contexts", "notices", "counters", "usage")


DAMAGED: Final[dict[str, Any]] = {**OUTAGE, "unchecked": UNKNOWN, "ends": ("inbound failed", "outbox dead")}
"""A message whose row is damaged, or a delivery, may come to its end by that."""


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def zero_pages(path: Path) -> None:
    """All but the first, which says that this is a database."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(bytes(size - PAGE))


def flip_bits(path: Path) -> None:
    """One bit in each hundred bytes of all but the first page."""
    data = bytearray(path.read_bytes())
    for position in range(PAGE, len(data), 100):
        data[position] ^= 1 << position % 8
    with path.open("r+b") as file:
        file.write(data)


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "cut in half": cut_in_half,
    "pages zeroed": zero_pages,
    "bits flipped": flip_bits,
}


async def talk_before(it: Rig) -> None:
    """Everything is settled, and lies in the database file itself."""
    it.start()
    for _ in range(8):
        it.say()
    await it.settle()
    await it.stop()
    await it.client_dies()


def of_the_last_terminal(evidence: Evidence) -> Evidence:
    """What people wrote after the damage, and what came of it."""
    said = {event.id for event in evidence.events if isinstance(event, Said) and event.life == 1}
    inbound = [message for message in evidence.inbound if message.message_id in said]
    turns = {message.turn_id for message in inbound}
    rows = [row for row in evidence.rows if row.turn_id in turns]
    labels = {message.text.split()[0] for message in inbound}
    outbox = [delivery for delivery in evidence.outbox if delivery.turn_id in turns or said & set(delivery.answers)]
    return replace(
        evidence,
        events=[event for event in evidence.events if event.life == 1],
        inbound=inbound,
        outbox=outbox,
        rows=rows,
        turns=[turn for turn in evidence.turns if turn.id in turns],
        traces=[trace for trace in evidence.traces if trace.split(".")[0] in labels],
    )


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("running", [False, True])
async def test_a_damaged_database(rig: RigMaker, home: Home, settings: Settings, what: str, running: bool) -> None:
    async with rig(seen=of_the_last_terminal, **DAMAGED) as it:
        await talk_before(it)
        damage = DAMAGES[what]
        if running:
            it.start()
            await it.status()
            damage(home.database)
            it.write_on()
            await it.answers(4)
            await it.kill()
        else:
            damage(home.database)
            it.write_on()
        for _ in range(max(1, settings.crash_kills // 50)):
            await it.dies_after(0.3)
        await it.dies_at_or_after("turn.result", 1, 1.0)
        it.start()
        await it.answers(4)
        it.be_quiet()
        await it.storage_is("sqlite")
        await it.finish()
    assert len(set_aside_databases(home.database)) >= 1
    assert not list(home.sessions_dir.glob("*spool-*"))


async def test_a_damaged_database_is_kept_byte_for_byte(rig: RigMaker, home: Home) -> None:
    async with rig(seen=of_the_last_terminal, **DAMAGED) as it:
        await talk_before(it)
        zero_pages(home.database)
        damaged = home.database.read_bytes()
        it.start()
        it.say("say")
        await it.settle()
        await it.storage_is("sqlite")
        await it.finish()
    (aside,) = set_aside_databases(home.database)
    assert aside.read_bytes() == damaged
