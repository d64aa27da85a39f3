"""Whether a message whose send had no answer is there."""

import pytest

from adapters.base import Found, MediaKind, OutgoingFile, RetryLaterError, SearchOutcome
from adapters.slack import SlackAdapter
from adapters.testing.slack import Fault, Person, SlackServer
from tests.support.platform_host import FakeHost
from tests.unit.slack.support import built, delivery, running


@pytest.mark.parametrize("threaded", [False, True])
async def test_it_is_found_among_others(
    server: SlackServer, ann: Person, adapter: SlackAdapter, threaded: bool
) -> None:
    general = server.channel("general", ann)
    root = ann.writes(general, "?") if threaded else None
    before = await adapter.send(delivery(general, "same", adapter, thread=root, id=1))
    wanted = delivery(general, "same", adapter, thread=root, id=2, before=(before,))
    assert await adapter.find(wanted) is SearchOutcome.ABSENT
    ts = await adapter.send(wanted)
    await adapter.send(delivery(general, "same", adapter, thread=root, id=2, part=1, content=wanted.content))
    for _ in range(3):
        ann.writes(general, "and so on", thread=root)
    assert await adapter.find(wanted) == Found(ts)


async def test_a_successor_finds_what_no_thread_took(
    server: SlackServer, ann: Person, adapter: SlackAdapter, host: FakeHost
) -> None:
    general = server.channel("general", ann)
    root = ann.writes(general, "?")
    root.takes_replies = False
    wanted = delivery(general, "yes", adapter, thread=root, id=2, answers=(root.ts,))
    ts = await adapter.send(wanted)
    assert await adapter.find(wanted) == Found(ts)
    async with running(built(server, host), host) as successor:
        assert await successor.find(wanted) == Found(ts)
        server.inject(Fault.error(200, "missing_scope"), "conversations.history")
        assert await successor.find(wanted) is SearchOutcome.ABSENT, "as where only the thread can be looked into"


async def test_the_number_of_another_database_is_not_ours(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    chat = server.direct(ann)
    await adapter.send(delivery(chat, "old", adapter, id=1, turn_id="long ago"))
    asked = ann.writes(chat, "?")
    await adapter.send(delivery(chat, "other", adapter, id=1, turn_id="another"))
    wanted = delivery(chat, "new", adapter, id=1, turn_id="now", answers=(asked.ts,))
    assert await adapter.find(wanted) is SearchOutcome.ABSENT


async def test_it_is_found_though_it_answers_something_newer_too(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    """What is written while an answer grows can be taken into its turn."""
    chat = server.direct(ann)
    asked = ann.writes(chat, "?")
    ts = await adapter.send(delivery(chat, "answer", adapter, answers=(asked.ts,), before=(asked.ts,)))
    more = ann.writes(chat, "and this?")
    both = (asked.ts, more.ts)
    wanted = delivery(chat, "answer", adapter, answers=both, before=(asked.ts,), others=(more.ts,))
    assert await adapter.find(wanted) == Found(ts)


async def test_one_that_arrives_late_is_found(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    wanted = delivery(chat, "hello", adapter)

    async def arrives(_: object) -> None:
        await adapter.send(wanted)

    server.inject(Fault.call(arrives), "conversations.history")
    assert isinstance(await adapter.find(wanted), Found)


async def test_one_that_arrives_late_in_its_thread_is_looked_for_nowhere_else(
    server: SlackServer, ann: Person, adapter: SlackAdapter
) -> None:
    general = server.channel("general", ann)
    wanted = delivery(general, "hello", adapter, thread=ann.writes(general, "?"))

    async def arrives(_: object) -> None:
        await adapter.send(wanted)

    server.inject(Fault.call(arrives), "conversations.replies")
    server.inject(Fault.flood(3), "conversations.history")
    assert isinstance(await adapter.find(wanted), Found)


async def test_a_limited_search_waits(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    for fault in (Fault.flood(3), Fault.drop(), Fault.error()):
        rule = server.inject(fault, "conversations.history", times=None)
        with pytest.raises(RetryLaterError):
            await adapter.find(delivery(chat, "hello", adapter))
        rule.cancel()
        server.limits._closed.clear()


async def test_what_cannot_be_told(server: SlackServer, ann: Person, adapter: SlackAdapter) -> None:
    chat = server.direct(ann)
    file = OutgoingFile(MediaKind.IMAGE, "/nowhere", "a.png", "image/png")
    assert await adapter.find(delivery(chat, "", adapter, content=file)) is SearchOutcome.UNKNOWN
    server.bot.scopes.remove("im:history")
    assert await adapter.find(delivery(chat, "hello", adapter)) is SearchOutcome.UNKNOWN
