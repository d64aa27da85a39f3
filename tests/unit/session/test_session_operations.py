"""What can be done with sessions: lists with their order and visibility, forks, cuts, names; and for whom."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.ids import Ids, is_session_id
from gateway.ports import Usage
from gateway.retention import Retention
from gateway.search import SearchIndexer, match_expression, search
from gateway.session import (
    AmbiguousSession,
    NothingToRedo,
    Scope,
    SessionBusy,
    SessionInUse,
    SessionOperations,
    SessionStore,
    SlotIdentity,
    UnknownSession,
)
from gateway.session import scope as scope_module
from gateway.session.scope import list_own, search_own
from gateway.storage.codec import to_micros
from tests.support.stores import ANSWER, START, USER, HandClock, dm, group, resets
from tests.unit.session.support import cases

OWNER = "telegram:user:7"


class Room:
    """A store, its operations, and somebody in a chat."""

    def __init__(self, store: SessionStore, clock: HandClock) -> None:
        self.store = store
        self.clock = clock
        self.database = store._database
        self.operations = SessionOperations(self.database, clock, Ids())
        self.identity: SlotIdentity = store.identity(dm())
        self.scope = Scope.of(self.identity, dm())

    async def session(self, *turns: int | str) -> str:
        """A new session in the chat, with these turns; its id."""
        self.clock.advance(seconds=1)
        entry = await self.store.get_or_create_session(dm(), force_new=True)
        for turn in turns:
            await self.store.append_turn(entry.session_id, [{"role": "user", "content": f"q{turn}"}, ANSWER])
        return entry.session_id

    async def execute(self, sql: str, *values: Any) -> None:
        await self.database.write(lambda connection: connection.execute(sql, values).rowcount)

    async def begin_turn(self, session_id: str) -> None:
        """A turn is open in a session."""
        await self.execute(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at)"
            " SELECT 't', slot_id, id, 'a', 'running', 1 FROM sessions WHERE id = ?",
            session_id,
        )


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    clock = HandClock()
    async with SessionStore.open(tmp_path, resets("none"), clock=clock) as store:
        yield Room(store, clock)


# --- lists ---------------------------------------------------------------------------------------------


async def _given(room: Room, session: dict[str, Any], live: list[str]) -> None:
    """One session of a case, in a slot of its own."""
    entry = await room.store.get_or_create_session(dm(chat=session["session_id"]))
    untitled = session["title"] == "Untitled"
    at = START - timedelta(seconds=session["age"])
    values = (
        session["session_id"],
        None if untitled else session["title"],
        session.get("n", 0),
        to_micros(at),
        int(session.get("pinned", False)),
        int(session.get("archived", False)),
        session.get("profile"),
    )

    def job(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE sessions SET id = ?, title = ?, message_count = ?, updated_at = ?, pinned = ?, archived = ?,"
            " agent = ? WHERE id = ?",
            (*values, entry.session_id),
        )
        connection.execute("UPDATE slots SET session_id = ? WHERE session_id = ?", (values[0], entry.session_id))

    await room.database.write(job)
    if session.get("active_stream_id") in live:
        await room.execute(
            "INSERT INTO turns (id, slot_id, session_id, agent, state, started_at)"
            " SELECT ?, slot_id, id, 'a', 'running', 1 FROM sessions WHERE id = ?",
            session["active_stream_id"],
            session["session_id"],
        )


@pytest.mark.parametrize("case", cases("all_sessions"))
async def test_order_and_visibility(room: Room, case: dict[str, Any]) -> None:
    for session in case["input"]["sessions"]:
        await _given(room, session, case["input"]["live_streams"])
    views = await list_own(room.database, Scope(OWNER), START)
    listed = [
        {
            "id": view.entry.session_id,
            "profile": view.agent,
            "is_streaming": view.running,
            "pinned": view.pinned,
            "archived": view.archived,
        }
        for view in views
    ]
    if case["mark"] == "keep":
        assert listed == case["expected"]
    else:
        (shown,) = listed
        assert shown["id"] == case["input"]["sessions"][0]["session_id"]
        assert shown["pinned"] or shown["is_streaming"]


async def test_sessions_of_one_instant_are_in_order_of_their_ids(room: Room) -> None:
    ids = [await room.session("a") for _ in range(5)]
    await room.execute("UPDATE sessions SET updated_at = 1")
    listed = [view.entry.session_id for view in await room.operations.list(room.scope)]
    assert listed == sorted(ids)


async def test_an_empty_session_with_a_waiting_message_is_listed(room: Room) -> None:
    session_id = await room.session()
    room.clock.advance(minutes=5)
    assert await room.operations.list(room.scope) == []
    await room.execute(
        "INSERT INTO inbound (platform, account, chat, message_id, slot_id, received_at, state)"
        " SELECT 'telegram', 'default', '9', '1', slot_id, 1, 'pending' FROM sessions WHERE id = ?",
        session_id,
    )
    assert [view.entry.session_id for view in await room.operations.list(room.scope)] == [session_id]


async def test_pages_cover_everything_once(room: Room) -> None:
    ids = [await room.session(number) for number in range(7)]
    await room.operations.archive(room.scope, ids[5])
    await room.operations.pin(room.scope, ids[1])
    for archived in (None, False):
        found: list[str] = []
        for offset in range(0, 10, 3):
            page = await room.operations.list(room.scope, archived=archived, limit=3, offset=offset)
            found += [view.entry.session_id for view in page]
        assert sorted(found) == sorted(ids if archived is None else ids[:5] + ids[6:])
        assert found[0] == ids[1]


async def test_what_has_joined_another_session_is_in_no_list(room: Room) -> None:
    session_id = await room.session("a")
    await room.execute("UPDATE sessions SET end_reason = 'session_joined', ended_at = 1 WHERE id = ?", session_id)
    assert await room.operations.list(room.scope) == []
    with pytest.raises(UnknownSession):
        await room.operations.find(room.scope, session_id)


# --- whose ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["telegram:user:8", "telegram:user:", "", "telegram:user:7 ", "%"])
async def test_only_the_exact_owner_sees_a_session(room: Room, owner: str) -> None:
    session_id = await room.session("a")
    other, operations = Scope(owner), room.operations
    assert await operations.list(other) == []
    attempts = [
        operations.find(other, session_id),
        operations.find(other, session_id[:10]),
        operations.find(other, "qa"),
        operations.rename(other, session_id, "mine"),
        operations.pin(other, session_id),
        operations.archive(other, session_id),
        operations.resume(room.identity, other, session_id),
        operations.fork(room.identity, other, session_id),
        operations.truncate(other, session_id, keep_first=0),
        operations.undo(other, session_id),
        operations.redo(other, session_id),
    ]
    for attempt in attempts:
        with pytest.raises(UnknownSession):
            await attempt
    assert (await room.operations.find(room.scope, session_id)).title == "qa"


@pytest.mark.parametrize("wrong", ["", "../../etc/x", "20260101_000000_0123456789abcdef", "A", "\ud800"])
async def test_what_is_no_session_is_unknown(room: Room, wrong: str) -> None:
    with pytest.raises(UnknownSession):
        await room.operations.rename(room.scope, wrong, "x")
    with pytest.raises(UnknownSession):
        await room.operations.find(room.scope, wrong)


async def test_in_a_group_the_scope_is_its_chat(room: Room) -> None:
    private = await room.session("private")
    shared = (await room.store.get_or_create_session(group())).session_id
    await room.store.append_turn(shared, [USER, ANSWER])
    scope = Scope.of(room.store.identity(group()), group())
    assert [view.entry.session_id for view in await room.operations.list(scope)] == [shared]
    assert {view.entry.session_id for view in await room.operations.list(room.scope)} == {private, shared}


async def test_a_name_that_several_have_is_ambiguous(room: Room) -> None:
    ids = [await room.session("same") for _ in range(7)]
    with pytest.raises(AmbiguousSession) as error:
        await room.operations.find(room.scope, "QSAME")
    assert len(error.value.choices) == 5
    assert {session_id for session_id, _title in error.value.choices} <= set(ids)


@pytest.mark.parametrize("many", [1, 2_000])
async def test_the_beginning_of_an_id_finds_ones_own(room: Room, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """However many somebody has: there is another way to look for those who have much."""
    monkeypatch.setattr(scope_module, "MANY_SESSIONS", many)
    ids = [await room.session(number) for number in range(3)]
    room.clock.advance(hours=1)
    theirs = (await room.store.get_or_create_session(dm(chat="5", user="5"))).session_id
    for session_id in ids:
        second = session_id.rpartition("_")[0]
        assert (await room.operations.find(room.scope, second)).entry.session_id == session_id
    with pytest.raises(AmbiguousSession) as error:
        await room.operations.find(room.scope, ids[0][:8])
    assert [session_id for session_id, _title in error.value.choices] == sorted(ids)
    for nothing in (theirs, theirs[:15], f"{ids[0]}0", "zebra"):
        with pytest.raises(UnknownSession):
            await room.operations.find(room.scope, nothing)


async def test_a_letter_or_two_are_no_beginning_where_there_is_much(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.session("basilisk", "東京都")
    await SearchIndexer(room.database).catch_up()

    async def found(text: str) -> int:
        return len(await search_own(room.database, room.scope, match_expression(text) or "", limit=5))

    assert [await found(text) for text in ("qb", "(qb)", "qba", "qbasilisk", "q東", "hi")] == [1, 1, 1, 1, 1, 2]
    monkeypatch.setattr(scope_module, "FEW_SESSIONS", 0)
    assert [await found(text) for text in ("qb", "(qb)", "qba", "qbasilisk", "q東", "hi")] == [0, 0, 1, 1, 1, 2]


# --- forks ---------------------------------------------------------------------------------------------


async def test_a_fork_has_what_was_said_and_nothing_that_was_spent(room: Room) -> None:
    original = await room.session(1, 2)
    await room.store.append_turn(original, (), usage=Usage(input_tokens=9, model="m"))
    before = await room.store.load_transcript(original)
    entry = await room.operations.fork(room.identity, room.scope, original)
    assert await room.store.load_transcript(entry.session_id) == before
    assert (entry.message_count, entry.total_tokens, entry.model) == (4, 0, "m")
    assert (entry.title, entry.predecessor_id, entry.is_live) == ("q1 (branch)", original, True)
    left = await room.store.get_session(original)
    assert (left.end_reason, left.successor_id) == ("session_switch", entry.session_id)
    await room.store.append_turn(entry.session_id, [USER])
    assert await room.store.load_transcript(original) == before


@pytest.mark.parametrize(("first", "kept"), [(0, 0), (1, 1), (3, 3), (99, 4), (None, 4)])
async def test_a_fork_of_the_first_messages(room: Room, first: int | None, kept: int) -> None:
    original = await room.session(1, 2)
    entry = await room.operations.fork(room.identity, room.scope, original, title="  A \n name ", first=first)
    assert (entry.message_count, entry.title) == (kept, "A name")
    whole = await room.store.load_transcript(original)
    assert await room.store.load_transcript(entry.session_id) == whole[:kept]


async def test_a_fork_of_a_negative_number_is_refused(room: Room) -> None:
    original = await room.session(1)
    with pytest.raises(ValueError, match="from 0"):
        await room.operations.fork(room.identity, room.scope, original, first=-1)
    assert len(await room.operations.list(room.scope)) == 1


async def test_a_fork_is_whole_or_not_there(room: Room) -> None:
    original = await room.session(1, 2)
    await room.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.messages WHEN new.content = 'q2' "
        "BEGIN SELECT RAISE(FAIL, 'no room'); END"
    )
    with pytest.raises(Exception, match="no room"):
        await room.operations.fork(room.identity, room.scope, original)
    assert [view.entry.session_id for view in await room.operations.list(room.scope)] == [original]
    assert (await room.store.get_session(original)).is_live


async def test_a_fork_can_be_found_by_its_words(room: Room) -> None:
    original = await room.session("pineapple")
    entry = await room.operations.fork(room.identity, room.scope, original)
    await SearchIndexer(room.database).catch_up()
    assert {hit.session_id for hit in await search(room.database, "qpineapple")} == {original, entry.session_id}


# --- resuming and putting away -------------------------------------------------------------------------


async def test_resume_restores_and_refuses_what_is_live_elsewhere(room: Room) -> None:
    first = await room.session(1)
    await room.session(2)
    view = await room.operations.resume(room.identity, room.scope, first)
    assert (view.entry.session_id, view.entry.message_count, view.entry.is_live) == (first, 2, True)
    elsewhere = (await room.store.get_or_create_session(group())).session_id
    with pytest.raises(SessionInUse):
        await room.operations.resume(room.identity, room.scope, elsewhere)
    assert (await room.store.get_or_create_session(dm())).session_id == first


async def test_resume_in_a_slot_that_never_had_a_session(room: Room) -> None:
    first = await room.session(1)
    await room.operations.archive(room.scope, first)
    other = room.store.identity(dm(chat="10"))
    view = await room.operations.resume(other, room.scope, first)
    assert (view.archived, view.entry.is_live) == (False, True)
    assert (await room.store.get_or_create_session(dm(chat="10"))).session_id == first


async def test_archive_ends_a_live_session_and_tells_nobody_of_a_reset(room: Room) -> None:
    first = await room.session(1)
    view = await room.operations.archive(room.scope, first)
    assert (view.archived, view.entry.is_live, view.entry.end_reason) == (True, False, "session_archive")
    following = await room.store.get_or_create_session(dm())
    assert (following.predecessor_id, following.was_auto_reset) == (first, False)


@pytest.mark.parametrize(
    ("title", "name"),
    [("Trip", "Trip"), ("  a\n b\t c ", "a b c"), ("x" * 99, "x" * 64), ("  ", "Untitled"), ("a\ud800\0", "a��")],
)
async def test_rename(room: Room, title: str, name: str) -> None:
    session_id = await room.session(1)
    assert await room.operations.rename(room.scope, session_id, title) == name
    assert (await room.operations.find(room.scope, session_id)).title == name


# --- cuts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ({"keep_first": 0}, []),
        ({"keep_first": 3}, ["q1", "hi", "q2"]),
        ({"keep_first": 99}, ["q1", "hi", "q2", "hi"]),
        ({"keep_last": 0}, []),
        ({"keep_last": 1}, ["hi"]),
        ({"keep_last": 3}, ["hi", "q2", "hi"]),
        ({"keep_last": 4}, ["q1", "hi", "q2", "hi"]),
    ],
)
async def test_truncate_keeps_what_it_says_and_redo_brings_the_rest_back(
    room: Room, keep: dict[str, int], left: list[str]
) -> None:
    session_id = await room.session(1, 2)
    await SearchIndexer(room.database).catch_up()
    whole = await room.store.load_transcript(session_id)
    removed = await room.operations.truncate(room.scope, session_id, **keep)
    assert removed == 4 - len(left)
    assert [row["content"] for row in await room.store.load_transcript(session_id)] == left
    assert (await room.store.get_session(session_id)).message_count == len(left)
    assert len(await search(room.database, "q1")) == ("q1" in left)
    if removed:
        assert await room.operations.redo(room.scope, session_id) == removed
    assert await room.store.load_transcript(session_id) == whole
    assert (await room.store.get_session(session_id)).message_count == 4
    assert len(await search(room.database, "q1")) == 1


@pytest.mark.parametrize("keep", [{}, {"keep_first": 1, "keep_last": 1}, {"keep_first": -1}, {"keep_last": -3}])
async def test_truncate_wants_to_be_told_which(room: Room, keep: dict[str, int]) -> None:
    session_id = await room.session(1)
    with pytest.raises(ValueError, match="keep_first or as keep_last"):
        await room.operations.truncate(room.scope, session_id, **keep)
    assert len(await room.store.load_transcript(session_id)) == 2


async def test_a_cut_takes_whole_turns(room: Room) -> None:
    session_id = await room.session(1)
    rows = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        ANSWER,
        {"role": "user", "content": "c"},
    ]
    await room.store.append_turn(session_id, rows)
    await room.execute("UPDATE messages SET turn_id = 't' WHERE id > 2")
    cut = await room.operations.undo(room.scope, session_id)
    assert cut is not None
    assert (cut.removed, cut.turns, cut.message["content"]) == (4, 1, "c")
    assert len(await room.store.load_transcript(session_id)) == 2
    assert await room.operations.redo(room.scope, session_id) == 4
    assert [row["content"] for row in await room.store.load_transcript(session_id)][2:] == ["a", "b", "hi", "c"]


async def test_ten_undos_at_once_take_ten_turns(room: Room) -> None:
    session_id = await room.session(*range(12))
    cuts = await asyncio.gather(*(room.operations.undo(room.scope, session_id) for _ in range(10)))
    assert sorted(str(cut.message["content"]) for cut in cuts if cut) == sorted(f"q{n}" for n in range(2, 12))
    assert len(await room.store.load_transcript(session_id)) == 4


async def test_what_was_rewritten_cannot_be_brought_back(room: Room) -> None:
    session_id = await room.session(1, 2)
    await room.operations.undo(room.scope, session_id)
    await room.store.rewrite_transcript(session_id, [USER])
    with pytest.raises(NothingToRedo):
        await room.operations.redo(room.scope, session_id)


async def test_a_cut_can_be_put_back_for_a_day(room: Room) -> None:
    session_id = await room.session(1, 2)
    await room.operations.undo(room.scope, session_id)
    retention = Retention(room.database, resets("none"), room.clock, Counter(), pause=0.0)
    room.clock.advance(hours=24)
    await retention.sweep()
    assert await room.operations.redo(room.scope, session_id) == 2
    await room.operations.undo(room.scope, session_id)
    room.clock.advance(hours=24, seconds=1)
    await retention.sweep()
    with pytest.raises(NothingToRedo):
        await room.operations.redo(room.scope, session_id)


async def test_a_running_turn_keeps_its_session_as_it_is(room: Room) -> None:
    other = await room.session(1)
    session_id = await room.session(1, 2)
    await room.begin_turn(session_id)
    operations = room.operations
    for attempt in (
        operations.undo(room.scope, session_id),
        operations.redo(room.scope, session_id),
        operations.truncate(room.scope, session_id, keep_first=0),
        operations.archive(room.scope, session_id),
        operations.fork(room.identity, room.scope, session_id),
        operations.resume(room.identity, room.scope, other),
    ):
        with pytest.raises(SessionBusy, match="/stop"):
            await attempt
    assert len(await room.store.load_transcript(session_id)) == 4
    assert (await room.store.get_session(session_id)).is_live
    await operations.pin(room.scope, session_id)


# --- the cases of another store ------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("webui_store", only={f"webui_store-{number:03}" for number in range(1, 13)}))
def test_what_can_be_an_id(case: dict[str, Any]) -> None:
    assert is_session_id(case["input"]["id"]) is (case["expected"] == "accepted")


def test_a_reserved_name_is_no_id() -> None:
    assert not is_session_id("_index")


async def test_what_a_new_session_has(room: Room) -> None:
    (case,) = cases("webui_store", only={"webui_store-021"})
    (given,) = case.values
    assert isinstance(given, dict)
    expected: dict[str, Any] = given["expected"]
    view = await room.operations.find(room.scope, await room.session())
    assert (view.title, view.pinned, view.archived) == (expected["title"], expected["pinned"], expected["archived"])
    assert await room.store.load_transcript(view.entry.session_id) == expected["messages"]
