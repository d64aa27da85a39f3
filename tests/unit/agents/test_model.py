"""Turns of the model agent, through the real client libraries, at a scripted server."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from config import Home, ModelAgentConfig
from gateway.agents import create_agent
from gateway.agents.messages import GO_ON
from gateway.clock import SystemClock
from gateway.ports import (
    AgentCapabilities,
    AgentError,
    AgentEvent,
    Call,
    Done,
    Notice,
    Text,
    ToolCalls,
    ToolResult,
    ToolStarted,
    Usage,
)
from tests.support.scripted_openai import Answer, Reply, Script, ScriptedOpenAI, ToolCall
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

CLOCK_CALL = ToolCall("clock", {"zone": "UTC"}, id="c1")


DEFAULT = "You are a helpful assistant."


async def played(
    script: Script, tmp_path: Path, *inputs: str, desk: Desk | None = None, more: Any = None, **turn: Any
) -> tuple[list[AgentEvent], list[dict[str, Any]]]:
    """The events of one turn with this script, and the requests that were sent."""
    desk = desk or Desk()
    async with (
        ScriptedOpenAI(script) as server,
        started(model_config(server.base_url, **(more or {})), tmp_path) as agent,
    ):
        events = await desk.events(agent, desk.turn(*inputs, **turn))
    return events, server.requests


def said(request: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message.get("content")) for message in request["messages"]]


async def test_text_streams_piece_by_piece(tmp_path: Path) -> None:
    gate = asyncio.Event()
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply(["Good ", gate, "morning."], usage=(11, 3, 4))]) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        run = agent.run(desk.turn("Hello"))
        assert await anext(run) == Text("Good ")
        gate.set()
        rest = [event async for event in run]
    assert rest == [
        Text("morning."),
        Usage(7, 3, 4, 0, 11, "scripted", None, "unknown"),
        Done("stop"),
    ]
    assert said(server.requests[0]) == [("system", f"{DEFAULT}\n\nBe kind."), ("user", "Hello")]
    assert server.requests[0]["stream"] is True
    assert server.requests[0]["model"] == "scripted"


async def test_the_model_sees_history_inputs_and_the_settings(tmp_path: Path) -> None:
    _, (request,) = await played(
        ["ok"],
        tmp_path,
        "now",
        "and this",
        history=[user("before"), assistant("yes", partial=True)],
        more={"max_output_tokens": 77, "temperature": 0.5},
    )
    assert said(request)[1:] == [
        ("user", "before"),
        ("assistant", "yes\n\n[The answer was cut off here.]"),
        ("user", "now\n\nand this"),
    ]
    assert request["max_tokens"] == 77
    assert request["temperature"] == 0.5
    assert "tools" not in request


async def test_the_agents_own_prompt_comes_before_that_of_the_gateway(tmp_path: Path) -> None:
    _, (own,) = await played(["ok"], tmp_path, "x", system_prompt="Theirs.", more={"system_prompt": "Mine."})
    _, (alone,) = await played(["ok"], tmp_path, "x", system_prompt="", more={"system_prompt": "Mine."})
    _, (default,) = await played(["ok"], tmp_path, "x", system_prompt="")
    assert said(own)[0] == ("system", "Mine.\n\nTheirs.")
    assert said(alone)[0] == ("system", "Mine.")
    assert said(default)[0][0] == "system"


async def test_what_is_asked_aside_has_a_prompt_of_its_own(tmp_path: Path) -> None:
    _, (request,) = await played(["ok"], tmp_path, "x", aside=True, more={"system_prompt": "Mine."})
    assert "Mine." not in said(request)[0][1]


async def test_tools_run_one_by_one_between_their_events(tmp_path: Path) -> None:
    desk = Desk(steering=[[user("Hurry!")]])
    script = [
        Reply("Let me look.", calls=[CLOCK_CALL, ToolCall("clock", "{}", id="c2")], usage=(10, 5)),
        Reply("It is noon.", usage=(30, 4)),
    ]
    events, requests = await played(script, tmp_path, "time?", desk=desk, tools=[CLOCK])
    first, second = Call("c1", "clock", '{"zone": "UTC"}'), Call("c2", "clock", "{}")
    steps = [entry for entry in desk.log if not isinstance(entry, Text)]
    assert steps == [
        Usage(10, 5, 0, 0, 10, "scripted", None, "unknown"),
        ToolCalls("Let me look.", (first, second)),
        ToolStarted("c1"),
        ("run", "c1"),
        ToolResult("c1", "clock", "result of clock"),
        ToolStarted("c2"),
        ("run", "c2"),
        ToolResult("c2", "clock", "result of clock"),
        "steering",
        Usage(30, 4, 0, 0, 30, "scripted", None, "unknown"),
        Done("stop"),
    ]
    assert text_of(events) == "Let me look.It is noon."
    described = requests[0]["tools"][0]["function"]
    assert (described["name"], described["description"]) == ("clock", "Tells the time.")
    assert described["parameters"]["properties"]["zone"] == {"type": "string"}
    assert said(requests[1])[2:] == [
        ("assistant", "Let me look."),
        ("tool", "result of clock"),
        ("tool", "result of clock"),
        ("user", "Hurry!"),
    ]
    assert [call["id"] for call in requests[1]["messages"][2]["tool_calls"]] == ["c1", "c2"]


async def test_a_call_stands_in_the_journal_before_it_runs(tmp_path: Path) -> None:
    """The consumer holds the event: nothing has run until it asks for the next one."""
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply(calls=[CLOCK_CALL]), "done"]) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        async for event in agent.run(desk.turn("x", tools=[CLOCK])):
            if isinstance(event, ToolCalls | ToolStarted):
                assert desk.ran == []
            if isinstance(event, ToolResult):
                assert [call.id for call in desk.ran] == ["c1"]


async def test_ids_that_a_server_repeats_are_made_unique(tmp_path: Path) -> None:
    again = Reply(calls=[ToolCall("clock", id="call_0")])
    script: list[Answer] = [again, again, "done"]
    events, requests = await played(script, tmp_path, "x", tools=[CLOCK])
    ids = [event.call_id for event in only(events, ToolStarted)]
    assert len(set(ids)) == 2
    sent = [m["tool_call_id"] for m in requests[2]["messages"] if m["role"] == "tool"]
    assert sent == ids


async def test_arguments_that_are_no_json_reach_the_tool_as_they_are(tmp_path: Path) -> None:
    desk = Desk(results=lambda call: "error: the arguments are not JSON")
    script: list[Answer] = [Reply(calls=[ToolCall("clock", '{"zone": ')]), "sorry"]
    events, _ = await played(script, tmp_path, "x", desk=desk, tools=[CLOCK])
    assert desk.ran[0].arguments == '{"zone": '
    assert events[-1] == Done("stop")


async def test_after_the_last_round_the_model_must_answer(tmp_path: Path) -> None:
    loop: list[Answer] = [Reply(calls=[CLOCK_CALL]), Reply(calls=[CLOCK_CALL]), Reply("That is all I found.")]
    events, requests = await played(loop, tmp_path, "x", tools=[CLOCK], more={"max_tool_rounds": 2})
    assert len(only(events, ToolResult)) == 2
    assert text_of(events) == "That is all I found."
    assert events[-1] == Done("stop")
    assert [request.get("tool_choice") for request in requests] == ["auto", "auto", "none"]


async def test_a_model_that_only_calls_tools_is_stopped_and_it_says_so(tmp_path: Path) -> None:
    events, requests = await played(
        lambda body: Reply(calls=[CLOCK_CALL]), tmp_path, "x", tools=[CLOCK], more={"max_tool_rounds": 2}
    )
    assert len(requests) == 3
    assert len(only(events, ToolStarted)) == 2
    (notice,) = only(events, Notice)
    assert "2 times" in notice.text
    assert not notice.trimmed
    assert events[-1] == Done("max_tool_rounds")


async def test_a_resumed_turn_runs_what_had_no_result_and_goes_on(tmp_path: Path) -> None:
    desk = Desk(results=lambda call: f"late {call.id}")
    resumed = [
        assistant("Looking.", ("c1", "clock", "{}"), ("c2", "clock", '{"zone":"UTC"}')),
        result("c1", "clock", "noon"),
    ]
    events, (request,) = await played(["It is one."], tmp_path, "time?", desk=desk, resumed=resumed, tools=[CLOCK])
    assert events[:2] == [ToolStarted("c2"), ToolResult("c2", "clock", "late c2")]
    assert [call.id for call in desk.ran] == ["c2"]
    assert desk.log.index("steering") < desk.log.index(Text("It "))
    assert said(request)[1:] == [
        ("user", "time?"),
        ("assistant", "Looking."),
        ("tool", "noon"),
        ("tool", "late c2"),
    ]


async def test_a_resumed_turn_counts_the_rounds_it_had(tmp_path: Path) -> None:
    resumed = [assistant("", ("c1", "clock", "{}")), result("c1", "clock", "noon")]
    _, (request,) = await played(["ok"], tmp_path, "x", resumed=resumed, tools=[CLOCK], more={"max_tool_rounds": 1})
    assert request["tool_choice"] == "none"


async def test_a_resumed_answer_is_asked_to_go_on(tmp_path: Path) -> None:
    _, (request,) = await played(["the end"], tmp_path, "tell", resumed=[assistant("Once upon", partial=True)])
    assert said(request)[-2][0] == "assistant"
    assert said(request)[-1] == ("user", GO_ON)


async def test_history_that_a_provider_would_refuse_is_repaired(tmp_path: Path) -> None:
    history = [
        assistant("Good morning!"),
        user("x"),
        assistant("", ("c1", "clock", "{}")),
        user("never mind"),
        result("c9", "clock", "stray"),
    ]
    _, (request,) = await played(["ok"], tmp_path, "now", history=history)
    assert [role for role, _ in said(request)] == ["system", "user", "assistant", "user", "assistant", "tool", "user"]


async def test_system_notes_in_a_history_are_sent_where_any_server_takes_them(tmp_path: Path) -> None:
    history = [user("a"), assistant("b"), {"role": "system", "content": "The topic is boats."}]
    _, (request,) = await played(["ok"], tmp_path, "c", history=history)
    assert [role for role, _ in said(request)].count("system") == 1
    assert "The topic is boats." in said(request)[-1][1]


async def test_an_empty_answer_is_done(tmp_path: Path) -> None:
    events, _ = await played([Reply("", usage=(3, 0))], tmp_path, "x")
    assert [type(event) for event in events] == [Usage, Done]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_the_reason_of_the_end_is_told(reason: str, tmp_path: Path) -> None:
    events, _ = await played([Reply("so far", finish=reason)], tmp_path, "x")
    assert events[-1] == Done(reason)


async def test_a_server_that_reports_no_usage_costs_nothing_known(tmp_path: Path) -> None:
    events, _ = await played([Reply("hi", usage=None)], tmp_path, "x")
    (usage,) = only(events, Usage)
    assert (usage.input_tokens, usage.last_prompt_tokens, usage.cost_status) == (0, None, "unknown")


async def test_thinking_is_not_part_of_the_answer(tmp_path: Path) -> None:
    events, _ = await played([Reply(["<think>", "hm, ", "hm", "</think>", "Yes."])], tmp_path, "x")
    assert text_of(events).strip() == "Yes."


async def test_a_price_is_estimated_only_where_it_is_known(tmp_path: Path) -> None:
    from gateway.agents.engine import EngineOptions, ModelEngine
    from gateway.agents.errors import ErrorWords
    from gateway.agents.providers import build_model

    async with ScriptedOpenAI([Reply("hi", usage=(1_000_000, 0), model="gpt-5-mini")] * 2) as server:
        costs = []
        for prices in ("https://api.openai.com/v1", server.base_url):
            client = build_model("a", "openai:gpt-5-mini", server.base_url, None)
            words = ErrorWords("a", "m", "s", 5)
            engine = ModelEngine(client.model, EngineOptions(5, 1, prices_from=prices), words)
            events = [event async for event in engine.run(Desk().turn("x"))]
            costs.append([(usage.cost_usd, usage.cost_status) for usage in only(events, Usage)])
            await client.close()
    ((known, status),), unknown = costs
    assert known is not None
    assert known > 0
    assert status == "estimated"
    assert unknown == [(None, "unknown")]


async def test_turns_run_side_by_side(tmp_path: Path) -> None:
    gate = asyncio.Event()
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply([gate, "slow"]), "fast"]) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        slow = asyncio.create_task(desk.events(agent, desk.turn("a", session_id="1")))
        await server.arrived.wait()
        assert text_of(await Desk().events(agent, desk.turn("b", session_id="2"))) == "fast"
        assert not slow.done()
        gate.set()
        assert text_of(await slow) == "slow"


async def test_a_cancelled_turn_frees_its_connection(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply("a b c d", hang_after=2), "next"]) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        task = asyncio.create_task(desk.events(agent, desk.turn("x")))
        while not only(cast("list[AgentEvent]", desk.log), Text)[1:]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert text_of(await Desk().events(agent, desk.turn("y"))) == "next"


async def test_an_answer_that_is_given_up_half_way_ends_its_request(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        ScriptedOpenAI([Reply("a b c", hang_after=1)]) as server,
        started(model_config(server.base_url), tmp_path) as agent,
    ):
        run = cast("AsyncGenerator[AgentEvent, None]", agent.run(desk.turn("x")))
        async with aclosing(run) as events:
            async for event in events:
                assert event == Text("a ")
                break


async def test_it_starts_and_closes_in_any_order(tmp_path: Path) -> None:
    agent = create_agent("a", model_config("http://127.0.0.1:1/v1"), Home(tmp_path), SystemClock())
    assert agent.capabilities == AgentCapabilities(resumable=True, steering=True, images=True, summaries=True)
    await agent.close()
    with pytest.raises(AgentError, match="not been started"):
        await anext(aiter(agent.run(Desk().turn("x"))))
    await agent.start()
    await agent.start()
    await agent.close()
    await agent.close()


async def test_the_key_goes_to_the_server_and_nowhere_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx2").setLevel(logging.NOTSET)
    desk = Desk()
    config = ModelAgentConfig(model="openai:scripted", api_key=SecretStr("sk-very-secret"))
    async with ScriptedOpenAI(["hi"], api_key="sk-very-secret") as server:
        config = config.model_copy(update={"base_url": server.base_url})
        async with started(config, tmp_path) as agent:
            assert text_of(await desk.events(agent, desk.turn("x"))) == "hi"
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in caplog.text
    assert "HTTP Request" not in caplog.text


async def test_openai_is_asked_to_keep_no_copy() -> None:
    from gateway.agents.providers import build_model

    own = build_model("a", "openai:gpt-5-mini", None, "sk-x")
    other = build_model("a", "openai:gpt-5-mini", "http://127.0.0.1:1/v1", None)
    assert own.settings() == {"openai_store": False}
    assert other.settings() == {}
    assert (own.key(), own.server, other.server) == ("sk-x", "openai", "127.0.0.1")
    await own.close()
    await other.close()


async def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-from-file\n")
    events: Sequence[AgentEvent]
    async with ScriptedOpenAI(["hi"], api_key="sk-from-file") as server:
        config = model_config(server.base_url, api_key_file=str(key))
        async with started(config, tmp_path) as agent:
            events = await Desk().events(agent, Desk().turn("x"))
    assert text_of(events) == "hi"


async def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    config = model_config("http://127.0.0.1:1/v1", api_key_file=str(tmp_path / "nothing"))
    with pytest.raises(AgentError, match=r"agents\.assistant\.api_key_file"):
        async with started(config, tmp_path):
            pass


async def test_a_key_of_another_service_is_not_sent_to_ones_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with ScriptedOpenAI(["hi"]) as server, started(model_config(server.base_url), tmp_path) as agent:
        assert text_of(await Desk().events(agent, Desk().turn("x"))) == "hi"
    assert "sk-of-openai" not in str(server.headers)


async def test_half_a_character_ends_no_conversation(tmp_path: Path) -> None:
    script = [Reply(["half \ud83d", "\ude00"], calls=[ToolCall("clock", '{"zone": "\ud83d"}')]), Reply("fine")]
    history = [user("a"), assistant("b\udc00", ("c0", "clock", '{"a":"\ud83d"}')), result("c0", "clock", "x\ud83d")]
    async with ScriptedOpenAI(script) as server, started(model_config(server.base_url), tmp_path) as agent:
        desk = Desk(results=lambda _call: "there is no \ud83d")
        events = await desk.events(agent, desk.turn("hi", history=history, tools=[CLOCK]))
    assert text_of(events).endswith("fine")
    earlier, step = [message for message in server.requests[1]["messages"] if message["role"] == "assistant"]
    assert step["content"] == "half 😀"
    assert step["tool_calls"][0]["function"]["arguments"] == '{"zone":"�"}'
    assert (earlier["content"], server.requests[1]["messages"][-1]["content"]) == ("b�", "there is no �")


async def test_a_tool_that_a_model_made_up_ends_no_conversation(tmp_path: Path) -> None:
    made_up = ["functions.clock", 'clock" />', "時計", "x" * 99]
    script = [Reply(calls=[ToolCall(name) for name in made_up]), Reply("fine")]
    history = [user("a"), assistant("", ("c0", "$READFILE", "{}")), result("c0", "$READFILE", "no such tool")]
    async with ScriptedOpenAI(script) as server, started(model_config(server.base_url), tmp_path) as agent:
        desk = Desk()
        assert text_of(await desk.events(agent, desk.turn("hi", history=history, tools=[CLOCK]))) == "fine"
    assert [call.name for call in desk.ran] == made_up
    said = [message.get("tool_calls") or () for message in server.requests[1]["messages"]]
    names = [call["function"]["name"] for calls in said for call in calls]
    assert names == ["_READFILE", "functions_clock", "clock____", "__", "x" * 64]
