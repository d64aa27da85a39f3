"""`SessionStore`: which session is live where, through resets, switches, expiry and the order of events."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from config import GatewayConfig, Platform
from gateway.session import (
    AmbiguousSessionKey,
    SessionEntry,
    SessionInUse,
    SessionSource,
    SessionStore,
    UnaddressedSource,
    UnknownSession,
)
from gateway.session.store import ResetNotice
from gateway.storage import queries
from tests.support.stores import ANSWER, USER, HandClock, dm, group, resets

KEY = "agent:main:telegram:dm:9"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path, clock: HandClock) -> AsyncIterator[SessionStore]:
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as opened:
        yield opened


async def begin_turn(store: SessionStore, entry: SessionEntry, turn_id: str = "t1") -> None:
    slot = (await store._database.read(queries.FIND_SLOTS_BY_KEY, (entry.session_key,)))[0]
    values = (turn_id, slot["id"], entry.session_id, "echo", 0)
    await store._database.write(lambda connection: connection.execute(queries.ADD_TURN, values).rowcount)


async def end_turn(store: SessionStore, turn_id: str = "t1") -> None:
    await store._database.write(lambda connection: connection.execute(queries.END_TURN, ("stop", 1, turn_id)).rowcount)


# --- places without a name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nobody",
    [
        SessionSource(Platform.TELEGRAM, chat_id=None),
        SessionSource(Platform.TELEGRAM, chat_id="", user_id=""),
        SessionSource(Platform.TELEGRAM, chat_id=None, thread_id="7"),
        SessionSource(Platform.TELEGRAM, chat_id=None, chat_type="group"),
    ],
)
async def test_a_source_that_names_nobody_is_refused(store: SessionStore, nobody: SessionSource) -> None:
    with pytest.raises(UnaddressedSource, match="chat_id"):
        await store.get_or_create_session(nobody)
    with pytest.raises(ValueError, match="user_id"):
        await store.record_turn(nobody, [USER, ANSWER])
    assert await store.list_sessions() == []


async def test_a_dm_without_a_chat_belongs_to_its_person(store: SessionStore) -> None:
    people = [SessionSource(Platform.TELEGRAM, chat_id=None, user_id=person) for person in ("1", "2")]
    one, other = [await store.get_or_create_session(person) for person in people]
    assert one.session_id != other.session_id
    assert {entry.origin for entry in await store.list_sessions()} == set(people)


# --- forced and commanded resets -------------------------------------------------------------------------


async def test_forced_session_ends_the_old_one(store: SessionStore) -> None:
    old = await store.get_or_create_session(dm())
    new = await store.get_or_create_session(dm(), force_new=True)
    ended = await store.get_session(old.session_id)
    assert new.session_id != old.session_id
    assert (ended.is_live, ended.end_reason, ended.successor_id) == (False, "session_reset", new.session_id)
    assert (new.was_auto_reset, new.auto_reset_reason, new.predecessor_id) == (False, None, old.session_id)


async def test_forced_first_session_has_no_predecessor(store: SessionStore) -> None:
    assert (await store.get_or_create_session(dm(), force_new=True)).predecessor_id is None


async def test_a_reset_in_mid_turn_does_not_charge_the_new_session(store: SessionStore) -> None:
    old = await store.get_or_create_session(dm())
    new = await store.reset_session(KEY)
    assert new is not None
    await store.append_turn(old.session_id, [USER, ANSWER])
    await store.update_session(old.session_id, input_tokens=5)
    assert (await store.get_session(new.session_id)).total_tokens == 0
    charged = await store.get_session(old.session_id)
    assert (charged.total_tokens, charged.message_count, charged.is_live) == (5, 2, False)


async def test_place_is_refreshed_by_each_message_and_never_forgotten(store: SessionStore) -> None:
    await store.get_or_create_session(dm(name="Ann"))
    renamed = await store.get_or_create_session(dm(name="Anna"))
    assert (renamed.display_name, renamed.origin) == ("Anna", dm(name="Anna"))
    nameless = await store.get_or_create_session(dm(name=None))
    assert nameless.display_name == "Anna"
    assert await store.get_session(nameless.session_id) == nameless


# --- the notice of an automatic reset --------------------------------------------------------------------


async def test_notice_survives_a_restart_and_is_taken_once(tmp_path: Path, clock: HandClock) -> None:
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as store:
        first = await store.get_or_create_session(dm())
        await store.append_turn(first.session_id, [USER, ANSWER])
        clock.advance(hours=2)
        second = await store.get_or_create_session(dm())
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as store:
        taken = await asyncio.gather(*(store.take_reset_notice(second.session_id) for _ in range(5)))
        assert [notice for notice in taken if notice] == [ResetNotice("idle", had_activity=True)]
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as store:
        assert await store.take_reset_notice(second.session_id) is None


async def test_a_session_that_was_not_reset_has_no_notice(store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    assert await store.take_reset_notice(entry.session_id) is None
    assert await store.take_reset_notice("20260325_100000_ffffffff") is None


# --- expiry ----------------------------------------------------------------------------------------------


async def test_expiry_leaves_the_slot_empty_until_the_next_message(store: SessionStore, clock: HandClock) -> None:
    first = await store.get_or_create_session(dm())
    await store.append_to_transcript(first.session_id, USER)
    clock.advance(hours=2)
    assert [slot.key async for slot in store.due_slots()] == [KEY]
    assert await store.expire_session(store.identity(dm())) == "idle"
    assert await store.expire_session(store.identity(dm())) is None, "an empty slot has nothing to end"
    assert [slot async for slot in store.due_slots()] == []
    assert [entry.is_live for entry in await store.list_sessions()] == [False]
    clock.advance(hours=1)
    second = await store.get_or_create_session(dm())
    assert (second.was_auto_reset, second.auto_reset_reason, second.reset_had_activity) == (True, "idle", True)
    assert second.predecessor_id == first.session_id
    assert (await store.get_session(first.session_id)).successor_id == second.session_id


async def test_watcher_and_message_agree(tmp_path: Path) -> None:
    for minutes in (60, 60.001):
        clock = HandClock()
        async with SessionStore.open(tmp_path / str(minutes), resets("idle"), clock=clock) as store:
            first = await store.get_or_create_session(dm())
            clock.advance(minutes=minutes)
            due = [slot async for slot in store.due_slots()]
            second = await store.get_or_create_session(dm())
            assert bool(due) is (second.session_id != first.session_id) is (minutes > 60)


async def test_due_slots_come_in_pages_and_by_the_policy_of_each(tmp_path: Path, clock: HandClock) -> None:
    config = GatewayConfig.model_validate(
        {"sessions": {"reset": {"mode": "none"}, "reset_by_type": {"group": {"mode": "idle", "idle_minutes": 1}}}}
    )
    async with SessionStore.open(tmp_path, config, clock=clock) as store:
        for number in range(7):
            await store.get_or_create_session(group(f"-{number}", user=None))
            await store.get_or_create_session(dm(str(number)))
        clock.advance(minutes=2)
        assert sorted([slot.chat async for slot in store.due_slots(page=2)]) == [f"-{number}" for number in range(7)]


async def test_no_policy_no_expiry(tmp_path: Path, clock: HandClock) -> None:
    async with SessionStore.open(tmp_path, resets("none"), clock=clock) as store:
        first = await store.get_or_create_session(dm())
        clock.advance(days=4000)
        assert [slot async for slot in store.due_slots()] == []
        assert await store.expire_session(store.identity(dm())) is None
        assert (await store.get_or_create_session(dm())).session_id == first.session_id


async def test_command_on_a_slot_left_empty_begins_its_next_session(store: SessionStore, clock: HandClock) -> None:
    first = await store.get_or_create_session(dm())
    clock.advance(hours=2)
    await store.expire_session(store.identity(dm()))
    second = await store.reset_session(KEY)
    assert second is not None
    assert (second.predecessor_id, second.was_auto_reset) == (first.session_id, False)
    ended = await store.get_session(first.session_id)
    assert (ended.successor_id, ended.end_reason) == (second.session_id, "session_reset")


# --- work that goes on -----------------------------------------------------------------------------------


async def test_an_open_turn_keeps_its_session(store: SessionStore, clock: HandClock) -> None:
    entry = await store.get_or_create_session(dm())
    await begin_turn(store, entry)
    clock.advance(hours=5)
    assert await store.expire_session(store.identity(dm())) is None
    assert (await store.get_or_create_session(dm())).session_id == entry.session_id
    await end_turn(store)
    clock.advance(hours=5)
    assert (await store.get_or_create_session(dm())).session_id != entry.session_id


async def test_a_turn_longer_than_the_idle_time_ends_as_activity(store: SessionStore, clock: HandClock) -> None:
    entry = await store.get_or_create_session(dm())
    await begin_turn(store, entry)
    clock.advance(hours=5)
    await store.append_turn(entry.session_id, [USER, ANSWER])
    await end_turn(store)
    clock.advance(minutes=59)
    assert (await store.get_or_create_session(dm())).session_id == entry.session_id


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_background_work_keeps_a_session_and_may_ask_the_store(
    tmp_path: Path, clock: HandClock, asynchronous: bool
) -> None:
    busy = True
    asked: list[str] = []

    async def look(key: str) -> bool:
        entries = await opened.list_sessions()
        await opened.update_session(entries[0].session_id, input_tokens=1)
        asked.append(key)
        return busy

    def plain(key: str) -> bool:
        asked.append(key)
        return busy

    callback = look if asynchronous else plain
    config = resets("idle")
    async with SessionStore.open(tmp_path, config, clock=clock) as setup:
        first = await setup.get_or_create_session(dm())
    async with SessionStore.open(tmp_path, config, clock=clock, has_active_processes=callback) as opened:
        clock.advance(hours=2)
        async with asyncio.timeout(10):
            entry = await opened.get_or_create_session(dm())
            assert entry.session_id == first.session_id
            clock.advance(hours=2)
            assert await opened.expire_session(opened.identity(dm())) is None
        assert set(asked) == {KEY}
        busy = False
        clock.advance(hours=2)
        async with asyncio.timeout(10):
            second = await opened.get_or_create_session(dm(), force_new=asynchronous)
        assert second.session_id != first.session_id


# --- switching -------------------------------------------------------------------------------------------


async def test_switch_restores_counters_and_times(store: SessionStore, clock: HandClock) -> None:
    first = await store.get_or_create_session(dm())
    await store.append_turn(first.session_id, [USER, ANSWER])
    await store.update_session(first.session_id, input_tokens=3, estimated_cost_usd=0.5, cost_status="ok")
    clock.advance(minutes=5)
    await store.reset_session(KEY)
    clock.advance(minutes=5)
    switched = await store.switch_session(KEY, first.session_id)
    assert switched is not None
    assert (switched.created_at, switched.updated_at) == (first.created_at, clock.instant)
    assert (switched.message_count, switched.total_tokens, switched.estimated_cost_usd) == (2, 3, 0.5)
    assert await store.load_transcript(first.session_id) == [USER, ANSWER]
    assert (await store.get_or_create_session(dm())).session_id == first.session_id


async def test_switch_of_an_unknown_key(store: SessionStore) -> None:
    entry = await store.get_or_create_session(dm())
    assert await store.switch_session("agent:main:telegram:dm:404", entry.session_id) is None


async def test_switch_to_somebody_elses_session_looks_like_a_missing_one(store: SessionStore) -> None:
    mine = await store.get_or_create_session(dm("9", user="7"))
    theirs = await store.get_or_create_session(dm("8", user="6"))
    await store.reset_session(theirs.session_key)
    with pytest.raises(UnknownSession) as foreign:
        await store.switch_session(KEY, theirs.session_id)
    with pytest.raises(UnknownSession) as missing:
        await store.switch_session(KEY, "20260101_000000_00000000")
    assert str(foreign.value).replace(theirs.session_id, "") == str(missing.value).replace(
        "20260101_000000_00000000", ""
    )
    assert (await store.get_or_create_session(dm())).session_id == mine.session_id
    assert not (await store.get_session(theirs.session_id)).is_live


async def test_switch_to_a_session_that_is_live_elsewhere(store: SessionStore) -> None:
    here = await store.get_or_create_session(dm())
    there = await store.get_or_create_session(group())
    with pytest.raises(SessionInUse) as refused:
        await store.switch_session(KEY, there.session_id)
    assert refused.value.holder == there.session_key
    assert (await store.get_session(here.session_id)).is_live
    assert (await store.get_session(there.session_id)).is_live


async def test_a_session_can_move_to_another_place_of_its_owner(store: SessionStore, clock: HandClock) -> None:
    there = await store.get_or_create_session(group())
    await store.get_or_create_session(dm())
    await store.reset_session(there.session_key)
    moved = await store.switch_session(KEY, there.session_id)
    assert moved is not None
    assert (moved.session_key, moved.chat_type) == (KEY, "dm")
    clock.advance(hours=2)
    assert {slot.key async for slot in store.due_slots()} == {KEY, there.session_key}
    assert await store.expire_session(store.identity(dm())) == "idle"


async def test_a_session_that_moved_away_is_no_predecessor_where_it_was(store: SessionStore, clock: HandClock) -> None:
    there = await store.get_or_create_session(group())
    clock.advance(hours=2)
    await store.expire_session(store.identity(group()))
    await store.get_or_create_session(dm())
    await store.switch_session(KEY, there.session_id)
    fresh = await store.get_or_create_session(group())
    assert (fresh.predecessor_id, fresh.was_auto_reset) == (None, False)
    assert (await store.get_session(there.session_id)).successor_id is None
    clock.advance(hours=2)
    await store.expire_session(store.identity(group()))
    again = await store.reset_session(store.identity(group()))
    assert again is not None
    assert again.predecessor_id == fresh.session_id


async def test_switch_fills_a_slot_left_empty(store: SessionStore, clock: HandClock) -> None:
    first = await store.get_or_create_session(dm())
    second = await store.reset_session(KEY)
    assert second is not None
    clock.advance(hours=2)
    await store.expire_session(store.identity(dm()))
    switched = await store.switch_session(KEY, first.session_id)
    assert switched is not None
    assert switched.successor_id is None
    assert (await store.get_session(second.session_id)).successor_id == first.session_id
    assert (await store.get_or_create_session(dm())).session_id == first.session_id


async def test_the_session_that_expired_can_be_taken_up_again(store: SessionStore, clock: HandClock) -> None:
    first = await store.get_or_create_session(dm())
    clock.advance(hours=2)
    await store.expire_session(store.identity(dm()))
    switched = await store.switch_session(KEY, first.session_id)
    assert switched is not None
    assert (switched.is_live, switched.successor_id, switched.predecessor_id) == (True, None, None)


# --- keys ------------------------------------------------------------------------------------------------


async def test_thread_and_person_of_one_name_stay_apart(store: SessionStore) -> None:
    thread = await store.get_or_create_session(group(thread="7", user=None))
    person = await store.get_or_create_session(group(user="7"))
    assert thread.session_key == person.session_key
    assert thread.session_id != person.session_id
    for refused in (store.reset_session(thread.session_key), store.switch_session(thread.session_key, "s1")):
        with pytest.raises(AmbiguousSessionKey) as ambiguous:
            await refused
        assert set(ambiguous.value.session_ids) == {thread.session_id, person.session_id}
    fresh = await store.reset_session(store.identity(group(user="7")))
    assert fresh is not None
    assert fresh.predecessor_id == person.session_id
    assert (await store.get_session(thread.session_id)).is_live


async def test_a_key_no_database_can_hold_is_unknown(store: SessionStore) -> None:
    assert await store.reset_session("agent:\ud800") is None
    assert await store.switch_session("agent:\0", "s1") is None


async def test_200_first_messages_at_once_make_one_session(store: SessionStore) -> None:
    entries = await asyncio.gather(*(store.get_or_create_session(dm()) for _ in range(200)))
    assert len({entry.session_id for entry in entries}) == 1
    assert len(await store.list_sessions()) == 1


async def test_two_stores_agree_on_who_a_slot_belongs_to(tmp_path: Path, clock: HandClock) -> None:
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as one:
        first = await one.get_or_create_session(dm())
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as two:
        assert (await two.get_or_create_session(dm())).session_id == first.session_id


# --- lists -----------------------------------------------------------------------------------------------


async def test_list_is_newest_first_and_its_window_includes_its_edge(store: SessionStore, clock: HandClock) -> None:
    for chat in ("1", "2", "3"):
        await store.get_or_create_session(dm(chat))
        clock.advance(minutes=10)
    await store.get_or_create_session(dm("1"))

    async def chats(minutes: float | None = None, limit: int | None = None) -> list[str]:
        return [entry.session_key[-1] for entry in await store.list_sessions(minutes, limit=limit)]

    assert await chats() == ["1", "3", "2"]
    assert await chats(10) == ["1", "3"]
    assert await chats(9.999) == ["1"]
    assert await chats(limit=2) == ["1", "3"]


async def test_other_peoples_sessions_do_not_count_as_ones_own(store: SessionStore) -> None:
    mine = await store.get_or_create_session(dm("9", user="7"))
    await store.get_or_create_session(dm("8", user="6"))
    assert await store.has_any_sessions(mine.session_id) is False
    await store.get_or_create_session(group(user="7"))
    assert await store.has_any_sessions(mine.session_id) is True
    with pytest.raises(UnknownSession):
        await store.has_any_sessions("20260325_100000_ffffffff")


# --- clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "now", "mode", "reason"),
    [
        # 29 March 2026: clocks go from 02:00 to 03:00. 40 minutes pass, the wall clock shows 100.
        ("2026-03-29T01:40+01:00", "2026-03-29T03:20+02:00", "idle", None),
        # 25 October 2026: clocks go back from 03:00 to 02:00. 70 minutes pass, the wall clock shows 10.
        ("2026-10-25T02:40+02:00", "2026-10-25T02:50+01:00", "idle", "idle"),
        # The boundary of the day without 02:00 is the first instant after the gap.
        ("2026-03-29T01:59+01:00", "2026-03-29T03:00+02:00", "daily", "daily"),
        ("2026-03-29T03:00+02:00", "2026-03-29T23:00+02:00", "daily", None),
        # The boundary of the day with two 02:00 is the first of them.
        ("2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "daily", None),
        ("2026-10-25T01:59+02:00", "2026-10-25T02:00+02:00", "daily", "daily"),
    ],
)
async def test_daylight_saving(tmp_path: Path, last: str, now: str, mode: str, reason: str | None) -> None:
    clock = HandClock(datetime.fromisoformat(last))
    config = resets(mode, timezone="Europe/Berlin", at_hour=2)
    async with SessionStore.open(tmp_path, config, clock=clock) as store:
        first = await store.get_or_create_session(dm())
        clock.instant = datetime.fromisoformat(now)
        second = await store.get_or_create_session(dm())
    assert (second.session_id != first.session_id) is (reason is not None)
    assert second.auto_reset_reason == reason


async def test_a_clock_that_went_back_resets_nothing_and_turns_no_time_back(
    store: SessionStore, clock: HandClock
) -> None:
    first = await store.get_or_create_session(dm())
    clock.advance(days=-3)
    again = await store.get_or_create_session(dm())
    assert (again.session_id, again.updated_at) == (first.session_id, first.updated_at)
    await store.append_turn(first.session_id, [USER])
    assert (await store.get_session(first.session_id)).updated_at == first.updated_at


async def test_plain_function_as_clock_must_be_aware(tmp_path: Path) -> None:
    instant = datetime(2026, 3, 25, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    async with SessionStore.open(tmp_path / "a", resets(), clock=lambda: instant) as store:
        entry = await store.get_or_create_session(dm())
        assert entry.created_at == instant
        assert entry.created_at.tzinfo is UTC
        assert entry.session_id.startswith("20260325_090000_")
    async with SessionStore.open(tmp_path / "b", resets(), clock=lambda: instant.replace(tzinfo=None)) as store:
        with pytest.raises(ValueError, match="aware"):
            await store.get_or_create_session(dm())


async def test_a_list_has_ended_sessions_too_and_its_window_is_inclusive(store: SessionStore, clock: HandClock) -> None:
    ended = await store.get_or_create_session(dm())
    clock.advance(minutes=1)
    live = await store.get_or_create_session(dm(), force_new=True)
    clock.advance(minutes=9)
    listed = [(entry.session_id, entry.is_live) for entry in await store.list_sessions()]
    assert listed == [(live.session_id, True), (ended.session_id, False)]
    assert [entry.session_id for entry in await store.list_sessions(10)] == [live.session_id, ended.session_id]
    assert [entry.session_id for entry in await store.list_sessions(9.99)] == [live.session_id]
