"""The outbox: each message once, or marked; in order per chat; nothing waits for what is slow elsewhere."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from config import Platform
from config.fields import MOST
from gateway.delivery import NewDelivery, ShownPart, add_delivery
from gateway.ports import (
    AdapterState,
    Capabilities,
    Delivery,
    DeliveryError,
    Found,
    NotConnectedError,
    OutcomeUnknownError,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from gateway.storage import outbox_queries
from gateway.storage.errors import StorageError
from tests.support.fakes import (
    EDITS,
    PLAIN,
    Core,
    FakeAdapter,
    FakeAgent,
    Fault,
    ManualClock,
    configure,
    core,
    texts_of,
    unpark_all,
)

HERE = Target(Platform.TELEGRAM, "1")
THERE = Target(Platform.TELEGRAM, "2")
FINDS = Capabilities(find=True)
UNSURE = OutcomeUnknownError("the connection broke")


async def put(gateway: Core, text: str, target: Target = HERE) -> int:
    """Put a message in the outbox, and offer it."""
    now = gateway.clock.now()
    delivery = NewDelivery(target, "notice", text)
    number = await gateway.database.write(lambda connection: add_delivery(connection, delivery, now))
    gateway.outbox.offer(target)
    return number


async def states(gateway: Core) -> list[str]:
    return [row["state"] for row in await gateway.rows("SELECT state FROM outbox ORDER BY id")]


# --- order, independence -------------------------------------------------------------------------------


async def test_a_chat_is_in_order_and_no_chat_waits_for_another(tmp_path: Path) -> None:
    adapter, until = FakeAdapter(PLAIN), asyncio.Event()
    adapter.faults["send"].append(Fault(until=until))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "a1")
        await adapter.called.wait()
        for text in ("a2", "a3"):
            await put(gateway, text)
        for text in ("b1", "b2"):
            await put(gateway, text, THERE)
        while len(adapter.texts("2")) < 2:
            await asyncio.sleep(0.001)
        assert adapter.texts("1") == []
        until.set()
        await gateway.settled()
        assert adapter.texts("1") == ["a1", "a2", "a3"]
        assert not gateway.outbox._chats


async def test_a_platform_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    slow, quick = FakeAdapter(PLAIN), FakeAdapter(PLAIN)
    slow.faults["send"].append(Fault(until=asyncio.Event()))
    async with core(tmp_path, adapters={"telegram": slow, "slack": quick}) as gateway:
        await put(gateway, "slow")
        await put(gateway, "quick", Target(Platform.SLACK, "1"))
        while not quick.texts():
            await asyncio.sleep(0.001)


async def test_threads_of_a_chat_are_in_one_order(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, adapter=adapter, state=AdapterState.CONNECTING) as gateway:
        for number in range(6):
            await put(gateway, str(number), replace(HERE, thread_id=str(number % 2)))
        gateway.connections.state = AdapterState.CONNECTED
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert adapter.texts() == ["0", "1", "2", "3", "4", "5"]


async def test_memory_holds_chats_and_not_what_waits_in_them(tmp_path: Path) -> None:
    async with core(tmp_path, state=AdapterState.CONNECTING) as gateway:
        for number in range(50):
            await put(gateway, str(number))
        await gateway.settled()
        assert list(gateway.outbox._chats) == [("telegram", "default", "1")]


# --- not now -------------------------------------------------------------------------------------------


async def test_what_waits_for_a_connection_goes_on_with_it_and_is_no_attempt(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    adapter.fail("send", *[NotConnectedError("gone")] * 20)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        for _ in range(19):
            await gateway.settled()
            gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        (row,) = await gateway.rows("SELECT state, attempts FROM outbox")
        assert tuple(row) == ("pending", 0)
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert adapter.texts() == ["hello"]


async def test_a_connection_that_comes_up_during_the_try_is_used(tmp_path: Path) -> None:
    adapter, until = FakeAdapter(PLAIN), asyncio.Event()
    adapter.faults["send"].append(Fault(NotConnectedError("gone"), until=until))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await adapter.called.wait()
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        until.set()
        await gateway.settled()
        assert adapter.texts() == ["hello"]


async def test_the_platforms_wait_is_honoured_over_a_restart_and_holds_the_chat(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(PLAIN)
    adapter.fail("send", RetryLaterError("flood", 120))
    for passed in (0, 100):
        clock.advance(passed)
        async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
            await put(gateway, str(passed))
            await gateway.settled()
            assert len(adapter.of("send")) == 1
    clock.advance(21)
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["0", "100"]


async def test_waits_that_the_platform_asks_for_never_kill_a_message(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    adapter.fail("send", *[RetryLaterError("flood", 0.0)] * 20, RetryLaterError("not now"))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert adapter.texts() == ["hello"]


async def test_enough_refusals_are_dead_and_the_chat_goes_on(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    adapter.fail("send", *[RetryLaterError("not now")] * 3)
    async with core(
        tmp_path, adapter=adapter, config=configure(delivery={"attempts": 3, "expire_hours": 0})
    ) as gateway:
        await put(gateway, "dead")
        await put(gateway, "next")
        await gateway.settled()
        assert await states(gateway) == ["dead", "sent"]
        assert gateway.counters["outbox.dead"] == 1


async def test_the_wait_doubles_up_to_its_limit(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(PLAIN)
    adapter.fail("send", *[RetryLaterError("not now")] * 6)
    config = configure(delivery={"retry_seconds": 2.0, "retry_max_seconds": 20.0})
    waits: list[float] = []
    async with core(tmp_path, adapter=adapter, clock=clock, config=config) as gateway:
        await put(gateway, "hello")
        for _ in range(6):
            await gateway.settled()
            (row,) = await gateway.rows("SELECT not_before FROM outbox")
            waits.append(row["not_before"] / 1e6 - clock.now().timestamp())
            clock.advance(waits[-1])
            gateway.outbox._unpark(next(iter(gateway.outbox._chats.values())))
        await gateway.settled()
        assert waits == pytest.approx([2, 4, 8, 16, 20, 20])
        assert adapter.texts() == ["hello"]


async def test_what_is_refused_for_good_is_dead_at_once(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    adapter.fail("send", UndeliverableError("blocked\ud800"))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await put(gateway, "next")
        await gateway.settled()
        assert await states(gateway) == ["dead", "sent"]


# --- nobody knows --------------------------------------------------------------------------------------


ENDS_UNKNOWN = [UNSURE, TimeoutError(), RuntimeError("a mistake"), asyncio.CancelledError(), DeliveryError("?")]


@pytest.mark.parametrize("error", ENDS_UNKNOWN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("shown", [True, False])
async def test_what_may_have_been_shown_is_looked_for(tmp_path: Path, error: BaseException, shown: bool) -> None:
    adapter = FakeAdapter(FINDS)
    adapter.fail("send", error, shown=shown)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert adapter.texts() == ["hello"]
        assert [name for name, _ in adapter.calls] == ["send", "find"] + ["send"] * (not shown)
        assert not any(delivery.repeated for delivery in adapter.of("send"))
        assert await states(gateway) == ["sent"]


@pytest.mark.parametrize("capabilities", [FINDS, PLAIN])
async def test_what_cannot_be_found_out_is_sent_once_more_marked_and_counted(
    tmp_path: Path, capabilities: Capabilities
) -> None:
    adapter = FakeAdapter(capabilities)
    adapter.found = SearchOutcome.UNKNOWN
    adapter.fail("send", UNSURE, shown=True)
    adapter.fail("send", RetryLaterError("flood", 0.0))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert [delivery.repeated for delivery in adapter.of("send")] == [False, True, True]
        assert gateway.counters["outbox.repeated"] == 1
        assert await states(gateway) == ["sent"]


@pytest.mark.parametrize("capabilities", [EDITS, FINDS])
async def test_what_was_sent_again_marked_and_is_then_found_keeps_its_mark(
    tmp_path: Path, capabilities: Capabilities
) -> None:
    class Forgetful(FakeAdapter):
        async def find(self, delivery: Delivery) -> Found | SearchOutcome:
            found = await super().find(delivery)
            return SearchOutcome.UNKNOWN if len(self.of("find")) == 1 else found

    adapter = Forgetful(capabilities)
    adapter.fail("send", UNSURE, UNSURE, shown=True)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert [delivery.repeated for delivery in adapter.of("send")] == [False, True]
        assert [shown.repeated for shown in adapter.screen.values()] == [False, True]
        (row,) = await gateway.rows("SELECT parts, state FROM outbox")
        assert tuple(row) == ('[["m2",1]]', "sent")


async def test_a_search_that_is_put_off_sends_nothing_and_a_restart_honours_it(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(FINDS)
    adapter.fail("send", UNSURE, shown=True)
    adapter.fail("find", RetryLaterError("flood", 60))
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        assert len(adapter.of("find")) == 1
        assert await states(gateway) == ["sending"]
    clock.advance(61)
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["hello"]
        assert await states(gateway) == ["sent"]


async def test_a_search_that_always_fails_does_not_hold_the_chat_for_ever(tmp_path: Path) -> None:
    adapter = FakeAdapter(FINDS)
    adapter.fail("send", UNSURE)
    adapter.fail("find", *[RuntimeError("a mistake")] * 50)
    async with core(tmp_path, adapter=adapter, config=configure(delivery={"attempts": 5})) as gateway:
        await put(gateway, "hello")
        await put(gateway, "next")
        await gateway.settled()
        assert adapter.texts() == ["hello", "next"]
        assert [delivery.repeated for delivery in adapter.of("send")] == [False, True, False]


async def test_a_search_without_a_connection_waits_for_it(tmp_path: Path) -> None:
    adapter = FakeAdapter(FINDS)
    adapter.fail("send", UNSURE, shown=True)
    adapter.fail("find", NotConnectedError("gone"))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert await states(gateway) == ["sending"]
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert (adapter.texts(), await states(gateway)) == (["hello"], ["sent"])


@pytest.mark.parametrize("shown", [True, False])
async def test_a_process_that_dies_in_the_call_looks_first(tmp_path: Path, shown: bool) -> None:
    adapter, until = FakeAdapter(FINDS), asyncio.Event()
    adapter.faults["send"].append(Fault(until=until))
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await put(gateway, "hello")
        await adapter.called.wait()
        assert await states(gateway) == ["sending"]
        await gateway.die()
    if shown:
        adapter.screen["m0"] = replace(adapter.of("send")[0], id=number)
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["hello"]
        assert await states(gateway) == ["sent"]


async def test_what_was_shown_while_the_database_was_away_is_not_shown_again(tmp_path: Path) -> None:
    adapter, until = FakeAdapter(PLAIN), asyncio.Event()
    adapter.faults["send"].append(Fault(until=until))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await adapter.called.wait()
        gateway.database.fail(*[StorageError("the disk is full")] * 4)
        until.set()
        await gateway.settled()
        assert len(adapter.of("send")) == 1
        assert await states(gateway) == ["sent"]
        assert not gateway.outbox._courier._unrecorded
        assert gateway.counters["outbox.errors"] == 4


async def test_a_database_that_is_away_before_the_call_means_no_call(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, adapter=adapter, state=AdapterState.CONNECTING) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        gateway.database.fail(StorageError("the disk is full"))
        gateway.connections.state = AdapterState.CONNECTED
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert len(adapter.of("send")) == 1
        assert not adapter.of("send")[0].repeated


async def test_a_platform_that_is_away_is_not_looked_for_without_a_pause(tmp_path: Path) -> None:
    config = configure(delivery={"retry_max_seconds": 0})
    async with core(tmp_path, config=config, state=AdapterState.CONNECTING) as gateway:
        await put(gateway, "hello")
        while not (parked := [chat.parked for chat in gateway.outbox._chats.values() if chat.parked]):
            await asyncio.sleep(0.001)
        assert parked[0].when() - asyncio.get_running_loop().time() > 0.5


async def test_the_longest_waits_that_can_be_set_are_instants_still(tmp_path: Path) -> None:
    config = configure(delivery={"retry_max_seconds": MOST, "expire_hours": MOST}, inbox={"expire_hours": MOST})
    async with core(tmp_path, config=config, state=AdapterState.CONNECTING) as gateway:
        await gateway.say("1")
        await gateway.settled()
        assert not gateway.tasks["outbox"].done()
        gateway.connections.state = AdapterState.CONNECTED
        adapter = gateway.connections.adapters["telegram"]
        assert isinstance(adapter, FakeAdapter)
        adapter.fail("send", RetryLaterError("busy"))
        gateway.outbox.wake(Platform.TELEGRAM, "default")
        await gateway.settled()
        assert await gateway.ends() == {"1": "answered"}
        assert adapter.texts() == ["re: 1"]


@pytest.mark.parametrize("seconds", [1e15, float("inf"), float("nan"), -5.0])
async def test_a_wait_that_no_calendar_holds_is_a_wait_still(tmp_path: Path, seconds: float) -> None:
    adapter = FakeAdapter(PLAIN)
    adapter.fail("send", RetryLaterError("flood", seconds))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert gateway.counters["outbox.errors"] == 0
        assert len(adapter.of("send")) == (1 if seconds > 0 else 2)


async def test_an_adapter_that_hangs_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.courier.DELIVERY_CALL_SECONDS", 0.002)
    adapter = FakeAdapter(FINDS)
    adapter.faults["send"].append(Fault(until=asyncio.Event()))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "hello")
        await gateway.settled()
        assert adapter.texts() == ["hello"]


# --- edits ---------------------------------------------------------------------------------------------


async def growing(gateway: Core, adapter: FakeAdapter) -> int:
    """A reply that has been shown in part, and is now complete."""
    now = gateway.clock.now()

    def begin(connection: object) -> int:
        return add_delivery(connection, NewDelivery(HERE, "reply", "part", final=False), now)  # type: ignore[arg-type]

    number = await gateway.database.write(begin)
    shown = gateway.outbox.shown(number, HERE)
    assert await asyncio.wait_for(shown, 5) == (ShownPart("m1"),)
    await gateway.settled()
    return number


async def complete(gateway: Core, number: int) -> None:

    await gateway.database.write(
        lambda connection: connection.execute(outbox_queries.COMPLETE_DELIVERY, ("part and all", "[]", number)).rowcount
    )
    gateway.outbox.offer(HERE)
    await gateway.settled()


@pytest.mark.parametrize("error", [UNSURE, RetryLaterError("flood", 0.0), RetryLaterError("not now")])
async def test_a_last_edit_is_made_again_until_it_is_through(tmp_path: Path, error: DeliveryError) -> None:
    adapter = FakeAdapter(EDITS)
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await growing(gateway, adapter)
        adapter.fail("edit", error, error)
        await complete(gateway, number)
        assert adapter.texts() == ["part and all"]
        assert not any(delivery.repeated for _, delivery in adapter.calls)


async def test_a_message_that_can_be_edited_no_more_is_sent_anew_and_marked(tmp_path: Path) -> None:
    adapter = FakeAdapter(EDITS)
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await growing(gateway, adapter)
        adapter.fail("edit", UndeliverableError("message to edit not found"))
        await complete(gateway, number)
        assert texts_of(adapter.of("send")) == ["part", "part and all"]
        assert [delivery.repeated for delivery in adapter.of("send")] == [False, True]
        assert await states(gateway) == ["sent"]
        assert gateway.counters["outbox.repeated"] == 1


async def test_a_reply_found_in_an_early_version_is_brought_up_to_date(tmp_path: Path) -> None:
    adapter = FakeAdapter(EDITS)
    adapter.fail("send", UNSURE, shown=True)
    async with core(tmp_path, FakeAgent(), adapter) as gateway:
        await gateway.say("hello")
        await gateway.settled()
        assert adapter.texts() == ["re: hello"]
        assert [name for name, _ in adapter.calls] == ["send", "find", "edit"]


async def test_a_reply_that_grows_no_more_is_not_left_growing(tmp_path: Path) -> None:
    adapter = FakeAdapter(EDITS)
    async with core(tmp_path, adapter=adapter) as gateway:
        await growing(gateway, adapter)
        assert [row["final"] for row in await gateway.rows("SELECT final FROM outbox")] == [0]
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.settled()
        assert [tuple(row) for row in await gateway.rows("SELECT final, state FROM outbox")] == [(1, "sent")]
        assert adapter.texts() == ["part"]


# --- stopping ------------------------------------------------------------------------------------------


async def test_a_drain_waits_for_what_is_being_sent_and_not_for_what_is_put_off(tmp_path: Path) -> None:
    adapter, until = FakeAdapter(PLAIN), asyncio.Event()
    adapter.faults["send"].append(Fault(until=until))
    adapter.fail("send", RetryLaterError("flood", 600))
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, "slow")
        await adapter.called.wait()
        await put(gateway, "put off")
        draining = asyncio.ensure_future(gateway.outbox.drain())
        await asyncio.sleep(0.002)
        assert not draining.done()
        until.set()
        await asyncio.wait_for(draining, 5)
        assert await states(gateway) == ["sent", "pending"]


async def test_what_is_offered_after_the_end_is_sent_by_the_next_life(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, adapter=adapter) as gateway:
        gateway.outbox.stop()
        await asyncio.wait([gateway.tasks["outbox"]])
        await put(gateway, "late")
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["late"]


# --- platforms that have trouble -------------------------------------------------------------------------


async def test_a_platform_that_has_trouble_for_hours_gets_everything_afterwards(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(FINDS)
    adapter.fail("send", *[UNSURE] * 60)
    config = configure(delivery={"attempts": 3, "expire_hours": 24})
    async with core(tmp_path, adapter=adapter, clock=clock, config=config) as gateway:
        gateway.connections.state = AdapterState.DEGRADED
        await put(gateway, "hello")
        for _ in range(60):
            await gateway.settled()
            clock.advance(600)
            unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["hello"]
        assert await states(gateway) == ["sent"]


async def test_what_nobody_can_send_is_sent_only_so_often_and_people_are_told(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), FakeAdapter(FINDS)
    adapter.fail("send", *[UNSURE] * 3)
    adapter.found = SearchOutcome.UNKNOWN
    async with core(tmp_path, adapter=adapter, clock=clock, config=configure(delivery={"attempts": 3})) as gateway:
        now = clock.now()
        reply = NewDelivery(HERE, "reply", "hello")
        await gateway.database.write(lambda connection: add_delivery(connection, reply, now))
        gateway.outbox.offer(HERE)
        for _ in range(4):
            await gateway.settled()
            clock.advance(600)
            unpark_all(gateway)
        await gateway.settled()
        assert await states(gateway) == ["dead", "sent"]
        assert adapter.texts() == ["An answer could not be delivered: the connection broke. Ask again."]


async def test_an_edit_that_comes_late_does_not_have_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.courier.CALL_OVER_SECONDS", 0.01)
    adapter = FakeAdapter(EDITS)
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await growing(gateway, adapter)
        gateway.outbox.screen.of(number, adapter).late = True
        await complete(gateway, number)
        late = adapter.screen["m1"]
        adapter.screen["m1"] = replace(late, content="part")  # the platform carries out what it had got before
        while adapter.texts() != ["part and all"]:
            await asyncio.sleep(0.001)
