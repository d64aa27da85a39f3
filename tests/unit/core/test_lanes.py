"""Lanes: one turn at a time and in order within a session, sessions on their own, and nothing that wedges one."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.table import Arguments, Command, CommandTable, Effect, say
from gateway.inbound import InboundRecord
from gateway.lane import LanesClosedError
from gateway.ports import (
    AgentError,
    AgentEvent,
    AgentTurn,
    Call,
    Capabilities,
    Done,
    Message,
    Text,
    ToolCalls,
    ToolResult,
    ToolStarted,
)
from gateway.session import records
from gateway.session.records import Arrival
from gateway.storage.errors import StorageError
from gateway.transcript import stop
from tests.support.fakes import (
    ALICE,
    BOB,
    Core,
    FakeAdapter,
    FakeAgent,
    ManualClock,
    Pause,
    configure,
    core,
    echo,
    fails,
    says,
)

DISK_FULL = StorageError("the disk is full")


def asked(agent: FakeAgent) -> list[list[str]]:
    """What each turn was asked."""
    return [[str(message["content"]) for message in turn.inputs] for turn in agent.turns]


# --- order ---------------------------------------------------------------------------------------------


async def test_a_session_runs_one_turn_at_a_time_in_order(tmp_path: Path) -> None:
    pause, agent = Pause(after="one"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        await gateway.say("3")
        assert asked(agent) == [["1"]]
        assert "answering, 2 waiting" in gateway.lanes.describe(gateway.store.identity(ALICE))
        pause.go.set()
        await gateway.settled()
        assert asked(agent) == [["1"], ["2"], ["3"]]
        assert gateway.lanes.counts == {"running": 0, "queued": 0, "put_off": 0}
        assert not gateway.lanes._lanes


async def test_sessions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    pause, agent = Pause(), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("slow")
        await pause.reached.wait()
        await gateway.say("quick", source=BOB)
        while (await gateway.ends())["quick"] != "answered":
            await asyncio.sleep(0.001)
        pause.go.set()
        await gateway.settled()


async def test_a_turn_that_is_put_off_holds_no_place(tmp_path: Path) -> None:
    config = configure(turns={"max_concurrent": 1, "retry_seconds": 60.0})
    agent = FakeAgent(fails(AgentError("busy", retryable=True)))
    async with core(tmp_path, agent, config=config) as gateway:
        await gateway.say("put off")
        await gateway.settled()
        await gateway.say("quick", source=BOB)
        await gateway.settled()
        assert await gateway.ends() == {"put off": "running", "quick": "answered"}
        assert gateway.lanes.counts["put_off"] == 1


async def test_who_waits_for_a_place_is_not_taken_for_stuck(tmp_path: Path) -> None:
    config = configure(turns={"max_concurrent": 1})
    clock, pause, agent = ManualClock(), Pause(after="slow"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent, config=config, clock=clock, limit=10.0) as gateway:
        await gateway.say("slow")
        await pause.reached.wait()
        await gateway.say("waits", source=BOB)
        clock.advance(9)
        pause.go.set()
        await gateway.settled()
        assert gateway.counters["turns.stalled"] == 0
        assert await gateway.ends() == {"slow": "answered", "waits": "answered"}


# --- busy ----------------------------------------------------------------------------------------------


async def test_interrupt_stops_the_turn_and_answers_what_came_in_order(tmp_path: Path) -> None:
    pause, agent, adapter = Pause(before="partial"), FakeAgent(), FakeAdapter()
    agent.scripts.append(pause)
    async with core(tmp_path, agent, adapter, config=configure(busy="interrupt")) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await asyncio.gather(gateway.say("2"), gateway.say("3"))
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered", "2": "answered", "3": "answered"}
        assert await gateway.reason("1") == "interrupted"
        assert adapter.texts() == [
            "partial",
            "Stopped because of your next message; the answer above is incomplete.",
            "re: 2",
            "re: 3",
        ]


def hold_beginnings(gateway: Core, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """A turn that begins sets the first event, and goes on once the second one is set."""
    reached, go, real = asyncio.Event(), asyncio.Event(), gateway.store.arrival

    async def arrival(*rest: Any, **more: Any) -> Arrival:
        reached.set()
        await go.wait()
        return await real(*rest, **more)

    monkeypatch.setattr(gateway.store, "arrival", arrival)
    return reached, go


async def test_interrupt_takes_a_turn_that_is_about_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent, config=configure(busy="interrupt")) as gateway:
        reached, go = hold_beginnings(gateway, monkeypatch)
        await gateway.say("1")
        await reached.wait()
        await gateway.say("2")
        go.set()
        await gateway.settled()
        assert await gateway.reason("1") == "interrupted"
        assert await gateway.reason("2") is None
        assert asked(agent) == [["2"]]


async def test_a_command_interrupts_nothing(tmp_path: Path) -> None:
    pause = Pause(after="done")
    async with core(tmp_path, FakeAgent(pause), config=configure(busy="interrupt")) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("/new")
        await gateway.say("/status")
        pause.go.set()
        await gateway.settled()
        assert await gateway.reason("1") is None


class Steered:
    """A script that takes what came in at each of its two tool boundaries."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.taken: list[list[str]] = []

    async def __call__(self, turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for number in range(2):
            call = Call(f"c{number}", "none", "{}")
            yield ToolCalls(f"step {number}", (call,))
            yield ToolStarted(call.id)
            yield ToolResult(call.id, call.name, await turn.run_tool(call))
            if number == 0:
                self.reached.set()
                await self.go.wait()
            self.taken.append([str(message["content"]) for message in await turn.take_steering()])
        yield Text("end")
        yield Done()


async def test_steering_takes_what_came_up_to_a_command_and_the_rest_waits_in_order(tmp_path: Path) -> None:
    script, agent = Steered(), FakeAgent(steering=True)
    agent.scripts.append(script)
    async with core(tmp_path, agent, config=configure(busy="steer")) as gateway:
        await gateway.say("1")
        await script.reached.wait()
        for text in ("2", "3", "/new", "4"):
            await gateway.say(text)
        script.go.set()
        await gateway.settled()
        assert script.taken == [["2", "3"], []]
        assert asked(agent) == [["1"], ["4"]]
        ends = await gateway.ends()
        assert ends == {"1": "answered", "2": "merged", "3": "merged", "/new": "answered", "4": "answered"}
        assert await gateway.transcript() == [("user", "4"), ("assistant", "re: 4")]


async def test_steering_into_an_agent_that_takes_nothing_queues(tmp_path: Path) -> None:
    pause, agent = Pause(after="one"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent, config=configure(busy="steer")) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        await gateway.say("3")
        pause.go.set()
        await gateway.settled()
        assert asked(agent) == [["1"], ["2"], ["3"]]


async def test_what_cannot_be_recorded_as_absorbed_is_answered_later(tmp_path: Path) -> None:
    script, agent = Steered(), FakeAgent(steering=True)
    agent.scripts.append(script)
    async with core(tmp_path, agent, config=configure(busy="steer")) as gateway:
        await gateway.say("1")
        await script.reached.wait()
        await gateway.say("2")
        gateway.database.fail(DISK_FULL)
        script.go.set()
        await gateway.settled()
        ends = await gateway.ends()
        assert ends == {"1": "answered", "2": "answered"}
        assert asked(agent) == [["1"], ["1"], ["2"]]


async def test_another_account_does_not_steer(tmp_path: Path) -> None:
    script, agent = Steered(), FakeAgent(steering=True)
    agent.scripts.append(script)
    async with core(tmp_path, agent, config=configure(busy="steer")) as gateway:
        await gateway.say("1")
        await script.reached.wait()
        await gateway.say("2", account="second")
        script.go.set()
        await gateway.settled()
        assert script.taken == [[], []]
        assert asked(agent) == [["1"], ["2"]]


# --- coalescing ----------------------------------------------------------------------------------------


async def test_parts_of_an_album_are_one_turn(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        await asyncio.gather(*(gateway.say(text, group_id="album") for text in "abc"), gateway.say("d"))
        await gateway.settled()
        assert asked(agent) == [["a", "b", "c"], ["d"]]
        assert await gateway.ends() == {"a": "answered", "b": "merged", "c": "merged", "d": "answered"}


async def test_a_text_that_the_platform_split_is_one_turn_and_a_command_is_no_part(tmp_path: Path) -> None:
    agent = FakeAgent()
    adapter = FakeAdapter(Capabilities(splits_text_at=10))
    async with core(tmp_path, agent, adapter) as gateway:
        long = ["a" * 10, "b" * 10, "c"]
        await asyncio.gather(*(gateway.say(text) for text in (*long, "d", "e" * 10, "/new")))
        await gateway.settled()
        assert asked(agent) == [long, ["d"], ["e" * 10]]


async def test_a_part_is_waited_for_and_interrupts_nothing(tmp_path: Path) -> None:
    agent = FakeAgent()
    config = configure(inbox={"coalesce_seconds": 5.0}, busy="interrupt")
    async with core(tmp_path, agent, config=config) as gateway:
        await gateway.say("a", group_id="album")
        await asyncio.sleep(0.002)
        await gateway.say("b", group_id="album")
        await asyncio.sleep(0.002)
        await gateway.say("c")
        await gateway.settled()
        assert await gateway.ends() == {"a": "answered", "b": "merged", "c": "answered"}


async def test_nothing_is_waited_for_without_a_reason(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent, config=configure(inbox={"coalesce_seconds": 60.0})) as gateway:
        await asyncio.gather(gateway.say("a"), gateway.say("b"))
        await asyncio.wait_for(gateway.settled(), 5)
        assert asked(agent) == [["a"], ["b"]]


# --- stop ----------------------------------------------------------------------------------------------


async def test_stop_while_the_turn_runs_keeps_what_was_said(tmp_path: Path) -> None:
    pause, adapter = Pause(before="half an"), FakeAdapter()
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("next")
        await gateway.say("/stop")
        await gateway.settled()
        assert pause.ended.is_set()
        assert await gateway.ends() == {"1": "answered", "next": "answered", "/stop": "answered"}
        assert await gateway.reason("1") == "stopped"
        entry = await gateway.store.get_or_create_session(ALICE)
        rows = await gateway.store.load_transcript(entry.session_id)
        assert rows[1] == {"role": "assistant", "content": "half an", "partial": True}
        assert "Stopping." in adapter.texts()
        assert "Stopped as you asked; the answer above is incomplete." in adapter.texts()


async def test_stop_while_the_turn_is_put_off(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    agent = FakeAgent(fails(AgentError("busy", retryable=True), "some"))
    async with core(tmp_path, agent, adapter, config=configure(turns={"retry_seconds": 3600.0})) as gateway:
        await gateway.say("1")
        await gateway.settled()
        assert "waiting to try again" in gateway.lanes.describe(gateway.store.identity(ALICE))
        await gateway.say("/stop")
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered", "/stop": "answered"}
        assert len(agent.turns) == 1
        assert not gateway.lanes._lanes


async def test_stop_while_the_turn_waits_for_a_place(tmp_path: Path) -> None:
    pause, agent = Pause(after="done"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent, config=configure(turns={"max_concurrent": 1})) as gateway:
        await gateway.say("slow", source=BOB)
        await pause.reached.wait()
        await gateway.say("waits")
        while not any(lane.turn is not None and lane.turn.queued for lane in gateway.lanes._lanes.values()):
            await asyncio.sleep(0.001)
        await gateway.say("/stop")
        while (await gateway.ends())["waits"] == "running":
            await asyncio.sleep(0.001)
        assert await gateway.reason("waits") == "stopped"
        assert len(agent.turns) == 1
        pause.go.set()
        await gateway.settled()
        await gateway.say("and on")
        await gateway.settled()
        assert asked(agent)[-1] == ["and on"]


async def test_stop_while_the_turn_is_about_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        reached, go = hold_beginnings(gateway, monkeypatch)
        await gateway.say("1")
        await reached.wait()
        await gateway.say("/stop")
        go.set()
        await gateway.settled()
        assert await gateway.reason("1") == "stopped"
        assert not agent.turns


@pytest.mark.parametrize("orderly", [True, False])
async def test_what_was_said_to_be_stopped_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orderly: bool
) -> None:
    """The gateway dies after the reply, before the turn has let go of its agent."""
    pause, adapter = Pause(before="half an", deaf=True), FakeAdapter()
    monkeypatch.setattr("gateway.turns.AGENT_CANCEL_GRACE_SECONDS", 60.0)
    async with core(tmp_path, FakeAgent(pause), adapter) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        while not adapter.texts():
            await asyncio.sleep(0.001)
        await gateway.say("/stop")
        while "Stopping." not in adapter.texts():
            await asyncio.sleep(0.001)
        assert (await gateway.ends())["1"] == "running"
        await (gateway.stop() if orderly else gateway.die())
    again = FakeAgent()
    async with core(tmp_path, again, adapter) as gateway:
        await gateway.settled()
        assert not again.turns
        assert await gateway.reason("1") == "stopped"
        assert await gateway.transcript() == [("user", "1"), ("assistant", "half an")]
        assert adapter.texts()[-1] == "Stopped as you asked; the answer above is incomplete."


async def test_what_was_said_to_be_stopped_before_it_began_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        reached, _go = hold_beginnings(gateway, monkeypatch)
        await gateway.say("1")
        await reached.wait()
        await gateway.say("/stop")
        while "Stopping." not in adapter.texts():
            await asyncio.sleep(0.001)
        assert (await gateway.ends())["1"] == "pending"
        await gateway.die()
    for _ in range(2):
        again = FakeAgent()
        async with core(tmp_path, again, adapter) as gateway:
            await gateway.settled()
            assert not again.turns
            assert await gateway.reason("1") == "stopped"
            assert await gateway.transcript() == [("user", "1")]


async def test_a_stop_that_comes_after_the_end_stops_nothing_later(tmp_path: Path) -> None:
    """The turn ends between the moment when it is asked to and the commit of the reply."""
    async with core(tmp_path) as gateway:
        await gateway.say("1")
        await gateway.settled()
        (row,) = await gateway.rows("SELECT id FROM inbound")
        await gateway.database.write(lambda connection: stop(connection, row["id"], "stopped"))
        await gateway.say("2")
        await gateway.settled()
        assert [await gateway.reason(message_id) for message_id in "12"] == [None, None]
        assert not await gateway.rows("SELECT * FROM turn_steps")


async def test_stop_with_nothing_to_stop_says_so(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.say("/stop")
        await gateway.settled()
        assert adapter.texts() == ["Nothing is running here."]


async def test_an_answer_that_is_complete_is_not_called_stopped(tmp_path: Path) -> None:
    """The stop comes after the agent is done, while the turn still lets go of it."""
    gateway_of: list[Core] = []

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        yield Text("all of it")
        gateway_of[0].lanes.stop_turn(gateway_of[0].store.identity(ALICE))
        yield Done()

    async with core(tmp_path, FakeAgent(script)) as gateway:
        gateway_of.append(gateway)
        await gateway.say("1")
        await gateway.settled()
        assert await gateway.reason("1") is None
        assert await gateway.transcript() == [("user", "1"), ("assistant", "all of it")]


# --- expiry --------------------------------------------------------------------------------------------


async def test_what_waited_too_long_is_told_so_and_nothing_is_done(tmp_path: Path) -> None:
    clock, adapter, pause = ManualClock(), FakeAdapter(), Pause(after="done")
    async with core(tmp_path, FakeAgent(pause), adapter, clock=clock) as gateway:
        await gateway.say("slow")
        await pause.reached.wait()
        await gateway.say("old")
        await gateway.say("/new")
        clock.advance(25 * 3600)
        await gateway.say("young")
        pause.go.set()
        await gateway.settled()
        ends = await gateway.ends()
        assert ends == {"slow": "answered", "old": "expired", "/new": "expired", "young": "answered"}
        assert sum("waited too long" in text for text in adapter.texts()) == 2
        assert len(await gateway.rows("SELECT * FROM sessions")) == 1


async def test_an_old_stop_stops_nothing_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with core(tmp_path, FakeAgent(Pause()), clock=clock) as gateway:
        await gateway.say("1")
        await gateway.die()
    with sqlite3.connect(tmp_path / "gateway.db") as database:
        database.execute(
            "INSERT INTO inbound (platform, account, chat, message_id, slot_id, source, text, received_at, state)"
            " SELECT platform, account, chat, 'stop', slot_id, source, '/stop', received_at, 'pending' FROM inbound"
        )
    database.close()
    clock.advance(48 * 3600)
    async with core(tmp_path, clock=clock) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered", "stop": "expired"}
        assert await gateway.reason("1") is None


# --- faults of the database ----------------------------------------------------------------------------


async def test_a_turn_that_cannot_begin_begins_later_with_all_its_parts(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        gateway.database.fail(None, None, None, DISK_FULL, DISK_FULL)
        await asyncio.gather(*(gateway.say(text, group_id="album") for text in "abc"))
        await gateway.settled()
        assert asked(agent) == [["a", "b", "c"]]
        assert await gateway.ends() == {"a": "answered", "b": "merged", "c": "merged"}
        assert gateway.counters["lanes.errors"] == 2


@pytest.mark.parametrize("faults", [1, 7])
async def test_an_answer_that_cannot_be_stored_is_stored_later_and_not_asked_for_again(
    tmp_path: Path, faults: int
) -> None:
    agent, adapter, pause = FakeAgent(), FakeAdapter(), Pause(after="the answer")
    agent.scripts.append(pause)
    async with core(tmp_path, agent, adapter) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        gateway.database.fail(*[DISK_FULL] * faults)
        pause.go.set()
        await gateway.settled()
        assert len(agent.turns) == 1
        assert adapter.texts() == ["the answer"]
        assert await gateway.transcript() == [("user", "1"), ("assistant", "the answer")]


async def test_a_turn_that_cannot_be_put_off_is_tried_again(tmp_path: Path) -> None:
    pause = Pause("first ", "and more")

    async def script(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        async for event in pause(turn):
            yield event
            if pause.reached.is_set():
                raise AgentError("busy", retryable=True)

    agent = FakeAgent(script, says("second"))
    async with core(tmp_path, agent, FakeAdapter(Capabilities())) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        gateway.database.fail(DISK_FULL)
        pause.go.set()
        await gateway.settled()
        assert asked(agent) == [["1"], ["1"], ["2"]]
        assert (await gateway.transcript())[:2] == [("user", "1"), ("assistant", "second")]


async def test_messages_that_come_while_the_lane_rests_are_answered_in_order(tmp_path: Path) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        gateway.database.fail(None, DISK_FULL)
        await gateway.say("1")
        while gateway.counters["lanes.errors"] == 0:
            await asyncio.sleep(0)
        await gateway.say("2")
        await gateway.say("3")
        await gateway.settled()
        assert asked(agent) == [["1"], ["2"], ["3"]]


async def test_an_immediate_command_that_cannot_be_recorded_is_run_again(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        gateway.database.fail(None, DISK_FULL)
        await gateway.say("/status")
        await gateway.settled()
        assert await gateway.ends() == {"/status": "answered"}
        assert len(adapter.texts()) == 1


# --- faults of the gateway -----------------------------------------------------------------------------


def _broken(*, immediate: bool) -> CommandTable:
    def in_the_effect(_connection: sqlite3.Connection) -> str:
        raise RuntimeError("a mistake")

    def at_once(_record: InboundRecord, _given: Arguments) -> Effect:
        raise RuntimeError("a mistake")

    def by_the_rules(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO meta (name, value) VALUES ('a', 'b'), ('a', 'c')")
        return "never"

    return CommandTable(
        [
            Command("effect", "", lambda _record, _rest: in_the_effect, immediate=immediate),
            Command("run", "", at_once, immediate=immediate),
            Command("constraint", "", lambda _record, _rest: by_the_rules, immediate=immediate),
            Command("fine", "", lambda _record, _rest: say("fine"), immediate=immediate),
        ]
    )


@pytest.mark.parametrize("immediate", [True, False])
async def test_a_command_that_fails_ends_its_message_and_nothing_else(tmp_path: Path, immediate: bool) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter, commands=_broken(immediate=immediate)) as gateway:
        for text in ("/effect", "/run", "/constraint", "/fine", "hello"):
            await gateway.say(text)
        await gateway.settled()
        failed = {"/effect": "failed", "/run": "failed", "/constraint": "failed"}
        assert await gateway.ends() == {**failed, "/fine": "answered", "hello": "answered"}
        said = {delivery.answers: delivery.text for delivery in adapter.of("send")}
        assert all(said[(name,)].startswith(f"{name} failed") for name in failed)
        assert not await gateway.rows("SELECT * FROM meta WHERE name = 'a'")


async def test_a_message_that_the_gateway_fails_at_ends_dead_and_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = FakeAdapter()
    async with core(tmp_path, adapter=adapter) as gateway:
        real = gateway.store.arrival

        async def arrival(*rest: Any, **more: Any) -> Arrival:
            if gateway.counters["lanes.errors"] < 5:
                raise RuntimeError("a mistake")
            return await real(*rest, **more)

        monkeypatch.setattr(gateway.store, "arrival", arrival)
        await gateway.say("poison")
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"poison": "dead", "hello": "answered"}
        assert "something is wrong inside the gateway" in adapter.texts()[0]


async def test_a_turn_that_cannot_be_recorded_ends_dead_and_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = records.append

    def append(
        connection: sqlite3.Connection, session_id: str, messages: Sequence[Message], *rest: Any, **more: Any
    ) -> None:
        if messages and messages[0]["content"] == "poison":
            raise RuntimeError("a mistake")
        real(connection, session_id, messages, *rest, **more)

    monkeypatch.setattr(records, "append", append)
    adapter, clock = FakeAdapter(), ManualClock()
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        before = await gateway.store.get_or_create_session(ALICE)
        clock.advance(60)
        await gateway.say("poison")
        await gateway.settled()
        assert (await gateway.store.get_session(before.session_id)).updated_at > before.updated_at
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"poison": "dead", "hello": "answered"}
        assert not await gateway.rows("SELECT * FROM turns WHERE state <> 'done'")
        assert not await gateway.rows("SELECT * FROM turn_steps")


async def test_a_turn_found_open_goes_on_before_a_second_one_begins(tmp_path: Path) -> None:
    """The lane lost sight of a turn: the next message must neither begin a second one nor be stuck behind it."""
    pause = Pause()
    agent = FakeAgent(pause, echo, echo)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        lane = gateway.lanes._lanes[gateway.store.identity(ALICE)]
        assert lane.task is not None
        lane.task.cancel()
        await asyncio.wait([lane.task])
        lane.turn = None
        await gateway.say("2")
        await gateway.settled()
        assert asked(agent) == [["1"], ["1"], ["2"]]
        assert await gateway.ends() == {"1": "answered", "2": "answered"}
        (row, _) = await gateway.rows("SELECT attempts FROM turns ORDER BY rowid")
        assert row["attempts"] == 1


# --- exclusive work, draining --------------------------------------------------------------------------


async def test_exclusive_work_waits_for_the_turn_and_holds_the_lane(tmp_path: Path) -> None:
    pause, agent = Pause(after="done"), FakeAgent()
    agent.scripts.append(pause)
    order: list[str] = []

    async def work() -> str:
        order.append(f"work after {len(agent.turns)} turns")
        await asyncio.sleep(0.002)
        order.append(f"work ends after {len(agent.turns)} turns")
        return "result"

    async with core(tmp_path, agent) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        waiting = asyncio.ensure_future(gateway.lanes.exclusive(gateway.store.identity(ALICE), work))
        await asyncio.sleep(0)
        await gateway.say("2")
        pause.go.set()
        assert await waiting == "result"
        await gateway.settled()
        assert order == ["work after 1 turns", "work ends after 1 turns"]
        assert len(agent.turns) == 2


async def test_the_error_of_exclusive_work_goes_to_who_asked(tmp_path: Path) -> None:
    async def work() -> None:
        raise LookupError("nothing there")

    async with core(tmp_path) as gateway:
        with pytest.raises(LookupError):
            await gateway.lanes.exclusive(gateway.store.identity(ALICE), work)
        await gateway.say("hello")
        await gateway.settled()
        assert await gateway.ends() == {"hello": "answered"}


async def test_exclusive_work_that_nobody_waits_for_is_not_done(tmp_path: Path) -> None:
    pause, done = Pause(after="done"), asyncio.Event()

    async def work() -> None:
        done.set()

    async with core(tmp_path, FakeAgent(pause)) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gateway.lanes.exclusive(gateway.store.identity(ALICE), work), 0.002)
        pause.go.set()
        await gateway.settled()
        assert not done.is_set()


async def test_who_waits_for_the_lane_hears_that_the_gateway_stops(tmp_path: Path) -> None:
    async def work() -> None:
        pass

    pause = Pause(after="done")
    async with core(tmp_path, FakeAgent(pause)) as gateway:
        identity = gateway.store.identity(ALICE)
        await gateway.say("1")
        await pause.reached.wait()
        waiting = asyncio.ensure_future(gateway.lanes.exclusive(identity, work))
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(gateway.lanes.drain())
        with pytest.raises(LanesClosedError):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(LanesClosedError):
            await gateway.lanes.exclusive(identity, work)
        pause.go.set()
        await asyncio.wait_for(draining, 5)


async def test_a_drain_lets_turns_finish_and_begins_none(tmp_path: Path) -> None:
    pause, agent = Pause(after="done"), FakeAgent()
    agent.scripts.append(pause)
    async with core(tmp_path, agent, config=configure(turns={"max_concurrent": 1})) as gateway:
        await gateway.say("1")
        await pause.reached.wait()
        await gateway.say("2")
        await gateway.say("waits for a place", source=BOB)
        while not any(lane.turn is not None and lane.turn.queued for lane in gateway.lanes._lanes.values()):
            await asyncio.sleep(0.001)
        draining = asyncio.ensure_future(gateway.lanes.drain())
        await asyncio.sleep(0.002)
        assert not draining.done()
        await gateway.say("3")
        pause.go.set()
        await asyncio.wait_for(draining, 5)
        ends = await gateway.ends()
        assert ends == {"1": "answered", "2": "pending", "waits for a place": "running", "3": "pending"}
        assert len(agent.turns) == 1
    async with core(tmp_path, agent) as gateway:
        await gateway.settled()
        assert set((await gateway.ends()).values()) == {"answered"}
        assert [row["attempts"] for row in await gateway.rows("SELECT attempts FROM turns")] == [1, 1, 1, 1]


async def test_a_turn_that_begins_while_the_gateway_stops_is_left_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        reached, go = hold_beginnings(gateway, monkeypatch)
        await gateway.say("1")
        await reached.wait()
        draining = asyncio.ensure_future(gateway.lanes.drain())
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait_for(draining, 5)
        assert not agent.turns
    async with core(tmp_path, FakeAgent(resumable=False)) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered"}


async def test_what_is_accepted_while_the_gateway_stops_is_answered_by_the_next_one(tmp_path: Path) -> None:
    async with core(tmp_path) as gateway:
        gateway.lanes.stop()
        gateway.outbox.stop()
        await asyncio.wait(gateway.tasks.values())
        receipt = await asyncio.wait_for(gateway.say("late"), 5)
        await gateway.say("/status")
        assert receipt.state == "pending"
    async with core(tmp_path) as gateway:
        await gateway.settled()
        assert await gateway.ends() == {"late": "answered", "/status": "answered"}
