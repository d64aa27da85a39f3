"""A reply that grows: its first text is a message, the rest are edits, and nothing waits for a preview."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.clock import SystemClock
from gateway.delivery import ShownPart
from gateway.ports import (
    AdapterState,
    AgentEvent,
    AgentTurn,
    Done,
    OutcomeUnknownError,
    Rate,
    RetryLaterError,
    SearchOutcome,
    Text,
    UndeliverableError,
)
from gateway.storage.errors import StorageError
from gateway.stream import ReplyStream
from tests.support.fakes import (
    EDITS,
    PLAIN,
    FakeAdapter,
    FakeAgent,
    Fault,
    ManualClock,
    Pause,
    core,
    texts_of,
    unpark_all,
)


class Dictation:
    """A script whose pieces come one by one, when the test says so."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def __call__(self, _turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        while (piece := await self.pieces.get()) is not None:
            yield Text(piece)
        yield Done()

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    def end(self) -> None:
        self.pieces.put_nowait(None)


async def until_shown(adapter: FakeAdapter, *texts: str) -> None:
    async with asyncio.timeout(5):
        while adapter.texts() != list(texts):
            await asyncio.sleep(0.001)


async def test_the_first_message_has_text_and_the_last_edit_has_all(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("  ", "One")
        await until_shown(adapter, "  One")
        async with asyncio.timeout(5):
            while tuple((await gateway.rows("SELECT message_id, final FROM outbox"))[0]) != ("m1", 0):
                await asyncio.sleep(0.001)
        script.say(" two")
        await until_shown(adapter, "  One two")
        script.say(" three")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["  One two three"]
        (first,) = adapter.of("send")
        assert (first.final, first.answers) == (False, ("hello",))
        final = adapter.of("edit")[-1]
        assert (final.final, final.answers, final.message_id) == (True, ("hello",), "m1")
        assert [delivery.final for delivery in adapter.of("edit")[:-1]] == [False] * (len(adapter.of("edit")) - 1)
        (row,) = await gateway.rows("SELECT text, final, state FROM outbox")
        assert tuple(row) == ("  One two three", 1, "sent")


async def test_what_was_sent_again_marked_keeps_its_mark_while_it_grows(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(), Dictation()
    adapter.found = SearchOutcome.UNKNOWN
    adapter.fail("send", OutcomeUnknownError("the connection broke"), shown=True)
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("One")
        await until_shown(adapter, "One", "One")
        script.say(" two")
        await until_shown(adapter, "One", "One two")
        script.say(" three")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["One", "One two three"]
        assert [shown.repeated for shown in adapter.screen.values()] == [False, True]
        assert all(delivery.repeated for delivery in adapter.of("edit"))


async def test_it_grows_as_fast_as_the_platform_has_it_at_the_moment(tmp_path: Path) -> None:
    """A platform may change its pace, because fewer answers grow than at the beginning, say."""
    adapter, script = FakeAdapter(replace(EDITS, edit_interval=0.05)), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("One")
        await until_shown(adapter, "One")
        adapter.capabilities = replace(EDITS, edit_interval=30.0)
        script.say(" two")
        await until_shown(adapter, "One two")
        script.say(" three")
        await asyncio.sleep(0.2)
        assert adapter.texts() == ["One two"]
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["One two three"]


async def test_a_platform_that_has_no_edits_any_more_is_not_looked_at_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, script, show, looks = FakeAdapter(), Dictation(), ReplyStream._show, list[str]()
    adapter.limits = (Rate(1, 60.0),)

    async def noting(self: ReplyStream, delivery_id: int, there: Sequence[ShownPart], text: str) -> Any:
        looks.append(text)
        return await show(self, delivery_id, there, text)

    monkeypatch.setattr(ReplyStream, "_show", noting)
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("One")
        await until_shown(adapter, "One")
        adapter.capabilities = replace(EDITS, edit=False)
        script.say(" two")
        await asyncio.sleep(0.2)
        assert looks == ["One two"]


async def test_a_platform_without_edits_gets_one_message(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(PLAIN), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("One", " two")
        script.end()
        await gateway.settled()
        assert [name for name, _ in adapter.calls] == ["send"]
        assert adapter.texts() == ["One two"]


async def test_a_slow_platform_shows_the_newest_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    adapter, script, slow = FakeAdapter(), Dictation(), asyncio.Event()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("0")
        await until_shown(adapter, "0")
        adapter.faults["edit"].append(Fault(until=slow))
        script.say("1")
        while not adapter.of("edit"):
            await asyncio.sleep(0.001)
        script.say(*"23456789")
        while not script.pieces.empty():  # the agent goes on although the edit is under way
            await asyncio.sleep(0.001)
        slow.set()
        await until_shown(adapter, "0123456789")
        assert len(adapter.of("edit")) <= 3
        script.end()
        await gateway.settled()


@pytest.mark.parametrize("deaf", [True, False])
async def test_an_edit_that_hangs_does_not_hold_the_answer(tmp_path: Path, deaf: bool) -> None:
    adapter, script, never = FakeAdapter(), Dictation(), asyncio.Event()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("0")
        await until_shown(adapter, "0")
        adapter.faults["edit"].append(Fault(until=never, deaf=deaf))
        script.say("1")
        while not adapter.of("edit"):
            await asyncio.sleep(0.001)
        script.end()
        await asyncio.wait_for(gateway.settled(), 5)
        assert adapter.texts() == ["01"]
        assert await gateway.ends() == {"hello": "answered"}


@pytest.mark.parametrize("error", [RetryLaterError("not now"), OutcomeUnknownError("?"), RuntimeError("a mistake")])
async def test_a_preview_that_fails_leaves_the_answer_alone(tmp_path: Path, error: Exception) -> None:
    adapter, script = FakeAdapter(), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("0")
        await until_shown(adapter, "0")
        adapter.fail("edit", error)
        script.say("1")
        while not adapter.of("edit"):
            await asyncio.sleep(0.001)
        script.end()
        await asyncio.wait_for(gateway.settled(), 5)
        assert adapter.texts() == ["01"]


async def test_a_platform_that_wants_to_be_left_alone_is_and_gets_the_answer_afterwards(tmp_path: Path) -> None:
    clock, adapter, script = ManualClock(), FakeAdapter(), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter, clock=clock) as gateway:
        await gateway.say("hello")
        script.say("0")
        await until_shown(adapter, "0")
        adapter.fail("edit", RetryLaterError("flood", 30.0))
        script.say("1")
        while not await gateway.rows("SELECT 1 FROM holds"):
            await asyncio.sleep(0.001)
        script.say("2")
        script.end()
        await gateway.settled()
        assert (len(adapter.of("edit")), adapter.texts()) == (1, ["0"])
        clock.advance(30)
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["012"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_platform_is_told_that_the_text_is_complete_if_it_has_to_be(tmp_path: Path, told: bool) -> None:
    adapter, script = FakeAdapter(replace(EDITS, told_when_complete=told)), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("all of it")
        await until_shown(adapter, "all of it")
        script.end()
        await gateway.settled()
        assert [(edit.final, edit.answers, edit.message_id) for edit in adapter.of("edit")] == (
            [(True, ("hello",), "m1")] if told else []
        )


async def test_a_text_that_outgrows_its_message_goes_on_in_another(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(), Dictation()
    adapter.longest = 4
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("ab")
        await until_shown(adapter, "ab")
        script.say("cdef")
        await until_shown(adapter, "abcd", "ef")
        script.say("ghij")
        await until_shown(adapter, "abcd", "efgh", "ij")
        script.say("k")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ijk"]
        assert len(adapter.of("send")) == 3
        (row,) = await gateway.rows("SELECT parts, text, state FROM outbox")
        assert tuple(row) == ('[["m1",0],["m2",0],["m3",0]]', "abcdefghijk", "sent")


async def test_previews_that_pass_by_themselves_are_followed_by_one_message(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(replace(EDITS, drafts=True)), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        for piece, count in (("One", 1), (" two", 2)):
            script.say(piece)
            while len(adapter.of("draft")) < count:
                await asyncio.sleep(0.001)
        script.say(" three")
        script.end()
        await gateway.settled()
        assert [delivery.content for delivery in adapter.of("draft")][:2] == ["One", "One two"]
        assert (adapter.texts(), len(adapter.of("send")), adapter.of("edit")) == (["One two three"], 1, [])


async def test_a_text_that_outgrows_its_preview_goes_on_as_messages(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(replace(EDITS, drafts=True)), Dictation()
    adapter.longest = 4
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("abcd")
        while not adapter.of("draft"):
            await asyncio.sleep(0.001)
        script.say("ef")
        await until_shown(adapter, "abcd", "ef")
        script.say("gh")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh"]


async def test_a_chat_without_such_previews_gets_edits(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(replace(EDITS, drafts=True)), Dictation()
    adapter.drafts_here = False
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("One")
        await until_shown(adapter, "One")
        script.say(" two")
        await until_shown(adapter, "One two")
        script.end()
        await gateway.settled()
        assert len(adapter.of("draft")) == 1


async def test_people_see_that_an_answer_is_being_written_until_they_see_some_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.presence.TYPING_DELAY_SECONDS", 0.0)
    adapter, script = FakeAdapter(replace(EDITS, typing=True, typing_seconds=0.005)), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        while adapter.typed < 3:
            await asyncio.sleep(0.001)
        script.say("One")
        await until_shown(adapter, "One")
        await asyncio.sleep(0.02)
        typed = adapter.typed
        await asyncio.sleep(0.03)
        assert adapter.typed == typed
        script.end()
        await gateway.settled()


async def test_a_first_message_that_is_put_off_does_not_hold_the_answer_nor_break_the_wait(tmp_path: Path) -> None:
    clock, adapter, script = ManualClock(), FakeAdapter(), Dictation()
    adapter.fail("send", RetryLaterError("flood", 60))
    async with core(tmp_path, FakeAgent(script), adapter, clock=clock) as gateway:
        await gateway.say("hello")
        script.say("0")
        await adapter.called.wait()
        script.say("1")
        script.end()
        await asyncio.wait_for(gateway.settled(), 5)
        assert await gateway.ends() == {"hello": "answered"}
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        assert len(adapter.of("send")) == 1
    clock.advance(61)
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        assert texts_of(adapter.of("send")) == ["0", "01"]
        assert adapter.texts() == ["01"]


async def test_a_first_message_that_is_refused_does_not_take_the_answer_with_it(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(), Dictation()
    adapter.fail("send", UndeliverableError("too much markup"))
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        script.say("0")
        await adapter.called.wait()
        script.say("1")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["01"]


async def test_without_a_connection_the_turn_goes_on_and_is_sent_later(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, state=AdapterState.CONNECTING) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["re: hello"]


async def test_what_is_seen_is_noted_so_that_a_crash_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stream.CHECKPOINT_SECONDS", 0.001)
    adapter, script = FakeAdapter(), Dictation()
    async with core(tmp_path, FakeAgent(script, resumable=False), adapter, clock=SystemClock()) as gateway:
        await gateway.say("hello")
        script.say("One")
        await until_shown(adapter, "One")
        script.say(" two")
        async with asyncio.timeout(5):
            while (await gateway.rows("SELECT text FROM outbox"))[0]["text"] != "One two":
                await asyncio.sleep(0.001)
        await gateway.die()
    async with core(tmp_path, FakeAgent(resumable=False), adapter) as gateway:
        await gateway.settled()
        assert adapter.texts()[0] == "One two"
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "One two")]


async def test_a_turn_that_runs_again_goes_on_in_the_same_message_and_does_not_shrink(tmp_path: Path) -> None:
    adapter, pause, script = FakeAdapter(), Pause("A long beginning"), Dictation()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("hello")
        await until_shown(adapter, "A long beginning")
        await gateway.die()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        script.say("Short")
        await asyncio.sleep(0.01)
        assert adapter.texts() == ["A long beginning"]
        script.say(" at first, longer then")
        await until_shown(adapter, "Short at first, longer then")
        script.end()
        await gateway.settled()
        assert len(adapter.screen) == 1
        assert len(await gateway.rows("SELECT * FROM outbox")) == 1


async def test_a_reply_whose_first_text_cannot_be_stored_is_answered_all_the_same(tmp_path: Path) -> None:
    adapter, script = FakeAdapter(), Dictation()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        while not (await gateway.rows("SELECT * FROM turns")):
            await asyncio.sleep(0.001)
        gateway.database.fail(StorageError("the disk is full"))
        script.say("0")
        await asyncio.sleep(0.005)
        script.say("1")
        script.end()
        await gateway.settled()
        assert adapter.texts() == ["01"]


async def test_a_first_text_that_comes_too_late_does_not_make_a_second_message(tmp_path: Path) -> None:
    """The preview is begun while the turn ends: whichever commit comes first, there is one message."""
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        for number in range(20):
            await gateway.say(str(number))
            await gateway.settled()
        assert adapter.texts() == [f"re: {number}" for number in range(20)]
        assert not await gateway.rows("SELECT * FROM outbox WHERE final = 0 OR state <> 'sent'")
