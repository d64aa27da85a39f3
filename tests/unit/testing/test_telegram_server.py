"""The loopback Bot API server over plain HTTP: what the library hides, and what it never sends."""

import asyncio

import aiohttp
import pytest

from adapters.testing.telegram import TelegramServer
from tests.unit.testing.support import Client


async def test_message_ids_are_an_accounts_or_a_chats_own(server: TelegramServer, client: Client) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    other = server.add_bot("other_bot", reads_all=True)
    group = server.group("Team", ann, bots={server.bot: "member", other: "member"})
    supergroup = server.supergroup("Many", ann)
    ids = [
        ann.writes(server.private(ann), "a").id,
        bob.writes(server.private(bob), "b").id,
        (both := ann.writes(group, "/c")).number(server.bot.id),
        ann.writes(supergroup, "d").id,
        (await client.send(supergroup.id, "e"))["message_id"],
        (await client.send(ann.id, "f"))["message_id"],
    ]
    assert ids == [1, 2, 3, 1, 2, 4]
    assert both.number(other.id) == 1


async def test_who_may_edit_what_others_wrote(server: TelegramServer, client: Client) -> None:
    """Administrators of a channel may (`can_edit_messages`), nobody elsewhere."""
    ann = server.person("Ann")
    group = server.supergroup("Many", ann, bots={server.bot: "administrator"})
    said = ann.writes(group, "a")
    refusal = await client.refusal("editMessageReplyMarkup", chat_id=group.id, message_id=said.id)
    assert refusal == "Bad Request: message can't be edited"
    channel = server.channel("News", ann)
    post = ann.writes(channel, "a")
    refusal = await client.refusal("editMessageReplyMarkup", chat_id=channel.id, message_id=post.id)
    assert "message is not modified" in refusal
    await client.result("editMessageText", chat_id=channel.id, message_id=post.id, text="b")
    assert post.texts == ("a", "b")


async def test_privacy_mode(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    other = server.add_bot("other_bot", reads_all=True)
    group = server.supergroup("Team", ann, bots={server.bot: "member", other: "member"})
    sent = await client.send(group.id, "hello all")
    (shown,) = server.shown(group)
    assert shown.id == sent["message_id"]
    ann.writes(group, "just talk")
    ann.writes(group, "well", reply_to=shown)
    ann.writes(group, "you, @hermes_bot?")
    ann.writes(group, "/new")
    ann.writes(group, "/new@hermes_bot")
    ann.writes(group, "/new@other_bot")
    assert await client.texts() == ["well", "you, @hermes_bot?", "/new", "/new@hermes_bot"]
    assert len(server.world.queues[other.id].waiting) == 6


async def test_topics_and_what_only_looks_like_one(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    forum = server.forum("Talk", ann)
    topic = ann.opens_topic(forum, "Trains")
    ann.writes(forum, "/in topic", topic=topic)
    ann.writes(forum, "/in general")
    _, inside, general = (each["message"] for each in await client.result("getUpdates"))
    assert (inside["message_thread_id"], inside["is_topic_message"]) == (topic.id, True)
    assert inside["reply_to_message"]["message_id"] == topic.id
    assert "message_thread_id" not in general
    sent = await client.send(forum.id, "answer", message_thread_id=topic.id)
    assert sent["message_thread_id"] == topic.id
    for thread in (1, 999):
        refusal = await client.refusal("sendMessage", chat_id=forum.id, text="x", message_thread_id=thread)
        assert refusal == "Bad Request: message thread not found"

    supergroup = server.supergroup("Team", ann)
    root = await client.send(supergroup.id, "root")
    ann.writes(supergroup, "reply", reply_to=server.shown(supergroup)[0])
    (reply,) = await client.result("getUpdates", offset=-1)
    assert reply["message"]["message_thread_id"] == root["message_id"]
    assert "is_topic_message" not in reply["message"]


async def test_a_private_chat_with_topics(session: aiohttp.ClientSession) -> None:
    async with TelegramServer(topics=True) as server:
        client = Client(server, session, server.bot)
        assert (await client.result("getMe"))["has_topics_enabled"]
        ann = server.person("Ann")
        chat = server.private(ann)
        topic = ann.opens_topic(chat, "Trip")
        ann.writes(chat, "where to?", topic=topic)
        (update,) = await client.result("getUpdates", offset=-1)
        assert update["message"]["message_thread_id"] == topic.id
        assert (await client.send(ann.id, "home", message_thread_id=topic.id))["is_topic_message"]


async def test_who_may_not_write(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    group, channel = server.group("Team", ann), server.channel("News", ann, bots={server.bot: "member"})
    ann.removes(group, server.bot)
    parameters: list[tuple[object, str]] = [
        (None, "Bad Request: chat_id is empty"),
        (ann.id, "Bad Request: chat not found"),
        ("@nowhere", "Bad Request: chat not found"),
        (group.id, "Forbidden: bot was kicked from the group chat"),
        (channel.id, "Bad Request: need administrator rights in the channel chat"),
    ]
    for chat_id, description in parameters:
        assert await client.refusal("sendMessage", chat_id=chat_id, text="x") == description
    (update,) = await client.result("getUpdates")
    assert update["my_chat_member"]["new_chat_member"]["status"] == "kicked"


async def test_a_group_becomes_a_supergroup(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    group = server.group("Team", ann)
    supergroup = ann.upgrades(group)
    before, after = (each["message"] for each in await client.result("getUpdates"))
    assert (before["chat"]["id"], before["migrate_to_chat_id"]) == (group.id, supergroup.id)
    assert (after["chat"]["id"], after["migrate_from_chat_id"]) == (supergroup.id, group.id)
    body = await client.call("sendMessage", chat_id=group.id, text="x")
    assert body["parameters"] == {"migrate_to_chat_id": supergroup.id}
    assert (await client.send(supergroup.id, "x"))["chat"]["type"] == "supergroup"


async def test_the_length_is_that_after_parsing(server: TelegramServer, client: Client) -> None:
    chat = server.private(server.person("Ann"))
    assert await client.refusal("sendMessage", chat_id=chat.id, text=" \n ") == "Bad Request: message text is empty"
    assert await client.refusal("sendMessage", chat_id=chat.id, text="👋" * 2049) == "Bad Request: message is too long"
    await client.send(chat.id, "👋" * 2048 + "  ")
    await client.send(chat.id, f"<b>{'x' * 4096}</b>", parse_mode="HTML")
    refusal = await client.refusal("sendPhoto", chat_id=chat.id, photo="?", caption="x" * 1025)
    assert refusal == "Bad Request: invalid file_id"


async def test_every_way_to_pass_parameters(server: TelegramServer, session: aiohttp.ClientSession) -> None:
    chat = server.private(server.person("Ann"))
    url = f"{server.base_url}/bot{server.bot.token}/SENDmessage"
    form = {"chat_id": str(chat.id), "text": "x"}
    multipart = aiohttp.FormData(form, default_to_multipart=True)
    for request in (
        session.get(url, params=form),
        session.post(url, json=form),
        session.post(url, data=form),
        session.post(url, data=multipart),
    ):
        async with request as answer:
            assert answer.status == 200, await answer.text()
    assert len(server.shown(chat)) == 4
    assert {request.method for request in server.requests} == {"sendMessage"}


async def test_tokens_and_methods_that_there_are_not(server: TelegramServer, session: aiohttp.ClientSession) -> None:
    client = Client(server, session, server.bot)
    assert (await client.call("sendFlowers"))["error_code"] == 404
    async with session.get(f"{server.base_url}/bot1:x/getMe") as answer:
        assert (answer.status, (await answer.json())["description"]) == (401, "Unauthorized")
    async with session.get(f"{server.base_url}/file/bot{server.bot.token}/photos/file_9.jpg") as answer:
        assert answer.status == 404
    poll = asyncio.create_task(client.refusal("getUpdates", timeout=5))
    await server.until(lambda: server.requests.of("getUpdates"))
    server.revoke(server.bot)
    assert await poll == "Unauthorized"
    other = Client(server, session, server.add_bot("other_bot"))
    assert await other.result("close")
    assert await other.result("logOut")
    assert await other.refusal("getMe") == "Logged out"


async def test_buttons_and_replies_are_checked(server: TelegramServer, client: Client) -> None:
    chat = server.private(server.person("Ann"))

    async def refusal(**parameters: object) -> str:
        return await client.refusal("sendMessage", chat_id=chat.id, text="x", **parameters)

    def markup(**button: str) -> dict[str, object]:
        return {"inline_keyboard": [[button]]}

    assert await refusal(reply_markup=markup(text="a", callback_data="x" * 65)) == "Bad Request: BUTTON_DATA_INVALID"
    assert "Text buttons are unallowed" in await refusal(reply_markup=markup(text="a"))
    assert await refusal(reply_parameters={"message_id": 99}) == "Bad Request: message to be replied not found"
    sent = await client.send(chat.id, "x", reply_parameters={"message_id": 99, "allow_sending_without_reply": True})
    assert "reply_to_message" not in sent
    quoting = {"message_id": sent["message_id"], "quote": "y"}
    assert await refusal(reply_parameters=quoting) == "Bad Request: QUOTE_TEXT_INVALID"
    with_keys = {
        "chat_id": chat.id,
        "message_id": sent["message_id"],
        "text": "x",
        "reply_markup": markup(text="a", url="b"),
    }
    await client.result("editMessageText", **with_keys)
    assert "message is not modified" in await client.refusal("editMessageText", **with_keys)
    with_keys.pop("reply_markup")
    await client.result("editMessageText", **with_keys)
    assert [version.content.kind for version in server.shown(chat)[0].versions] == ["text"] * 3


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("sendMediaGroup", {"media": ["x", "y"]}),
        ("sendMediaGroup", {"media": [{"type": "photo"}]}),
        ("sendMessage", {"text": "x", "entities": {}}),
        ("sendMessage", {"text": "x", "entities": "[{"}),
        ("sendMessage", {"text": "x", "reply_parameters": {"message_id": "one"}}),
        ("sendMessage", {"text": "x", "reply_markup": {"inline_keyboard": [7]}}),
        ("sendMessage", {"text": "x", "message_thread_id": "one"}),
        ("setMessageReaction", {"message_id": 1, "reaction": [7]}),
        ("setMyCommands", {"commands": [7]}),
        ("setMyCommands", {"commands": [{"command": "New", "description": "x"}]}),
        ("sendLocation", {"latitude": "north", "longitude": 0}),
        ("sendChatAction", {"action": "dancing"}),
        ("sendMessageDraft", {"draft_id": 0, "text": "x"}),
        ("editMessageText", {"message_id": 0, "text": "x"}),
    ],
)
async def test_what_is_malformed_is_refused(
    server: TelegramServer, client: Client, method: str, parameters: dict[str, object]
) -> None:
    ann = server.person("Ann")
    ann.writes(server.private(ann), "hello")
    refusal = await client.refusal(method, **{"chat_id": ann.id, **parameters})
    assert refusal.startswith("Bad Request: ")
    assert len(server.private(ann).messages) == 1


async def test_people_do_what_their_app_lets_them(server: TelegramServer, client: Client) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    chat = server.private(ann)
    assert [len(message.text) for message in ann.pastes(chat, "x" * 5000)] == [4096, 904]
    ann.deletes(chat.messages[0])
    assert [message.id for message in server.shown(chat, by=ann)] == [2]
    sent = await client.send(chat.id, "mine")
    mine = server.shown(chat, by=server.bot)[0]
    assert mine.id == sent["message_id"]
    with pytest.raises(ValueError, match="pastes"):
        ann.writes(chat, "x" * 5000)
    with pytest.raises(ValueError, match="not in the chat"):
        bob.writes(chat, "hello")
    with pytest.raises(ValueError, match="their own"):
        ann.edits(mine, "yours")
    with pytest.raises(ValueError, match="no button"):
        ann.presses(mine, "yes")


async def test_what_is_deleted_can_be_neither_edited_nor_answered(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    sent = await client.send(server.private(ann).id, "x")
    where = {"chat_id": ann.id, "message_id": sent["message_id"]}
    assert await client.result("deleteMessage", **where)
    assert await client.refusal("deleteMessage", **where) == "Bad Request: message to delete not found"
    assert await client.refusal("editMessageReplyMarkup", **where) == "Bad Request: message to edit not found"
    assert len(server.private(ann).messages) == 1


async def test_a_channels_posts_show_no_author(server: TelegramServer, client: Client) -> None:
    ann = server.person("Ann")
    channel = server.channel("News", ann, username="the_news")
    ann.writes(channel, "one")
    (update,) = await client.result("getUpdates")
    assert "from" not in update["channel_post"]
    assert update["channel_post"]["sender_chat"]["id"] == channel.id
    sent = await client.result("sendMessage", chat_id="@the_news", text="two")
    await client.result("editMessageText", chat_id=channel.id, message_id=sent["message_id"], text="three")
    assert await client.texts(offset=update["update_id"] + 1) == []
    assert [message.text for message in server.shown(channel)] == ["one", "three"]
