"""A summary stands for what was said long ago; what it stands for is kept, and comes back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.aside import CUT_OFF
from gateway.commands.compact import REQUEST, SUMMARY_MARK
from gateway.ports import AgentError, AgentEvent, AgentTurn, Done, Notice, Text, Usage
from tests.support.fakes import Core, FakeAdapter, FakeAgent, Pause, Script, configure, echo, fails
from tests.unit.commands.support import Chat, chatting

SUMMARY = "They counted."
LONG = "x" * 200


def sums(text: str = SUMMARY, notices: int = 0, seen: list[int] | None = None) -> Script:
    """Summarises with this text; what is more than so many messages it cannot read at once."""

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        if turn.inputs[0]["content"] != REQUEST:
            async for event in echo(turn):
                yield event
            return
        if seen is not None:
            seen.append(len(turn.history))
        if notices and len(turn.history) > notices:
            yield Notice("trimmed", trimmed=True)
        yield Text(text)
        yield Usage(input_tokens=10, output_tokens=5)
        yield Done()

    return script


class Always(FakeAgent):
    """Runs one script in every turn."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        self.turns.append(turn)
        return self._script(turn)


async def turns(chat: Chat, number: int) -> None:
    for place in range(number):
        await chat.says(f"q{place} {LONG}")


async def roles(gateway: Core) -> list[str]:
    return [f"{role}:{text[:2]}" for role, text in await gateway.transcript()]


async def test_a_summary_stands_for_the_older_turns_and_is_said(tmp_path: Path) -> None:
    async with chatting(tmp_path, Always(sums())) as chat:
        await turns(chat, 6)
        whole = await chat.gateway.transcript()
        told = await chat.says("/compact 2")
        assert told.startswith("The first 8 messages (")
        assert "the last 2 turns stay as they are" in told
        assert told.endswith(SUMMARY)
        assert "/compact undo" in told
        assert chat.buttons == [("Bring them back", "/compact undo")]
        rows = await chat.gateway.transcript()
        assert rows == [("assistant", f"{SUMMARY_MARK}\n\n{SUMMARY}"), *whole[8:]]
        entry = await chat.gateway.store.get_session(await chat.session_id())
        assert entry.message_count == 5
        assert (entry.input_tokens, entry.output_tokens) == (6 + 10, 12 + 5)


async def test_the_agent_goes_on_with_the_summary(tmp_path: Path) -> None:
    agent = Always(sums())
    async with chatting(tmp_path, agent) as chat:
        await turns(chat, 4)
        await chat.says("/compact 1")
        await chat.says("next")
        assert [row["content"][:2] for row in agent.turns[-1].history] == [SUMMARY_MARK[:2], "q3", "re"]
        assert agent.turns[-2].tools == ()


async def test_what_a_summary_stands_for_comes_back_in_its_place(tmp_path: Path) -> None:
    async with chatting(tmp_path, Always(sums())) as chat:
        await turns(chat, 6)
        whole = await chat.gateway.transcript()
        await chat.says("/compact 4")
        await chat.says("more")
        await chat.says("/compact 1")
        assert (await roles(chat.gateway))[0] == f"assistant:{SUMMARY_MARK[:2]}"
        assert len(await chat.gateway.transcript()) == 3
        assert "10 messages that it stood for" not in await chat.says("/compact undo")
        assert len(await chat.gateway.transcript()) == 11
        assert "the 4 messages" in await chat.says("/compact undo")
        assert (await chat.gateway.transcript())[:12] == whole
        assert "no summary" in await chat.says("/compact undo")
        entry = await chat.gateway.store.get_session(await chat.session_id())
        assert entry.message_count == 14
        assert await chat.gateway.rows("SELECT 1 FROM cuts") == []


async def test_undo_and_redo_go_by_a_summary(tmp_path: Path) -> None:
    async with chatting(tmp_path, Always(sums())) as chat:
        await turns(chat, 3)
        whole = await chat.gateway.transcript()
        await chat.says("/compact 1")
        await chat.says("/undo")
        assert len(await chat.gateway.transcript()) == 1
        assert "Nothing to undo" in await chat.says("/undo"), "a summary is no turn"
        await chat.says("/compact undo")
        assert await chat.gateway.transcript() == whole[:4]
        await chat.says("/redo")
        assert await chat.gateway.transcript() == whole


async def test_redo_does_not_take_a_summary_apart(tmp_path: Path) -> None:
    async with chatting(tmp_path, Always(sums())) as chat:
        await turns(chat, 3)
        await chat.says("/compact 1")
        assert "nothing to bring back" in await chat.says("/redo")


async def test_search_finds_the_summary_and_then_again_what_it_stood_for(tmp_path: Path) -> None:
    from gateway.search import SearchIndexer

    async with chatting(tmp_path, Always(sums("About gryphons."))) as chat:
        await chat.says(f"basilisk {LONG}")
        await turns(chat, 3)
        await SearchIndexer(chat.gateway.database).catch_up()
        await chat.says("/compact 1")
        assert "Nothing was found" in await chat.says("/search basilisk")
        assert "gryphons" in await chat.says("/search gryphons")
        await chat.says("/compact undo")
        assert "basilisk" in await chat.says("/search basilisk")
        assert "Nothing was found" in await chat.says("/search gryphons")


async def test_what_the_model_cannot_read_at_once_is_folded(tmp_path: Path) -> None:
    seen: list[int] = []
    async with chatting(tmp_path, Always(sums(notices=5, seen=seen))) as chat:
        await turns(chat, 6)
        told = await chat.says("/compact 1")
        assert seen == [10, 5, 6, 3, 4], "each half, and the second with a summary of the first"
        assert "could not read all of it" not in told


async def notes(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
    """Says something beside the summary that is not about what was seen of the conversation."""
    yield Notice("Another model answers today.")
    async for event in sums()(turn):
        yield event


async def test_a_notice_of_something_else_is_no_reason_to_ask_again(tmp_path: Path) -> None:
    agent = Always(notes)
    async with chatting(tmp_path, agent) as chat:
        await turns(chat, 6)
        told = await chat.says("/compact 1")
        assert sum(turn.aside for turn in agent.turns) == 1
        assert "could not read all of it" not in told
        assert len(await chat.gateway.transcript()) == 3


def breaks_off(reason: str) -> Script:
    """Says half of a summary."""

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("They cou")
        yield Usage(input_tokens=10, output_tokens=5)
        yield Done(reason)

    return script


@pytest.mark.parametrize(
    ("script", "words"),
    [
        *((breaks_off(reason), f"There is no summary: it broke off, because {why}") for reason, why in CUT_OFF.items()),
        (fails(AgentError("the model is away")), "There is no summary: the model is away."),
        (fails(RuntimeError("bug")), "failed unexpectedly (RuntimeError)"),
        (sums(""), "the agent gave no answer"),
        (sums("y" * 10_000), "no shorter than what it is of"),
        (sums(REQUEST), "repeats what it is told"),
    ],
)
async def test_without_a_summary_nothing_is_changed(tmp_path: Path, script: Script, words: str) -> None:
    async with chatting(tmp_path, FakeAgent(echo, echo, echo, script)) as chat:
        await turns(chat, 3)
        whole = await chat.gateway.transcript()
        assert words in await chat.says("/compact 1")
        assert await chat.gateway.transcript() == whole
        assert await chat.gateway.rows("SELECT 1 FROM cuts") == []


async def test_there_has_to_be_something_to_summarise(tmp_path: Path) -> None:
    async with chatting(tmp_path, FakeAgent()) as chat:
        assert "no conversation here yet" in await chat.says("/compact")
        await turns(chat, 4)
        assert "too little to summarise" in await chat.says("/compact")
        assert "too little to summarise: the last 4 turns stay" in await chat.says("/compact 4")
        assert "`/compact [undo] [turns]`" in await chat.says("/compact all")


async def test_stop_ends_a_summary_and_messages_wait_for_it(tmp_path: Path) -> None:
    pause = Pause(after="late")
    adapter = FakeAdapter()
    async with chatting(tmp_path, FakeAgent(echo, echo, echo, pause), adapter=adapter) as chat:
        await turns(chat, 3)
        whole = await chat.gateway.transcript()
        await chat.write("/compact 1")
        await pause.reached.wait()
        await chat.write("/status")
        while not any("now: summarising" in text for text in adapter.texts()):
            await asyncio.sleep(0)
        await chat.write("and then?")
        await chat.write("/stop")
        await chat.gateway.settled()
        assert pause.ended.is_set()
        assert any("Stopped. The conversation is as it was." in text for text in adapter.texts())
        assert await chat.gateway.transcript() == [*whole, ("user", "and then?"), ("assistant", "re: and then?")]


async def test_a_summary_of_what_has_changed_meanwhile_is_not_put_in(tmp_path: Path) -> None:
    pause = Pause(before="short")
    async with chatting(tmp_path, FakeAgent(echo, echo, echo, pause)) as chat:
        await turns(chat, 3)
        await chat.write("/compact 1")
        await pause.reached.wait()
        session_id = await chat.session_id()
        await chat.gateway.store.rewrite_transcript(session_id, [{"role": "user", "content": "other"}])
        pause.go.set()
        await chat.gateway.settled()
        assert "has changed meanwhile" in chat.adapter.texts()[-1]
        assert await chat.gateway.transcript() == [("user", "other")]


async def test_an_agent_that_is_silent_for_too_long_is_given_up(tmp_path: Path) -> None:
    async with chatting(tmp_path, FakeAgent(echo, echo, echo, Pause()), limit=0.05) as chat:
        await turns(chat, 3)
        assert "made no progress for 0.05 seconds" in await chat.says("/compact 1")


def breaks_off_after(messages: int) -> Script:
    """Reads no more than so many messages at once, and does not come to an end where there are more."""

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        if len(turn.history) > messages:
            yield Notice("trimmed", trimmed=True)
        yield Text(SUMMARY)
        yield Usage(input_tokens=10, output_tokens=5)
        yield Done("length" if len(turn.history) > messages else "stop")

    return script


async def test_a_summary_that_nothing_is_made_of_may_break_off(tmp_path: Path) -> None:
    summed = breaks_off_after(6)
    async with chatting(tmp_path, FakeAgent(*[echo] * 6, summed, summed, summed)) as chat:
        await turns(chat, 6)
        assert (await chat.says("/compact 1")).endswith(SUMMARY)
        assert len(await chat.gateway.transcript()) == 3


@pytest.mark.parametrize("script", [breaks_off("length"), sums("y" * 10_000)])
async def test_what_a_refused_summary_took_counts(tmp_path: Path, script: Script) -> None:
    limits = {"tokens_per_day": 1_000}
    async with chatting(tmp_path, FakeAgent(echo, echo, echo, script), config=configure(limits=limits)) as chat:
        await turns(chat, 3)
        before = await chat.gateway.store.get_session(await chat.session_id())
        (noted,) = await chat.gateway.rows("SELECT tokens FROM tokens_by_day WHERE kind = 'person'")
        told = await chat.says("/compact 1")
        assert "conversation is as it was" in told or "Nothing was changed" in told
        entry = await chat.gateway.store.get_session(await chat.session_id())
        assert entry.total_tokens - before.total_tokens == 15
        (counted,) = await chat.gateway.rows("SELECT tokens FROM tokens_by_day WHERE kind = 'person'")
        assert counted["tokens"] - noted["tokens"] == 15


async def test_too_little_is_told_in_words_that_help(tmp_path: Path) -> None:
    async with chatting(tmp_path, FakeAgent()) as chat:
        await turns(chat, 1)
        assert "/compact 1 keeps the last turn alone" in await chat.says("/compact")
        assert "/compact 1" not in await chat.says("/compact 1")
        for wrong in ("0", "1001", "ten"):
            assert await chat.says(f"/compact {wrong}") == (
                f"“{wrong}” is not undo, and not a number from 1 to 1,000. Write it as `/compact [undo] [turns]`."
            )
