"""A daemon that remembers, and dies at each step of that: no turn is lost, none told twice but what was under way."""

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config import Home
from tests.crash.conftest import RigMaker
from tests.crash.test_steps import MEMORY_STEPS

TRAFFIC = ("say", "/new", "tools", "say", "/new", "say")


def handed_over(trace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trace.read_text().splitlines()]


def check(home: Home, trace: Path, kills: int) -> None:
    """Each turn that was answered has been handed over, with its words; what was so twice was said to be repeated."""
    times: dict[str, Counter[int]] = defaultdict(Counter)
    said: dict[str, set[str]] = defaultdict(set)
    parts = handed_over(trace)
    for part in parts:
        for turn in range(part["first"], part["last"] + 1):
            assert part["repeated"] or not times[part["session"]][turn], f"{part} came before"
            times[part["session"]][turn] += 1
        said[part["session"]].update(part["said"])
    with closing(sqlite3.connect(home.database)) as connection:
        answered = connection.execute(
            "SELECT turns.session_id, turns.id FROM turns JOIN inbound ON inbound.turn_id = turns.id"
            " WHERE turns.state = 'done' AND turns.reason IS NULL AND inbound.state = 'answered'"
        ).fetchall()
        asked = connection.execute("SELECT session_id, content FROM messages WHERE role = 'user'").fetchall()
        committed = dict(connection.execute("SELECT session_id, committed FROM memory_sessions"))
        (waiting,) = connection.execute("SELECT count(*) FROM memory_turns").fetchone()
    assert waiting == 0
    generations = Counter(session for session, _turn in answered)
    assert generations == Counter(committed)
    assert {session: set(turns) for session, turns in times.items()} == {
        session: set(range(1, number + 1)) for session, number in generations.items()
    }
    assert all(text in said[session] for session, text in asked)
    assert sum(part["repeated"] for part in parts) <= kills


@pytest.mark.parametrize("hits", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("step", MEMORY_STEPS)
async def test_killed_twice_at_a_step_of_a_commit(
    rig: RigMaker, home: Home, tmp_path: Path, step: str, hits: tuple[int, int]
) -> None:
    trace = tmp_path / "memory.log"
    async with rig(traffic=TRAFFIC, memory=str(trace)) as it:
        it.write_on()
        for hit in hits:
            await it.dies_at(step, hit)
        await it.finish()
        check(home, trace, it.kills.total())


@pytest.mark.parametrize("step", ["writer.before-commit", "writer.after-commit", "turn.before-end", "turn.ended"])
async def test_killed_where_turns_are_noted(rig: RigMaker, home: Home, tmp_path: Path, step: str) -> None:
    trace = tmp_path / "memory.log"
    async with rig(traffic=TRAFFIC, memory=str(trace)) as it:
        it.write_on()
        for hit in (5, 9, 13):
            await it.dies_at(step, hit)
        await it.finish()
        check(home, trace, it.kills.total())


async def test_noted_while_the_database_is_out_of_use(rig: RigMaker, home: Home, tmp_path: Path) -> None:
    from tests.crash.rig import OUTAGE

    trace = tmp_path / "memory.log"
    async with rig(traffic=TRAFFIC, memory=str(trace), **OUTAGE) as it:
        it.start()
        it.write_on()
        await it.answers(3)
        with closing(sqlite3.connect(home.database, isolation_level=None, timeout=10)) as other:
            other.execute("BEGIN IMMEDIATE")
            await it.storage_is("spool")
            await it.answers(5)
            other.execute("ROLLBACK")
        await it.storage_is("sqlite")
        await it.answers(3)
        await it.finish()
        assert it.outages
        check(home, trace, 0)
