"""`SessionStore`: what was said, in every form, once, and all or nothing; and what is counted with it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.ports import Usage
from gateway.session import InvalidMessage, SessionSource, SessionStore, UnknownSession
from tests.support.stores import ANSWER, USER, HandClock, dm, resets

IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path, clock: HandClock) -> AsyncIterator[SessionStore]:
    async with SessionStore.open(tmp_path, resets("idle"), clock=clock) as opened:
        yield opened


@pytest.fixture
async def session_id(store: SessionStore) -> str:
    return (await store.get_or_create_session(dm())).session_id


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "héllo 🙂\n\tzwei"},
        {"role": "user", "content": ""},
        {"role": "user", "content": None},
        {"role": "assistant"},
        {"role": "user", "content": [{"type": "text", "text": "see \ud800"}, IMAGE]},
        {"role": "user", "content": []},
        {"role": "user", "content": {"text": "a\0b"}},
        {"role": "user", "content": 7},
        {"role": "tool", "content": "42", "tool_call_id": "c1", "tool_name": "add"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"arguments": "{}"}}]},
        {"role": "assistant", "content": "x", "extra": {"deep": [1, 2.5, None, True, "\ud800"]}, "session_id": "s"},
    ],
)
async def test_messages_come_back_as_they_were(store: SessionStore, session_id: str, message: dict[str, Any]) -> None:
    await store.append_to_transcript(session_id, message)
    assert await store.load_transcript(session_id) == [message]
    await store.rewrite_transcript(session_id, [message, message])
    assert await store.load_transcript(session_id) == [message, message]


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ({"role": "user", "content": "a\0b\ud800c"}, {"role": "user", "content": "a\ufffdb\ufffdc"}),
        ({"content": "x"}, {"role": "unknown", "content": "x"}),
        ({"role": "", "content": "x"}, {"role": "unknown", "content": "x"}),
        ({"role": "us\0er"}, {"role": "us\ufffder"}),
    ],
)
async def test_what_no_text_can_hold_is_replaced(
    store: SessionStore, session_id: str, message: dict[str, Any], stored: dict[str, Any]
) -> None:
    await store.append_to_transcript(session_id, message)
    assert await store.load_transcript(session_id) == [stored]


async def test_a_title_can_be_stored_whatever_was_said(store: SessionStore, session_id: str) -> None:
    await store.append_to_transcript(session_id, {"role": "user", "content": [{"type": "text", "text": "a\ud800b"}]})
    assert (await store.get_session(session_id)).title == "a\ufffdb"


async def test_first_words_of_the_user_become_the_title_for_good(store: SessionStore, session_id: str) -> None:
    await store.append_turn(session_id, [{"role": "system", "content": "s"}, ANSWER])
    assert (await store.get_session(session_id)).title is None
    await store.append_turn(session_id, [{"role": "user", "content": " \n "}, {"role": "user", "content": "one\ntwo"}])
    await store.append_turn(session_id, [{"role": "user", "content": "three"}])
    assert (await store.get_session(session_id)).title == "one two"


async def test_a_turn_is_one_commit(store: SessionStore, session_id: str) -> None:
    with pytest.raises(InvalidMessage, match="JSON"):
        await store.append_turn(session_id, [USER, {"role": "assistant", "content": object()}], usage=Usage(5))
    assert await store.load_transcript(session_id) == []
    entry = await store.get_session(session_id)
    assert (entry.message_count, entry.total_tokens, entry.title) == (0, 0, None)


async def test_turns_of_many_sessions_keep_their_order(store: SessionStore) -> None:
    entries = [await store.get_or_create_session(dm(str(chat))) for chat in range(5)]
    await asyncio.gather(
        *(
            store.append_turn(entry.session_id, [{"role": "user", "content": f"{entry.session_id} {number}"}])
            for number in range(20)
            for entry in entries
        )
    )
    for entry in entries:
        said = [message["content"] for message in await store.load_transcript(entry.session_id)]
        assert said == [f"{entry.session_id} {number}" for number in range(20)]


async def test_append_with_a_key_happens_once(store: SessionStore, session_id: str) -> None:
    other = (await store.get_or_create_session(dm("8"))).session_id
    await asyncio.gather(*(store.append_to_transcript(session_id, USER, key="k1") for _ in range(3)))
    await store.append_to_transcript(session_id, ANSWER, key="k2")
    await store.append_to_transcript(other, ANSWER, key="k1")
    assert await store.load_transcript(session_id) == [USER, ANSWER]
    assert await store.load_transcript(other) == [ANSWER]
    assert (await store.get_session(session_id)).message_count == 2


async def test_append_without_a_key_repeats(store: SessionStore, session_id: str) -> None:
    await store.append_to_transcript(session_id, USER)
    await store.append_to_transcript(session_id, USER)
    assert await store.load_transcript(session_id) == [USER, USER]


@pytest.mark.parametrize("unknown", ["20260325_100000_ffffffff", "../../etc/passwd", "\ud800", ""])
async def test_unknown_sessions(store: SessionStore, unknown: str) -> None:
    assert await store.load_transcript(unknown) == []
    for write in (
        lambda: store.append_to_transcript(unknown, USER),
        lambda: store.append_to_transcript(unknown, USER, key="k"),
        lambda: store.append_turn(unknown, [USER]),
        lambda: store.rewrite_transcript(unknown, [USER]),
        lambda: store.update_session(unknown, input_tokens=1),
        lambda: store.get_session(unknown),
        lambda: store.cut_last_turn(unknown),
    ):
        with pytest.raises(UnknownSession):
            await write()


async def test_usage_goes_with_the_turn(store: SessionStore, session_id: str) -> None:
    usage = Usage(1, 2, 3, 4, last_prompt_tokens=9, model="m", cost_usd=0.5, cost_status="estimated")
    await store.append_turn(session_id, [USER, ANSWER], usage=usage)
    await store.append_turn(session_id, [USER, ANSWER], usage=Usage(1))
    entry = await store.get_session(session_id)
    assert (entry.message_count, entry.total_tokens, entry.last_prompt_tokens, entry.model) == (4, 11, 9, "m")
    assert (entry.estimated_cost_usd, entry.cost_status) == (0.5, "estimated")


async def test_zero_is_an_amount_and_empty_status_is_none(store: SessionStore, session_id: str) -> None:
    await store.update_session(session_id, last_prompt_tokens=9, estimated_cost_usd=0.0, cost_status="ok")
    await store.update_session(session_id, last_prompt_tokens=0, cost_status="")
    entry = await store.get_session(session_id)
    assert (entry.last_prompt_tokens, entry.estimated_cost_usd, entry.cost_status) == (0, 0.0, "ok")


@pytest.mark.parametrize(
    "bad", [{"input_tokens": -1}, {"last_prompt_tokens": -1}, {"estimated_cost_usd": float("nan")}]
)
async def test_what_is_no_amount_is_refused(store: SessionStore, session_id: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tokens|cost"):
        await store.update_session(session_id, **bad)


async def test_turns_are_recorded_under_the_longest_pause(tmp_path: Path, clock: HandClock) -> None:
    config = resets("idle", idle_minutes=10**18)
    async with SessionStore.open(tmp_path, config, clock=clock) as store:
        assert len({await store.record_turn(dm(), [USER, ANSWER]) for _ in range(3)}) == 1


async def test_record_turn_is_resolve_and_append_in_one(store: SessionStore, clock: HandClock) -> None:
    usage = Usage(3, 4, cost_usd=0.25)
    begun = await store.record_turn(dm(), [USER, ANSWER], usage)
    clock.advance(minutes=10)
    assert await store.record_turn(dm(name="Anna"), [USER], usage) == begun
    entry = await store.get_session(begun)
    assert (entry.message_count, entry.total_tokens, entry.estimated_cost_usd) == (3, 14, 0.5)
    assert (entry.title, entry.updated_at, entry.display_name) == ("hello", clock.instant, "Anna")
    assert entry.origin == dm(name="Anna")
    clock.advance(hours=2)
    after_reset = await store.get_session(await store.record_turn(dm(), [USER]))
    assert (after_reset.session_id != begun, after_reset.reset_had_activity) == (True, True)
    assert (after_reset.predecessor_id, after_reset.message_count, after_reset.title) == (begun, 1, "hello")
    assert await store.load_transcript(after_reset.session_id) == [USER]
    assert (await store.get_session(begun)).end_reason == "session_reset"


async def test_record_turn_gives_a_title_to_a_session_without_one(store: SessionStore, session_id: str) -> None:
    assert await store.record_turn(dm(), [ANSWER]) == session_id
    await store.record_turn(dm(), [{"role": "user", "content": "late title"}])
    await store.record_turn(dm(), [{"role": "user", "content": "too late"}])
    assert (await store.get_session(session_id)).title == "late title"


async def test_what_record_turn_remembers_never_overrules_the_database(store: SessionStore, clock: HandClock) -> None:
    first = await store.record_turn(dm(), [USER])
    for _ in range(3):
        assert await store.record_turn(dm(), [USER]) == first
    key = (await store.get_session(first)).session_key
    fresh = await store.reset_session(key)
    assert fresh is not None
    assert await store.record_turn(dm(), [USER]) == fresh.session_id
    for _ in range(2):
        assert await store.record_turn(dm(), [USER]) == fresh.session_id
    await store.switch_session(key, first)
    assert await store.record_turn(dm(), [ANSWER]) == first
    clock.advance(hours=2)
    assert await store.expire_session(store.identity(dm())) == "idle"
    later = await store.record_turn(dm(), [USER])
    assert later not in (first, fresh.session_id)
    counts = {entry.session_id: entry.message_count for entry in await store.list_sessions()}
    assert counts == {first: 5, fresh.session_id: 3, later: 1}


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "bad",
    [
        {"role": "user", "content": float("nan")},
        {"role": "user", "content": "x", "score": float("inf")},
        {"role": "user", "content": "x", "at": object()},
        {"role": "user", "content": LOOP},
        "hello",
        None,
        ["role", "content"],
    ],
)
async def test_what_is_no_message_is_refused_and_nothing_is_stored(
    store: SessionStore, session_id: str, bad: Any
) -> None:
    await store.append_turn(session_id, [USER, ANSWER])
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: store.append_to_transcript(session_id, bad),
        lambda: store.append_turn(session_id, [USER, bad]),
        lambda: store.rewrite_transcript(session_id, [USER, bad]),
        lambda: store.record_turn(dm(), [USER, bad]),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidMessage, match="mapping of plain JSON values"):
            await attempt()
    assert await store.load_transcript(session_id) == [USER, ANSWER]
    assert (await store.get_session(session_id)).message_count == 2


async def test_names_are_kept_no_longer_than_their_store(tmp_path: Path) -> None:
    async with SessionStore.open(tmp_path, resets("idle")) as opened:
        await opened.get_or_create_session(SessionSource(Platform.TELEGRAM, "9", user_name="Wilhelmina Unmistakable"))
    del opened
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, SessionSource)]
    assert not [one for one in held if one.user_name == "Wilhelmina Unmistakable"]
