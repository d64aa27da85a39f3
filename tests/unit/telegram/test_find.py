"""Whether a message whose send had no answer is there: found, surely absent, or unknown; nobody sees the search."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from adapters.base import Button, Delivery, Found, NotConnectedError, RetryLaterError, SearchOutcome
from adapters.telegram import TelegramAdapter
from adapters.telegram.constants import FIND_LOOKS, FIND_LOOKS_IN_GROUPS, FIND_REFUSALS, FIND_WINDOW
from adapters.testing.telegram import Chat, Fault, FloodLimits, Person, TelegramServer
from tests.support.platform_host import FakeHost
from tests.unit.telegram.support import built, delivery, running

LOOK = "editMessageReplyMarkup"


@dataclass(eq=False)
class Pauses:
    """What was slept: nobody waits here."""

    seconds: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def adapter(server: TelegramServer, host: FakeHost, pauses: Pauses) -> AsyncIterator[TelegramAdapter]:
    async with running(built(server, host, sleep=pauses.sleep), host) as connected:
        yield connected


@pytest.fixture
def ann(server: TelegramServer) -> Person:
    return server.person("Ann")


@pytest.fixture(params=["private", "group", "supergroup"])
def chat(request: pytest.FixtureRequest, server: TelegramServer, ann: Person) -> Chat:
    makers = {"private": server.private, "group": lambda who: server.group("G", who)}
    return makers.get(request.param, lambda who: server.supergroup("S", who))(ann)


def number(server: TelegramServer, chat: Chat, index: int = -1) -> str:
    """The id of a message, as the bot sees it."""
    return str(chat.messages[index].number(server.bot.id))


async def test_found(server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat) -> None:
    ann.writes(chat, "/ask")
    before = (number(server, chat),)
    shown = await adapter.send(delivery(chat, "the answer", adapter))
    searched = delivery(chat, "the answer", adapter, before=before)
    assert await adapter.find(searched) == Found(shown)
    ann.writes(chat, "/later")
    assert await adapter.find(replace(searched, others=(number(server, chat),))) == Found(shown)
    assert server.shown(chat, by=server.bot)[0].texts == ("the answer",)
    assert len(server.shown(chat, by=server.bot)) == 1


# --- surely absent -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Silence:
    """A search for what was never sent, in a chat where a message that we do not see stands before a later one."""

    chat: Chat
    delivery: Delivery


def silence(server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat) -> Silence:
    ann.writes(chat, "/ask")
    before = number(server, chat)
    ann.writes(chat, "unseen by us")
    ann.writes(chat, "/later")
    came = (number(server, chat),)
    return Silence(chat, delivery(chat, "x", adapter, before=(before,), others=came, later=came))


async def test_absent_where_an_administrator_sees_all(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person
) -> None:
    asked = silence(server, adapter, ann, server.supergroup("S", ann, bots={server.bot: "administrator"}))
    assert await adapter.find(asked.delivery) is SearchOutcome.ABSENT
    assert len(server.requests.of(LOOK)) == 1, "only what lies below the later one"


async def test_absent_without_privacy_mode(host: FakeHost, pauses: Pauses) -> None:
    async with TelegramServer(reads_all=True) as server:
        ann = server.person("Ann")
        async with running(built(server, host, sleep=pauses.sleep), host) as adapter:
            asked = silence(server, adapter, ann, server.supergroup("S", ann))
            assert await adapter.find(asked.delivery) is SearchOutcome.ABSENT


async def test_not_absent_where_messages_may_be_invisible_or_ids_are_shared(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    assert await adapter.find(silence(server, adapter, ann, chat).delivery) is SearchOutcome.UNKNOWN


async def test_not_absent_unless_something_came_long_after(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person
) -> None:
    asked = silence(server, adapter, ann, server.supergroup("S", ann, bots={server.bot: "administrator"})).delivery
    assert await adapter.find(replace(asked, later=())) is SearchOutcome.UNKNOWN
    assert await adapter.find(replace(asked, others=(), later=())) is SearchOutcome.UNKNOWN


async def test_not_absent_with_more_ids_than_are_looked_at(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person
) -> None:
    chat = server.supergroup("S", ann, bots={server.bot: "administrator"})
    ann.writes(chat, "/ask")
    before = number(server, chat)
    for _ in range(FIND_LOOKS_IN_GROUPS + 1):
        ann.writes(chat, "not known to have come")
    ann.writes(chat, "/later")
    came = (number(server, chat),)
    asked = delivery(chat, "x", adapter, before=(before,), others=came, later=came)
    assert await adapter.find(asked) is SearchOutcome.UNKNOWN


async def test_deleted_messages_end_no_search(server: TelegramServer, adapter: TelegramAdapter, ann: Person) -> None:
    """Three ids in a row with nothing under them stand before ours."""
    chat = server.supergroup("S", ann, bots={server.bot: "administrator"})
    ann.writes(chat, "/ask")
    before = (number(server, chat),)
    ann.writes(chat, "known")
    others = (number(server, chat),)
    for message in [ann.writes(chat, f"spam {count}") for count in range(3)]:
        ann.deletes(message)
    shown = await adapter.send(delivery(chat, "x", adapter))
    assert await adapter.find(delivery(chat, "x", adapter, before=before, others=others)) == Found(shown)


async def test_another_delivery_is_not_it(server: TelegramServer, adapter: TelegramAdapter, ann: Person) -> None:
    chat = server.supergroup("S", ann, bots={server.bot: "administrator"})
    ann.writes(chat, "/ask")
    searched = delivery(chat, "x", adapter, before=(number(server, chat),))
    other = await adapter.send(delivery(chat, "another delivery", adapter))
    ann.writes(chat, "/later")
    later = number(server, chat)
    assert await adapter.find(replace(searched, others=(other, later), later=(later,))) is SearchOutcome.ABSENT


async def test_in_a_channel_nothing_can_be_told(server: TelegramServer, adapter: TelegramAdapter, ann: Person) -> None:
    """An administrator may edit the posts of others there, so that one that is as it is to be is not surely ours."""
    channel = server.channel("News", ann)
    ann.writes(channel, "/ask")
    before = (number(server, channel),)
    theirs = ann.writes(channel, "IMPORTANT")
    asked = delivery(channel, "x", adapter, before=before)
    assert await adapter.find(asked) is SearchOutcome.UNKNOWN
    came = (number(server, channel),)
    assert await adapter.find(replace(asked, others=came, later=came)) is SearchOutcome.UNKNOWN
    assert server.requests.of(LOOK) == ()
    assert theirs.texts == ("IMPORTANT",)


# --- where it may be -----------------------------------------------------------------------------------


async def test_late_message_above_what_came_meanwhile(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    before = number(server, chat)
    ann.writes(chat, "/later")
    others = (number(server, chat),)
    shown = await adapter.send(delivery(chat, "late", adapter))
    assert await adapter.find(delivery(chat, "late", adapter, before=(before,), others=others)) == Found(shown)


async def test_message_far_above_what_came_meanwhile(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    """Other chats take ids too, or people write what we do not get."""
    ann.writes(chat, "/ask")
    before = number(server, chat)
    ann.writes(chat, "/later")
    others = (number(server, chat),)
    bob = server.person("Bob")
    for _ in range(FIND_LOOKS_IN_GROUPS - 1):
        if chat.shares_numbers:
            ann.writes(chat, "unseen by us")
        else:
            bob.writes(server.private(bob), "in another chat")
    shown = await adapter.send(delivery(chat, "late", adapter))
    assert await adapter.find(delivery(chat, "late", adapter, before=(before,), others=others)) == Found(shown)


async def test_window_that_is_too_wide(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    searched = delivery(chat, "x", adapter, before=("1",), others=(str(2 + 2 * FIND_WINDOW),))
    assert await adapter.find(searched) is SearchOutcome.UNKNOWN
    assert server.requests.of("editMessageReplyMarkup") == ()


async def test_nothing_known_at_all(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    assert await adapter.find(delivery(chat, "x", adapter)) is SearchOutcome.UNKNOWN
    assert await adapter.find(delivery(chat, "x", adapter, answers=("press:5",))) is SearchOutcome.UNKNOWN


async def test_question_stands_for_what_was_there(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    answers = (number(server, chat),)
    shown = await adapter.send(delivery(chat, "x", adapter))
    assert await adapter.find(delivery(chat, "x", adapter, answers=answers)) == Found(shown)


async def test_question_that_came_into_its_turn_later_hides_nothing(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    first = number(server, chat)
    shown = await adapter.send(delivery(chat, "x", adapter))
    ann.writes(chat, "/ask more")
    second = number(server, chat)
    searched = delivery(chat, "x", adapter, answers=(first, second), others=(second,))
    assert await adapter.find(searched) == Found(shown)


async def test_buttons_stay(server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat) -> None:
    ann.writes(chat, "/ask")
    before = (number(server, chat),)
    asked = delivery(chat, "May I?", adapter, buttons=((Button("Yes", "/yes"),),), before=before)
    shown = await adapter.send(asked)
    assert await adapter.find(asked) == Found(shown)
    (message,) = server.shown(chat, by=server.bot)
    assert len(message.versions) == 1
    assert message.content.markup is not None


async def test_answer_that_nobody_expected_leaves_it_unknown(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    before = number(server, chat)
    ann.writes(chat, "/later")
    ann.writes(chat, "/later")
    server.inject(Fault.error(400, "Bad Request: MESSAGE_ODD"), "editMessageReplyMarkup")
    searched = delivery(chat, "x", adapter, before=(before,), others=(number(server, chat),))
    assert await adapter.find(searched) is SearchOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(Fault.flood(4), 4), (Fault.error(500), None), (Fault.drop(), None), (Fault.silence(), None)],
    ids=["429", "500", "drop", "silence"],
)
async def test_search_that_fails_is_made_again(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, fault: Fault, seconds: float | None
) -> None:
    chat = server.private(ann)
    ann.writes(chat, "hello")
    server.inject(fault, "editMessageReplyMarkup")
    with pytest.raises(RetryLaterError) as failed:
        await adapter.find(delivery(chat, "x", adapter, before=(number(server, chat),)))
    assert failed.value.retry_after == seconds


# --- how many looks, and how fast ----------------------------------------------------------------------


async def test_looks_are_few_and_keep_to_what_a_chat_takes(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat, pauses: Pauses
) -> None:
    """The last pause is for the send that follows."""
    ann.writes(chat, "/ask")
    before = (number(server, chat),)
    pauses.seconds.clear()
    assert await adapter.find(delivery(chat, "x", adapter, before=before)) is SearchOutcome.UNKNOWN
    looks, seconds = (FIND_LOOKS, 1.0) if chat.is_private else (FIND_LOOKS_IN_GROUPS, 3.0)
    assert len(server.requests.of(LOOK)) == looks
    assert pauses.seconds == [seconds] * looks


def looked_at(server: TelegramServer) -> list[int | None]:
    return [request.integer("message_id") for request in server.requests.of(LOOK)]


async def test_interrupted_search_goes_on_where_it_stopped(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person
) -> None:
    chat = server.private(ann)
    ann.writes(chat, "hello")
    first = int(number(server, chat)) + 1
    asked = delivery(chat, "x", adapter, before=(number(server, chat),))
    server.inject(Fault.flood(0), LOOK, skip=2)
    with pytest.raises(RetryLaterError):
        await adapter.find(asked)
    assert looked_at(server) == [first, first + 1, first + 2]
    assert await adapter.find(asked) is SearchOutcome.UNKNOWN
    assert looked_at(server)[3:] == list(range(first + 2, first + FIND_LOOKS))


async def test_search_that_is_interrupted_too_often_ends(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person
) -> None:
    chat = server.private(ann)
    ann.writes(chat, "hello")
    asked = delivery(chat, "x", adapter, before=(number(server, chat),))
    server.inject(Fault.error(500), LOOK, times=None)
    for _ in range(FIND_REFUSALS):
        with pytest.raises(RetryLaterError):
            await adapter.find(asked)
    assert await adapter.find(asked) is SearchOutcome.UNKNOWN
    assert len(looked_at(server)) == FIND_REFUSALS, "it is over before it looks again"
    with pytest.raises(RetryLaterError):
        await adapter.find(replace(asked, part=1))


async def test_search_that_takes_too_long_ends(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.telegram.find.FIND_SECONDS", 0.1)
    chat = server.private(ann)
    ann.writes(chat, "hello")
    server.inject(Fault.silence(), LOOK, times=None)
    assert await adapter.find(delivery(chat, "x", adapter, before=(number(server, chat),))) is SearchOutcome.UNKNOWN


async def test_limits_of_the_server_do_not_keep_a_search_from_its_end(host: FakeHost) -> None:
    async with TelegramServer(limits=FloodLimits(chat_per_second=20)) as server:
        ann = server.person("Ann")
        chat = server.private(ann)

        async def hasty(seconds: float) -> None:
            await asyncio.sleep(seconds / 18)

        async with running(built(server, host, sleep=hasty), host) as adapter:
            ann.writes(chat, "hello")
            asked = delivery(chat, "x", adapter, before=(number(server, chat),))
            assert await adapter.find(asked) is SearchOutcome.UNKNOWN
            await adapter.send(asked)
        assert server.violations == []


async def test_search_without_a_server(server: TelegramServer, adapter: TelegramAdapter, ann: Person) -> None:
    chat = server.private(ann)
    await server.stop()
    with pytest.raises(NotConnectedError):
        await adapter.find(delivery(chat, "x", adapter, before=("1",)))
