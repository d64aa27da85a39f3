"""What people and operators are told when a model's server fails, and whether trying again makes sense."""

import asyncio
import socket
import sys
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from config import ModelAgentConfig
from gateway.agents import engine
from gateway.ports import AgentError, Text
from tests.support.scripted_openai import (
    Answer,
    Drop,
    Fault,
    Hang,
    Reply,
    ScriptedOpenAI,
    ToolCall,
    rate_limited,
)
from tests.unit.agents.support import CLOCK, Desk, model_config, started, text_of


async def failure(answer: Answer, tmp_path: Path, desk: Desk | None = None, **more: Any) -> AgentError:
    """The error of a turn whose only request is answered so; nothing may have been sent twice."""
    desk = desk or Desk()
    async with (
        ScriptedOpenAI([answer]) as server,
        started(model_config(server.base_url, **more), tmp_path) as agent,
    ):
        with pytest.raises(AgentError) as raised:
            await desk.events(agent, desk.turn("x"))
    assert len(server.requests) == 1
    return raised.value


@pytest.mark.parametrize(
    ("answer", "words", "retryable"),
    [
        (Fault(401, "Incorrect key", "invalid_api_key"), ["key", "401", "agents.assistant.api_key"], False),
        (Fault(403, "No access"), ["key", "403", "agents.assistant.api_key"], False),
        (Fault(404, "No such model", "model_not_found"), ["openai:scripted", "agents.assistant.model"], False),
        (Fault(404, body="<html>not found</html>"), ["agents.assistant.base_url"], False),
        (Fault(402, "Pay first"), ["credit", "agents.assistant.api_key"], False),
        (Fault(429, "Quota", "insufficient_quota"), ["quota"], False),
        (Fault(400, "Field foo is bad"), ["refused", "400", "Field foo is bad"], False),
        (Fault(400, "Flagged", "content_filter"), ["content filter"], False),
        (Fault(418, "teapot"), ["418", "teapot"], False),
        (Fault(408, "slow"), ["408"], True),
        (Fault(409, "busy"), ["409"], True),
        (rate_limited("7"), ["too many requests", "7 seconds"], True),
        (Fault(500, "boom"), ["problem", "500"], True),
        (Fault(502, body="Bad Gateway"), ["problem", "502"], True),
        (Fault(503, "loading"), ["problem", "503"], True),
        (Fault(529, "overloaded"), ["problem", "529"], True),
        (Drop(), ["connection"], True),
        (Reply("one two three", cut_after=2), ["before the answer was complete"], True),
        (Reply("one two three", end_after=2), ["before the answer was complete"], True),
        (Fault(200, body="<html>hello</html>"), ["agents.assistant.base_url"], True),
    ],
)
async def test_each_failure_says_what_to_do(answer: Answer, words: list[str], retryable: bool, tmp_path: Path) -> None:
    error = await failure(answer, tmp_path)
    for word in words:
        assert word in str(error)
    assert error.retryable is retryable
    assert "Traceback" not in str(error)
    assert len(str(error)) < 500


async def test_what_was_said_before_a_cut_has_been_shown(tmp_path: Path) -> None:
    desk = Desk()
    await failure(Reply("one two three", cut_after=2), tmp_path, desk)
    assert desk.log == [Text("one "), Text("two ")]


async def test_a_wait_in_seconds_is_passed_on(tmp_path: Path) -> None:
    assert (await failure(rate_limited("7"), tmp_path)).retry_after == 7


async def test_a_wait_until_a_date_is_passed_on(tmp_path: Path) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    error = await failure(rate_limited(until), tmp_path)
    assert error.retry_after is not None
    assert 80 < error.retry_after <= 90


@pytest.mark.parametrize("value", ["soon", "-3", ""])
async def test_a_wait_that_is_no_wait_is_none(value: str, tmp_path: Path) -> None:
    error = await failure(rate_limited(value), tmp_path)
    assert error.retryable
    assert error.retry_after is None


async def test_a_busy_server_may_say_how_long(tmp_path: Path) -> None:
    error = await failure(Fault(503, "loading", headers={"Retry-After": "20"}), tmp_path)
    assert error.retry_after == 20


@pytest.mark.parametrize(
    "chunk",
    [
        "null",
        "[1]",
        '"text"',
        '{"id": "x", "choices": 1}',
        '{"id": "x", "choices": [null]}',
        '{"id": "x", "choices": {"a": 1}}',
        '{"id": "x", "choices": [{"index": 0, "delta": "text"}]}',
        '{"id": "x", "created": [1], "choices": [{"index": 0, "delta": {"content": "hi"}}]}',
    ],
)
async def test_a_stream_of_another_shape_is_told_in_words(chunk: str, tmp_path: Path) -> None:
    body = f"data: {chunk}\n\ndata: [DONE]\n\n"
    error = await failure(Fault(200, body=body, headers={"Content-Type": "text/event-stream"}), tmp_path)
    assert error.retryable
    assert "127.0.0.1" in str(error)


@pytest.mark.parametrize("fault", [ValueError("ours"), TypeError("ours"), KeyError("ours")])
@pytest.mark.parametrize("where", ["with_images", "_text_of"])
async def test_a_fault_of_our_own_is_not_told_as_the_servers(
    fault: Exception, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> NoReturn:
        raise fault

    async with ScriptedOpenAI(["fine"]) as server, started(model_config(server.base_url), tmp_path) as agent:
        desk = Desk()
        monkeypatch.setattr(engine, where, fail)
        with pytest.raises(type(fault)) as raised:
            await desk.events(agent, desk.turn("x"))
    assert raised.value is fault


async def test_an_error_inside_a_stream_is_told(tmp_path: Path) -> None:
    body = 'data: {"error": {"message": "out of memory", "type": "server_error", "code": 500}}\n\n'
    error = await failure(Fault(200, body=body, headers={"Content-Type": "text/event-stream"}), tmp_path)
    assert error.retryable
    assert "scripted" not in str(error)


@pytest.mark.parametrize("answer", [Hang(), Reply("one two", hang_after=1)])
async def test_silence_is_given_up(answer: Answer, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    error = await failure(answer, tmp_path, timeout=0.3)
    assert error.retryable
    assert "0.3 seconds" in str(error)
    assert loop.time() - begun < 5


async def test_slow_progress_and_slow_consumers_are_not_silence(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply([0.15, "a", 0.15, "b", 0.15, "c"])]) as server,
        started(model_config(server.base_url, timeout=0.5), tmp_path) as agent,
    ):
        said = ""
        async for event in agent.run(desk.turn("x")):
            if isinstance(event, Text):
                said += event.delta
            if said == "a":
                await asyncio.sleep(0.7)
    assert said == "abc"


async def test_a_slow_tool_is_not_silence(tmp_path: Path) -> None:
    class Slow(Desk):
        async def run_tool(self, call: Any) -> str:
            await asyncio.sleep(0.5)
            return "done"

    desk = Slow()
    script: list[Answer] = [Reply(calls=[ToolCall("clock")]), "fine"]
    async with (
        ScriptedOpenAI(script) as server,
        started(model_config(server.base_url, timeout=0.3), tmp_path) as agent,
    ):
        assert text_of(await desk.events(agent, desk.turn("x", tools=[CLOCK]))) == "fine"


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with started(model_config(f"http://127.0.0.1:{port}/v1"), tmp_path) as agent:
            with pytest.raises(AgentError) as raised:
                await Desk().events(agent, Desk().turn("x"))
    assert raised.value.retryable
    assert "127.0.0.1 cannot be reached" in str(raised.value)
    assert "agents.assistant.base_url" in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        Fault(401, "Incorrect API key provided: sk-very-secret"),
        Fault(400, "Bad header Bearer sk-very-secret"),
        Fault(500, "sk-very-secret"),
        Fault(418, "sk-very-secret"),
    ],
)
async def test_a_key_that_a_server_echoes_is_not_repeated(answer: Fault, tmp_path: Path) -> None:
    error = await failure(answer, tmp_path, api_key="sk-very-secret")
    assert "sk-very-secret" not in str(error)
    assert "sk-very-secret" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model": "opnai:gpt-5-mini"}, ["'opnai'", "agents.assistant.model", "base_url"]),
        ({"model": "openai:gpt-5-mini"}, ["no key", "agents.assistant.api_key", "OPENAI_API_KEY"]),
        ({"model": "ollama:llama3"}, ["no address", "agents.assistant.base_url", "OLLAMA_BASE_URL"]),
        ({"model": "ollama:llama3", "api_key": "k"}, ["no address", "agents.assistant.base_url", "OLLAMA_BASE_URL"]),
        ({"model": "anthropic:claude-sonnet-4-5", "api_key": "k"}, ['"hermes-gateway[anthropic]"']),
        ({"model": "mistral:small", "api_key": "k"}, ['"hermes-gateway[mistral]"']),
        ({"model": "bedrock:x"}, ['"pydantic-ai-slim[bedrock]"']),
        (
            {"model": "openrouter:x/y", "api_key": "k", "base_url": "http://127.0.0.1:1/v1"},
            ["agents.assistant.base_url", "openrouter"],
        ),
    ],
)
async def test_what_cannot_start_says_why(
    config: dict[str, Any], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for package in ("anthropic", "boto3", "mistralai"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(AgentError) as raised:
        async with started(ModelAgentConfig.model_validate(config), tmp_path):
            pass
    for word in words:
        assert word in str(raised.value)
    assert not raised.value.retryable


@pytest.mark.parametrize("address", ["ftp://x/v1", "http://", "127.0.0.1:8080", "http://[::1", "http://x:0/"])
async def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    config = model_config("http://127.0.0.1:1/v1").model_copy(update={"base_url": address})
    with pytest.raises(AgentError, match=r"agents\.assistant\.base_url"):
        async with started(config, tmp_path):
            pass


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai:llama3.2:3b", "llama3.2:3b"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("qwen", "qwen"),
        ("openai-chat:gpt-x", "gpt-x"),
        ("ollama:llama3.2:3b", "llama3.2:3b"),
    ],
)
async def test_with_an_address_any_name_of_a_model_will_do(model: str, sent: str, tmp_path: Path) -> None:
    async with ScriptedOpenAI(["hi"]) as server:
        config = model_config(server.base_url).model_copy(update={"model": model})
        async with started(config, tmp_path) as agent:
            assert text_of(await Desk().events(agent, Desk().turn("x"))) == "hi"
    assert server.requests[0]["model"] == sent
