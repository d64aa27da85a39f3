"""A text of several messages: each goes out once, is remembered when it has, and none is lost by what happens between
two of them."""

import asyncio
from dataclasses import replace
from pathlib import Path

from config import Platform
from gateway.delivery import NewDelivery, add_delivery
from gateway.ports import (
    AdapterState,
    Button,
    Capabilities,
    Delivery,
    Found,
    MediaKind,
    OutcomeUnknownError,
    OutgoingFile,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from gateway.storage.errors import StorageError
from tests.support.fakes import EDITS, PLAIN, Core, FakeAdapter, Fault, ManualClock, core, unpark_all

HERE = Target(Platform.TELEGRAM, "1")
UNSURE = OutcomeUnknownError("the connection broke")
FILE = OutgoingFile(MediaKind.IMAGE, "/home/media/cat.png", "cat.png", "image/png")


class ByPart(FakeAdapter):
    """A platform on which each message can be found."""

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        await self._call("find", delivery, lambda: None)
        if self.found is not None:
            return self.found
        for message_id, shown in self.screen.items():
            if (shown.id, shown.part) == (delivery.id, delivery.part):
                return Found(message_id)
        return SearchOutcome.ABSENT


def adapter_of(longest: int, capabilities: Capabilities = EDITS) -> ByPart:
    adapter = ByPart(replace(capabilities, find=True))
    adapter.longest = longest
    return adapter


async def put(gateway: Core, delivery: NewDelivery) -> int:
    now = gateway.clock.now()
    number = await gateway.database.write(lambda connection: add_delivery(connection, delivery, now))
    gateway.outbox.offer(delivery.target)
    return number


async def test_each_part_is_a_message_and_all_are_remembered(tmp_path: Path) -> None:
    adapter = adapter_of(4, PLAIN)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        await put(gateway, NewDelivery(HERE, "notice", "next"))
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij", "next"]
        assert [delivery.part for delivery in adapter.of("send")] == [0, 1, 2, 0]
        rows = await gateway.rows("SELECT parts, state FROM outbox ORDER BY id")
        assert [tuple(row) for row in rows] == [
            ('[["m1",0],["m2",0],["m3",0]]', "sent"),
            ('[["m4",0]]', "sent"),
        ]


async def test_a_part_that_fails_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), adapter_of(4)
    adapter.faults["send"].extend([Fault(), Fault(RetryLaterError("not now", 60))])
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefgh"))
        await gateway.settled()
        assert adapter.texts() == ["abcd"]
        clock.advance(60)
        unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh"]
        assert len(adapter.of("send")) == 3


async def test_a_part_whose_fate_is_unknown_is_searched_for_by_itself(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), adapter_of(4)
    adapter.faults["send"].extend([Fault(), Fault(UNSURE, shown=True)])
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        await gateway.settled()
        clock.advance(10)
        unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij"]
        (searched,) = adapter.of("find")
        assert (searched.part, searched.content) == (1, "efgh")
        assert "m1" in (*searched.before, *searched.others)
        assert not any(delivery.repeated for delivery in adapter.of("send"))


async def test_one_part_after_another_may_have_to_be_searched_for(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), adapter_of(4)
    adapter.faults["send"].extend([Fault(UNSURE, shown=True), Fault(UNSURE, shown=True)])
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        for _ in range(3):
            await gateway.settled()
            clock.advance(10)
            unpark_all(gateway)
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij"]
        assert [searched.part for searched in adapter.of("find")] == [0, 1]
        assert "m1" in (*adapter.of("find")[1].before, *adapter.of("find")[1].others)


async def test_only_the_part_that_may_be_a_repeat_says_so(tmp_path: Path) -> None:
    clock, adapter = ManualClock(), adapter_of(4)
    adapter.found = SearchOutcome.UNKNOWN
    adapter.faults["send"].extend([Fault(), Fault(UNSURE)])
    async with core(tmp_path, adapter=adapter, clock=clock) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        await gateway.settled()
        clock.advance(10)
        unpark_all(gateway)
        await gateway.settled()
        sends = [(delivery.part, delivery.repeated) for delivery in adapter.of("send")]
        assert sends == [(0, False), (1, False), (1, True), (2, False)]
        assert gateway.counters["outbox.repeated"] == 1
        (row,) = await gateway.rows("SELECT parts, repeated FROM outbox")
        assert tuple(row) == ('[["m1",0],["m3",1],["m4",0]]', 1)


async def test_a_process_that_dies_between_two_parts_goes_on_with_the_second(tmp_path: Path) -> None:
    adapter, until = adapter_of(4), asyncio.Event()
    adapter.faults["send"].extend([Fault(), Fault(until=until)])
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        while len(adapter.of("send")) < 2:
            await asyncio.sleep(0.001)
    assert adapter.texts() == ["abcd"]
    async with core(tmp_path, adapter=adapter) as gateway:
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij"]
        assert [delivery.part for delivery in adapter.of("find")] == [1]


async def test_a_part_that_was_shown_while_the_database_was_away_is_not_shown_again(tmp_path: Path) -> None:
    adapter, until = adapter_of(4), asyncio.Event()
    adapter.faults["send"].extend([Fault(), Fault(until=until)])
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdefghij"))
        while len(adapter.of("send")) < 2:
            await asyncio.sleep(0.001)
        gateway.database.fail(*[StorageError("the disk is full")] * 3)
        until.set()
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij"]
        assert len(adapter.of("send")) == 3


async def test_an_answer_that_became_shorter_leaves_nothing_behind(tmp_path: Path) -> None:
    adapter = adapter_of(4, replace(EDITS, delete=True))
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await put(gateway, NewDelivery(HERE, "reply", "abcdefghij", final=False))
        await gateway.settled()
        assert adapter.texts() == ["abcd", "efgh", "ij"]
        await gateway.execute("UPDATE outbox SET text = 'short', final = 1, state = 'pending' WHERE id = ?", number)
        gateway.outbox.offer(HERE)
        await gateway.settled()
        assert adapter.texts() == ["shor", "t"]
        (row,) = await gateway.rows("SELECT parts, state FROM outbox")
        assert tuple(row) == ('[["m1",0],["m2",0]]', "sent")


async def test_a_last_part_that_can_be_edited_no_more_is_sent_anew_alone(tmp_path: Path) -> None:
    adapter = adapter_of(4)
    async with core(tmp_path, adapter=adapter) as gateway:
        number = await put(gateway, NewDelivery(HERE, "reply", "abcdef", final=False))
        await gateway.settled()
        adapter.fail("edit", UndeliverableError("it was deleted"))
        await gateway.execute("UPDATE outbox SET text = 'abcdefg', final = 1, state = 'pending' WHERE id = ?", number)
        gateway.outbox.offer(HERE)
        await gateway.settled()
        assert [delivery.content for delivery in adapter.of("send")] == ["abcd", "ef", "efg"]
        assert adapter.of("send")[-1].repeated


async def test_a_file_goes_out_by_itself_and_once_for_its_key(tmp_path: Path) -> None:
    adapter = FakeAdapter(replace(PLAIN, media=True))
    async with core(tmp_path, adapter=adapter) as gateway:
        for _ in range(2):
            await put(gateway, NewDelivery(HERE, "file", "a picture", file=FILE, key="turn:call"))
        await gateway.settled()
        assert [delivery.content for delivery in adapter.of("send")] == [FILE]


async def test_where_there_are_no_files_people_are_told_of_it_in_words(tmp_path: Path) -> None:
    adapter = FakeAdapter(PLAIN)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, NewDelivery(HERE, "file", "a picture, cat.png", file=FILE))
        await gateway.settled()
        assert "cat.png" in adapter.texts()[0]


async def test_buttons_stand_below_the_last_part(tmp_path: Path) -> None:
    adapter, rows = adapter_of(4), ((Button("Again", "/retry"),),)
    async with core(tmp_path, adapter=adapter) as gateway:
        await put(gateway, NewDelivery(HERE, "error", "abcdef", buttons=rows))
        await gateway.settled()
        assert [delivery.buttons for delivery in adapter.of("send")] == [(), rows]


async def test_without_a_connection_nothing_is_begun(tmp_path: Path) -> None:
    adapter = adapter_of(4)
    async with core(tmp_path, adapter=adapter, state=AdapterState.CONNECTING) as gateway:
        await put(gateway, NewDelivery(HERE, "notice", "abcdef"))
        await gateway.settled()
        (row,) = await gateway.rows("SELECT parts, state FROM outbox")
        assert tuple(row) == ("[]", "pending")
