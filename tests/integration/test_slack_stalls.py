"""A disk that stalls, a database that another process holds, a disk without room: what Slack sent is in the spool by
the time Slack wants to hear of it, or Slack sends it again; and each message is answered once."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from adapters.testing.slack import Channel, DeliveryRules, Envelope, Person, SlackServer
from config import Home
from gateway.daemon import Daemon
from gateway.storage import failover, writer
from gateway.storage.failover import Failover
from tests.integration.slack_support import answers, gateway
from tests.support.faults import LockHolder

SECONDS = 15.0
PEOPLE = 4
MESSAGES = 5

IN_A_HURRY = DeliveryRules(deadline=0.4, retry_delays=(0.0, 0.5, 1.0))
"""Slack, waiting less, and sending again sooner."""


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer() as running:
        yield running


@pytest.fixture
async def chats(server: SlackServer) -> Sequence[tuple[Person, Channel]]:
    people = [server.person(f"Person {number}") for number in range(PEOPLE)]
    return [(person, server.direct(person)) for person in people]


async def heard(server: SlackServer, chats: Sequence[tuple[Person, Channel]]) -> None:
    """Let the bot hear of each conversation, while all is well."""
    await server.until(lambda: server.events.sockets.live, SECONDS)
    for person, chat in chats:
        person.writes(chat, "before")
    await server.until(lambda: all(answers(server, chat) == ["before"] for _, chat in chats), SECONDS)


def all_write(server: SlackServer, chats: Sequence[tuple[Person, Channel]]) -> list[Envelope]:
    """Everybody writes; what Slack sends of it."""
    for number in range(MESSAGES):
        for person, chat in chats:
            person.writes(chat, f"during {number}")
    return [each for each in server.events.all if str(each.event.get("text")).startswith("during")]


async def answered(server: SlackServer, chats: Sequence[tuple[Person, Channel]]) -> None:
    """Everything was answered, in any order where it was sent again, and nothing twice."""
    wanted = sorted(["before", *(f"during {number}" for number in range(MESSAGES))])
    await server.until(lambda: all(len(answers(server, chat)) >= len(wanted) for _, chat in chats), SECONDS)
    await asyncio.sleep(0.2)
    assert [sorted(answers(server, chat)) for _, chat in chats] == [wanted] * len(chats)


def storage(daemon: Daemon) -> str:
    """Where data goes."""
    assert daemon._parts is not None
    return daemon._parts.database.state.mode


async def test_a_database_that_is_held_leaves_them_to_the_spool(
    server: SlackServer, chats: Sequence[tuple[Person, Channel]], home: Home
) -> None:
    async with gateway(server, home) as daemon:
        await heard(server, chats)
        holder = LockHolder(home.database)
        async with asyncio.timeout(SECONDS):
            while not holder.hold():
                await asyncio.sleep(0.01)
        try:
            sent = all_write(server, chats)
            await server.until(lambda: all(each.acknowledged for each in sent), SECONDS)
            assert storage(daemon) == "spool"
        finally:
            holder.release()
        await answered(server, chats)
    assert all(len(each.attempts) == 1 for each in sent)
    assert server.violations == []
    assert max(wait for each in sent for wait in each.waits) < server.events.rules.deadline


async def test_a_disk_that_stalls_leaves_them_to_slack(
    server: SlackServer, chats: Sequence[tuple[Person, Channel]], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, commit = threading.Event(), Failover.commit
    goes_on.set()

    def stalled(self: Failover) -> None:
        goes_on.wait()
        commit(self)

    monkeypatch.setattr(Failover, "commit", stalled)
    async with gateway(server, home):
        await heard(server, chats)
        server.events.rules = IN_A_HURRY
        goes_on.clear()
        try:
            sent = all_write(server, chats)
            await server.until(lambda: all(len(each.attempts) == 3 for each in sent), SECONDS)
            assert not any(each.acknowledged for each in sent)
        finally:
            goes_on.set()
        await server.until(lambda: all(each.acknowledged for each in sent), SECONDS)
        await answered(server, chats)


async def test_where_nothing_can_be_stored_slack_sends_it_again(
    server: SlackServer, chats: Sequence[tuple[Person, Channel]], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writer, failover):
        monkeypatch.setattr(module, "SQLITE_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(failover, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(failover, "RETRY_MAX_SECONDS", 0.1)

    def full(_self: Failover) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with gateway(server, home):
        await heard(server, chats)
        server.events.rules = IN_A_HURRY
        holder = LockHolder(home.database)
        async with asyncio.timeout(SECONDS):
            while not holder.hold():
                await asyncio.sleep(0.01)
        try:
            with monkeypatch.context() as room:
                room.setattr(Failover, "_write_spool", full)
                sent = all_write(server, chats)
                await server.until(lambda: all(len(each.attempts) == 2 for each in sent), SECONDS)
                assert not any(each.acknowledged for each in sent)
        finally:
            holder.release()
        await server.until(lambda: all(each.acknowledged for each in sent), SECONDS)
        await answered(server, chats)
