"""Deletions: a message that waits is neither answered nor kept, one whose turn has begun is; no other is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config import Platform
from gateway.constants import LANE_FAILURES
from gateway.corrections import Corrections
from gateway.ports import AgentEvent, AgentTurn, Done, InboundMessage, InboundState, RawUpdate, Text
from gateway.source import SessionSource
from gateway.storage import failover as failover_module
from gateway.storage import shadow as shadow_module
from gateway.storage import writer as writer_module
from tests.support.fakes import ALICE, Core, FakeAgent, Pause, configure, core
from tests.unit.storage.test_failover import back, held
from tests.unit.storage.test_failover_twice import io_error

CHAT = ALICE.chat_id or ""


async def delete(gateway: Core, message_id: str, chat: str = CHAT, update_id: str | None = None) -> None:
    await gateway.corrections.withdraw(Platform.TELEGRAM, "default", chat, message_id, update_id)


def inputs(agent: FakeAgent) -> list[list[Any]]:
    return [[message["content"] for message in turn.inputs] for turn in agent.turns]


async def stored(gateway: Core, message_id: str) -> dict[str, Any]:
    sql = f"SELECT state, reason, text, source, extra, slot_id, ended_at FROM inbound WHERE message_id = '{message_id}'"
    (row,) = await gateway.rows(sql)
    return dict(row)


def deaf(gateway: Core) -> Corrections:
    """Whose lanes hear nothing."""
    ignore: Any = lambda _given: None  # noqa: E731
    return Corrections(
        gateway.database, configure(), gateway.clock, on_changed=ignore, on_moved=ignore, on_delivery=ignore
    )


async def test_a_message_that_waits_is_not_answered_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        for number in ("2", "3", "4"):
            await gateway.say(f"text {number}", number)
        assert gateway.lanes.counts["queued"] == 3
        for _again in range(2):
            await delete(gateway, "3")
        assert gateway.lanes.counts["queued"] == 2
        row = await stored(gateway, "3")
        assert (row.pop("state"), row.pop("reason")) == ("ignored", "deleted")
        assert row.pop("ended_at") is not None
        assert set(row.values()) == {None}
        accepted = await gateway.inbox.accept(InboundMessage(ALICE, "3", "text 3"), operator=True)
        assert (accepted.duplicate, accepted.state) == (True, InboundState.IGNORED)
        pause.go.set()
        await gateway.settled()
        assert inputs(agent) == [["first"], ["text 2"], ["text 4"]]


async def test_one_whose_turn_has_begun_and_one_that_is_not_known_stay_as_they_are(tmp_path: Path) -> None:
    pause = Pause(after="re: first")
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        await gateway.updates.keep("telegram", "default", [RawUpdate("u", "{}")], None)
        await gateway.say("first", "1")
        await pause.reached.wait()
        await delete(gateway, "1", update_id="u")
        await delete(gateway, "9")
        await delete(gateway, "1", chat="another")
        assert await gateway.updates.kept("telegram", "default") == []
        pause.go.set()
        await gateway.settled()
        assert (await stored(gateway, "1"))["state"] == "answered"
        await delete(gateway, "1")
        assert (await stored(gateway, "1"))["text"] == "first"


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
async def test_it_is_not_absorbed_into_a_turn_that_runs(tmp_path: Path, heard: bool) -> None:
    pause = Pause()

    async def steered(turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        async for _event in pause(turn):
            pass
        taken = [str(message["content"]) for _time in range(2) for message in await turn.take_steering()]
        yield Text(" ".join(taken))
        yield Done()

    agent = FakeAgent(steered, steering=True)
    async with core(tmp_path, agent, config=configure(busy="steer")) as gateway:
        await gateway.say("first", "1")
        await pause.reached.wait()
        for number in ("2", "3", "4"):
            await gateway.say(number, number)
        corrections = gateway.corrections if heard else deaf(gateway)
        await corrections.withdraw(Platform.TELEGRAM, "default", CHAT, "2", None)
        pause.go.set()
        await gateway.settled()
        said = [content for _role, content in await gateway.transcript()]
        assert "2" not in said
        assert {"first", "3", "4"} <= set(said)
        states = await gateway.rows("SELECT state FROM inbound ORDER BY id")
        assert sorted(row["state"] for row in states).count("ignored") == 1


@pytest.mark.parametrize("which", ["1", "2", "3"])
async def test_a_part_of_an_album_goes_alone_while_the_others_are_awaited(tmp_path: Path, which: str) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent, config=configure(inbox={"coalesce_seconds": 0.3})) as gateway:
        for number in ("1", "2", "3"):
            await gateway.say(number, number, group_id="album")
        await delete(gateway, which)
        await gateway.say("after", "4")
        await gateway.settled()
        answered = [text for turn in inputs(agent) for each in turn for text in each.split()]
        assert answered == [each for each in ("1", "2", "3", "after") if each != which]


async def test_a_message_behind_one_at_which_the_gateway_failed_has_all_its_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = FakeAgent()
    async with core(tmp_path, agent) as gateway:
        known = gateway.runner.begin

        async def failing(inbound: Any) -> Any:
            if inbound[0].text == "bad":
                raise RuntimeError("bad")
            return await known(inbound)

        monkeypatch.setattr(gateway.runner, "begin", failing)
        await gateway.say("bad", "1")
        await gateway.say("good", "2")
        (lane,) = gateway.lanes._lanes.values()
        async with asyncio.timeout(10):
            while lane.parked is None:
                await asyncio.sleep(0.01)
        lane.failures = LANE_FAILURES
        await delete(gateway, "1")
        gateway.lanes._unpark(lane)
        await gateway.settled()
        assert inputs(agent) == [["good"]]
        assert (await stored(gateway, "1"))["reason"] == "deleted"


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
async def test_in_an_outage_that_hides_the_rest_a_lane_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    pause = Pause()
    agent = FakeAgent(pause)
    async with core(tmp_path, agent) as gateway:
        monkeypatch.setattr(shadow_module, "_open", lambda _path: None)
        for module in (writer_module, failover_module):
            monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
        with held(tmp_path / "gateway.db"):
            await gateway.database.writer.fall_back(io_error())
            await gateway.say("first", "1")
            await pause.reached.wait()
            await gateway.say("second", "2")
            await gateway.say("third", "3")
            corrections = gateway.corrections if heard else deaf(gateway)
            await corrections.withdraw(Platform.TELEGRAM, "default", CHAT, "2", None)
            assert not gateway.database.state.complete
            pause.go.set()
            async with asyncio.timeout(10):
                while len(agent.turns) < 2:
                    await asyncio.sleep(0.01)
            assert gateway.database.state.mode == "spool"
        await back(gateway.database)
        await gateway.settled()
        assert inputs(agent) == [["first"], ["third"]]
        assert (await stored(gateway, "2"))["reason"] == "deleted"


async def test_a_stranger_s_message_is_nothing(tmp_path: Path) -> None:
    async with core(tmp_path, FakeAgent()) as gateway:
        stranger = SessionSource(Platform.TELEGRAM, CHAT, user_id="666")
        await gateway.inbox.accept(InboundMessage(stranger, "s", "let me in"), operator=False)
        before = await stored(gateway, "s")
        await delete(gateway, "s")
        assert await stored(gateway, "s") == before
