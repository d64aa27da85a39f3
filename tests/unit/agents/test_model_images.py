"""Images in a model's prompt: shown, named where they are gone, and left out where a server takes none."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config import ModelAgentConfig
from gateway.agents.context import IMAGE_BYTES, row_size
from gateway.agents.images import ALL_REFUSED, GONE, NONE_SHOWN, NOT_TAKEN, OLDER_REFUSED, REFUSED
from gateway.agents.messages import joined, repaired, to_model_messages, to_rows
from gateway.ports import AgentError, AgentTurn, ClientTool, Message, Notice
from tests.support.scripted_openai import Fault, Reply, ScriptedOpenAI
from tests.unit.agents.support import CLOCK, Desk, assistant, model_config, started, text_of, user
from tests.unit.media.support import PNG


def seen(text: str, *paths: Path) -> Message:
    images = [{"type": "image", "path": str(path), "media_type": "image/png"} for path in paths]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(PNG)
    return path


def turn_with(*inputs: Message, history: Sequence[Message] = (), **more: Any) -> AgentTurn:
    return replace(Desk().turn(history=history, **more), inputs=list(inputs))


async def answer(config: ModelAgentConfig, home: Path, *turns: AgentTurn) -> list[str]:
    async with started(config, home) as agent:
        return [text_of(await Desk().events(agent, turn)) for turn in turns]


def urls(request: Mapping[str, Any]) -> list[str]:
    contents = (message["content"] for message in request["messages"] if isinstance(message["content"], list))
    return [part["image_url"]["url"] for content in contents for part in content if part["type"] == "image_url"]


def texts(request: Mapping[str, Any]) -> str:
    return str([message["content"] for message in request["messages"]])


def test_an_image_counts_in_the_prompt(picture: Path) -> None:
    assert row_size(seen("look", picture)) == row_size(user("look")) + IMAGE_BYTES


def test_a_transcript_with_images_comes_back_as_it_was(picture: Path) -> None:
    rows = [seen("look", picture), assistant("I see"), user("thanks")]
    assert to_rows(to_model_messages(rows)) == rows


def test_neighbours_become_one_message(picture: Path) -> None:
    rows = [user("one"), seen("two", picture), user("three"), user("four")]
    (request,) = repaired(to_model_messages(rows))
    (row,) = to_rows([joined(request)])
    assert [part["type"] for part in row["content"]] == ["text", "image", "text"]
    assert [part.get("text") for part in row["content"]] == ["one\n\ntwo", None, "three\n\nfour"]


async def test_a_model_is_shown_the_images_of_the_conversation(tmp_path: Path, picture: Path) -> None:
    async with ScriptedOpenAI(["red"]) as server:
        turn = turn_with(user("and now?"), history=[seen("what is this?", picture), assistant("A pixel.")])
        assert await answer(model_config(server.base_url), tmp_path, turn) == ["red"]
    assert urls(server.requests[0]) == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]
    assert "what is this?" in texts(server.requests[0])


async def test_an_image_that_has_gone_meanwhile_is_named(tmp_path: Path, picture: Path) -> None:
    turn = turn_with(seen("what is this?", picture))
    picture.unlink()
    async with ScriptedOpenAI(["hm"]) as server:
        await answer(model_config(server.base_url), tmp_path, turn)
    assert urls(server.requests[0]) == []
    assert GONE in texts(server.requests[0])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        Fault(400, "registry.ollama.ai/library/llama3:latest does not support images"),
        Fault(404, "No endpoints found that support image input"),
        Fault(400, "meta/llama is not a multimodal model: image_url is not allowed"),
    ],
)
async def test_a_server_that_takes_no_images_gets_none_from_then_on(
    tmp_path: Path, picture: Path, fault: Fault
) -> None:
    async with ScriptedOpenAI([fault, "cannot see", "still not"]) as server:
        turn = turn_with(seen("what is this?", picture))
        assert await answer(model_config(server.base_url), tmp_path, turn, turn) == ["cannot see", "still not"]
    assert [len(urls(request)) for request in server.requests] == [1, 0, 0]
    assert all(NOT_TAKEN in texts(request) for request in server.requests[1:])


@pytest.mark.parametrize(
    "words",
    [
        "You uploaded an unsupported image. Please make sure your image is valid.",
        "The image data you provided does not represent a valid image. Try again with one of the supported formats.",
        "Could not process image",
        "Unable to process input image. Please retry or report",
        "cannot identify image file <_io.BytesIO object>",
    ],
)
@pytest.mark.parametrize("images", ["auto", True])
async def test_a_bad_image_ends_neither_its_conversation_nor_those_of_others(
    tmp_path: Path, picture: Path, words: str, images: object
) -> None:
    bad = turn_with(user("and now?"), history=[seen("what is this?", picture), assistant("A pixel.")])
    good = turn_with(seen("look", picture), session_id="s2")
    async with ScriptedOpenAI([Fault(400, words, type="invalid_request_error"), "later", "red"]) as server:
        said = await answer(model_config(server.base_url, images=images), tmp_path, bad, good)
    assert said == ["later", "red"]
    assert [len(urls(request)) for request in server.requests] == [1, 0, 1]
    assert REFUSED in texts(server.requests[1])


def picture_number(number: int, folder: Path) -> Path:
    """An image that differs from others in its bytes."""
    path = folder / f"{number}.png"
    path.write_bytes(PNG + bytes([number]))
    return path


class Refusing:
    """Refuses each request that shows one of some images, in the words of a server that does not say which it is."""

    def __init__(self, *bad: Path) -> None:
        self._bad = {base64.b64encode(path.read_bytes()).decode() for path in bad}

    def __call__(self, request: dict[str, Any]) -> Reply | Fault:
        if any(url.endswith(bad) for url in urls(request) for bad in self._bad):
            return Fault(400, "Could not process image", type="invalid_request_error")
        return Reply("fine")


async def notices(config: ModelAgentConfig, home: Path, *turns: AgentTurn) -> list[list[str]]:
    async with started(config, home) as agent:
        said = [await Desk().events(agent, turn) for turn in turns]
    return [[event.text for event in events if isinstance(event, Notice)] for events in said]


async def test_a_bad_image_of_the_newest_message_hides_no_older_one_then_or_later(tmp_path: Path) -> None:
    good, bad, next_one = (picture_number(number, tmp_path) for number in range(3))
    history = [seen("one", good), assistant("fine")]
    first = turn_with(seen("two", bad), history=history)
    history = [*history, seen("two", bad), assistant("fine")]
    later = turn_with(seen("three", next_one), history=history)
    async with ScriptedOpenAI(Refusing(bad)) as server:
        told = await notices(model_config(server.base_url), tmp_path, first, later)
    assert [len(urls(request)) for request in server.requests] == [2, 1, 2]
    assert texts(server.requests[1]).count(REFUSED) == texts(server.requests[2]).count(REFUSED) == 1
    assert told == [
        ["The model's server refused the newest image of this conversation, so I answer without it."],
        [],
    ]


async def test_a_bad_image_of_an_older_message_leaves_the_newest_in_sight(tmp_path: Path) -> None:
    old, bad, new, newer = (picture_number(number, tmp_path) for number in range(4))
    turn = turn_with(seen("new", new, newer), history=[seen("old", old, bad), assistant("fine")])
    async with ScriptedOpenAI(Refusing(bad)) as server:
        told = await notices(model_config(server.base_url), tmp_path, turn, turn)
    assert [len(urls(request)) for request in server.requests] == [4, 2, 2, 2]
    assert told == [[OLDER_REFUSED], []]


async def test_where_no_message_can_be_told_to_be_at_fault_no_image_is_shown(tmp_path: Path) -> None:
    bad, worse = (picture_number(number, tmp_path) for number in range(2))
    turn = turn_with(seen("new", worse), history=[seen("old", bad), assistant("fine")])
    async with ScriptedOpenAI(Refusing(bad, worse)) as server:
        told = await notices(model_config(server.base_url), tmp_path, turn)
    assert [len(urls(request)) for request in server.requests] == [2, 1, 1, 0]
    assert texts(server.requests[3]).count(ALL_REFUSED) == 2
    assert told == [[NONE_SHOWN]]


async def test_a_server_that_refuses_images_where_none_is_shown_is_believed(tmp_path: Path, picture: Path) -> None:
    fault = Fault(400, "Could not process image", type="invalid_request_error")
    async with ScriptedOpenAI([fault, fault]) as server:
        with pytest.raises(AgentError, match="Could not process image"):
            await answer(model_config(server.base_url), tmp_path, turn_with(seen("x", picture)))
    assert len(server.requests) == 2


async def test_a_model_that_is_said_to_take_them_is_believed(tmp_path: Path, picture: Path) -> None:
    async with ScriptedOpenAI([Fault(400, "images are not supported")]) as server:
        with pytest.raises(AgentError, match="not supported"):
            await answer(model_config(server.base_url, images=True), tmp_path, turn_with(seen("x", picture)))


async def test_another_refusal_is_no_reason_to_leave_them_out(tmp_path: Path, picture: Path) -> None:
    async with ScriptedOpenAI([Fault(400, "temperature is not supported")]) as server:
        with pytest.raises(AgentError, match="temperature"):
            await answer(model_config(server.base_url), tmp_path, turn_with(seen("x", picture)))
    assert len(server.requests) == 1


async def test_a_refusal_about_images_without_any_is_told(tmp_path: Path) -> None:
    async with ScriptedOpenAI([Fault(400, "images are not supported")]) as server:
        with pytest.raises(AgentError, match="not supported"):
            await answer(model_config(server.base_url), tmp_path, turn_with(user("x")))


async def test_a_model_can_be_said_to_take_none(tmp_path: Path) -> None:
    async with started(model_config("http://127.0.0.1:1/v1", images=False), tmp_path) as agent:
        assert not agent.capabilities.images


# --- tools -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        Fault(500, "tools param requires --jinja flag"),
        Fault(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        Fault(404, "No endpoints found that support tool use."),
    ],
)
async def test_a_server_that_takes_no_tools_gets_none_from_then_on(tmp_path: Path, fault: Fault) -> None:
    async with ScriptedOpenAI([fault, Reply("hello"), Reply("again")]) as server:
        turn = turn_with(user("hi"), tools=[CLOCK])
        assert await answer(model_config(server.base_url), tmp_path, turn, turn) == ["hello", "again"]
    assert ["tools" in request for request in server.requests] == [True, False, False]


async def test_a_tool_of_a_program_that_a_server_refuses_takes_nobody_elses(tmp_path: Path) -> None:
    fault = Fault(400, "tools.0.custom.input_schema: input_schema does not support oneOf at the top level")
    theirs = replace(turn_with(user("hi")), client_tools=(ClientTool("pick", "Picks.", {"oneOf": []}),))
    async with ScriptedOpenAI([fault, "without", "with"]) as server:
        said = await answer(model_config(server.base_url), tmp_path, theirs, turn_with(user("hi"), tools=[CLOCK]))
    assert said == ["without", "with"]
    assert ["tools" in request for request in server.requests] == [True, False, True]


async def test_without_rounds_there_are_no_tools(tmp_path: Path) -> None:
    async with ScriptedOpenAI(["hello"]) as server:
        turn = turn_with(user("hi"), tools=[CLOCK])
        assert await answer(model_config(server.base_url, max_tool_rounds=0), tmp_path, turn) == ["hello"]
    assert "tools" not in server.requests[0]
