"""Slack's connections end, break off and fall silent, and the gateway is away: nothing that was written is missed, and
nothing is answered twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.testing.slack import Channel, DeliveryRules, Fault, Person, RateLimits, SlackServer
from config import Home
from tests.integration.slack_support import answers, gateway
from tests.support.slack import RULES, TIMING

SECONDS = 12.0

FORGETFUL = DeliveryRules(deadline=3.0, retry_delays=())
"""Slack sends nothing again."""


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=FORGETFUL) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def ann(server: SlackServer) -> Person:
    return server.person("Ann")


async def connected(server: SlackServer, number: int = 1) -> None:
    await server.until(lambda: server.events.sockets.live and len(server.events.sockets.all) >= number, SECONDS)


async def said(server: SlackServer, channel: Channel, *texts: str) -> None:
    try:
        await server.until(lambda: answers(server, channel) == list(texts), SECONDS)
    except TimeoutError as error:
        raise AssertionError(f"{answers(server, channel)} is said: {error}") from None


async def test_a_change_of_connections_misses_nothing(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(chat, "0")
        await said(server, chat, "0")
        (old,) = server.events.sockets.live
        for number in range(1, 6):
            ann.writes(chat, str(number))
        changing = asyncio.create_task(server.events.sockets.disconnect("refresh_requested", connection=old, grace=0.3))
        await server.until(lambda: len(server.events.sockets.live) == 2, SECONDS)
        for number in range(6, 12):
            ann.writes(chat, str(number))
        await changing
        await server.until(lambda: not old.live, SECONDS)
        ann.writes(chat, "12")
        # Over two connections at once, neighbours may change places.
        await server.until(lambda: len(answers(server, chat)) == 13, SECONDS)
        assert sorted(map(int, answers(server, chat))) == list(range(13))
    # The new one was there before the old one went, so nothing had to be fetched.
    assert len(server.requests.of("conversations.history")) == 0


@pytest.mark.parametrize("end", ["refresh", "abort", "reset", "freeze"])
async def test_an_end_of_the_connection_misses_nothing(server: SlackServer, ann: Person, home: Home, end: str) -> None:
    chat, general = server.direct(ann), server.channel("general", ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(chat, "before")
        asked = ann.writes(general, "@hermes before")
        await said(server, chat, "before")
        await said(server, general, "before")
        match end:
            case "refresh":
                await server.events.sockets.disconnect("refresh_requested")
            case "freeze":
                server.events.sockets.freeze()
            case _:
                server.events.sockets.abort(reset=end == "reset")
        ann.writes(chat, "during")
        ann.writes(general, "during", thread=asked)
        await said(server, chat, "before", "during")
        await said(server, general, "before", "during")
        ann.writes(chat, "after")
        await said(server, chat, "before", "during", "after")


async def test_what_was_written_while_we_were_away(server: SlackServer, ann: Person, home: Home) -> None:
    bo = server.person("Bo")
    chat, general = server.direct(ann), server.channel("general", ann, bo)
    async with gateway(server, home):
        await connected(server)
        root = ann.writes(chat, "before")
        asked = ann.writes(general, "@hermes before")
        await said(server, chat, "before")
        await said(server, general, "before")
    ann.writes(chat, "one")
    ann.writes(chat, "in a thread", thread=root)
    edited = ann.writes(chat, "twoo")
    ann.edits(edited, "two")
    gone = ann.writes(chat, "never mind")
    ann.deletes(gone)
    bo.writes(general, "not for you")
    fresh = bo.writes(general, "@hermes something new")
    bo.writes(general, "more", thread=fresh)
    ann.writes(general, "old goes on", thread=asked)
    async with gateway(server, home):
        await said(server, chat, "before", "one", "two", "in a thread")
        await server.until(lambda: len(answers(server, general)) == 4, SECONDS)
        ann.writes(chat, "after")
        await said(server, chat, "before", "one", "two", "in a thread", "after")
    assert answers(server, general, thread=fresh) == ["something new", "more"]
    assert answers(server, general, thread=asked) == ["before", "old goes on"]
    async with gateway(server, home):
        await connected(server, 3)
        ann.writes(chat, "nothing twice")
        await said(server, chat, "before", "one", "two", "in a thread", "after", "nothing twice")
    assert len(answers(server, general)) == 4


async def test_what_comes_live_waits_for_what_was_missed(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(chat, "before")
        await said(server, chat, "before")
    for number in range(3):
        ann.writes(chat, f"missed {number}")
    gate = server.gate("conversations.history")
    async with gateway(server, home):
        await connected(server, 2)
        await gate.reached.wait()
        ann.writes(chat, "live")
        await server.until(lambda: not server.events.pending, SECONDS)
        assert answers(server, chat) == ["before"]
        gate.open()
        await said(server, chat, "before", "missed 0", "missed 1", "missed 2", "live")


async def test_a_limited_history_keeps_nobody_waiting(server: SlackServer, ann: Person, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(chat, "before")
        await said(server, chat, "before")
    ann.writes(chat, "missed")
    server.inject(Fault.flood(int(TIMING.hold) + 30), "conversations.history")
    async with gateway(server, home, killed=True):
        await connected(server, 2)
        ann.writes(chat, "live")
        await said(server, chat, "before", "live")
    server.limits._closed.clear()  # that time passes
    # The position has not passed what is still to be fetched.
    async with gateway(server, home):
        await said(server, chat, "before", "live", "missed")


async def test_a_crash_in_the_middle_of_a_backfill(server: SlackServer, ann: Person, home: Home) -> None:
    chats = [server.direct(server.person(f"P{number}")) for number in range(4)]
    people = [next(each for each in chat.members.values() if not each.is_bot) for chat in chats]
    writers = [Person(server.world, person, server.interactions) for person in people]
    async with gateway(server, home):
        await connected(server)
        for chat, writer in zip(chats, writers, strict=True):
            writer.writes(chat, "before")
            await said(server, chat, "before")
    for chat, writer in zip(chats, writers, strict=True):
        writer.writes(chat, "missed")
    gate = server.gate("conversations.history", skip=2)
    async with gateway(server, home, killed=True):
        await gate.reached.wait()
    gate.open()
    async with gateway(server, home):
        for chat in chats:
            await said(server, chat, "before", "missed")


async def test_two_hundred_events_in_a_second(ann: Person, home: Home) -> None:
    async with SlackServer(rules=RULES, limits=RateLimits(channel_per_second=1000, channel_burst=1000)) as server:
        people = [server.person(f"P{number}") for number in range(20)]
        chats = [server.direct(person) for person in people]
        server.limits.limits = None
        async with gateway(server, home, delay_ms=100):
            await connected(server)
            for number in range(10):
                for person, chat in zip(people, chats, strict=True):
                    person.writes(chat, f"message {number}")
                await asyncio.sleep(0.1)
            events = [each for each in server.events.all if "bot_id" not in each.event]
            await server.until(lambda: all(each.acknowledged for each in events), SECONDS)
        waits = sorted(wait for each in events for wait in each.waits)
        assert len(events) >= 200
        assert waits[int(len(waits) * 0.99)] < 3.0
        assert all(len(each.attempts) == 1 for each in events)
        assert server.violations == []
