"""/new, /retry, /undo, /redo, /queue and /steer through the core: what they leave in the transcript."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.ports import AgentError, AgentEvent, AgentTurn, InboundState
from tests.support.fakes import (
    ALICE,
    FakeAdapter,
    FakeAgent,
    Pause,
    configure,
    core,
    echo,
    fails,
    says,
)
from tests.unit.commands.support import Chat
from tests.unit.media.support import PNG, FilePlatform
from tests.unit.media.test_media_turns import PHOTO, Eyes, image_paths, quiet, send


async def test_retry_answers_the_last_message_again(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent(echo, says("first"), says("second"))
    async with core(tmp_path, agent, adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("before")
        assert await chat.says("question") == "first"
        assert await chat.says("/retry") == "second"
        assert await gateway.transcript() == [
            ("user", "before"),
            ("assistant", "re: before"),
            ("user", "question"),
            ("assistant", "second"),
        ]
        assert [message["content"] for message in agent.turns[-1].history] == ["before", "re: before"]
        assert set((await gateway.ends()).values()) == {"answered"}


async def test_retry_of_a_turn_of_several_messages_says_all_of_them(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent()
    async with core(tmp_path, agent, adapter, config=configure(inbox={"coalesce_seconds": 0.2})) as gateway:
        for part in ("one", "two"):
            await gateway.say(part, part, group_id="g")
        await gateway.settled()
        assert len(agent.turns) == 1
        await Chat(gateway, adapter).says("/retry")
        assert [message["content"] for message in agent.turns[-1].inputs] == ["one\n\ntwo"]
        assert await gateway.transcript() == [("user", "one\n\ntwo"), ("assistant", "re: one\n\ntwo")]


async def test_retry_has_the_attachments(tmp_path: Path) -> None:
    platform, agent = FilePlatform(a=PNG), Eyes(quiet, quiet)
    async with core(tmp_path, agent, adapter=platform) as gateway:
        await send(gateway, "look", PHOTO)
        await gateway.say("/retry", "again")
        await gateway.settled()
        first, second = agent.turns
        assert image_paths(first.inputs) == image_paths(second.inputs) != []
        assert len(await gateway.transcript()) == 2


async def test_retry_of_a_text_like_a_command_reaches_the_agent(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent()
    async with core(tmp_path, agent, adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("//new")
        await chat.says("/retry")
        assert [turn.inputs[0]["content"] for turn in agent.turns] == ["/new", "/new"]


async def test_retry_without_a_message_says_so(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        chat = Chat(gateway, adapter)
        assert "no conversation here yet" in await chat.says("/retry")
        await chat.says("hello")
        await chat.says("/undo")
        assert "no message here that could be answered again" in await chat.says("/retry")


async def test_a_failed_turn_offers_to_be_retried(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent(fails(AgentError("the model is away")), says("here I am"))
    async with core(tmp_path, agent, adapter) as gateway:
        chat = Chat(gateway, adapter)
        assert "Send it again to retry" in await chat.says("hello")
        assert chat.buttons == [("Retry", "/retry")]
        assert await chat.says("/retry") == "here I am"
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "here I am")]


async def test_a_turn_that_was_given_up_without_a_record_is_retried_and_no_other(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent()
    async with core(tmp_path, agent, adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("before")
        pause = Pause(after="never kept")
        agent.scripts.append(pause)
        await chat.write("lost")
        await pause.reached.wait()
        turn = gateway.lanes._lanes[gateway.store.identity(ALICE)].turn
        assert turn is not None
        await gateway.runner.give_up(turn, "tested")
        pause.go.set()
        await gateway.settled()
        await chat.says("/retry")
        assert await gateway.transcript() == [
            ("user", "before"),
            ("assistant", "re: before"),
            ("user", "lost"),
            ("assistant", "re: lost"),
        ]


async def test_ten_retries_at_once_try_again_once(tmp_path: Path) -> None:
    adapter, agent = FakeAdapter(), FakeAgent()
    async with core(tmp_path, agent, adapter, clock=SystemClock()) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("before")
        await chat.says("question")
        await asyncio.gather(*(gateway.say("/retry", f"press {number}") for number in range(10)))
        await gateway.settled()
        assert len(agent.turns) == 3
        assert await gateway.transcript() == [
            ("user", "before"),
            ("assistant", "re: before"),
            ("user", "question"),
            ("assistant", "re: question"),
        ]
        told = [text for text in adapter.texts() if "tried again already" in text]
        assert len(told) == 9
        assert set((await gateway.ends()).values()) == {"answered"}
        await chat.says("/retry")
        assert len(agent.turns) == 4, "one that is asked for after the answer is another one"


async def test_ten_undos_at_once_take_each_turn_back_once(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        for number in range(4):
            await gateway.say(f"q{number}")
        await gateway.settled()
        await asyncio.gather(*(gateway.say("/undo", f"press {number}") for number in range(10)))
        await gateway.settled()
        assert await gateway.transcript() == []
        taken = [text for text in adapter.texts() if text.startswith("Taken back")]
        assert [text.split("“")[1].split("”")[0] for text in taken] == ["q3", "q2", "q1", "q0"]
        assert len([text for text in adapter.texts() if text == "Nothing to undo."]) == 6


async def test_retries_and_undos_at_once_leave_whole_turns(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, clock=SystemClock()) as gateway:
        for number in range(8):
            await gateway.say(f"q{number}")
        await gateway.settled()
        commands = ["/retry", "/undo"] * 5
        await asyncio.gather(*(gateway.say(text, f"{number}") for number, text in enumerate(commands)))
        await gateway.settled()
        rows = await gateway.transcript()
        assert rows == [row for n in range(len(rows) // 2) for row in (("user", f"q{n}"), ("assistant", f"re: q{n}"))]
        assert len(rows) // 2 == 3, "five turns were taken back, and what was tried again is there once"


async def test_undo_waits_for_the_running_turn_and_takes_that_back(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause(after="done")
    async with core(tmp_path, FakeAgent(echo, pause), adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("first")
        await chat.write("second")
        await pause.reached.wait()
        await chat.write("/undo")
        pause.go.set()
        await gateway.settled()
        assert await gateway.transcript() == [("user", "first"), ("assistant", "re: first")]


async def test_undo_takes_back_several_and_redo_brings_them_back(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        chat = Chat(gateway, adapter)
        for text in ("one", "two", "three"):
            await chat.says(text)
        whole = await gateway.transcript()
        said = await chat.says("/undo 2")
        assert "2 turns taken back, from: “two”" in said
        assert chat.buttons == [("Bring it back", "/redo")]
        assert await gateway.transcript() == whole[:2]
        await chat.says("/undo")
        assert await gateway.transcript() == []
        assert await chat.says("/redo") == "2 messages brought back."
        assert await chat.says("/redo") == "4 messages brought back."
        assert await gateway.transcript() == whole
        assert "nothing to bring back" in await chat.says("/redo")


async def test_redo_is_refused_once_something_was_said_since(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("one")
        await chat.says("/undo")
        await chat.says("two")
        assert "nothing to bring back" in await chat.says("/redo")
        assert await gateway.transcript() == [("user", "two"), ("assistant", "re: two")]


@pytest.mark.parametrize("wrong", ["/undo many", "/undo 0", "/undo 51", "/undo 1 2", "/undo -1"])
async def test_a_wrong_argument_is_refused_with_the_usage(tmp_path: Path, wrong: str) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("one")
        assert "`/undo [n]`" in await chat.says(wrong)
        assert len(await gateway.transcript()) == 2


async def test_a_retry_survives_a_crash_between_its_cut_and_its_turn(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause(after="never")
    async with core(tmp_path, FakeAgent(echo, pause), adapter) as gateway:
        await gateway.say("question")
        await gateway.settled()
        await gateway.say("/retry", "again")
        await pause.reached.wait()
        await gateway.die()
    agent = FakeAgent()
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.settled()
        assert await gateway.transcript() == [("user", "question"), ("assistant", "re: question")]
        assert await gateway.ends() == {"question": "answered", "again": InboundState.ANSWERED}


async def test_new_offers_the_way_back(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        chat = Chat(gateway, adapter)
        await chat.says("one")
        await chat.says("/new")
        ((label, command),) = chat.buttons
        assert label == "Back to it"
        await chat.says(command)
        assert await gateway.transcript() == [("user", "one"), ("assistant", "re: one")]


# --- how a message is to be taken ----------------------------------------------------------------------


async def test_queue_keeps_a_message_out_of_the_running_turn(tmp_path: Path) -> None:
    pause = Pause(before="a", after="b")
    agent = FakeAgent(pause)
    async with core(tmp_path, agent, config=configure(busy="interrupt")) as gateway:
        await gateway.say("first")
        await pause.reached.wait()
        await gateway.say("/queue second")
        pause.go.set()
        await gateway.settled()
        assert [turn.inputs[0]["content"] for turn in agent.turns] == ["first", "second"]
        assert (await gateway.transcript())[1] == ("assistant", "ab")


async def test_steer_joins_the_running_turn_and_overtakes_what_waits(tmp_path: Path) -> None:
    adapter, steered = FakeAdapter(), Pause()
    taken: list[str] = []

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        async for _event in steered(turn):
            pass
        taken.extend(str(message["content"]) for message in await turn.take_steering())
        async for event in echo(turn):
            yield event

    agent = FakeAgent(script, steering=True)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("first")
        await steered.reached.wait()
        await gateway.say("waits")
        await gateway.say("/steer turn left")
        steered.go.set()
        await gateway.settled()
        assert taken == ["turn left"]
        assert [turn.inputs[0]["content"] for turn in agent.turns] == ["first", "waits"]
        assert await gateway.ends() == {"first": "answered", "waits": "answered", "/steer turn left": "merged"}


async def test_queue_alone_says_what_goes_on(tmp_path: Path) -> None:
    adapter, pause = FakeAdapter(), Pause(after="done")
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("first")
        await pause.reached.wait()
        await gateway.say("second")
        await gateway.say("/queue")
        while not adapter.texts():
            await gateway.rows("SELECT 1")
        assert "answering, 1 waiting" in adapter.texts()[0]
        pause.go.set()
        await gateway.settled()
