"""`SessionStore` against the cases of its suite, read as states. Those about index files (-019, -020, -022) are the
import's: `tests/unit/importing/test_home_vectors.py`."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.ids import is_session_id
from gateway.session import InvalidMessage, SessionEntry, SessionStore, UnknownSession
from gateway.storage.errors import StorageError
from tests.support.stores import ANSWER, START, USER, HandClock, dm, resets
from tests.unit.session.support import cases

ELSEWHERE = {"session_store-019", "session_store-020", "session_store-022"}
CASES = {str(case.id): case.values[0] for case in cases("session_store")}

KEY = "agent:main:telegram:dm:9"


class Scene:
    """A store on a directory, with its clock; it can be closed and opened again."""

    def __init__(self, directory: Path, clock: HandClock) -> None:
        self.directory = directory
        self.clock = clock
        self.config = resets("idle")

    def open(self) -> Any:
        return SessionStore.open(self.directory, self.config, clock=self.clock)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, HandClock())


@pytest.fixture
async def store(scene: Scene) -> AsyncIterator[SessionStore]:
    async with scene.open() as opened:
        yield opened


def expected(number: str) -> Any:
    case: Any = CASES[f"session_store-{number}"]
    return case["expected"]


async def spend(store: SessionStore, entry: SessionEntry) -> None:
    await store.update_session(entry.session_id, input_tokens=11, output_tokens=5, cache_read_tokens=3)
    await store.update_session(entry.session_id, cache_write_tokens=2)


async def test_001_a_message_within_the_time_goes_on(scene: Scene, store: SessionStore) -> None:
    first = await store.get_or_create_session(dm())
    scene.clock.advance(minutes=30)
    again = await store.get_or_create_session(dm())
    assert again.session_id == first.session_id
    assert again.updated_at.replace(tzinfo=None) == datetime.fromisoformat(expected("001")["updated_at"])
    assert again.created_at.replace(tzinfo=None) == datetime.fromisoformat(expected("001")["created_at"])
    assert re.fullmatch(r"20260325_100000_[0-9a-f]{16}", again.session_id)
    assert is_session_id("20260325_100000_0123abcd"), "ids with 32 random bits are still taken"
    assert await store.get_session(first.session_id) == again
    assert (again.platform, again.is_live) == ("telegram", True)
    assert [entry.session_id for entry in await store.list_sessions()] == [first.session_id]
    assert await store.has_any_sessions() is expected("001")["has_any_sessions"]


async def test_002_a_quiet_session_is_reset_and_had_no_activity(scene: Scene, store: SessionStore) -> None:
    first = await store.get_or_create_session(dm())
    scene.clock.advance(minutes=90)
    second = await store.get_or_create_session(dm())
    want = expected("002")
    assert (second.session_id != first.session_id) is want["new_id"]
    assert second.was_auto_reset is want["was_auto_reset"]
    assert second.auto_reset_reason == want["auto_reset_reason"]
    assert second.reset_had_activity is want["reset_had_activity"]
    ended = await store.get_session(first.session_id)
    assert (ended.end_reason, ended.ended_at, ended.successor_id) == (
        want["db_tail"][0][1],
        scene.clock.instant,
        second.session_id,
    )
    assert second.predecessor_id == first.session_id
    assert await store.has_any_sessions() is want["has_any_sessions"]


async def test_002_messages_without_reported_usage_are_activity(scene: Scene, store: SessionStore) -> None:
    first = await store.get_or_create_session(dm())
    await store.append_to_transcript(first.session_id, USER)
    scene.clock.advance(minutes=90)
    assert (await store.get_or_create_session(dm())).reset_had_activity


async def test_003_usage_adds_up(store: SessionStore) -> None:
    session_id = (await store.get_or_create_session(dm())).session_id
    await store.update_session(
        session_id,
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=3,
        cache_write_tokens=2,
        last_prompt_tokens=7,
        estimated_cost_usd=0.5,
        cost_status="ok",
    )
    await store.update_session(session_id, input_tokens=1, estimated_cost_usd=0.25)
    entry = await store.get_session(session_id)
    want = expected("003")
    assert {name: getattr(entry, name) for name in want} == want


async def test_004_unknown_session_is_a_typed_error(store: SessionStore) -> None:
    with pytest.raises(UnknownSession, match="agent:main:nowhere"):
        await store.update_session("agent:main:nowhere", input_tokens=1)
    with pytest.raises(UnknownSession):
        await store.update_session("20260325_100000_0123abcd", input_tokens=1)
    assert await store.list_sessions() == []


async def test_005_tokens_are_activity(scene: Scene, store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    await spend(store, entry)
    assert (await store.get_session(entry.session_id)).total_tokens == 21
    assert await store.expire_session(store.identity(dm())) is None
    scene.clock.advance(minutes=61)
    assert await store.expire_session(store.identity(dm())) == "idle"
    assert (await store.get_or_create_session(dm())).reset_had_activity is expected("005")["reset_had_activity"]


async def test_006_the_notice_of_a_reset_survives_a_restart(scene: Scene) -> None:
    async with scene.open() as store:
        await spend(store, await store.get_or_create_session(dm()))
        scene.clock.advance(minutes=90)
        second = await store.get_or_create_session(dm())
    async with scene.open() as store:
        again = await store.get_session(second.session_id)
        want = expected("006")
        assert {name: getattr(again, name) for name in want} == want


async def test_008_reset_begins_anew_in_the_same_place(store: SessionStore) -> None:
    first = await store.get_or_create_session(dm())
    await spend(store, first)
    second = await store.reset_session(first.session_key)
    assert second is not None
    want = expected("008")
    assert (second.session_id != first.session_id) is want["new_id"]
    assert second.total_tokens == want["tokens"]
    assert second.was_auto_reset is want["was_auto_reset"]
    assert second.display_name == want["display_name"]
    assert (second.origin, second.platform, second.chat_type) == (dm(), "telegram", "dm")
    assert (await store.get_session(first.session_id)).end_reason == want["db_calls"][0][1]
    assert (await store.get_or_create_session(dm())).session_id == second.session_id


async def test_009_reset_of_an_unknown_key(store: SessionStore) -> None:
    assert await store.reset_session("agent:main:telegram:dm:404") is expected("009")
    assert await store.list_sessions() == []


async def test_011_switch_to_the_current_session_changes_nothing(scene: Scene, store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    scene.clock.advance(minutes=5)
    assert await store.switch_session(KEY, entry.session_id) == entry
    assert await store.list_sessions() == [entry]


async def test_012_switch_takes_an_older_session_up_again(scene: Scene, store: SessionStore) -> None:
    first = await store.get_or_create_session(dm())
    scene.clock.advance(minutes=10)
    second = await store.reset_session(KEY)
    assert second is not None
    switched = await store.switch_session(KEY, first.session_id)
    assert switched is not None
    want = expected("012")
    assert switched.session_id == first.session_id
    assert switched.created_at.replace(tzinfo=None) == datetime.fromisoformat(want["created_at"])
    assert switched.total_tokens == want["total_tokens"]
    assert switched.is_live
    assert switched.end_reason is None
    left = await store.get_session(second.session_id)
    assert (left.end_reason, left.successor_id) == ("session_switch", first.session_id)


async def test_013_switch_to_what_is_no_id(store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    for target in ("../../etc/x", "", "A", "\ud800", "20260101_000000_0123abcd"):
        with pytest.raises(UnknownSession):
            await store.switch_session(KEY, target)
    assert await store.list_sessions() == [entry]


async def test_015_files_are_read_while_the_database_is_unavailable(scene: Scene) -> None:
    session_id = "20250101_000000_deadbeef"
    # No file can be opened where a folder stands.
    (scene.directory / "gateway.db").mkdir()
    folder = scene.directory / "sessions"
    folder.mkdir()
    said = [{"role": "user", "content": text} for text in expected("015")]
    hi, x, ok = map(json.dumps, said)
    lines = [hi, "", '{"role": "assistant", "cont', x, "   ", ok, ""]
    (folder / f"{session_id}.jsonl").write_text("\n".join(lines))
    async with scene.open() as store:
        assert store._database.state.mode == "spool"
        messages = await store.load_transcript(session_id)
        assert [message["content"] for message in messages] == expected("015")
        assert messages == said


async def test_017_rewrite_to_nothing(store: SessionStore) -> None:
    session_id = (await store.get_or_create_session(dm())).session_id
    await store.append_turn(session_id, [USER, ANSWER])
    await store.rewrite_transcript(session_id, [])
    assert await store.load_transcript(session_id) == expected("017")
    assert (await store.get_session(session_id)).message_count == 0


@pytest.mark.parametrize("broken", [{"role": "user", "content": {1, 2}}, {"role": "user", "content": 1j}])
async def test_018_rewrite_is_all_or_nothing(store: SessionStore, broken: dict[str, Any]) -> None:
    session_id = (await store.get_or_create_session(dm())).session_id
    await store.append_turn(session_id, [USER, ANSWER])
    with pytest.raises(InvalidMessage, match="JSON"):
        await store.rewrite_transcript(session_id, [ANSWER, broken])
    assert await store.load_transcript(session_id) == [USER, ANSWER]
    assert (await store.get_session(session_id)).message_count == 2


async def test_018_rewrite_whose_second_insert_fails(store: SessionStore) -> None:
    session_id = (await store.get_or_create_session(dm())).session_id
    await store.append_turn(session_id, [USER, ANSWER])
    await store._database.write(
        lambda connection: (
            connection.execute(
                "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.messages WHEN new.content = 'refused' "
                "BEGIN SELECT RAISE(FAIL, 'no room for this one'); END"
            ).rowcount
        )
    )
    with pytest.raises(StorageError, match="no room"):
        await store.rewrite_transcript(session_id, [ANSWER, {"role": "user", "content": "refused"}])
    assert await store.load_transcript(session_id) == [USER, ANSWER]
    assert (await store.get_session(session_id)).message_count == 2


async def _none(_store: SessionStore) -> None:
    return


async def _one(store: SessionStore) -> None:
    await store.get_or_create_session(dm())


async def _two(store: SessionStore) -> None:
    await _one(store)
    await store.get_or_create_session(dm(), force_new=True)


@pytest.mark.parametrize(("number", "prepare"), [("024", _none), ("025", _one), ("026", _two)])
async def test_024_to_026_whether_there_are_others(
    store: SessionStore, number: str, prepare: Callable[[SessionStore], Awaitable[None]]
) -> None:
    await prepare(store)
    assert await store.has_any_sessions() is expected(number)


def test_every_case_is_covered() -> None:
    named = set(re.findall(r"test_(\d{3})", " ".join(globals()))) | {"025", "026"}
    assert {f"session_store-{number}" for number in named} == set(CASES) - ELSEWHERE
    assert START.hour == 10, "the cases begin at ten"
