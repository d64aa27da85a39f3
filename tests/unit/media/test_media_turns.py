"""Files through a whole turn: what the agent is given, what the transcript keeps, what goes out."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.ports import (
    AgentCapabilities,
    AgentError,
    AgentEvent,
    AgentTurn,
    Attachment,
    Call,
    Capabilities,
    Done,
    MediaKind,
    OutgoingFile,
    Text,
    Tool,
    ToolCalls,
    ToolContext,
    ToolResult,
    ToolStarted,
)
from gateway.session.text import flatten_text
from gateway.tools.files import send_file_tool
from tests.support.fakes import ALICE, Core, FakeAgent, Pause, Script, configure, core, fails, says
from tests.unit.media.support import PDF, PNG, FilePlatform, attached, files_of

PHOTO = attached("a", MediaKind.IMAGE, "red.png")
EDITS = Capabilities(edit=True, find=True, edit_interval=0.0, media=True)


class Eyes(FakeAgent):
    """An agent that takes images."""

    def __init__(self, *scripts: Script, steering: bool = False) -> None:
        super().__init__(*scripts)
        self.capabilities = AgentCapabilities(images=True, steering=steering)


async def quiet(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
    yield Text("seen")
    yield Done()


async def send(built: Core, text: str, *attachments: Attachment, **more: Any) -> None:
    await built.say(text, more.pop("message_id", f"id of {text}"), attachments=attachments, **more)
    await built.settled()


def image_paths(rows: Any) -> list[str]:
    parts = (row["content"] for row in rows if isinstance(row["content"], list))
    return [part["path"] for content in parts for part in content if part["type"] == "image"]


async def rows_of(built: Core) -> list[Mapping[str, Any]]:
    entry = await built.store.get_or_create_session(ALICE)
    return list(await built.store.load_transcript(entry.session_id))


async def test_an_agent_sees_an_image_and_the_transcript_names_its_file(tmp_path: Path) -> None:
    agent, platform = Eyes(quiet), FilePlatform(a=PNG)
    async with core(tmp_path, agent, platform) as built:
        await send(built, "what is this?", PHOTO)
        rows = await rows_of(built)
    (shown,) = image_paths(agent.turns[0].inputs)
    assert Path(shown).read_bytes() == PNG
    (kept,) = image_paths(rows)
    assert shown == str(tmp_path / "media" / kept)
    assert flatten_text(rows[0]["content"]).startswith('what is this?\n\n[Image "red.png" (PNG, ')


async def test_an_agent_without_eyes_is_told_of_it(tmp_path: Path) -> None:
    agent = FakeAgent(quiet)
    async with core(tmp_path, agent, FilePlatform(a=PNG)) as built:
        await send(built, "what is this?", PHOTO)
        assert image_paths(await rows_of(built)), "an agent that takes images may go on from here"
    assert image_paths(agent.turns[0].inputs) == []
    assert "this agent takes no images" in flatten_text(agent.turns[0].inputs[0]["content"])


async def test_a_message_of_nothing_but_a_file_is_answered(tmp_path: Path) -> None:
    agent = FakeAgent(quiet)
    async with core(tmp_path, agent, FilePlatform(a=b"the words in it")) as built:
        await send(built, "", attached("a", name="n.txt"), message_id="m1")
        assert await built.ends() == {"m1": "answered"}
    assert "the words in it" in agent.turns[0].inputs[0]["content"]


async def test_a_later_turn_sees_it_again_and_fetches_nothing(tmp_path: Path) -> None:
    agent, platform = Eyes(quiet, quiet), FilePlatform(a=PNG)
    async with core(tmp_path, agent, platform) as built:
        await send(built, "what is this?", PHOTO)
        await send(built, "and its colour?")
    assert image_paths(agent.turns[1].history) == image_paths(agent.turns[0].inputs)
    assert platform.fetched == ["a"]


async def test_another_attempt_fetches_nothing(tmp_path: Path) -> None:
    agent, platform = Eyes(fails(AgentError("busy", retryable=True)), quiet), FilePlatform(a=PNG)
    async with core(tmp_path, agent, platform) as built:
        await send(built, "what is this?", PHOTO)
        assert await built.ends() == {"id of what is this?": "answered"}
    assert len(agent.turns) == 2
    assert agent.turns[0].inputs == agent.turns[1].inputs
    assert platform.fetched == ["a"]


async def test_the_next_life_of_a_turn_fetches_nothing(tmp_path: Path) -> None:
    pause, platform = Pause("hm"), FilePlatform(a=PNG)
    first, second = Eyes(pause), Eyes(quiet)
    async with core(tmp_path, first, platform) as built:
        await built.say("what is this?", attachments=(PHOTO,))
        await pause.reached.wait()
        await built.die()
    async with core(tmp_path, second, platform) as built:
        await built.settled()
    assert second.turns[0].inputs == first.turns[0].inputs
    assert image_paths(second.turns[0].inputs)
    assert platform.fetched == ["a"]


async def test_what_cannot_be_fetched_is_said_and_the_turn_goes_on(tmp_path: Path) -> None:
    agent = Eyes(quiet)
    async with core(tmp_path, agent, FilePlatform()) as built:
        await send(built, "what is this?", PHOTO)
        assert await built.ends() == {"id of what is this?": "answered"}
    assert agent.turns[0].inputs[0]["content"] == (
        'what is this?\n\n[Image "red.png" could not be fetched: it is gone]'
    )


async def test_a_file_that_joins_a_running_turn_is_fetched_first(tmp_path: Path) -> None:
    steered: list[Mapping[str, Any]] = []
    platform = FilePlatform(a=PNG)

    async def steering(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("hm")
        await built.say("look at this", "m2", attachments=(PHOTO,))
        steered.extend(await turn.take_steering())
        yield Text(" ah")
        yield Done()

    agent = Eyes(steering, steering=True)
    async with core(tmp_path, agent, platform, config=configure(busy="steer")) as built:
        await send(built, "hello", message_id="m1")
        assert await built.ends() == {"m1": "answered", "m2": "merged"}
        kept = image_paths(await rows_of(built))
    assert len(kept) == 1
    assert image_paths(steered) == [str(tmp_path / "media" / kept[0])]


async def test_files_that_come_in_slowly_are_not_the_agents_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.attempt.MEDIA_SIGN_SECONDS", 0.005)
    agent, platform = Eyes(quiet), FilePlatform(a=PNG)
    platform.gate = asyncio.Event()
    async with core(tmp_path, agent, platform, clock=SystemClock(), limit=0.3) as built:
        await built.say("what is this?", attachments=(PHOTO,))
        while not platform.fetched:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.5)
        platform.gate.set()
        await built.settled()
        assert await built.ends() == {"what is this?": "answered"}
        assert built.counters["turns.stalled"] == 0
    assert len(agent.turns) == 1


async def test_a_turn_that_is_stopped_meanwhile_names_its_files(tmp_path: Path) -> None:
    platform = FilePlatform(a=PNG)
    platform.gate = asyncio.Event()
    async with core(tmp_path, Eyes(quiet), platform) as built:
        await built.say("what is this?", attachments=(PHOTO,))
        while not platform.fetched:
            await asyncio.sleep(0.001)
        await built.say("/stop")
        await built.settled()
        rows = await rows_of(built)
    assert rows[0]["content"] == 'what is this?\n\n[Image "red.png": it was not read]'
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


# --- out -------------------------------------------------------------------------------------------------


def place(tmp_path: Path, name: str = "plot.png", data: bytes = PNG) -> Path:
    path = tmp_path / "media" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("capabilities", [EDITS, Capabilities(media=True)])
async def test_a_file_that_an_answer_names_follows_it(tmp_path: Path, capabilities: Capabilities) -> None:
    path, platform = place(tmp_path), FilePlatform(capabilities)
    agent = FakeAgent(says("Here", " it is:\n", "MEDIA:", f"{path}\n", "\nMEDIA:/etc/passwd\n"))
    async with core(tmp_path, agent, platform) as built:
        await send(built, "plot it")
        rows = await rows_of(built)
    shown = list(platform.screen.values())
    assert [delivery.kind for delivery in shown] == ["reply", "file"]
    assert shown[0].text == "Here it is:\n\nMEDIA:/etc/passwd"
    assert all(str(path) not in delivery.text for _call, delivery in platform.calls if delivery.kind == "reply")
    (file,) = files_of(shown)
    assert isinstance(file, OutgoingFile)
    assert Path(file.path).read_bytes() == PNG
    assert shown[1].answers == ("id of plot it",)
    assert shown[0].answers == ()
    assert f"MEDIA:{path}" in rows[-1]["content"], "the model goes on seeing what it wrote"


async def test_an_answer_of_nothing_but_a_file_is_that_file(tmp_path: Path) -> None:
    platform = FilePlatform(EDITS)
    async with core(tmp_path, FakeAgent(says(f"MEDIA:{place(tmp_path)}")), platform) as built:
        await send(built, "plot it")
    assert [delivery.kind for delivery in platform.screen.values()] == ["file"]


@pytest.mark.parametrize("operator", [True, False])
async def test_a_platform_without_files_is_told_in_words(tmp_path: Path, operator: bool) -> None:
    path, platform = place(tmp_path), FilePlatform(Capabilities(operator=operator))
    async with core(tmp_path, FakeAgent(says(f"Here:\nMEDIA:{path}")), platform) as built:
        await send(built, "plot it")
    first, second = platform.texts()
    assert first == "Here:"
    assert ("could not be shown here" in str(second_content(platform))) is not operator
    assert (str(tmp_path / "media" / "out") in str(second_content(platform))) is operator
    assert "plot.png" in second


def second_content(platform: FilePlatform) -> Any:
    return list(platform.screen.values())[1].content


async def test_the_tool_sends_once_however_often_its_call_is_run(tmp_path: Path) -> None:
    path, platform = place(tmp_path, "r.pdf", PDF), FilePlatform(EDITS)
    inner: list[Tool] = []

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> str:
        return await inner[0].run(arguments, context)

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        call = Call("c1", "send_file", f'{{"path": "{path}", "caption": "The report"}}')
        yield ToolCalls("", (call,))
        yield ToolStarted("c1")
        result = await turn.run_tool(call)
        assert (
            await inner[0].run({"path": str(path)}, ToolContext("c1", turn.turn_id, turn.session_id, ALICE)) == result
        )
        yield ToolResult("c1", "send_file", result)
        yield Text("Sent.")
        yield Done()

    tool = Tool("send_file", "", {}, run, idempotent=True)
    async with core(tmp_path, FakeAgent(script), platform, tools=(tool,)) as built:
        inner.append(
            send_file_tool(built.runner._files, built.database, built.clock, built.outbox.offer)  # type: ignore[arg-type]
        )
        await send(built, "the report, please")
    shown = list(platform.screen.values())
    assert sorted(delivery.kind for delivery in shown) == ["file", "reply"]
    (file,) = files_of(shown)
    assert (file.name, file.caption, file.kind) == ("r.pdf", "The report", MediaKind.DOCUMENT)


@pytest.mark.parametrize("tool_name", ["send_file", "other"])
async def test_a_file_may_be_all_of_an_answer(tmp_path: Path, tool_name: str) -> None:
    async def run(_arguments: Mapping[str, Any], _context: ToolContext) -> str:
        return "Done."

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        call = Call("c1", tool_name, "{}")
        yield ToolCalls("", (call,))
        yield ToolStarted("c1")
        yield ToolResult("c1", tool_name, await turn.run_tool(call))
        yield Done()

    platform = FilePlatform(EDITS)
    async with core(tmp_path, FakeAgent(script), platform, tools=(Tool(tool_name, "", {}, run),)) as built:
        await send(built, "the report, please")
    shown = [delivery.kind for delivery in platform.screen.values()]
    assert shown == ([] if tool_name == "send_file" else ["notice"])
