"""What a model agent does when a conversation is longer than its model can read."""

from pathlib import Path
from typing import Any

import pytest

from gateway.ports import AgentError, AgentEvent, Call, Message, Notice
from tests.support.scripted_openai import (
    Fault,
    Reply,
    ScriptedOpenAI,
    ToolCall,
    characters_in,
    context_exceeded,
)
from tests.unit.agents.support import (
    CLOCK,
    Desk,
    assistant,
    model_config,
    only,
    result,
    started,
    text_of,
    user,
)

LONG = "word " * 100


def conversation(turns: int) -> list[Message]:
    """Turns of about a thousand characters each, with a tool's call and result in the middle."""
    rows: list[Message] = []
    for number in range(turns):
        call = f"c{number}"
        rows += [
            user(f"question {number} {LONG}"),
            assistant("", (call, "clock", "{}")),
            result(call, "clock", f"result {number}"),
            assistant(f"answer {number} {LONG}"),
        ]
    return rows


def contents(request: dict[str, Any]) -> str:
    return " ".join(str(message.get("content")) for message in request["messages"])


def check_pairs(request: dict[str, Any]) -> None:
    """No call without its result, no result without its call, and a person's message first."""
    messages = [message for message in request["messages"] if message["role"] != "system"]
    assert messages[0]["role"] == "user"
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert calls == results


async def test_a_known_context_is_never_exceeded_and_the_person_is_told_once(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI(["fine"], most_characters=2000 * 4) as server,
        started(model_config(server.base_url, context_tokens=2000), tmp_path) as agent,
    ):
        events = await desk.events(agent, desk.turn("newest", history=conversation(20)))
    (request,) = server.requests
    check_pairs(request)
    kept = [number for number in range(20) if f"question {number} " in contents(request)]
    assert kept == list(range(20 - len(kept), 20))
    assert 1 <= len(kept) < 20
    assert request["messages"][-1]["content"] == "newest"
    (notice,) = only(events, Notice)
    assert f"{(20 - len(kept)) * 2} oldest messages" in notice.text
    assert notice.trimmed
    assert events.index(notice) == 0
    assert text_of(events) == "fine"


async def test_a_conversation_that_fits_is_left_alone(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI(["fine"]) as server,
        started(model_config(server.base_url, context_tokens=20_000), tmp_path) as agent,
    ):
        events = await desk.events(agent, desk.turn("newest", history=conversation(10)))
    assert not only(events, Notice)
    assert "question 0 " in contents(server.requests[0])


@pytest.mark.parametrize(
    "overflow",
    [
        context_exceeded(),
        Fault(
            400,
            body={
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9000,
                    "n_ctx": 4096,
                }
            },
        ),
        Fault(400, "prompt is too long: 210000 tokens > 200000 maximum"),
        Fault(500, "the request exceeds the available context size"),
        Fault(413, "maximum context length is 4096 tokens"),
    ],
)
async def test_a_server_that_refuses_gets_half_until_it_takes_it(overflow: Fault, tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI(["fine"], most_characters=4000, overflow=overflow) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        events = await desk.events(agent, desk.turn("newest", history=conversation(20)))
    sizes = [characters_in(request) for request in server.requests]
    assert sizes == sorted(sizes, reverse=True)
    assert 2 <= len(sizes) <= 5
    for request in server.requests:
        check_pairs(request)
        assert request["messages"][-1]["content"] == "newest"
    (notice,) = only(events, Notice)
    kept = sum(f"question {number} " in contents(server.requests[-1]) for number in range(20))
    assert f"{(20 - kept) * 2} oldest" in notice.text
    assert text_of(events) == "fine"


async def test_the_next_turn_begins_where_the_last_one_was_cut(tmp_path: Path) -> None:
    desk = Desk()
    history = conversation(20)
    async with (
        ScriptedOpenAI(["one", "two", "three"], most_characters=6000) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        await desk.events(agent, desk.turn("a", history=history))
        tries = len(server.requests)
        history += [user("a"), assistant("one")]
        events = await desk.events(agent, desk.turn("b", history=history))
        assert len(server.requests) == tries + 1
        assert not only(events, Notice)
        events = await desk.events(agent, desk.turn("c", history=conversation(2), session_id="other"))
        assert not only(events, Notice)


async def test_a_history_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI(["one", "two"], most_characters=6000) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        await desk.events(agent, desk.turn("a", history=conversation(20)))
        fresh = [user("hello"), assistant("hi")] * 40
        await desk.events(agent, desk.turn("b", history=fresh))
    assert contents(server.requests[-1]).count("hello") == 40


async def test_one_notice_a_turn_even_if_it_is_cut_twice(tmp_path: Path) -> None:
    desk = Desk(results=lambda call: "long result " * 150)
    script = [Reply(calls=[ToolCall("clock")]), Reply("done")]
    async with (
        ScriptedOpenAI(script, most_characters=5000) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        events = await desk.events(agent, desk.turn("a", history=conversation(20), tools=[CLOCK]))
    assert len(only(events, Notice)) == 1
    assert text_of(events) == "done"


async def failure(agent_config: dict[str, Any], limit: int, text: str, tmp_path: Path) -> AgentError:
    desk = Desk()
    async with (
        ScriptedOpenAI(["never"], most_characters=limit) as server,
        started(model_config(server.base_url, **agent_config), tmp_path) as agent,
    ):
        with pytest.raises(AgentError) as raised:
            await desk.events(agent, desk.turn(text, history=conversation(3)))
    return raised.value


@pytest.mark.parametrize("config", [{}, {"context_tokens": 1000}])
async def test_a_message_too_long_by_itself_is_refused_in_words(config: dict[str, Any], tmp_path: Path) -> None:
    error = await failure(config, 3000, "x " * 5000, tmp_path)
    assert "too long" in str(error)
    assert not error.retryable
    assert not config or "1000 tokens" in str(error)


@pytest.mark.parametrize("config", [{}, {"context_tokens": 2000}])
async def test_long_results_of_tools_are_shortened_before_a_turn_is_given_up(
    config: dict[str, Any], tmp_path: Path
) -> None:
    def long(call: Call) -> str:
        return f"BEGIN {'data ' * 20_000} END"

    desk = Desk(results=long)
    script = [Reply(calls=[ToolCall("clock")]), Reply("done")]
    async with (
        ScriptedOpenAI(script, most_characters=8000) as server,
        started(model_config(server.base_url, **config), tmp_path) as agent,
    ):
        events: list[AgentEvent] = await desk.events(agent, desk.turn("a", tools=[CLOCK]))
    (tool,) = [message for message in server.requests[-1]["messages"] if message["role"] == "tool"]
    assert tool["content"].startswith("BEGIN")
    assert tool["content"].endswith("END")
    assert "characters left out" in tool["content"]
    assert text_of(events) == "done"


async def test_estimates_learn_from_what_the_server_reports(tmp_path: Path) -> None:
    """A server that counts a token a byte: after one report the same context holds less text."""
    desk = Desk()
    history = conversation(4)
    config = {"context_tokens": 8000, "max_output_tokens": 500}
    async with (
        ScriptedOpenAI(lambda body: Reply("ok", usage=(characters_in(body), 1))) as server,
        started(model_config(server.base_url, **config), tmp_path) as agent,
    ):
        await desk.events(agent, desk.turn("a", history=history, session_id="1"))
        events = await desk.events(agent, desk.turn("a", history=conversation(8), session_id="2"))
    assert "question 0 " in contents(server.requests[0])
    assert "question 0 " not in contents(server.requests[1])
    assert characters_in(server.requests[1]) < 7500
    assert only(events, Notice)
