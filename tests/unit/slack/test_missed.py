"""What comes live waits for what was missed before it, though not for ever."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import Accepted, AdapterState, Cursor, InboundMessage, RawUpdate
from adapters.slack import backfill, receive
from adapters.slack.positions import CHANNEL, Position
from adapters.testing.slack import Fault, Person, SlackServer
from tests.support.platform_host import FakeHost
from tests.support.slack import TIMING
from tests.unit.slack.support import built, running


async def test_nobody_waits_for_ever_for_a_history_without_an_answer(
    server: SlackServer, ann: Person, host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    chat = server.direct(ann)
    server.events.lose(2)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    ann.writes(chat, "missed")
    gate = server.gate("conversations.history")
    async with running(built(server, host, timing=replace(TIMING, answer=20.0, hold=0.3)), host):
        await gate.reached.wait()
        ann.writes(chat, "live")
        await host.until(lambda: host.texts == ["live"])
        assert f"what comes in {chat.id} goes on before what was missed there" in caplog.text
        gate.open()
        await host.until(lambda: len(host.texts) >= 3)
        assert host.texts == ["live", "before", "missed"]


async def test_not_more_waits_than_there_is_room_for(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "QUEUE_LIMIT", 3)
    chat = server.direct(ann)
    server.events.lose(1)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    gate = server.gate("conversations.history")
    async with running(built(server, host, timing=replace(TIMING, answer=20.0, hold=60.0)), host):
        await gate.reached.wait()
        for number in range(4):
            ann.writes(chat, str(number))
        await host.until(lambda: host.texts == ["0", "1", "2", "3"])
        gate.open()


async def test_what_comes_after_a_second_gap_waits_though_the_first_one_is_only_just_over(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = server.direct(ann)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    keep, looked, go = host.keep, asyncio.Event(), asyncio.Event()

    async def slow(updates: Sequence[RawUpdate], cursor: Cursor | None = None) -> None:
        if cursor is not None:
            looked.set()
            await go.wait()
        await keep(updates, cursor)

    monkeypatch.setattr(host, "keep", slow)
    async with running(built(server, host, timing=replace(TIMING, hold=60.0)), host):
        await looked.wait()
        gate, known = server.gate("conversations.history"), len(host.states)
        server.events.sockets.abort()
        server.events.lose(1)
        ann.writes(chat, "missed")
        await host.until(lambda: AdapterState.CONNECTED in [each.state for each in host.states[known:]])
        ann.writes(chat, "live")
        await host.until(lambda: bool(host.updates))
        await asyncio.sleep(0.05)
        go.set()
        await gate.reached.wait()
        gate.open()
        await host.until(lambda: len(host.texts) >= 3)
    assert host.texts == ["before", "missed", "live"]


async def test_a_conversation_that_cannot_be_looked_into_holds_up_no_other(
    server: SlackServer, ann: Person, host: FakeHost
) -> None:
    bob = server.person("Bob")
    broken, sound = server.direct(ann), server.direct(bob)
    server.events.lose(2)
    for chat, person in ((sound, bob), (broken, ann)):  # the one that was written in last is looked into first
        before = person.writes(chat, "before")
        host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    server.inject(Fault.error(), "conversations.history", channel=broken, times=None)
    async with running(built(server, host, timing=replace(TIMING, hold=60.0)), host):
        ann.writes(broken, "live")
        await host.until(lambda: [each.source.chat_id for each in host.accepted] == [sound.id])


async def test_what_is_known_of_a_gap_is_not_handed_over_again(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap is looked into from minutes before it, and what is handed over costs a commit each."""
    chat = server.direct(ann)
    async with running(built(server, host), host):
        ann.writes(chat, "first")
        edited = ann.writes(chat, "second")
        await host.until(lambda: host.texts == ["first", "second"])
    handed: list[str] = []
    accept = host.accept

    async def noting(message: InboundMessage) -> Accepted:
        handed.append(message.text)
        return await accept(message)

    monkeypatch.setattr(host, "accept", noting)
    ann.edits(edited, "the second")
    ann.writes(chat, "missed")
    async with running(built(server, host), host):
        await host.until(lambda: "missed" in host.texts)
        await host.until(lambda: [each.text for each in host.amended] == ["the second"])
    assert handed == ["missed"]


async def test_a_thread_is_known_by_what_was_taken_in_before_its_position_could_be_stored(
    server: SlackServer, ann: Person, host: FakeHost
) -> None:
    general = server.channel("general", ann)
    async with running(built(server, host), host):
        first = ann.writes(general, f"{server.bot.profile.mention} begin")
        await host.until(lambda: len(host.accepted) == 1)
    host.positions[f"{CHANNEL}{general.id}"] = Position(f"{float(first.ts) - 1:.6f}").dump()
    async with running(built(server, host), host):
        await host.until(lambda: first.ts in host.positions[f"{CHANNEL}{general.id}"])
        ann.writes(general, "and go on", thread=first)
        await host.until(lambda: len(host.accepted) == 2)
    assert host.accepted[1].addressed


async def test_an_edit_in_a_gap_is_told_though_its_message_became_known_only_meanwhile(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited goes on while a gap is looked into, and in an outage not all can be looked up."""
    chat = server.direct(ann)
    async with running(built(server, host), host):
        edited = ann.writes(chat, "first")
        await host.until(lambda: host.texts == ["first"])

    async def nothing(_chat_id: str, _message_ids: Collection[str]) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(host, "known", nothing)
    server.events.lose(1)
    ann.edits(edited, "the first")
    async with running(built(server, host), host):
        await host.until(lambda: [each.text for each in host.amended] == ["the first"])
    assert host.texts == ["first"]


async def test_a_pane_that_was_opened_in_a_gap_is_looked_into_however_many_there_were_before(
    server: SlackServer, ann: Person, host: FakeHost
) -> None:
    chat = server.direct(ann)
    async with running(built(server, host), host):
        for number in range(25):
            ann.writes(chat, str(number), thread=ann.opens_assistant(server.bot).root)
        await host.until(lambda: len(host.accepted) == 25)
    server.events.lose(3)
    ann.writes(chat, "missed", thread=ann.opens_assistant(server.bot).root)
    async with running(built(server, host), host):
        await host.until(lambda: "missed" in host.texts)


async def test_a_reply_to_an_older_direct_message_is_not_missed(
    server: SlackServer, ann: Person, host: FakeHost
) -> None:
    """Nobody wrote in its thread before, and others came after it."""
    chat, now = server.direct(ann), server.world.clock()
    server.events.lose(3)
    server.world.clock = lambda: now - 7_200
    old = ann.writes(chat, "old")
    server.world.clock = lambda: now - 3_600
    newest = ann.writes(chat, "newest")
    server.world.clock = lambda: now
    ann.writes(chat, "missed", thread=old)
    host.positions[f"{CHANNEL}{chat.id}"] = Position(newest.ts).dump()
    async with running(built(server, host), host):
        await host.until(lambda: host.texts == ["newest", "missed"])


async def test_a_deletion_waits_for_its_message(server: SlackServer, ann: Person, host: FakeHost) -> None:
    chat = server.direct(ann)
    server.events.lose(1)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    gate = server.gate("conversations.history")
    async with running(built(server, host, timing=replace(TIMING, answer=20.0, hold=60.0)), host):
        await gate.reached.wait()
        live = ann.writes(chat, "live")
        ann.deletes(live)
        await host.until(lambda: len(host.updates) == 2)
        await asyncio.sleep(0.05)
        assert (host.texts, host.withdrawn) == ([], [])
        gate.open()
        await host.until(lambda: bool(host.withdrawn))
    assert host.texts == ["before", "live"]
    assert host.withdrawn == [(chat.id, live.ts)]


async def test_gaps_that_follow_each_other_keep_nobody_waiting(
    server: SlackServer, ann: Person, host: FakeHost
) -> None:
    chat = server.direct(ann)
    server.events.lose(1)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    server.inject(Fault.error(), "conversations.history", channel=chat, times=None)
    async with running(built(server, host, timing=replace(TIMING, hold=0.4)), host) as adapter:
        assert adapter._workspaces is not None
        ann.writes(chat, "live")
        for _gap in range(12):
            adapter._workspaces.missed()
            await asyncio.sleep(0.1)
        assert host.texts == ["live"]


@pytest.mark.parametrize("where", ["read_message", "message_of"])
async def test_a_message_that_cannot_be_read_is_set_aside_and_holds_up_no_other(
    server: SlackServer, ann: Person, host: FakeHost, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    chat = server.direct(ann)
    server.events.lose(3)
    before = ann.writes(chat, "before")
    host.positions[f"{CHANNEL}{chat.id}"] = Position(before.ts).dump()
    odd = ann.writes(chat, "odd")
    ann.writes(chat, "missed")
    module = backfill if where == "read_message" else receive
    known: Callable[..., Any] = getattr(module, where)

    def choosy(given: Any, *more: Any, **named: Any) -> Any:
        event = given if isinstance(given, dict) else given.event
        if event["text"] == "odd":
            raise KeyError("nobody has thought of this")
        return known(given, *more, **named)

    monkeypatch.setattr(module, where, choosy)
    async with running(built(server, host), host):
        await host.until(lambda: "missed" in host.texts)
        ann.writes(chat, "live")
        await host.until(lambda: "live" in host.texts)
    assert host.texts == ["before", "missed", "live"]
    assert host.settled == [
        (f"events_api:{chat.id}:{odd.ts}", "it cannot be read: KeyError: 'nobody has thought of this'")
    ]
