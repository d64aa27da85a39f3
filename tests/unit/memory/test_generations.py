"""Generations and segments: the stated cases, and what breaks such a book."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.remembering import ledger
from gateway.session.errors import UnknownSession
from gateway.session.removal import remove_record
from tests.unit.memory.support import book

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "lifecycle.json"
CASES: Mapping[str, Mapping[str, Any]] = {case["id"]: case for case in json.loads(VECTORS.read_text("utf-8"))["cases"]}


def expected(number: str) -> Any:
    return CASES[f"lifecycle-{number}"]["expected"]


def test_every_case_has_its_test() -> None:
    tested = {name.rpartition("_")[2] for name in globals() if name.startswith("test_case_")}
    assert {case.removeprefix("lifecycle-") for case in CASES} == tested


async def test_case_002(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        assert [await it.commits.commit("nobody"), await it.state("nobody")] == expected("002")


async def test_case_003(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        found = [await it.commits.register(session_id, "A"), await it.commits.commit(session_id)]  # type: ignore[func-returns-value]
        assert [*found, await it.state(session_id)] == expected("003")


async def test_case_004(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        found: dict[str, Any] = {"marks": [await it.commits.mark(session_id, "A") for _ in range(2)]}
        found["before"] = await it.state(session_id)
        found["commit"] = await it.commits.commit(session_id)
        found["after"] = await it.state(session_id)
        found["calls"] = len(it.taker.calls)
        found["has"] = await it.commits.has_uncommitted(session_id)
        found["commit_again"] = await it.commits.commit(session_id)
        assert found == expected("004")
        assert len(it.taker.calls) == 1


async def test_case_006(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        it.taker.faults.append(RuntimeError("no"))
        await it.commits.mark(session_id, "A")
        assert not await it.commits.commit(session_id)
        await it.commits.mark(session_id, "B")
        found: dict[str, Any] = {"after_rebuild": await it.state(session_id)}
        first = await it.commits.commit(session_id, "B")
        found["mid"] = await it.state(session_id)
        found["commits"] = [first, await it.commits.commit(session_id, "B")]
        found["end"] = await it.state(session_id)
        found |= {owner: it.taker.calls_of(owner) for owner in "AB"}
        assert found == expected("006")


async def _during_a_commit(tmp_path: Path, turns: int) -> tuple[bool, Any, bool]:
    async with book(tmp_path) as it:
        session_id, go = await it.session(), asyncio.Event()
        it.taker.faults.append(go)
        await it.commits.mark(session_id, "A")
        commit = asyncio.create_task(it.commits.commit(session_id))
        await it.taker.reached.wait()
        for _ in range(turns):
            await it.commits.mark(session_id, "A")
        go.set()
        return await commit, await it.state(session_id), await it.commits.has_uncommitted(session_id)


async def test_case_007(tmp_path: Path) -> None:
    commit, after, has = await _during_a_commit(tmp_path, 1)
    assert {"commit": commit, "after": after, "has": has} == expected("007")


async def test_case_008(tmp_path: Path) -> None:
    _commit, after, _has = await _during_a_commit(tmp_path, 3)
    assert after == expected("008")


async def test_case_010(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id, go = await it.session(), asyncio.Event()
        it.taker.faults.append(go)
        await it.commits.mark(session_id, "A")
        commit = asyncio.create_task(it.commits.commit(session_id))
        await it.taker.reached.wait()
        begun = asyncio.get_running_loop().time()
        found: dict[str, Any] = {"timed_out_result": await it.commits.commit(session_id, wait=True, timeout=0.1)}
        found["waited_at_least_0.1"] = asyncio.get_running_loop().time() - begun >= 0.099
        found["timeout0"] = await it.commits.commit(session_id, wait=True, timeout=0)
        assert not await it.commits.commit(session_id)
        go.set()
        assert await commit
        found["has"] = await it.commits.has_uncommitted(session_id)
        assert found == expected("010")


async def test_case_013(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        await it.commits.mark(session_id)
        assert not await it.commits.commit(session_id), "nobody's turns are handed to nobody"
        await it.commits.register(session_id, "A")
        assert [await it.commits.commit(session_id), it.taker.calls_of("A")] == expected("013")


async def test_case_015(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        for owner in "ABA":
            await it.commits.mark(session_id, owner)
        assert await it.state(session_id) == expected("015")


async def test_case_017(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        it.taker.faults.append(asyncio.Event())
        await it.commits.mark(session_id, "A")
        commit = asyncio.create_task(it.commits.commit(session_id))
        await it.taker.reached.wait()
        waiting = asyncio.create_task(it.commits.commit(session_id, wait=True))
        await asyncio.sleep(0)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        state, taken = await it.state(session_id), await waiting
        assert {"state": {**(state or {}), "in_flight": False}, "next_commit": taken} == expected("017")
        assert it.taker.calls[1].begun, "it may have been taken, and whoever takes it is told so"


async def test_case_018(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        one, other = await it.session(1), await it.session(2)
        await it.commits.mark(one, "A")
        await it.commits.mark(other, "A")
        assert await it.commits.commit(one)
        assert [await it.state(one), await it.state(other)] == expected("018")


async def test_case_019(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        it.taker.faults.append(RuntimeError("no"))
        await it.commits.mark(session_id, "A")
        await it.commits.commit(session_id)
        await it.commits.mark(session_id, "A")
        before = await it.state(session_id)
        assert [before, await it.commits.commit(session_id), await it.state(session_id)] == expected("019")


# --- what the cases leave open -------------------------------------------------------------------------------


async def test_without_a_session_nothing_happens_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        assert await it.commits.mark("", "A") == 0
        assert not await it.commits.commit("")
        await it.commits.register("", "A")
        for wrong in (it.commits.mark("nobody", "A"), it.commits.register("nobody", "A")):
            with pytest.raises(UnknownSession):
                await wrong


async def test_who_is_registered_owns_the_next_turns_only(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        await it.commits.mark(session_id, "A")
        await it.commits.register(session_id, "B")
        await it.commits.mark(session_id)
        await it.commits.register(session_id, None)
        await it.commits.mark(session_id)
        state = await it.state(session_id)
        assert state is not None
        assert state["segments"] == [[1, 1, "A"], [2, 2, "B"], [3, 3, None]]
        assert state["agent"] is None


async def test_whom_a_segment_was_given_to_keeps_it(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        await it.commits.mark(session_id)
        it.taker.faults.append(RuntimeError("no"))
        assert not await it.commits.commit(session_id, "A")
        assert await it.commits.commit(session_id, "B")
        assert it.taker.taken[0].owner == "A"


async def test_a_failure_is_put_off_longer_and_longer_and_counted(tmp_path: Path) -> None:
    async with book(tmp_path, retry_seconds=10, retry_max_seconds=25, quiet_minutes=1) as it:
        session_id = await it.session()
        await it.commits.mark(session_id, "A")
        it.clock.advance(120)
        it.taker.faults.extend([RuntimeError("no")] * 3)
        waits = []
        for calls in (1, 2, 3):
            seconds = 0
            while len(it.taker.calls) < calls:
                await it.commits.sweep()
                if len(it.taker.calls) < calls:
                    it.clock.advance(5)
                    seconds += 5
            waits.append(seconds)
        assert waits == [0, 10, 20]
        it.clock.advance(25)
        assert await it.commits.sweep() == 1
        assert it.counters["memory.errors"] == 3
        assert not await it.commits.has_uncommitted(session_id)


async def test_only_what_has_come_to_a_rest_is_handed_over(tmp_path: Path) -> None:
    async with book(tmp_path, quiet_minutes=30) as it:
        ended, quiet, busy = [await it.session(number) for number in (1, 2, 3)]
        for session_id in (ended, quiet, busy):
            await it.commits.mark(session_id, "A")
        await it.store.reset_session((await it.store.get_session(ended)).session_key)
        assert await it.commits.sweep() == 1
        it.clock.advance(31 * 60)
        await it.store.update_session(busy, input_tokens=1)
        assert await it.commits.sweep() == 1
        assert [each.session_id for each in it.taker.taken] == [ended, quiet]


async def test_a_drain_ends_whatever_hangs_and_tries_what_fails_once(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        hanging, failing, fine = sorted([await it.session(number) for number in (1, 2, 3)])
        for session_id in (hanging, failing, fine):
            await it.commits.mark(session_id, "A")
        it.taker.faults.extend([asyncio.Event(), RuntimeError("no")])
        assert await it.commits.drain(0.2) == 1, "what failed is put off, and what hangs is left"
        assert {each.session_id for each in it.taker.taken} == {fine}
        assert len(it.taker.calls) == 3
        assert not it.commits.is_in_flight(hanging)
        assert await it.commits.commit(hanging)


async def test_many_at_once_hand_each_turn_over_once(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()

        async def talk() -> None:
            for _ in range(20):
                await it.commits.mark(session_id, "A")

        async def commit() -> None:
            for _ in range(20):
                await it.commits.commit(session_id, wait=True, timeout=5)

        await asyncio.gather(talk(), commit(), commit(), it.commits.drain(5), it.commits.drain(5))
        await it.commits.commit_all(session_id)
        covered = Counter(turn for each in it.taker.taken for turn in range(each.first, each.last + 1))
        assert covered == Counter(range(1, 21))


async def test_a_long_segment_is_handed_over_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_SEGMENT_TURNS", 3)
    async with book(tmp_path) as it:
        session_id = await it.session()
        for _ in range(7):
            await it.commits.mark(session_id, "A")
        assert await it.commits.commit_all(session_id)
        assert [(each.first, each.last) for each in it.taker.taken] == [(1, 3), (4, 6), (7, 7)]


async def test_a_session_that_is_deleted_in_a_commit_leaves_nothing(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id, go = await it.session(), asyncio.Event()
        it.taker.faults.append(go)
        await it.commits.mark(session_id, "A")
        commit = asyncio.create_task(it.commits.commit(session_id))
        await it.taker.reached.wait()
        await it.store.reset_session((await it.store.get_session(session_id)).session_key)
        await it.database.write(lambda connection: remove_record(connection, session_id))
        go.set()
        assert not await commit
        assert await it.state(session_id) is None


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", ["memory.captured", "memory.delivered", "memory.settled"])
async def test_death_at_a_step_loses_nothing_and_repeats_only_what_was_under_way(tmp_path: Path, step: str) -> None:
    steps: list[str] = []

    def probe(name: str) -> None:
        steps.append(name)
        if name == step and steps.count(name) == 2:
            raise Died

    async with book(tmp_path, probe) as it:
        session_id = await it.session()
        for owner in "ABC":
            await it.commits.mark(session_id, owner)
        with pytest.raises(Died):
            await it.commits.commit_all(session_id)
        before = list(it.taker.taken)
    async with book(tmp_path) as it:
        await it.commits.mark(session_id, "C")
        assert await it.commits.commit_all(session_id)
        after = it.taker.taken
    turns = Counter(turn for each in (*before, *after) for turn in range(each.first, each.last + 1))
    assert turns == Counter([1, 2, 2, 3, 4] if step == "memory.delivered" else [1, 2, 3, 4])
    assert [each.first for each in after if each.begun] == ([] if step == "memory.settled" else [2])


async def test_what_was_under_way_at_a_death_is_not_joined_by_later_turns(tmp_path: Path) -> None:
    def probe(name: str) -> None:
        if name == "memory.delivered":
            raise Died

    async with book(tmp_path, probe) as it:
        session_id = await it.session()
        await it.commits.mark(session_id, "A")
        with pytest.raises(Died):
            await it.commits.commit(session_id)
        await it.commits.mark(session_id, "A")
        state = await it.state(session_id)
        assert state is not None
        assert state["segments"] == [[1, 1, "A"], [2, 2, "A"]]


async def test_a_database_that_fails_costs_a_commit_and_no_more(tmp_path: Path) -> None:
    async with book(tmp_path) as it:
        session_id = await it.session()
        await it.commits.mark(session_id, "A")

        def broken(_connection: sqlite3.Connection, _segment: object) -> bool:
            raise sqlite3.OperationalError("disk I/O error of a test")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger, "settle", broken)
            assert not await it.commits.commit(session_id)
        assert await it.commits.commit(session_id)
        assert it.counters["memory.storage_errors"] == 1
