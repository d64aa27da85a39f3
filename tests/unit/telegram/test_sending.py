"""What goes out, over the wire: looks, places, edits, drafts, buttons, and what each refusal means."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.base import (
    Button,
    ChatMovedError,
    DeliveryError,
    MediaKind,
    NotConnectedError,
    OutcomeUnknownError,
    OutgoingFile,
    Rate,
    RetryLaterError,
    SearchOutcome,
    Target,
    UndeliverableError,
)
from adapters.markup.telegram import Entity, TelegramMessage
from adapters.telegram import TelegramAdapter
from adapters.telegram.compose import REPEATED
from adapters.telegram.constants import DRAFT_REFUSALS
from adapters.testing.telegram import GENERAL_TOPIC, Chat, Fault, TelegramServer
from config import Platform
from tests.support.platform_host import FakeHost
from tests.unit.telegram.support import built, delivery, running, target


@pytest.fixture
async def adapter(server: TelegramServer, host: FakeHost) -> AsyncIterator[TelegramAdapter]:
    async with running(built(server, host), host) as connected:
        yield connected


@pytest.fixture
def chat(server: TelegramServer) -> Chat:
    return server.private(server.person("Ann"))


def sent(server: TelegramServer) -> dict[str, Any]:
    """The parameters of the last message."""
    return dict(server.requests.of("sendMessage")[-1].parameters)


# --- messages ------------------------------------------------------------------------------------------


async def test_looks_without_previews(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    text = "**bold** 😀 [link](https://a.example/) `code`"
    message_id = await adapter.send(delivery(chat, text, adapter))
    (message,) = server.shown(chat, by=server.bot)
    assert str(message.number(server.bot.id)) == message_id
    assert message.text == "bold 😀 link code"
    assert [each["type"] for each in message.content.entities] == ["bold", "text_link", "code"]
    assert message.content.preview == {"is_disabled": True}
    assert "message_thread_id" not in sent(server)
    assert "reply_parameters" not in sent(server)
    assert server.violations == []


async def test_previews_can_be_switched_on(server: TelegramServer, host: FakeHost, chat: Chat) -> None:
    async with running(built(server, host, link_previews=True), host) as adapter:
        await adapter.send(delivery(chat, "https://a.example/", adapter))
    assert server.shown(chat, by=server.bot)[0].content.preview == {"is_disabled": False}


async def test_edit_is_idempotent(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    message_id = await adapter.send(delivery(chat, "one", adapter))
    for _ in range(2):
        await adapter.edit(delivery(chat, "one *two*", adapter, message_id=message_id))
    assert server.shown(chat, by=server.bot)[0].texts == ("one", "one two")


async def test_mark_of_a_repeat(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    message_id = await adapter.send(delivery(chat, "**hi**", adapter, repeated=True))
    await adapter.edit(delivery(chat, "**hi** you", adapter, repeated=True, message_id=message_id))
    (message,) = server.shown(chat, by=server.bot)
    assert message.texts == (f"{REPEATED}\nhi", f"{REPEATED}\nhi you")
    assert [each["type"] for each in message.content.entities] == ["italic", "bold"]
    assert server.violations == []


async def test_longest_message_has_room_for_the_mark(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat
) -> None:
    await adapter.send(delivery(chat, "😀" * 4000, adapter, repeated=True))
    assert server.shown(chat, by=server.bot)[0].text.startswith(REPEATED)


async def test_answer_in_a_group_points_to_the_question(server: TelegramServer, adapter: TelegramAdapter) -> None:
    ann = server.person("Ann")
    group = server.group("Team", ann)
    asked = ann.writes(group, "/new")
    answers = ("press:12", str(asked.id))
    await adapter.send(delivery(group, "yes", adapter, answers=answers))
    await adapter.send(delivery(group, "gone", adapter, answers=("999",)))
    await adapter.send(delivery(group, "one\n\n" + "x" * 4090, adapter, answers=answers, part=1))
    first, second, third = server.shown(group, by=server.bot)
    assert (first.reply_to, second.reply_to, third.reply_to) == (asked, None, None)


async def test_everything_of_an_answer_to_a_comment_answers_a_comment(
    server: TelegramServer, adapter: TelegramAdapter
) -> None:
    ann = server.person("Ann")
    group = server.supergroup("News, discussed", ann)
    channel = server.channel("News", ann, group=group)
    ann.writes(channel, "hear, hear")
    (post,) = server.shown(group)
    asked = ann.writes(group, "/new", reply_to=post)
    place, text = f"below-{asked.id}", "one\n\n" + "x" * 4090
    await adapter.send(delivery(group, text, adapter, answers=(str(asked.id),), thread_id=place))
    await adapter.send(delivery(group, text, adapter, answers=(str(asked.id),), thread_id=place, part=1))
    await adapter.send(delivery(group, "a notice", adapter, thread_id=place))
    await adapter.typing(target(group, place))
    assert [(each.reply_to, each.thread) for each in server.shown(group, by=server.bot)] == [(asked, post.id)] * 3
    assert server.violations == []


async def test_direct_messages_of_a_channel(server: TelegramServer, adapter: TelegramAdapter, tmp_path: Path) -> None:
    ann, bo = server.person("Ann"), server.person("Bo")
    chat = server.supergroup("News", ann, bo, bots={server.bot: "administrator"}, direct=True)
    asked = bo.writes(chat, "/new")
    place, path = f"direct-{bo.id}", tmp_path / "a.txt"
    path.write_text("a")
    await adapter.send(delivery(chat, "yes", adapter, thread_id=place, answers=(str(asked.id),)))
    file = OutgoingFile(MediaKind.DOCUMENT, str(path), "a.txt", "text/plain")
    await adapter.send(delivery(chat, "", adapter, thread_id=place, content=file))
    await adapter.typing(target(chat, place))
    first, second = server.shown(chat, by=server.bot)
    assert (first.thread, first.reply_to, second.thread) == (bo.id, asked, bo.id)
    lost = delivery(chat, "yes", adapter, thread_id=place, before=(str(asked.id),), later=("99",))
    assert await adapter.find(lost) is SearchOutcome.UNKNOWN, "it may be an administrator's"
    assert all("message_thread_id" not in each.parameters for each in server.requests)


async def test_topics(server: TelegramServer, adapter: TelegramAdapter) -> None:
    ann = server.person("Ann")
    forum = server.forum("Forum", ann)
    topic = ann.opens_topic(forum, "Plans")
    await adapter.send(delivery(forum, "general", adapter, thread_id="1"))
    await adapter.send(delivery(forum, "plans", adapter, thread_id=str(topic.id)))
    await adapter.typing(target(forum, str(topic.id)))
    await adapter.typing(target(forum, "1"))
    general, plans = server.shown(forum, by=server.bot)
    assert (general.thread, plans.thread) == (None, topic.id)
    assert [action.thread for action in forum.actions] == [topic.id, GENERAL_TOPIC]


async def test_delete(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    message_id = await adapter.send(delivery(chat, "one", adapter))
    for _ in range(2):
        await adapter.delete(delivery(chat, "one", adapter, message_id=message_id))
    assert server.shown(chat, by=server.bot) == ()


async def test_buttons(server: TelegramServer, adapter: TelegramAdapter, host: FakeHost) -> None:
    ann = server.person("Ann")
    chat = server.private(ann)
    rows = ((Button("Yes", "/approve 1"), Button("No", "/deny 1")), (Button("Long", "/x" + "y" * 63),))
    message_id = await adapter.send(delivery(chat, "May I?", adapter, buttons=rows))
    (message,) = server.shown(chat, by=server.bot)
    assert message.content.markup == {
        "inline_keyboard": [
            [{"text": "Yes", "callback_data": "/approve 1"}, {"text": "No", "callback_data": "/deny 1"}]
        ]
    }
    callback = ann.presses(message, "/deny 1")
    await host.until(lambda: host.accepted)
    assert (host.accepted[0].text, host.accepted[0].message_id) == ("/deny 1", f"press:{callback.id}")
    await server.until(lambda: callback.id in server.world.callback_answers)
    await adapter.edit(delivery(chat, "Denied.", adapter, message_id=message_id))
    assert message.content.markup is None


# --- drafts and rates ----------------------------------------------------------------------------------


async def test_drafts_in_private_chats_alone(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    assert await adapter.draft(delivery(chat, "thinking", adapter, turn_id="t"))
    assert await adapter.draft(delivery(chat, "thinking **more**", adapter, turn_id="t"))
    assert [draft.text for draft in chat.drafts] == ["thinking", "thinking more"]
    assert len({draft.id for draft in chat.drafts}) == 1
    assert await adapter.draft(delivery(chat, "another", adapter, turn_id="u"))
    assert chat.drafts[-1].id != chat.drafts[0].id
    assert not await adapter.draft(delivery(server.group("Team"), "x", adapter))


async def test_server_without_drafts_is_asked_once(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat
) -> None:
    server.inject(Fault.error(404, "Not Found: method not found"), "sendMessageDraft")
    for _ in range(3):
        assert not await adapter.draft(delivery(chat, "x", adapter))
    assert len(server.requests.of("sendMessageDraft")) == 1


async def test_chat_without_drafts_is_asked_once(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    server.inject(Fault.error(400, "Bad Request: TEXTDRAFT_PEER_INVALID"), "sendMessageDraft")
    other = server.private(server.person("Bo"))
    assert not await adapter.draft(delivery(chat, "x", adapter))
    assert not await adapter.draft(delivery(chat, "x", adapter))
    assert await adapter.draft(delivery(other, "x", adapter))


async def test_looks_of_a_draft_that_are_refused(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    server.inject(Fault.error(400, "Bad Request: can't parse entities: odd"), "sendMessageDraft")
    assert await adapter.draft(delivery(chat, "**thinking**", adapter))
    assert await adapter.draft(delivery(chat, "**thinking** more", adapter))
    assert [draft.text for draft in chat.drafts] == ["thinking", "thinking more"]


async def test_one_refused_draft_does_not_end_drafts(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat
) -> None:
    rule = server.inject(Fault.error(400, "Bad Request: MESSAGE_ODD"), "sendMessageDraft", times=None)
    for _ in range(DRAFT_REFUSALS - 1):
        with pytest.raises(UndeliverableError):
            await adapter.draft(delivery(chat, "x", adapter))
    assert not await adapter.draft(delivery(chat, "x", adapter)), "this answer grows as a message"
    rule.cancel()
    assert await adapter.draft(delivery(chat, "x", adapter))


async def test_draft_that_is_too_early(server: TelegramServer, adapter: TelegramAdapter, chat: Chat) -> None:
    server.inject(Fault.flood(3), "sendMessageDraft")
    with pytest.raises(RetryLaterError) as refused:
        await adapter.draft(delivery(chat, "x", adapter))
    assert refused.value.retry_after == 3


async def test_rates(adapter: TelegramAdapter) -> None:
    assert adapter.rates("5") == (Rate(1, 1.0),)
    assert adapter.rates("-5") == (Rate(1, 1.0), Rate(20, 60.0))
    assert adapter.capabilities.rate == Rate(30, 1.0)


# --- what can go wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.flood(7), RetryLaterError),
        (Fault.error(500), OutcomeUnknownError),
        (Fault.error(500, accepted=True), OutcomeUnknownError),
        (Fault.drop(accepted=True), OutcomeUnknownError),
        (Fault.drop(accepted=False), OutcomeUnknownError),
        (Fault.reset(), OutcomeUnknownError),
        (Fault.silence(accepted=True), OutcomeUnknownError),
        (Fault.error(401, "Unauthorized"), NotConnectedError),
        (Fault.error(403, "Forbidden: bot was blocked by the user"), UndeliverableError),
        (Fault.error(400, "Bad Request: chat not found"), UndeliverableError),
        (Fault.error(400, "Bad Request: not enough rights to send text messages to the chat"), UndeliverableError),
        (Fault.error(400, "Bad Request: message thread not found"), UndeliverableError),
        (Fault.error(400, "Bad Request: TOPIC_CLOSED"), UndeliverableError),
    ],
    ids=lambda value: f"{value.status} {value.kind.name} {value.accepted}" if isinstance(value, Fault) else "",
)
async def test_failed_send(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, fault: Fault, error: type[DeliveryError]
) -> None:
    server.inject(fault, "sendMessage")
    with pytest.raises(error) as failed:
        await adapter.send(delivery(chat, "x", adapter))
    assert type(failed.value) is error
    secret = server.bot.token.partition(":")[2]
    assert secret not in str(failed.value)
    assert failed.value.__cause__ is None
    if isinstance(failed.value, RetryLaterError):
        assert failed.value.retry_after == 7


async def test_topic_that_is_gone_is_named(server: TelegramServer, adapter: TelegramAdapter) -> None:
    forum = server.forum("Forum", server.person("Ann"))
    with pytest.raises(UndeliverableError, match="topic 77 is gone"):
        await adapter.send(delivery(forum, "x", adapter, thread_id="77"))


@pytest.mark.parametrize("place", [("name", None), ("5", "here")])
async def test_place_that_is_none(adapter: TelegramAdapter, chat: Chat, place: tuple[str, str | None]) -> None:
    wrong = Target(Platform.TELEGRAM, *place)
    with pytest.raises(UndeliverableError, match="is no"):
        await adapter.typing(wrong)


async def test_group_that_has_moved(server: TelegramServer, adapter: TelegramAdapter, host: FakeHost) -> None:
    ann = server.person("Ann")
    group = server.group("Team", ann)
    supergroup = ann.upgrades(group)
    with pytest.raises(ChatMovedError):
        await adapter.send(delivery(group, "x", adapter))
    assert (str(group.id), str(supergroup.id), None) in host.moved


async def test_refused_looks_lose_no_text(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = TelegramMessage("hello", (Entity("bold", 3, 99),))
    message_id = await adapter.send(delivery(chat, "hello", adapter, content=wrong))
    await adapter.edit(
        delivery(chat, "x", adapter, content=TelegramMessage("bye", wrong.entities), message_id=message_id)
    )
    assert server.shown(chat, by=server.bot)[0].texts == ("hello", "bye")
    assert "plain text" in caplog.text


async def test_text_that_is_too_long_comes_as_a_file(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat
) -> None:
    await adapter.send(delivery(chat, "x", adapter, content=TelegramMessage("y" * 5000)))
    (message,) = server.shown(chat, by=server.bot)
    assert message.content.kind == "document"


@pytest.mark.parametrize("who", ["nobody's", "somebody's"])
async def test_message_that_cannot_be_edited(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, host: FakeHost, who: str
) -> None:
    message_id = "999"
    if who == "somebody's":
        ann = server.person("Bo")
        message_id = str(ann.writes(server.private(ann), "mine").id)
        chat = server.private(ann)
    with pytest.raises(UndeliverableError, match="cannot be edited"):
        await adapter.edit(delivery(chat, "x", adapter, message_id=message_id))


async def test_nothing_is_sent_before_it_is_connected(server: TelegramServer, host: FakeHost, chat: Chat) -> None:
    adapter = built(server, host)
    with pytest.raises(NotConnectedError):
        await adapter.send(delivery(chat, "x", adapter))
    with pytest.raises(NotConnectedError):
        await adapter.find(delivery(chat, "x", adapter))


async def test_server_that_is_gone_for_sends_is_looked_for(
    server: TelegramServer, adapter: TelegramAdapter, chat: Chat, host: FakeHost
) -> None:
    """Deliveries wait for the word that we are connected; it comes once a call leaves again."""
    await server.stop()
    with pytest.raises(NotConnectedError):
        await adapter.send(delivery(chat, "x", adapter))
    await server.start()
    before = len(host.states)
    await host.until(lambda: len(host.states) > before and host.state == "connected")
    await adapter.send(delivery(chat, "x", adapter))
