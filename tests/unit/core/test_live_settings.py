"""Settings that change while the gateway runs: each part goes by the one in force; nothing that runs is disturbed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config import LiveConfig
from gateway.ports import (
    AgentError,
    AgentEvent,
    AgentTurn,
    Done,
    InboundMessage,
    InboundState,
    Text,
    UndeliverableError,
)
from gateway.ports import RetryLaterError as Retry
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
    fails,
    says,
)


class Live:
    """The core, and its settings."""

    def __init__(self, gateway: Core, live: LiveConfig, clock: ManualClock) -> None:
        self.gateway, self.live, self.clock = gateway, live, clock

    def change(self, **sections: Any) -> None:
        self.live.replace(configure(**sections))

    async def accept(self, message_id: str) -> InboundState:
        message = InboundMessage(ALICE, message_id, message_id)
        return (await self.gateway.inbox.accept(message, operator=False)).state


@asynccontextmanager
async def running(
    folder: Path, agent: FakeAgent | None = None, adapter: FakeAdapter | None = None, **sections: Any
) -> AsyncIterator[Live]:
    live, clock = LiveConfig(configure(**sections)), ManualClock()
    async with core(folder, agent, adapter, config=live, clock=clock) as gateway:
        yield Live(gateway, live, clock)


async def test_revoking_acts_on_the_next_message(tmp_path: Path) -> None:
    async with running(tmp_path, allowed_users=["alice"]) as here:
        assert await here.accept("one") is InboundState.PENDING
        here.change(platforms={"telegram": {"token": "t", "allowed_users": ["bob"]}})
        assert await here.accept("two") is InboundState.IGNORED
        here.change(platforms={"telegram": {"token": "t", "allowed_users": ["alice"]}})
        assert await here.accept("three") is InboundState.PENDING
        await here.gateway.settled()
        assert await here.gateway.ends() == {"one": "answered", "two": "ignored", "three": "answered"}


async def test_what_a_message_does_to_a_running_turn_can_change_while_it_runs(tmp_path: Path) -> None:
    pause = Pause("begun")
    async with running(tmp_path, FakeAgent(pause)) as here:
        await here.gateway.say("one")
        await pause.reached.wait()
        await here.gateway.say("two")
        assert not pause.ended.is_set()
        here.change(busy="interrupt")
        await here.gateway.say("three")
        await pause.ended.wait()
        await here.gateway.settled()
        assert set((await here.gateway.ends()).values()) == {"answered"}


async def test_limits_of_the_inbox(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.change(inbox={"max_message_chars": 3})
        assert (await here.gateway.say("long", "a")).reason == "too long"
        here.change()
        assert (await here.gateway.say("long", "b")).reason is None
        await here.gateway.settled()


async def test_how_long_a_message_may_wait(tmp_path: Path) -> None:
    pause = Pause()
    async with running(tmp_path, FakeAgent(pause)) as here:
        await here.gateway.say("one")
        await pause.reached.wait()
        await here.gateway.say("two")
        here.clock.advance(7200)
        here.change(inbox={"expire_hours": 1})
        pause.go.set()
        await here.gateway.settled()
        assert await here.gateway.ends() == {"one": "answered", "two": "expired"}


async def test_how_often_a_turn_is_tried(tmp_path: Path) -> None:
    error = AgentError("not now", retryable=True)
    async with running(tmp_path, FakeAgent(fails(error), fails(error), says("at last")), turns={"attempts": 1}) as here:
        here.change(turns={"attempts": 3})
        await here.gateway.say("one")
        await here.gateway.settled()
        assert await here.gateway.ends() == {"one": "answered"}


async def test_more_turns_at_once_begin_at_once(tmp_path: Path) -> None:
    first, second = Pause(), Pause()
    async with running(tmp_path, FakeAgent(first, second), turns={"max_concurrent": 1}) as here:
        await here.gateway.say("one")
        await first.reached.wait()
        await here.gateway.say("two", source=BOB)
        await asyncio.sleep(0.02)
        assert not second.reached.is_set()
        here.change(turns={"max_concurrent": 2})
        await asyncio.wait_for(second.reached.wait(), 5)
        first.go.set()
        second.go.set()
        await here.gateway.settled()


async def test_how_often_a_delivery_is_tried(tmp_path: Path) -> None:
    adapter = FakeAdapter()
    adapter.fail("send", Retry("busy"), Retry("busy"), UndeliverableError("no"))
    async with running(tmp_path, adapter=adapter, delivery={"attempts": 1}) as here:
        here.change(delivery={"attempts": 3, "expire_hours": 0})
        await here.gateway.say("one")
        await here.gateway.settled()
        assert len(adapter.of("send")) == 3


async def test_a_policy_that_changes_ends_no_session_before_its_rule_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, sessions={"reset": {"mode": "none"}}) as here:
        first = await here.gateway.store.get_or_create_session(ALICE)
        here.clock.advance(1800)
        here.change(sessions={"reset": {"mode": "idle", "idle_minutes": 60}})
        assert [slot async for slot in here.gateway.store.due_slots()] == []
        assert (await here.gateway.store.get_or_create_session(ALICE)).session_id == first.session_id
        here.clock.advance(3601)
        assert len([slot async for slot in here.gateway.store.due_slots()]) == 1
        here.change(sessions={"reset": {"mode": "none"}})
        assert [slot async for slot in here.gateway.store.due_slots()] == []
        assert (await here.gateway.store.get_or_create_session(ALICE)).session_id == first.session_id


async def test_the_hour_of_the_daily_reset_is_of_the_zone_in_force(tmp_path: Path) -> None:
    daily = {"reset": {"mode": "daily", "at_hour": 20}}
    async with running(tmp_path, sessions=daily) as here:
        first = await here.gateway.store.get_or_create_session(ALICE)  # at 12:00 UTC
        here.clock.advance(3600)
        here.change(sessions=daily, timezone="Asia/Tokyo")  # 20:00 there was at 11:00 UTC
        assert (await here.gateway.store.get_or_create_session(ALICE)).session_id == first.session_id
        here.change(sessions=daily, timezone="Asia/Dhaka")  # 20:00 there is at 14:00 UTC
        here.clock.advance(7200)
        assert (await here.gateway.store.get_or_create_session(ALICE)).session_id != first.session_id


async def test_a_reply_that_grows_goes_on_growing_through_the_adapter_that_takes_over(tmp_path: Path) -> None:
    old, new, go = FakeAdapter(), FakeAdapter(), [asyncio.Event(), asyncio.Event()]

    async def script(_turn: AgentTurn) -> AsyncIterator[AgentEvent]:
        for letter, event in zip("ab", go, strict=True):
            yield Text(letter)
            await event.wait()
        yield Done()

    async with running(tmp_path, FakeAgent(script), old) as here:
        await here.gateway.say("one")
        await asyncio.wait_for(old.called.wait(), 5)
        here.gateway.connections.adapters["telegram"] = new
        go[0].set()
        await asyncio.wait_for(new.called.wait(), 5)
        assert [(shown.text, shown.final) for shown in new.of("edit")] == [("ab", False)]
        go[1].set()
        await here.gateway.settled()
        assert [shown.text for shown in new.of("edit") if shown.final] == ["ab"]
        assert (len(old.of("send")), old.of("edit"), new.of("send")) == (1, [], [])
