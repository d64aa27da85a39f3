"""A reply that is there at once is sent once; one that takes its time grows before people's eyes."""

import asyncio
from pathlib import Path

from gateway.constants import FIRST_TEXT_SECONDS
from gateway.places import Places
from tests.support.fakes import FakeAdapter, FakeAgent, Pause, core, says


async def test_a_reply_that_is_there_at_once_is_one_message(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(says("All ", "of ", "it.")), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert [(name, delivery.text, delivery.final) for name, delivery in adapter.calls] == [
            ("send", "All of it.", True)
        ]
        assert [(row["attempts"], row["state"]) for row in await gateway.rows("SELECT * FROM outbox")] == [(1, "sent")]


async def test_a_reply_that_takes_its_time_begins_with_its_first_text(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause("The beginning", ", and the end.")
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("hello")
        await asyncio.wait_for(adapter.called.wait(), 10)
        assert [(name, delivery.text, delivery.final) for name, delivery in adapter.calls] == [
            ("send", "The beginning", False)
        ]
        pause.go.set()
        await gateway.settled()
        assert adapter.texts() == ["The beginning, and the end."]


async def test_replies_in_one_chat_go_out_one_after_another(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        for number in range(4):
            await gateway.say(f"m{number}")
        await gateway.settled()
        assert adapter.texts() == [f"re: m{number}" for number in range(4)]
        rows = await gateway.rows("SELECT attempts, state FROM outbox")
        assert [tuple(row) for row in rows] == [(1, "sent")] * 4


def test_the_wait_for_more_text_is_nothing_that_anybody_notices() -> None:
    assert 0 < FIRST_TEXT_SECONDS < 0.01


async def test_a_place_is_taken_only_while_there_is_one_and_nobody_waits() -> None:
    places = Places(lambda: 1)
    assert places.take()
    assert not places.take()
    waiting = asyncio.ensure_future(places.acquire())
    await asyncio.sleep(0)
    places.release()
    assert not places.take()
    await waiting
    places.release()
    assert places.take()
