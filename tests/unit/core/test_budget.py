"""The flood budget: nothing is sent that a platform would refuse, what matters most goes first, and a wait outlives a
restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from config import Platform
from gateway.budget import ChatKey, FloodBudget, Priority
from gateway.delivery import NewDelivery, add_delivery
from gateway.ports import Rate, RetryLaterError, Target
from gateway.storage.database import Database
from tests.support.fakes import PLAIN, Core, FakeAdapter, ManualClock, core, unpark_all

A: ChatKey = ("telegram", "default", "a")
B: ChatKey = ("telegram", "default", "b")


class Bench:
    """A budget whose time is moved by hand, and the order in which callers had their turn."""

    def __init__(self, budget: FloodBudget, clock: ManualClock, adapter: FakeAdapter) -> None:
        self.budget, self.clock, self.adapter = budget, clock, adapter
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, key: ChatKey = A, priority: Priority = Priority.FINAL) -> None:
        """Ask for a turn, and be there before the next one asks."""

        async def call() -> None:
            async with self.budget.turn(self.adapter, key, priority):
                self.order.append(name)

        self.tasks.append(asyncio.create_task(call()))
        await self.look()

    async def look(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for account in self.budget._accounts.values():
            self.budget._serve(account)
        await self.look()

    def preview(self, key: ChatKey = A) -> bool:
        with self.budget.spare(self.adapter, key) as free:
            return free


@asynccontextmanager
async def bench(folder: Path, *rates: Rate, overall: Rate | None = None) -> AsyncIterator[Bench]:
    clock, adapter = ManualClock(), FakeAdapter(replace(PLAIN, rate=overall))
    adapter.limits = rates
    async with Database.open(folder / "gateway.db", synchronous="normal") as database:
        made = Bench(FloodBudget(database, clock), clock, adapter)
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_without_limits_nobody_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        for number in range(100):
            await it.ask(str(number))
        assert len(it.order) == 100
        assert not it.budget.limits(it.adapter, A)


async def test_a_chat_waits_for_its_rate_and_others_do_not_wait_for_it(tmp_path: Path) -> None:
    async with bench(tmp_path, Rate(1, 1.0), Rate(3, 60.0)) as it:
        for name in ("a1", "a2", "a3", "a4"):
            await it.ask(name)
        await it.ask("b1", B)
        assert it.order == ["a1", "b1"]
        await it.pass_time(0.9)
        assert it.order == ["a1", "b1"]
        await it.pass_time(0.1)
        await it.pass_time(1)
        assert it.order == ["a1", "b1", "a2", "a3"]
        await it.pass_time(57)
        assert it.order == ["a1", "b1", "a2", "a3"]
        await it.pass_time(1)
        assert it.order[-1] == "a4"


async def test_what_matters_most_goes_first(tmp_path: Path) -> None:
    async with bench(tmp_path, overall=Rate(1, 1.0)) as it:
        await it.ask("first")
        for name, priority in (("part", Priority.PART), ("approval", Priority.APPROVAL), ("final", Priority.FINAL)):
            await it.ask(name, (*A[:2], name), priority)
        for _ in range(3):
            await it.pass_time(1)
        assert it.order == ["first", "final", "approval", "part"]


async def test_a_call_counts_from_its_end(tmp_path: Path) -> None:
    async with bench(tmp_path, Rate(1, 1.0)) as it:
        async with it.budget.turn(it.adapter, A, Priority.FINAL):
            await it.ask("next")
            await it.pass_time(5)
            assert it.order == []
        await it.look()
        assert it.order == []
        await it.pass_time(1)
        assert it.order == ["next"]


async def test_previews_take_half_and_give_way_to_what_waits(tmp_path: Path) -> None:
    async with bench(tmp_path, Rate(6, 60.0)) as it:
        assert [it.preview() for _ in range(5)] == [True, True, True, False, False]
        for name in ("1", "2", "3", "4"):
            await it.ask(name)
        assert it.order == ["1", "2", "3"]
        await it.pass_time(60)
        assert it.order == ["1", "2", "3", "4"]


async def test_nobody_who_gave_up_keeps_others_waiting(tmp_path: Path) -> None:
    async with bench(tmp_path, Rate(1, 1.0)) as it:
        await it.ask("first")
        await it.ask("gone")
        await it.ask("last")
        it.tasks[1].cancel()
        await it.pass_time(1)
        assert it.order == ["first", "last"]


@pytest.mark.parametrize("burst", [False, True])
async def test_a_wait_holds_its_chat_or_in_a_burst_the_account(tmp_path: Path, burst: bool) -> None:
    async with bench(tmp_path, overall=Rate(2, 1.0)) as it:
        if burst:
            await it.ask("1")
            await it.ask("2", B)
        await it.budget.hold(it.adapter, A, 30)
        assert it.budget.held(A) == 30
        assert it.budget.held(B) == (30 if burst else 0)


async def test_a_wait_outlives_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.budget.hold(it.adapter, A, 30)
    async with bench(tmp_path) as it:
        it.clock.advance(10)
        await it.budget.load()
        assert it.budget.held(A) == 20
        assert it.budget.held(B) == 0


async def test_memory_holds_no_more_chats_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.budget.MAX_BUDGET_CHATS", 10)
    async with bench(tmp_path, Rate(1, 1.0)) as it:
        for number in range(50):
            await it.ask("", (*A[:2], str(number)))
        (account,) = it.budget._accounts.values()
        assert len(account.chats) == 10
        assert len(account.window.times) <= 50


# --- with the outbox -----------------------------------------------------------------------------------


async def put(gateway: Core, text: str, chat: str) -> None:
    now, target = gateway.clock.now(), Target(Platform.TELEGRAM, chat)
    delivery = NewDelivery(target, "notice", text)
    await gateway.database.write(lambda connection: add_delivery(connection, delivery, now))
    gateway.outbox.offer(target)


async def test_a_chat_that_is_to_be_left_alone_is_over_a_restart(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(PLAIN)
    adapter.fail("send", RetryLaterError("flood", 1000))
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, "hello", "1")
        await gateway.settled()
    clock.advance(500)
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        await put(gateway, "elsewhere", "2")
        await gateway.settled()
        assert adapter.texts() == ["elsewhere"]
        clock.advance(501)
        unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["elsewhere", "hello"]


async def test_nothing_that_may_be_left_out_goes_beside_a_call_under_way(tmp_path: Path) -> None:
    async with bench(tmp_path, Rate(10, 1.0)) as it:
        async with it.budget.turn(it.adapter, A, Priority.FINAL):
            assert it.budget.is_busy(A)
            for message in (True, False):
                with it.budget.spare(it.adapter, A, message=message) as free:
                    assert not free
            assert it.preview(B)
        assert it.preview(A)


async def test_a_long_call_keeps_no_place_from_others(tmp_path: Path) -> None:
    async with bench(tmp_path, overall=Rate(1, 1.0)) as it, it.budget.turn(it.adapter, A, Priority.PART):
        await it.ask("b", B)
        assert it.order == []
        await it.pass_time(1)
        assert it.order == ["b"]
