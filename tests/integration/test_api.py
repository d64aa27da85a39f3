"""OpenAI's own client against the interface, as it comes: models, chat completions, responses, streams, tools."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from openai.types.responses import FunctionToolParam, ResponseInputParam

from config import Home
from gateway.api import service
from tests.support.api import KEY, ApiGateway, api_gateway
from tests.support.scripted_openai import Fault, Reply, ScriptedOpenAI, ToolCall

PARAMETERS: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "description": "How it is there", "parameters": PARAMETERS},
}
WEATHER_OF_RESPONSES: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "How it is there",
    "parameters": PARAMETERS,
    "strict": False,
}


@pytest.fixture
async def gateway(home: Home, free_port: Callable[[], int]) -> AsyncIterator[ApiGateway]:
    async with api_gateway(home, free_port()) as running:
        yield running


@contextlib.asynccontextmanager
async def client(gateway: ApiGateway, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/v1", **options) as opened:
        yield opened


@contextlib.asynccontextmanager
async def scripted(home: Home, port: int, script: list[Any]) -> AsyncIterator[tuple[ApiGateway, ScriptedOpenAI]]:
    """A gateway whose agent asks a model that says what a script tells it to."""
    async with ScriptedOpenAI(script) as server:
        section = {"type": "model", "model": "openai:scripted", "base_url": server.base_url, "api_key": "sk-of-model"}
        turns = {"retry_seconds": 0.01, "retry_max_seconds": 0.02}
        async with api_gateway(home, port, agent="clever", agents={"clever": section}, turns=turns) as up:
            yield up, server


async def test_the_models_are_the_agents(gateway: ApiGateway) -> None:
    async with client(gateway) as sdk:
        assert [model.id async for model in sdk.models.list()] == ["echo"]
        assert (await sdk.models.retrieve("echo")).owned_by == "hermes-gateway"
        with pytest.raises(openai.NotFoundError):
            await sdk.models.retrieve("nobody")


async def test_a_completion_by_the_client_that_blocks(gateway: ApiGateway) -> None:
    def complete() -> tuple[str | None, str]:
        with openai.OpenAI(api_key=KEY, base_url=f"{gateway.url}/v1") as sdk:
            whole = sdk.chat.completions.create(model="echo", messages=[{"role": "user", "content": "say it"}])
            pieces = sdk.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "piece by piece"}], stream=True
            )
            said = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
            assert whole.usage is not None
            assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, 2)
            return whole.choices[0].message.content, said

    assert await asyncio.to_thread(complete) == ("say it", "piece by piece")


async def test_a_completion_streams_and_tells_what_it_took(home: Home, free_port: Callable[[], int]) -> None:
    slow = {"type": "echo", "delay_ms": 40}
    async with (
        api_gateway(home, free_port(), agent="slow", agents={"slow": slow}) as gateway,
        client(gateway) as sdk,
        sdk.chat.completions.stream(
            model="slow",
            messages=[{"role": "user", "content": "one two three four"}],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        pieces = [event.delta async for event in stream if event.type == "content.delta"]
        whole = await stream.get_final_completion()
    assert "".join(pieces) == "one two three four"
    assert len(pieces) > 1, "it came all at once"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 8


async def test_the_conversation_that_a_program_brings_is_what_the_model_is_asked(
    home: Home, free_port: Callable[[], int]
) -> None:
    async with scripted(home, free_port(), [Reply("Blue."), Reply("Yes.")]) as (gateway, server):
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": "Speak like a sailor."},
            {"role": "user", "content": "Which colour?"},
            {"role": "assistant", "content": "Green."},
            {"role": "user", "content": "/really?"},
        ]
        async with client(gateway) as sdk:
            answer = await sdk.chat.completions.create(model="clever", messages=messages)
            again = await sdk.chat.completions.create(model="clever", messages=[{"role": "user", "content": "/help"}])
    assert (answer.choices[0].message.content, again.choices[0].message.content) == ("Blue.", "Yes.")
    asked = server.requests[0]["messages"]
    assert asked[0]["role"] == "system"
    assert asked[0]["content"].endswith("Speak like a sailor.")
    assert [(row["role"], row["content"]) for row in asked[1:]] == [
        ("user", "Which colour?"),
        ("assistant", "Green."),
        ("user", "/really?"),
    ]
    assert [row["content"] for row in server.requests[1]["messages"][1:]] == ["/help"]


async def test_a_session_keeps_what_was_said(home: Home, free_port: Callable[[], int]) -> None:
    async with scripted(home, free_port(), [Reply("Noted."), Reply("Anna.")]) as (gateway, server):
        headers = {"X-Hermes-Session-Id": "about-anna"}
        async with client(gateway, default_headers=headers) as sdk:
            first = await sdk.chat.completions.create(
                model="clever", messages=[{"role": "user", "content": "I am Anna."}]
            )
            second = await sdk.chat.completions.create(
                model="clever",
                messages=[
                    {"role": "user", "content": "I am Anna."},
                    {"role": "assistant", "content": "something that the program made up"},
                    {"role": "user", "content": "Who am I?"},
                ],
            )
    assert second.choices[0].message.content == "Anna."
    assert first.model_extra
    assert second.model_extra
    assert first.model_extra["hermes"]["session_id"] == second.model_extra["hermes"]["session_id"]
    said = [row["content"] for row in server.requests[1]["messages"][1:]]
    assert said == ["I am Anna.", "Noted.", "Who am I?"]


@pytest.mark.parametrize("bound", [False, True])
async def test_a_programs_tool_is_asked_for_and_its_result_goes_on(
    home: Home, free_port: Callable[[], int], bound: bool
) -> None:
    call = ToolCall("weather", {"city": "Oslo"}, id="call_1")
    async with scripted(home, free_port(), [Reply("Let me see.", calls=[call]), Reply("Snow.")]) as (gateway, server):
        headers = {"X-Hermes-Session-Id": "weather"} if bound else {}
        async with client(gateway, default_headers=headers) as sdk:
            messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is Oslo?"}]
            asked = await sdk.chat.completions.create(model="clever", messages=messages, tools=[WEATHER])
            choice = asked.choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.message.content == "Let me see."
            assert choice.message.tool_calls is not None
            (wanted,) = choice.message.tool_calls
            assert isinstance(wanted, ChatCompletionMessageFunctionToolCall)
            assert (wanted.function.name, wanted.function.arguments) == ("weather", '{"city": "Oslo"}')
            messages += [
                choice.message.model_dump(exclude_none=True),  # type: ignore[list-item]
                {"role": "tool", "tool_call_id": wanted.id, "content": "-5 °C, snow"},
            ]
            told = await sdk.chat.completions.create(model="clever", messages=messages, tools=[WEATHER])
    assert told.choices[0].message.content == "Snow."
    names = [tool["function"]["name"] for tool in server.requests[0]["tools"]]
    assert "weather" in names
    rows = server.requests[1]["messages"]
    assert [row["role"] for row in rows[1:]] == ["user", "assistant", "tool"]
    assert rows[-1]["content"] == "-5 °C, snow"


@pytest.mark.parametrize(("finish", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_its_model_did_not_end_is_told_so(
    home: Home, free_port: Callable[[], int], finish: Literal["length", "content_filter"], why: str
) -> None:
    async with (
        scripted(home, free_port(), [Reply("So far", finish=finish)] * 4) as (gateway, _),
        client(gateway) as sdk,
    ):
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x"}]
        whole = await sdk.chat.completions.create(model="clever", messages=messages)
        assert (whole.choices[0].finish_reason, whole.choices[0].message.content) == (finish, "So far")
        assert "The answer ends here" in whole.model_dump()["hermes"]["notices"][0]
        pieces = [
            chunk.choices[0].finish_reason
            async for chunk in await sdk.chat.completions.create(model="clever", messages=messages, stream=True)
        ]
        assert pieces[-1] == finish
        response = await sdk.responses.create(model="clever", input="x")
        assert (response.status, response.output_text) == ("incomplete", "So far")
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == why
        events = [event.type async for event in await sdk.responses.create(model="clever", input="x", stream=True)]
        assert events[-1] == "response.incomplete"


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_an_answer_without_a_word_comes_at_once(
    home: Home, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Nothing of it is delivered, and whoever waits is looked after now and then only."""
    monkeypatch.setattr(service, "LOOK_SECONDS", 3600.0)
    script = [Reply(calls=[ToolCall("weather", {"city": "Oslo"})])]
    async with asyncio.timeout(5), scripted(home, free_port(), script) as (gateway, _), client(gateway) as sdk:
        if kind == "chat":
            completion = await sdk.chat.completions.create(
                model="clever", messages=[{"role": "user", "content": "Where is it warm?"}], tools=[WEATHER]
            )
            assert completion.choices[0].finish_reason == "tool_calls"
            assert completion.choices[0].message.content is None
        else:
            response = await sdk.responses.create(
                model="clever", input="Where is it warm?", tools=[WEATHER_OF_RESPONSES]
            )
            assert [item.type for item in response.output] == ["function_call"]


@pytest.mark.parametrize("bound", [False, True])
async def test_an_agent_that_would_send_a_program_a_message_is_told_to_say_it(
    home: Home, free_port: Callable[[], int], bound: bool
) -> None:
    """A program sees the answer to its request, and nothing else: a message would be lost without a word."""
    script = [Reply(calls=[ToolCall("send_message", {"message": "Half of it is done."})]), Reply("Done.")]
    headers = {"X-Hermes-Session-Id": "work"} if bound else {}
    async with (
        scripted(home, free_port(), script) as (gateway, server),
        client(gateway, default_headers=headers) as sdk,
    ):
        await sdk.chat.completions.create(model="clever", messages=[{"role": "user", "content": "Work."}])
    assert "Nothing but your answer is seen" in json.loads(server.requests[1]["messages"][-1]["content"])["error"]


async def test_a_programs_tool_in_a_stream(home: Home, free_port: Callable[[], int]) -> None:
    calls = [ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Rome"})]
    async with (
        scripted(home, free_port(), [Reply(calls=calls)]) as (gateway, _),
        client(gateway) as sdk,
        sdk.chat.completions.stream(
            model="clever", messages=[{"role": "user", "content": "Where is it warm?"}], tools=[WEATHER]
        ) as stream,
    ):
        whole = await stream.get_final_completion()
    wanted = whole.choices[0].message.tool_calls or []
    assert [call.function.arguments for call in wanted] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    assert whole.choices[0].finish_reason == "tool_calls"


async def test_no_tool_is_offered_where_the_program_says_so(home: Home, free_port: Callable[[], int]) -> None:
    async with scripted(home, free_port(), [Reply("Well.")]) as (gateway, server), client(gateway) as sdk:
        await sdk.chat.completions.create(
            model="clever", messages=[{"role": "user", "content": "x"}], tools=[WEATHER], tool_choice="none"
        )
    assert "weather" not in [tool["function"]["name"] for tool in server.requests[0].get("tools", [])]


async def test_responses_go_on_from_one_another(home: Home, free_port: Callable[[], int]) -> None:
    script = [Reply("Noted."), Reply("Anna.")]
    async with scripted(home, free_port(), script) as (gateway, server), client(gateway) as sdk:
        first = await sdk.responses.create(model="clever", input="I am Anna.", instructions="Be brief.")
        second = await sdk.responses.create(model="clever", input="Who am I?", previous_response_id=first.id)
        got = await sdk.responses.retrieve(second.id)
        with pytest.raises(openai.ConflictError, match="gone on since"):
            await sdk.responses.create(model="clever", input="And now?", previous_response_id=first.id)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.create(model="clever", input="And now?", previous_response_id="resp_none")
    assert (first.output_text, second.output_text, got.output_text) == ("Noted.", "Anna.", "Anna.")
    assert got.status == "completed"
    assert server.requests[0]["messages"][0]["content"].endswith("Be brief.")
    assert "Be brief." not in server.requests[1]["messages"][0]["content"], "instructions are for one response"
    assert [row["content"] for row in server.requests[1]["messages"][1:]] == ["I am Anna.", "Noted.", "Who am I?"]


async def test_a_secret_beside_the_input_is_neither_kept_nor_repeated(home: Home, free_port: Callable[[], int]) -> None:
    tool = {"type": "function", "name": "look", "description": KEY, "parameters": {"description": KEY}}
    given = {"instructions": f"use {KEY}", "metadata": {"key": KEY}, "tools": [tool]}
    async with api_gateway(home, free_port()) as gateway:
        status, made = await gateway.post("/v1/responses", {"model": "echo", "input": "hi", **given})
        assert (status, made["instructions"], made["metadata"]) == (200, "use ***", {"key": "***"})
        _, again = await gateway.get(f"/v1/responses/{made['id']}")
        assert KEY not in str((made, again))


@pytest.mark.parametrize("stream", [False, True])
async def test_items_of_answers_can_be_named_instead_of_sent_again(
    home: Home, free_port: Callable[[], int], stream: bool
) -> None:
    """As the AI SDK's provider for OpenAI does with whatever was stored, in each turn after the first and in each step
    of a loop with tools (https://ai-sdk.dev/providers/ai-sdk-providers/openai#responses-models, `store`)."""
    calls = [ToolCall("weather", {"city": "Oslo"}, id="call_0"), ToolCall("weather", {"city": "Rome"}, id="call_1")]
    async with (
        scripted(home, free_port(), [Reply("Let me see.", calls=calls), Reply("Snow.")]) as (gateway, server),
        client(gateway) as sdk,
    ):
        question: Any = {"role": "user", "content": "How is Oslo?"}
        body: dict[str, Any] = {"model": "clever", "tools": [WEATHER_OF_RESPONSES]}
        if stream:
            events: list[Any] = [
                each async for each in await sdk.responses.create(input=[question], stream=True, **body)
            ]
            items = [each.item for each in events if each.type == "response.output_item.done"]
            assert items == events[-1].response.output
        else:
            items = (await sdk.responses.create(input=[question], **body)).output
        named: list[Any] = [{"type": "item_reference", "id": item.id} for item in items]
        told: list[Any] = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "snow"} for n in range(2)]
        second = await sdk.responses.create(input=[question, *named, *told], **body)
    assert second.output_text == "Snow."
    rows = server.requests[1]["messages"][1:]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "tool"]
    assert rows[1]["content"] == "Let me see."
    assert [call["id"] for call in rows[1]["tool_calls"]] == ["call_0", "call_1"]


@pytest.mark.parametrize("named", ["msg_none", "fc_none_0", "rs_none", "x"])
async def test_an_item_that_there_is_not_is_said(gateway: ApiGateway, named: str) -> None:
    items: ResponseInputParam = [{"type": "item_reference", "id": named}, {"role": "user", "content": "x"}]
    async with client(gateway) as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.responses.create(model="echo", input=items)
    assert (caught.value.code, caught.value.param) == ("item_not_found", "input.0.id")


async def test_a_response_that_is_got_again_as_a_stream_is_refused(gateway: ApiGateway) -> None:
    """The client reads JSON as a stream without events, and says nothing."""
    async with client(gateway) as sdk:
        first = await sdk.responses.create(model="echo", input="x")
        with pytest.raises(openai.BadRequestError, match="comes whole"):
            await sdk.responses.retrieve(first.id, stream=True)
        assert (await sdk.responses.retrieve(first.id, stream=False)).output_text == "x"


async def test_a_response_streams_with_a_tool_and_goes_on_with_its_result(
    home: Home, free_port: Callable[[], int]
) -> None:
    call = ToolCall("weather", {"city": "Oslo"}, id="call_1")
    script = [Reply("Let me see.", calls=[call]), Reply("Snow.")]
    async with scripted(home, free_port(), script) as (gateway, server), client(gateway) as sdk:
        async with sdk.responses.stream(
            model="clever", input="How is Oslo?", tools=[WEATHER_OF_RESPONSES], conversation="oslo"
        ) as stream:
            kinds = [event.type async for event in stream]
            first = await stream.get_final_response()
        (wanted,) = [item for item in first.output if item.type == "function_call"]
        result: ResponseInputParam = [
            {"type": "function_call_output", "call_id": wanted.call_id, "output": "-5 °C, snow"}
        ]
        second = await sdk.responses.create(
            model="clever", input=result, tools=[WEATHER_OF_RESPONSES], conversation="oslo"
        )
    assert first.output_text == "Let me see."
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.function_call_arguments.done" in kinds
    assert second.output_text == "Snow."
    assert [row["role"] for row in server.requests[1]["messages"][1:]] == ["user", "assistant", "tool"]


async def test_a_result_without_its_call_is_refused_where_the_conversation_is_all_there(
    home: Home, free_port: Callable[[], int]
) -> None:
    """It would be left out, and the model asked to go on as if nothing had been said."""
    async with scripted(home, free_port(), [Reply("Well.")]) as (gateway, server), client(gateway) as sdk:
        with pytest.raises(openai.BadRequestError, match="call_9 stands without the call"):
            await sdk.chat.completions.create(
                model="clever",
                messages=[
                    {"role": "user", "content": "How is Oslo?"},
                    {"role": "assistant", "content": "Let me see."},
                    {"role": "tool", "tool_call_id": "call_9", "content": "snow"},
                ],
            )
        with pytest.raises(openai.BadRequestError, match="call_9 stands without the call"):
            await sdk.responses.create(
                model="clever", input=[{"type": "function_call_output", "call_id": "call_9", "output": "snow"}]
            )
    assert not server.requests


@pytest.mark.parametrize("between", ["/new", "/undo"])
async def test_a_result_is_refused_whose_call_the_session_does_not_have_any_more(
    home: Home, free_port: Callable[[], int], between: str
) -> None:
    """No provider takes it, so it would be left out, and something made up be answered."""
    script = [Reply(calls=[ToolCall("weather", {"city": "Oslo"}, id="call_1")]), Reply("Well.")]
    async with (
        scripted(home, free_port(), script) as (gateway, server),
        client(gateway, default_headers={"X-Hermes-Session-Id": "weather"}) as sdk,
    ):
        for said in ("How is Oslo?", between):
            await sdk.chat.completions.create(
                model="clever", messages=[{"role": "user", "content": said}], tools=[WEATHER]
            )
        result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "call_1", "content": "snow"}
        with pytest.raises(openai.BadRequestError, match="results of calls that the session does not have"):
            await sdk.chat.completions.create(model="clever", messages=[result], tools=[WEATHER])
        assert len(server.requests) == 1
        goes_on = await sdk.chat.completions.create(model="clever", messages=[{"role": "user", "content": "Hello?"}])
    assert goes_on.choices[0].message.content == "Well."


async def test_an_agent_that_fails_is_an_error_that_is_not_tried_again(
    home: Home, free_port: Callable[[], int]
) -> None:
    script = [Fault(400, "no such thing", type="invalid_request_error")]
    async with scripted(home, free_port(), script) as (gateway, server), client(gateway) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(model="clever", messages=[{"role": "user", "content": "x"}])
    assert caught.value.status_code == 502
    assert caught.value.code == "agent_failed"
    assert len(server.requests) == 1, "the client asked again"


async def test_an_agent_that_fails_in_a_stream_is_an_error_too(home: Home, free_port: Callable[[], int]) -> None:
    script = [Fault(400, "no", type="invalid_request_error"), Fault(400, "no", type="invalid_request_error")]
    async with scripted(home, free_port(), script) as (gateway, _), client(gateway) as sdk:
        stream = await sdk.chat.completions.create(
            model="clever", messages=[{"role": "user", "content": "x"}], stream=True
        )
        with pytest.raises(openai.APIError):
            [chunk async for chunk in stream]
        kinds = [event.type async for event in await sdk.responses.create(model="clever", input="x", stream=True)]
    assert kinds[-1] == "response.failed"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"messages": [{"role": "assistant", "content": "me"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_what_cannot_be_done_is_said(gateway: ApiGateway, change: dict[str, Any], param: str) -> None:
    body: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "x"}], **change}
    async with client(gateway) as sdk:
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.chat.completions.create(**body)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
