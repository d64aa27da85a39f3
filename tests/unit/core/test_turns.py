"""A turn: begun, watched, journalled, tried again, taken up after a crash, and ended once, in one commit."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.attempt import OUTCOME_UNKNOWN
from gateway.clock import SystemClock
from gateway.ports import (
    AgentError,
    AgentEvent,
    AgentTurn,
    Call,
    Capabilities,
    Done,
    Notice,
    Text,
    Tool,
    ToolCalls,
    ToolContext,
    ToolResult,
    ToolStarted,
    Usage,
)
from gateway.source import SessionSource
from gateway.storage.errors import StorageError
from gateway.turns import NO_TEXT
from tests.support.fakes import (
    ALICE,
    BOB,
    PLAIN,
    FakeAdapter,
    FakeAgent,
    ManualClock,
    Pause,
    configure,
    core,
    fails,
    says,
)

BUSY = AgentError("the model is busy", retryable=True)


# --- what a turn comes to ------------------------------------------------------------------------------


async def test_an_answer_its_transcript_and_its_counters_are_there_together(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "re: hello")]
        entry = await gateway.store.get_or_create_session(ALICE)
        assert (entry.input_tokens, entry.output_tokens, entry.message_count) == (1, 2, 2)
        (delivery,) = adapter.of("send")
        assert (delivery.kind, delivery.text, delivery.answers, delivery.final) == (
            "reply",
            "re: hello",
            ("hello",),
            True,
        )
        assert gateway.counters["turns.answered"] == 1


async def test_the_end_of_a_turn_moves_the_time_of_its_session(tmp_path: Path) -> None:
    """Also that of one that its policy would have ended while the turn was open."""
    clock, may_end = ManualClock(), asyncio.Event()

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        if "long" in turn.inputs[0]["content"]:
            await may_end.wait()
        yield Text("answer")
        yield Done()

    async with core(tmp_path, FakeAgent(script, script), FakeAdapter(PLAIN), clock=clock, limit=10**7) as gateway:
        await gateway.say("first")
        await gateway.settled()
        before = await gateway.store.get_or_create_session(ALICE)
        clock.advance(60)
        named = replace(ALICE, chat_name="Alice's room")
        await gateway.say("long", source=named)
        while not await gateway.rows("SELECT 1 FROM turns WHERE state = 'running'"):
            await asyncio.sleep(0.001)
        assert (await gateway.store.get_session(before.session_id)).display_name == "Alice's room"
        clock.advance(30 * 24 * 3600)
        assert await gateway.store.expire_session(gateway.store.identity(ALICE)) is None
        may_end.set()
        await gateway.settled()
        after = await gateway.store.get_session(before.session_id)
        assert after.updated_at == clock.now()
        assert after.message_count == 4
        clock.advance(60)
        await gateway.say("third", source=named)
        await gateway.settled()
        (latest,) = await gateway.store.list_sessions()
        assert (latest.session_id, latest.updated_at) == (before.session_id, clock.now())


async def test_a_session_that_was_quiet_is_seen_to_be_active_while_its_turn_is_open(tmp_path: Path) -> None:
    """In lists, in searches by time, and in what people and agents are told of it."""
    clock, pause = ManualClock(), Pause(before="answer")
    agent = FakeAgent(says("answer"), says("answer"), pause)
    async with core(tmp_path, agent, FakeAdapter(PLAIN), clock=clock, limit=10**7) as gateway:
        await gateway.say("first")
        await gateway.say("elsewhere", source=BOB)
        await gateway.settled()
        clock.advance(24 * 3600)
        await gateway.say("elsewhere again", source=BOB)
        await pause.reached.wait()
        (seen,) = await gateway.store.list_sessions(active_minutes=1)
        assert (seen.origin, seen.updated_at) == (BOB, clock.now())
        assert [entry.origin for entry in await gateway.store.list_sessions()] == [BOB, ALICE]
        pause.go.set()


async def test_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(says()), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
        assert adapter.texts() == [NO_TEXT]


async def test_a_notice_follows_the_answer_once_and_names_what_is_answered(tmp_path: Path) -> None:
    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Notice("Older messages were left out.")
        yield Notice("Older messages were left out.")
        yield Text("answer")
        yield Done()

    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert [(delivery.text, delivery.answers) for delivery in adapter.of("send")] == [
            ("answer", ()),
            ("Older messages were left out.", ("hello",)),
        ]


async def test_text_that_cannot_be_stored_wedges_nothing(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(says("\n", "a\ud83d", "\ude42b\ud800\0")), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
        assert [text.strip() for text in adapter.texts()] == ["a🙂b\ufffd\ufffd"]


async def test_words_that_cannot_be_stored_wedge_nothing_either(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(fails(AgentError("no \ud800 model"))), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "failed"}
        assert adapter.texts() == ["I could not answer: no \ufffd model. Send it again to retry."]


async def test_an_agent_that_just_ends_has_not_answered(tmp_path: Path) -> None:
    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("half of")

    agent = FakeAgent(script, says("all of it"))
    async with core(tmp_path, agent) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "all of it")]


async def test_what_comes_after_the_end_does_not_count(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("answer")
        yield Done()
        await never.wait()
        yield Text("more")

    async with core(tmp_path, FakeAgent(script)) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "answer")]


# --- failures and attempts -----------------------------------------------------------------------------


async def test_a_failure_that_passes_is_tried_again_from_nothing(tmp_path: Path) -> None:
    agent = FakeAgent(fails(BUSY, "wrong "), says("right"))
    async with core(tmp_path, agent) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "right")]
        assert gateway.counters["turns.retried"] == 1


async def test_enough_failures_are_dead_and_said(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    agent = FakeAgent(*[fails(BUSY)] * 9)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert len(agent.turns) == 3
        assert await gateway.ends() == {"hello": "dead"}
        assert adapter.texts() == ["I could not answer: the model is busy. Send it again to retry."]
        assert await gateway.transcript() == [("user", "hello")]


async def test_a_failure_that_stays_is_said_at_once_with_what_was_shown(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    agent = FakeAgent(fails(AgentError("The key is wrong."), "partial"))
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "failed"}
        assert adapter.texts() == ["partial", "I could not answer: The key is wrong. Send it again to retry."]
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "partial")]


@pytest.mark.parametrize(("retryable", "state", "starts"), [(True, "answered", 2), (False, "failed", 1)])
async def test_an_agent_that_cannot_be_started(tmp_path: Path, retryable: bool, state: str, starts: int) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        gateway.roster.errors.append(AgentError("there is no model file", retryable=retryable))
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": state}
        assert any("no model file" in text for text in adapter.texts()) is (state == "failed")


async def test_a_turn_may_be_tried_a_thousand_times(tmp_path: Path) -> None:
    async with core(tmp_path, config=configure(turns={"attempts": 5_000})) as gateway:

        async def fail(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
            yield Text("no")
            await gateway.execute("UPDATE turns SET attempts = 2000 WHERE id = ?", turn.turn_id)
            raise AgentError("the server is away", retryable=True)

        gateway.roster.agent = FakeAgent(fail, fail)
        await gateway.say("1")
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered"}
        assert not gateway.counters["lanes.errors"]


async def test_an_agent_with_a_mistake_is_tried_again_and_named(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(*[fails(ZeroDivisionError())] * 3), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "dead"}
        assert "ZeroDivisionError" in adapter.texts()[0]


async def test_an_agent_that_cancels_itself_is_tried_again(tmp_path: Path) -> None:
    async with core(tmp_path, FakeAgent(fails(asyncio.CancelledError()))) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}


async def test_the_wait_is_that_of_the_model_server_and_a_restart_honours_it(tmp_path: Path) -> None:
    clock = ManualClock()
    busy = AgentError("busy", retryable=True, retry_after=600.0)
    agent = FakeAgent(fails(busy))
    async with core(tmp_path, agent, clock=clock) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        await gateway.die()
    clock.advance(590)
    async with core(tmp_path, agent, clock=clock) as gateway:
        await gateway.say("next")
        await gateway.settled()
        assert len(agent.turns) == 1
        assert await gateway.ends() == {"hello": "running", "next": "pending"}
        await gateway.stop()
    clock.advance(11)
    async with core(tmp_path, agent, clock=clock) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered", "next": "answered"}
        (row, _) = await gateway.rows("SELECT attempts FROM turns ORDER BY started_at")
        assert row["attempts"] == 2


@pytest.mark.parametrize(
    ("told", "noted"),
    [
        (Usage(input_tokens=1, output_tokens=10**30), (2, 2 * 10**12, 0, None, None)),
        (Usage(input_tokens=-5, last_prompt_tokens=2**63), (0, 0, 10**12, None, None)),
        (Usage(cost_usd=float("inf"), model="m\ud800"), (0, 0, 0, None, "m�")),
        (Usage(cost_usd=float("nan")), (0, 0, 0, None, None)),
    ],
)
async def test_what_a_server_makes_up_of_its_usage_costs_no_answer(
    told: Usage, noted: tuple[object, ...], tmp_path: Path
) -> None:
    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("hello")
        yield told
        yield Done()

    async with core(tmp_path, FakeAgent(script, script)) as gateway:
        await gateway.say("one")
        await gateway.say("two")
        await gateway.settled()
        assert set((await gateway.ends()).values()) == {"answered"}
        columns = "input_tokens, output_tokens, last_prompt_tokens, estimated_cost_usd, model"
        (row,) = await gateway.rows(f"SELECT {columns} FROM sessions")
        assert tuple(row) == noted


async def test_why_an_agent_failed_tells_no_secret(tmp_path: Path) -> None:
    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Notice("asked with s3cret")
        raise AgentError("the key s3cret is not known there")

    adapter = FakeAdapter()
    async with core(tmp_path, FakeAgent(script), adapter) as gateway:
        gateway.runner._redact = lambda text: text.replace("s3cret", "***")
        await gateway.say("hello")
        await gateway.settled()
        told = "I could not answer: the key *** is not known there. Send it again to retry."
        assert adapter.texts() == ["asked with ***", told]


@pytest.mark.parametrize("seconds", [86_400.0, 1e9, 1e12])
async def test_a_server_that_asks_to_wait_for_long_has_refused(seconds: float, tmp_path: Path) -> None:
    adapter = FakeAdapter()
    busy = AgentError("It asks to wait", retryable=True, retry_after=seconds)
    async with core(tmp_path, FakeAgent(fails(busy)), adapter) as gateway:
        await gateway.say("hello")
        await gateway.say("next")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "failed", "next": "answered"}
        assert adapter.texts() == ["I could not answer: It asks to wait. Send it again to retry.", "re: next"]
        assert gateway.counters["lanes.errors"] == 0


async def test_new_messages_do_not_make_a_silent_agent_look_alive(tmp_path: Path) -> None:
    pause = Pause()
    async with core(tmp_path, FakeAgent(pause), limit=0.05, clock=SystemClock()) as gateway:
        await gateway.say("hello")
        await pause.reached.wait()
        for number in range(20):
            await gateway.say(str(number))
            await asyncio.sleep(0.005)
        await gateway.settled()
        assert gateway.counters["turns.stalled"] == 1
        assert set((await gateway.ends()).values()) == {"answered"}


async def test_an_agent_that_cannot_be_cancelled_does_not_hold_the_lane_nor_act_later(tmp_path: Path) -> None:
    ran: list[str] = []

    async def run(_arguments: Mapping[str, Any], context: ToolContext) -> str:
        ran.append(context.call_id)
        return "done"

    deaf = Pause(deaf=True)

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        async for _event in deaf(turn):
            pass
        with pytest.raises(asyncio.CancelledError):
            await turn.run_tool(Call("late", "act", "{}"))
        assert await turn.take_steering() == ()
        yield Text("too late")
        yield Done()

    tool = Tool("act", "", {}, run)
    async with core(tmp_path, FakeAgent(script), tools=(tool,), limit=0.01, clock=SystemClock()) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
        assert gateway.counters["turns.abandoned"] == 1
        deaf.go.set()
        await asyncio.sleep(0.005)
        assert deaf.ended.is_set()
        assert not ran
        assert not gateway.runner._abandoned
        assert await gateway.transcript() == [("user", "hello"), ("assistant", "re: hello")]


# --- tools ---------------------------------------------------------------------------------------------


class Bench:
    """Tools that leave a trace, and a script that asks for them."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    def tools(self) -> tuple[Tool, ...]:
        return (Tool("once", "", {}, self._run), Tool("again", "", {}, self._run, idempotent=True))

    async def _run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        self.ran.append(context.call_id)
        self.reached.set()
        await self.go.wait()
        if arguments.get("fail"):
            raise OSError("no such file")
        return f"did {context.call_id}"

    async def script(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        """One step with a call to each tool, and one that says what came of it."""
        results = {row["tool_call_id"]: str(row["content"]) for row in turn.resumed if row["role"] == "tool"}
        calls = (Call("a", "once", "{}"), Call("b", "again", "{}"))
        if not turn.resumed:
            yield Text("looking")
            yield Usage(input_tokens=10)
            yield ToolCalls("looking", calls)
        for call in calls:
            if call.id not in results:
                yield ToolStarted(call.id)
                results[call.id] = await turn.run_tool(call)
                yield ToolResult(call.id, call.name, results[call.id])
        yield Text(", ".join(results.values()))
        yield Usage(input_tokens=1)
        yield Done()


async def test_calls_are_journalled_before_they_run_and_results_after(tmp_path: Path) -> None:
    bench = Bench()
    bench.go.clear()
    async with core(tmp_path, FakeAgent(bench.script), tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        steps = await gateway.rows("SELECT kind, data FROM turn_steps ORDER BY seq")
        assert [row["kind"] for row in steps] == ["calls", "started"]
        assert json.loads(steps[0]["data"])["usage"]["input_tokens"] == 10
        bench.go.set()
        await gateway.settled()
        assert await gateway.transcript() == [
            ("user", "hello"),
            ("assistant", "looking"),
            ("tool", "did a"),
            ("tool", "did b"),
            ("assistant", "did a, did b"),
        ]
        assert not await gateway.rows("SELECT * FROM turn_steps")
        entry = await gateway.store.get_or_create_session(ALICE)
        assert entry.input_tokens == 11


async def test_a_call_cut_short_by_a_crash_runs_again_only_if_it_may(tmp_path: Path) -> None:
    bench, agent = Bench(), FakeAgent()
    agent.scripts.extend([bench.script] * 3)
    bench.go.clear()
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        await gateway.die()
    bench.reached.clear()
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await bench.reached.wait()
        assert bench.ran == ["a", "b"]
        await gateway.die()
    bench.go.set()
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.settled()
        assert bench.ran == ["a", "b", "b"]
        rows = await gateway.transcript()
        assert [content for role, content in rows if role == "tool"] == [OUTCOME_UNKNOWN, "did b"]
        assert await gateway.ends() == {"hello": "answered"}
        entry = await gateway.store.get_or_create_session(ALICE)
        assert entry.input_tokens == 11


async def test_a_call_cut_short_by_a_stall_does_not_run_again_either(tmp_path: Path) -> None:
    bench, agent = Bench(), FakeAgent()
    agent.scripts.extend([bench.script] * 2)
    bench.go.clear()
    async with core(tmp_path, agent, tools=bench.tools(), limit=0.3, clock=SystemClock()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        while gateway.counters["turns.stalled"] == 0:
            await asyncio.sleep(0.001)
        bench.go.set()
        await gateway.settled()
        assert bench.ran == ["a", "b"]
        assert OUTCOME_UNKNOWN in str(await gateway.transcript())


async def test_a_stop_while_a_step_is_journalled_keeps_memory_and_journal_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.turns.AGENT_CANCEL_GRACE_SECONDS", 60.0)  # a commit takes its time on a busy machine
    bench = Bench()
    async with core(tmp_path, FakeAgent(bench.script), tools=bench.tools()) as gateway:
        real = gateway.database.write

        def write(job: Any) -> Any:
            written = real(job)
            if "_journal" in job.__qualname__:
                gateway.lanes.stop_turn(gateway.store.identity(ALICE))
            return written

        monkeypatch.setattr(gateway.database, "write", write)
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.reason("hello") == "stopped"
        entry = await gateway.store.get_or_create_session(ALICE)
        rows = await gateway.store.load_transcript(entry.session_id)
        assert [row["role"] for row in rows] == ["user", "assistant"]
        assert len(rows[1]["tool_calls"]) == 2


async def test_a_known_result_is_not_made_again(tmp_path: Path) -> None:
    bench = Bench()

    async def careless(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        """Runs all of its calls again, whatever has been done."""
        call = Call("a", "once", "{}")
        if not turn.resumed:
            yield ToolCalls("", (call,))
        yield ToolStarted("a")
        result = await turn.run_tool(call)
        yield ToolResult("a", "once", result)
        if not turn.resumed:
            raise BUSY
        yield Text(result)
        yield Done()

    async with core(tmp_path, FakeAgent(careless, careless), tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert bench.ran == ["a"]
        assert (await gateway.transcript())[-1] == ("assistant", "did a")


async def test_a_call_that_was_not_announced_is_journalled_all_the_same(tmp_path: Path) -> None:
    bench = Bench()
    bench.go.clear()

    async def silent(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text(await turn.run_tool(Call("a", "once", "{}")))
        yield Done()

    agent = FakeAgent(silent, silent)
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        await gateway.die()
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.settled()
        assert bench.ran == ["a"]
        assert (await gateway.transcript())[-1] == ("assistant", OUTCOME_UNKNOWN)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call("x", "nothing", "{}"), "there is no tool named 'nothing'"),
        (Call("x", "once", "{"), "not JSON"),
        (Call("x", "once", '{"a":' + "[" * 100_000), "not JSON"),
        (Call("x", "once", "[]"), "must be a JSON object"),
        (Call("x", "once", '{"fail": true}'), "OSError: no such file"),
        (Call("x", "once", ""), "did x"),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_a_result(tmp_path: Path, call: Call, said: str) -> None:
    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text(await turn.run_tool(call))
        yield Done()

    async with core(tmp_path, FakeAgent(script), tools=Bench().tools()) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert said in (await gateway.transcript())[-1][1]


# --- after a crash -------------------------------------------------------------------------------------


async def test_a_turn_cut_short_goes_on_before_new_messages(tmp_path: Path) -> None:
    pause, agent = Pause("partial"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        await gateway.die()
    async with core(tmp_path, agent) as gateway:
        await gateway.say("3")
        await gateway.settled()
        assert [turn.inputs[0]["content"] for turn in agent.turns] == ["1", "1", "2", "3"]
        assert await gateway.ends() == {"1": "answered", "2": "answered", "3": "answered"}


async def test_a_turn_that_kills_the_process_each_time_ends_dead(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    for life in range(3):
        pause = Pause(f"life {life}")
        async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
            if life == 0:
                await gateway.say("poison")
            await pause.reached.wait()
            await gateway.die()
    agent = FakeAgent()
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.settled()
        assert not agent.turns
        assert await gateway.ends() == {"poison": "dead"}
        assert any("3 times" in text for text in adapter.texts())


async def _cut_short(tmp_path: Path, agent: FakeAgent, script: Pause, *, orderly: bool) -> None:
    agent.scripts.append(script)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("hello")
        await script.reached.wait()
        await (gateway.stop() if orderly else gateway.die())


@pytest.mark.parametrize("orderly", [True, False])
async def test_an_agent_that_cannot_go_on_ends_the_turn_as_interrupted(tmp_path: Path, orderly: bool) -> None:
    agent, adapter = FakeAgent(resumable=False), FakeAdapter()
    await _cut_short(tmp_path, agent, Pause(), orderly=orderly)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.settled()
        assert len(agent.turns) == 1
        assert await gateway.ends() == {"hello": "failed"}
        assert "interrupted" in adapter.texts()[0]


async def test_an_agent_that_cannot_go_on_may_still_begin(tmp_path: Path) -> None:
    """The program stopped while the turn waited for its place: the agent had not been asked."""
    pause, agent = Pause(after="slow"), FakeAgent(resumable=False)
    agent.scripts.append(pause)
    config = configure(turns={"max_concurrent": 1})
    async with core(tmp_path, agent, config=config) as gateway:
        await gateway.say("slow")
        await pause.reached.wait()
        await gateway.say("waits", source=BOB)
        while not any(lane.turn is not None and lane.turn.queued for lane in gateway.lanes._lanes.values()):
            await asyncio.sleep(0.001)
        await gateway.stop()
    async with core(tmp_path, agent, config=config) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"slow": "failed", "waits": "answered"}


async def test_a_failure_after_tools_is_not_tried_again_by_an_agent_that_cannot_go_on(tmp_path: Path) -> None:
    bench = Bench()

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        call = Call("a", "once", "{}")
        yield ToolCalls("", (call,))
        yield ToolStarted("a")
        yield ToolResult("a", "once", await turn.run_tool(call))
        raise BUSY

    agent = FakeAgent(script, resumable=False)
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert len(agent.turns) == 1
        assert await gateway.ends() == {"hello": "failed"}
        assert await gateway.reason("hello") == "the model is busy"


async def test_a_fault_of_the_database_after_tools_ends_the_turn_of_an_agent_that_cannot_go_on(tmp_path: Path) -> None:
    bench, agent = Bench(), FakeAgent(resumable=False)
    agent.scripts.append(bench.script)
    bench.go.clear()
    async with core(tmp_path, agent, tools=bench.tools()) as gateway:
        await gateway.say("hello")
        await bench.reached.wait()
        async with asyncio.timeout(10):
            # The preview is on record, so that the fault meets the turn's own next write.
            while not await gateway.rows("SELECT id FROM outbox WHERE state = 'sent'"):
                await asyncio.sleep(0.005)
        await gateway.outbox.drain()
        gateway.database.fail(StorageError("the disk is full"))
        bench.go.set()
        await gateway.settled()
        assert len(agent.turns) == 1
        assert await gateway.ends() == {"hello": "failed"}
        assert gateway.counters["turns.agent_errors"] == 0


async def test_orderly_stops_are_no_attempts(tmp_path: Path) -> None:
    agent = FakeAgent()
    await _cut_short(tmp_path, agent, Pause(), orderly=True)
    for _ in range(5):
        pause = Pause()
        agent.scripts.append(pause)
        async with core(tmp_path, agent) as gateway:
            await pause.reached.wait()
            await gateway.stop()
    async with core(tmp_path, agent) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}


async def test_a_stop_while_a_turn_begins_loses_nothing_and_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with core(tmp_path, FakeAgent(Pause())) as gateway:
        gateway_write = gateway.database.write
        lane_task: list[asyncio.Task[None]] = []

        def write(job: Any) -> Any:
            future = gateway_write(job)
            if "begin" in job.__qualname__ and not lane_task:
                lane = next(iter(gateway.lanes._lanes.values()))
                assert lane.task is not None
                lane_task.append(lane.task)
                lane.task.cancel()
            return future

        monkeypatch.setattr(gateway.database, "write", write)
        await gateway.say("hello")
        while not lane_task:
            await asyncio.sleep(0)
        await asyncio.wait(lane_task)
        await gateway.stop()
    agent = FakeAgent(resumable=False)
    async with core(tmp_path, agent) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}
        (row,) = await gateway.rows("SELECT attempts FROM turns")
        assert row["attempts"] == 1


async def test_a_turn_without_messages_is_ended(tmp_path: Path) -> None:
    pause = Pause("partial")
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("hello")
        await pause.reached.wait()
        await gateway.database.write(
            lambda connection: connection.execute("UPDATE inbound SET state = 'answered'").rowcount
        )
        await gateway.die()
    async with core(tmp_path) as gateway:
        await gateway.say("next")
        await gateway.settled()
        assert not await gateway.rows("SELECT * FROM turns WHERE state <> 'done'")
        assert not await gateway.rows("SELECT * FROM outbox WHERE final = 0 OR state IN ('pending', 'sending')")
        assert (await gateway.ends())["next"] == "answered"


# --- sessions ------------------------------------------------------------------------------------------


async def test_a_reset_is_told_once(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter()
    config = configure(sessions={"reset": {"mode": "idle", "idle_minutes": 10}}, inbox={"expire_hours": 0})
    async with core(tmp_path, adapter=adapter, config=config, clock=clock) as gateway:
        await gateway.say("1")
        await gateway.settled()
        clock.advance(3600)
        await gateway.say("2")
        await gateway.say("3")
        await gateway.settled()
        notices = [delivery for delivery in adapter.of("send") if "new conversation" in delivery.text]
        assert len(notices) == 1
        assert adapter.texts().index(notices[0].text) < adapter.texts().index("re: 2")
        (first,) = await gateway.rows("SELECT id FROM sessions ORDER BY created_at LIMIT 1")
        assert first["id"] in notices[0].text


async def test_the_session_is_that_of_the_time_of_acceptance(tmp_path: Path) -> None:
    """A message that waited long for its turn belongs to the session it was written in."""
    clock, pause = ManualClock(), Pause(after="done")
    config = configure(sessions={"reset": {"mode": "idle", "idle_minutes": 10}}, inbox={"expire_hours": 0})
    async with core(tmp_path, FakeAgent(pause), config=config, clock=clock) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        clock.advance(3600)
        pause.go.set()
        await gateway.settled()
        assert len(await gateway.rows("SELECT * FROM sessions")) == 1


# --- what the agent is told of platforms -------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A platform that declares something about itself."""

    redactable: bool
    note: str

    def adapter(self) -> FakeAdapter:
        return FakeAdapter(Capabilities(redactable_ids=self.redactable, note=self.note))


@pytest.mark.parametrize("redactable", [True, False])
async def test_what_platforms_declare_about_themselves_reaches_the_prompt(tmp_path: Path, redactable: bool) -> None:
    """Each id is hidden or not by what the platform declares that it belongs to."""
    agent = FakeAgent()
    here, there = Place(redactable, "Here you may whisper."), Place(not redactable, "There you may shout.")
    homes = {
        name: {"token": "t", "home_channel": {"chat_id": f"{name}-home-4711", "name": name}}
        for name in ("telegram", "discord")
    }
    config = configure(redact_pii=True, platforms=homes)
    adapters = {"telegram": here.adapter(), "discord": there.adapter()}
    source = SessionSource(Platform.TELEGRAM, chat_id="chat-1", user_id="person-1")
    async with core(tmp_path, agent, config=config, adapters=adapters) as gateway:
        await gateway.say("hello", source=source)
        await gateway.settled()
    prompt = agent.turns[0].system_prompt
    assert "Here you may whisper." in prompt
    assert "There you may shout." not in prompt
    assert ("telegram-home-4711" not in prompt) is redactable
    assert ("discord-home-4711" not in prompt) is not redactable
    assert ("person-1" not in prompt) is redactable
