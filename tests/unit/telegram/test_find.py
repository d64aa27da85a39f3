"""Whether a message whose send had no answer is there: found, surely absent, or unknown; nobody sees the search."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.base import Button, Found, NotConnectedError, RetryLaterError, SearchOutcome
from adapters.telegram import TelegramAdapter
from adapters.telegram.constants import FIND_WINDOW
from adapters.testing.telegram import Chat, Fault, Person, TelegramServer
from tests.unit.telegram.support import FakeHost, built, delivery, running


@pytest.fixture
async def adapter(server: TelegramServer, host: FakeHost) -> AsyncIterator[TelegramAdapter]:
    async with running(built(server, host), host) as connected:
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


def absent(chat: Chat) -> SearchOutcome:
    """What can be told where nothing is found: the ids of other chats are not this one's alone."""
    return SearchOutcome.ABSENT if chat.shares_numbers else SearchOutcome.UNKNOWN


async def test_absent_only_if_something_came_later(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    searched = delivery(chat, "x", adapter, before=(number(server, chat),))
    assert await adapter.find(searched) is SearchOutcome.UNKNOWN
    ann.writes(chat, "unseen by us")
    ann.writes(chat, "/later")
    assert await adapter.find(replace(searched, others=(number(server, chat),))) is absent(chat)


async def test_what_is_known_is_not_it(
    server: TelegramServer, adapter: TelegramAdapter, ann: Person, chat: Chat
) -> None:
    ann.writes(chat, "/ask")
    searched = delivery(chat, "x", adapter, before=(number(server, chat),))
    other = await adapter.send(delivery(chat, "another delivery", adapter))
    ann.writes(chat, "/later")
    others = (other, number(server, chat))
    assert await adapter.find(replace(searched, others=others)) is absent(chat)


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
    for _ in range(6):
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


async def test_search_without_a_server(server: TelegramServer, adapter: TelegramAdapter, ann: Person) -> None:
    chat = server.private(ann)
    await server.stop()
    with pytest.raises(NotConnectedError):
        await adapter.find(delivery(chat, "x", adapter, before=("1",)))
