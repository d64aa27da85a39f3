"""`retry_last` and `undo_last` on a store: where they cut, what they tell, and that they are one transaction."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.session import NothingToUndo, SessionStore, retry_last, undo_last
from gateway.session.text import preview_of
from tests.support.stores import ANSWER, USER, HandClock, dm, resets
from tests.unit.session.support import cases

OPERATIONS: dict[str, Any] = {"retry_last": retry_last, "undo_last": undo_last}
ERRORS = {"ValueError": ValueError, "KeyError": KeyError}


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


@pytest.mark.parametrize("case", cases("retry_undo"))
async def test_case(store: SessionStore, session_id: str, case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    operation = OPERATIONS[given["fn"]]
    messages = given.get("messages", [])
    await store.append_turn(session_id, messages)
    if isinstance(expected, dict) and "raises" in expected:
        with pytest.raises(ERRORS[expected["raises"]]) as error:
            await operation(store, given.get("session_id", session_id))
        assert error.value.args == (expected["message"],)
        assert await store.load_transcript(session_id) == messages
        return
    told = await operation(store, session_id)
    left = await store.load_transcript(session_id)
    assert left == messages[: len(left)]
    assert (await store.get_session(session_id)).message_count == len(left)
    if case["mark"] == "keep":
        assert {**told, "remaining": len(left)} == expected
    else:
        text = "last_user_text" if given["fn"] == "retry_last" else "removed_preview"
        assert told == {text: "", "removed_count": len(messages)}


async def test_message_of_a_mapping_tells_its_text(store: SessionStore, session_id: str) -> None:
    await store.append_turn(session_id, [{"role": "user", "content": {"text": "inside"}}])
    assert await undo_last(store, session_id) == {"removed_count": 1, "removed_preview": "inside"}


async def test_two_at_once_never_take_the_same_turn(store: SessionStore, session_id: str) -> None:
    turns = [[{"role": "user", "content": f"{number}" * 50}, ANSWER] for number in range(4)]
    for turn in turns:
        await store.append_turn(session_id, turn)
    told = await asyncio.gather(*(undo_last(store, session_id) for _ in range(5)), return_exceptions=True)
    previews = [one["removed_preview"] for one in told if isinstance(one, dict)]
    assert previews == [preview_of(str(turn[0]["content"])) for turn in reversed(turns)]
    assert [type(one) for one in told if not isinstance(one, dict)] == [NothingToUndo]
    assert await store.load_transcript(session_id) == []


async def test_undo_while_a_turn_is_appended_removes_whole_turns(store: SessionStore, session_id: str) -> None:
    await store.append_turn(session_id, [USER, ANSWER])
    await asyncio.gather(
        store.append_turn(session_id, [USER, ANSWER]), undo_last(store, session_id), undo_last(store, session_id)
    )
    assert await store.load_transcript(session_id) == []
    assert (await store.get_session(session_id)).message_count == 0


async def test_an_undo_is_activity_and_keeps_what_was_spent(
    store: SessionStore, session_id: str, clock: HandClock
) -> None:
    await store.append_turn(session_id, [USER, ANSWER])
    await store.update_session(session_id, input_tokens=5)
    clock.advance(minutes=50)
    await undo_last(store, session_id)
    clock.advance(minutes=50)
    entry = await store.get_or_create_session(dm())
    assert (entry.session_id, entry.total_tokens, entry.message_count) == (session_id, 5, 0)
