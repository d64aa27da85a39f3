"""Sessions that write to each other: each message a turn of its own, once, and never for ever."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import AgentCapabilities, AgentEvent, AgentTurn, Call, Done, Text, ToolCalls, ToolResult, ToolStarted
from gateway.tools.relay import Waits
from tests.support.fakes import FakeAdapter, Pause, configure
from tests.unit.tools.support import ANN, OWNER, ToolAgent, add_session, caller, calling, gateway


class Chatty:
    """Writes to the other of two sessions whatever is said to it, and tells what came of it."""

    def __init__(self, *sessions: str) -> None:
        self.capabilities = AgentCapabilities(resumable=True)
        self.sessions = sessions
        self.results: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to release."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        to = next((one for one in self.sessions if one != turn.session_id), "")
        call = Call("c1", "send_to_session", json.dumps({"session_id": to, "message": "your turn"}))
        yield ToolCalls("", (call,))
        yield ToolStarted(call.id)
        said = await turn.run_tool(call)
        self.results.append(json.loads(said))
        yield ToolResult(call.id, call.name, said)
        yield Text(said)
        yield Done()


@pytest.mark.parametrize("depth", [1, 4])
async def test_two_sessions_that_write_to_each_other_stop_at_the_limit_and_say_so(depth: int, tmp_path: Path) -> None:
    agent, adapter = Chatty("aa", "bb"), FakeAdapter()
    config = configure(tools={"max_depth": depth, "wait_seconds": 5.0})
    async with gateway(tmp_path, agent, adapter=adapter, config=config) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True)
        await add_session(built, "bb", "Bee")
        await built.say("begin", source=ANN)
        await built.settled()
        rows = await built.rows("SELECT state, extra FROM inbound WHERE json_extract(extra, '$.relay') IS NOT NULL")
        assert [json.loads(row["extra"])["relay"]["depth"] for row in rows] == list(range(1, depth + 1))
        assert {row["state"] for row in rows} == {"answered"}
        stopped = [one for one in agent.results if "limit is reached" in str(one.get("error"))]
        assert len(stopped) == 1
        told = [text for text in adapter.texts("1") if "tools.max_depth" in text]
        assert len(told) == 1
        assert f"{depth} times" in told[0]


async def test_no_session_writes_to_another_where_the_limit_is_none(tmp_path: Path) -> None:
    async with gateway(tmp_path, config=configure(tools={"max_depth": 0})) as built:
        await add_session(built, "t1")
        result = await built.sessions.call("send_to_session", {"session_id": "t1", "message": "x"}, caller())
        assert "max_depth is 0" in result["error"]
        assert await built.rows("SELECT * FROM inbound") == []


async def test_a_session_does_not_write_to_itself(tmp_path: Path) -> None:
    agent = ToolAgent()
    async with gateway(tmp_path, agent) as built:
        await add_session(built, "aa", source=ANN, live=True)
        await built.say(calling(("send_to_session", {"session_id": "aa", "message": "x"})), "m", ANN)
        await built.settled()
        assert "that you are in" in agent.results[0]["error"]
        assert len(await built.rows("SELECT * FROM inbound")) == 1


async def test_two_that_write_to_each_other_at_once_do_not_wait_for_ever(tmp_path: Path) -> None:
    agent = Chatty("aa", "bb")
    bob_dm = ANN.__class__(ANN.platform, chat_id="5", chat_type="dm", user_id="ann")
    async with gateway(tmp_path, agent, config=configure(tools={"max_depth": 1})) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True)
        await add_session(built, "bb", "Bee", source=bob_dm, live=True)
        await asyncio.gather(built.say("one", source=ANN), built.say("two", source=bob_dm))
        await built.settled()
        assert len(agent.results) == 4
        assert sum(one.get("status") == "queued" for one in agent.results) >= 1


async def test_a_limit_of_one_turn_at_once_lets_a_session_answer_another(tmp_path: Path) -> None:
    agent = ToolAgent()
    config = configure(turns={"max_concurrent": 1}, limits={"turns_at_once": 1})
    async with gateway(tmp_path, agent, config=config) as built:
        await add_session(built, "aa", source=ANN, live=True)
        await add_session(built, "t1")
        await built.say(calling(("send_to_session", {"session_id": "t1", "message": "x"})), "m", ANN)
        await built.settled()
        assert agent.results[0]["response"] == "re: x"


async def test_what_comes_too_late_stands_in_the_session(tmp_path: Path) -> None:
    class Slow(ToolAgent):
        pause = Pause(after="late")

        async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
            async for event in self.pause(turn):
                yield event

    async with gateway(tmp_path, Slow(), config=configure(tools={"wait_seconds": 0.0})) as built:
        await add_session(built, "t1", "Tee")
        result = await built.sessions.call("send_to_session", {"session_id": "t1", "message": "x"}, caller())
        assert (result["session_name"], result["status"]) == ("Tee", "queued")
        Slow.pause.go.set()
        await built.settled()
        rows = await built.rows("SELECT content FROM messages WHERE session_id = 't1' AND role = 'assistant'")
        assert [row["content"] for row in rows] == ["late"]


async def test_the_same_call_is_one_message_whenever_it_is_made_again(tmp_path: Path) -> None:
    agent = ToolAgent({"x": "pong"})
    async with gateway(tmp_path, agent) as built:
        await add_session(built, "t1")
        asked = {"session_id": "t1", "message": "x"}
        first = await built.sessions.call("send_to_session", asked, caller(call="one"))
        again = await built.sessions.call("send_to_session", asked, caller(call="one"))
        other = await built.sessions.call("send_to_session", asked, caller(call="two"))
        assert first == again == other
        assert len(agent.turns) == 2
    async with gateway(tmp_path, agent) as built:
        again = await built.sessions.call("send_to_session", asked, caller(call="one"))
        assert again["response"] == "pong"
        assert len(agent.turns) == 2


async def test_a_message_outlives_the_process(tmp_path: Path) -> None:
    agent = ToolAgent({"x": "pong"})
    by = caller(call="one")
    async with gateway(tmp_path, agent) as built:
        await add_session(built, "t1")
        built.lanes.stop()
        await built.settled()
        asking = asyncio.create_task(
            built.sessions.call("send_to_session", {"session_id": "t1", "message": "x"}, by), name="asking"
        )
        while not await built.rows("SELECT 1 FROM inbound"):
            await asyncio.sleep(0.01)
        asking.cancel()
        await built.die()
    async with gateway(tmp_path, agent) as built:
        result = await built.sessions.call("send_to_session", {"session_id": "t1", "message": "x"}, by)
        assert result["response"] == "pong"
        assert len(agent.turns) == 1


async def test_a_session_without_a_chat_shows_nothing_in_any(tmp_path: Path) -> None:
    agent, adapter = ToolAgent({"x": "pong"}), FakeAdapter()
    async with gateway(tmp_path, agent, adapter=adapter) as built:
        made = await built.sessions.call("create_session", {"name": "Apart"}, caller())
        asked = {"session_id": made["session_id"], "message": "x"}
        assert (await built.sessions.call("send_to_session", asked, caller()))["response"] == "pong"
        await built.settled()
        assert adapter.texts() == []
        assert "[Written by the agent of" in str(agent.turns[0].inputs[0]["content"])


async def test_a_session_that_is_live_in_a_chat_is_answered_there(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with gateway(tmp_path, ToolAgent({"/delete aa yes": "pong"}), adapter=adapter) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True)
        await add_session(built, "t1", "Tee")
        asked = {"session_id": "aa", "message": "/delete aa yes"}
        assert (await built.sessions.call("send_to_session", asked, caller("t1")))["response"] == "pong"
        await built.settled()
        shown = adapter.texts("1")
        assert ["Tee" in shown[0], "/delete aa yes" in shown[0], shown[1:]] == [True, True, ["pong"]]
        assert await built.rows("SELECT 1 FROM sessions WHERE id = 'aa'")


async def test_what_was_written_to_a_session_never_reaches_the_next_one(tmp_path: Path) -> None:
    pause = Pause()

    class Busy(ToolAgent):
        async def run(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
            run = pause(turn) if turn.inputs[-1]["content"] == "wait" else super().run(turn)
            async for event in run:
                yield event

    async with gateway(tmp_path, Busy()) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True)
        await built.say("wait", source=ANN)
        await pause.reached.wait()
        await built.say("/new", source=ANN)
        asked = {"session_id": "aa", "message": "x"}
        asking = asyncio.create_task(built.sessions.call("send_to_session", asked, caller("zz")), name="asking")
        while len(await built.rows("SELECT 1 FROM inbound")) < 3:
            await asyncio.sleep(0.01)
        pause.go.set()
        result = await asking
        await built.settled()
        assert "not live there any more" in result["error"]


async def test_a_session_goes_on_in_a_chat_once_its_own_slot_is_free(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with gateway(tmp_path, ToolAgent({"x": "pong"}), adapter=adapter) as built:
        made = (await built.sessions.call("create_session", {"name": "Apart"}, caller()))["session_id"]
        await built.sessions.call("send_to_session", {"session_id": made, "message": "x"}, caller())
        await built.say(f"/resume {made}", source=ANN)
        await built.settled()
        assert "You are back in" in adapter.texts("1")[0]
        await built.say("hello", source=ANN)
        await built.settled()
        rows = await built.rows("SELECT content FROM messages WHERE session_id = ? AND role = 'assistant'", made)
        assert [row["content"] for row in rows] == ["pong", "re: hello"]
        await built.say("/new", source=ANN)
        await built.settled()
        result = await built.sessions.call("send_to_session", {"session_id": made, "message": "x"}, caller())
        assert result["response"] == "pong"


async def test_a_turn_has_its_chat_go_on_elsewhere_when_it_is_done(tmp_path: Path) -> None:
    agent, adapter = ToolAgent(), FakeAdapter()
    async with gateway(tmp_path, agent, adapter=adapter) as built:
        await add_session(built, "aa", "Ay", source=ANN, live=True)
        await add_session(built, "t1", "Tee", messages=["a", "b"])
        await built.say(calling(("manage_session", {"action": "switch", "session_id": "t1"})), "m", ANN)
        await built.settled()
        assert agent.results[0]["results"] == "[Tee](#session-t1) - click to open."
        assert "You are back in “Tee”" in adapter.texts("1")[-1]
        (row,) = await built.rows("SELECT session_id FROM slots WHERE agent = 'main' AND chat = '1'")
        assert row["session_id"] == "t1"


async def test_messages_to_an_archived_session_and_too_long_ones_are_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, config=configure(inbox={"max_message_chars": 10})) as built:
        await add_session(built, "t1", archived=1)
        await add_session(built, "t2")
        send = built.sessions.call
        assert "archived" in (await send("send_to_session", {"session_id": "t1", "message": "x"}, caller()))["error"]
        assert (
            "at most 10"
            in (await send("send_to_session", {"session_id": "t2", "message": "x" * 11}, caller()))["error"]
        )
        assert (
            "not found" in (await send("send_to_session", {"session_id": "\ud800", "message": "x"}, caller()))["error"]
        )
        result = await send("send_to_session", {"session_id": "t2", "message": "\ud800🐚\0"}, caller())
        assert result["response"] == "re: �🐚�"
        assert (await built.rows("SELECT owner FROM sessions"))[0]["owner"] == OWNER


def test_waiting_in_a_circle_is_seen() -> None:
    waits = Waits()
    with waits.waiting("a", "b", 1), waits.waiting("b", "c", 2):
        assert waits.closes_circle("c", "a")
        assert waits.closes_circle("b", "a")
        assert not waits.closes_circle("a", "c")
        assert not waits.closes_circle("d", "a")
        assert 1 in waits.messages
    assert not waits.closes_circle("c", "a")
    assert 1 not in waits.messages
