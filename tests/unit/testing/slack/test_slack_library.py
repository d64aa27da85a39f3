"""The unmodified slack_sdk against the loopback server: what it sends is taken, what it gets it can read."""

import asyncio

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.models.blocks import ActionsBlock, ButtonElement, MarkdownBlock, SectionBlock
from slack_sdk.models.metadata import Metadata
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import Fault, SlackServer, Upload
from tests.unit.testing.slack.support import Listener, client_of, refused


async def test_it_knows_itself(server: SlackServer, web: AsyncWebClient) -> None:
    me = await web.auth_test()
    assert (me["user_id"], me["team_id"], me["bot_id"]) == (server.bot.id, server.home.team.id, server.bot.bot_id)
    assert (await web.bots_info(bot=me["bot_id"]))["bot"]["app_id"] == server.app.id
    ann = server.person("Ann")
    user = (await web.users_info(user=ann.id))["user"]
    assert (user["profile"]["display_name"], user["is_bot"]) == ("Ann", False)


async def test_a_person_writes_and_is_answered(server: SlackServer, web: AsyncWebClient, listener: Listener) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "1 < 2 & https://example.org/a?b&c")
    (event,) = await server.until(lambda: listener.events)
    assert event["text"] == "1 &lt; 2 &amp; <https://example.org/a?b&amp;c>"
    assert (event["channel_type"], event["user"], event["ts"]) == ("im", ann.id, asked.ts)
    assert asked.text == "1 < 2 & https://example.org/a?b&c"

    sent = await web.chat_postMessage(channel=chat.id, text="one &amp; *two*")
    edited = await web.chat_update(channel=chat.id, ts=sent["ts"], text="three")
    assert edited["message"]["edited"]["user"] == server.bot.id
    (shown,) = server.shown(chat, by=server.bot)
    assert shown.texts == ("one & *two*", "three")
    assert shown.sent_at <= shown.versions[1].at
    await web.chat_delete(channel=chat.id, ts=sent["ts"])
    assert server.shown(chat, by=server.bot) == ()
    echoes = await server.until(lambda: listener.events[1:] if len(listener.events) == 4 else [])
    assert [each.get("subtype") for each in echoes] == [None, "message_changed", "message_deleted"]
    assert echoes[0]["bot_id"] == server.bot.bot_id
    assert echoes[1]["message"]["text"] == "three"
    assert echoes[2]["deleted_ts"] == sent["ts"]
    assert server.violations == []


async def test_metadata_comes_back_when_it_is_asked_for(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "?")
    mark = Metadata(event_type="part", event_payload={"key": "k1"})
    sent = await web.chat_postMessage(channel=chat.id, text="a", metadata=mark)
    await web.chat_postMessage(channel=chat.id, text="b", thread_ts=asked.ts, metadata=mark.to_dict())
    newest = (await web.conversations_history(channel=chat.id, include_all_metadata=True, limit=1))["messages"][0]
    assert (newest["ts"], newest["metadata"]["event_payload"]) == (sent["ts"], {"key": "k1"})
    assert "metadata" not in (await web.conversations_history(channel=chat.id))["messages"][0]
    thread = await web.conversations_replies(channel=chat.id, ts=asked.ts, include_all_metadata=True)
    assert [each.get("metadata", {}).get("event_type") for each in thread["messages"]] == [None, "part"]
    await web.chat_update(channel=chat.id, ts=sent["ts"], text="c")
    assert server.shown(chat, by=server.bot)[0].content.metadata is not None


async def test_blocks_with_buttons(server: SlackServer, web: AsyncWebClient, listener: Listener) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    row = ActionsBlock(elements=[ButtonElement(text="Yes", value="y", action_id="go")])
    words = SectionBlock(text="*Shall* I, <@" + ann.id + ">?")
    sent = await web.chat_postMessage(channel=chat.id, text="?", blocks=[words, MarkdownBlock(text="**so**"), row])
    (shown,) = server.shown(chat)
    assert shown.text == "*Shall* I, @Ann?\n**so**\n[Yes]"
    assert shown.notified == (ann.id,)
    assert [each["action_id"] for each in shown.buttons] == ["go"]
    pressed = ann.presses(shown, "y")
    await server.until(lambda: pressed.envelope and pressed.envelope.acknowledged)
    payload = listener.requests[-1].payload
    assert (payload["type"], payload["actions"][0]["value"]) == ("block_actions", "y")
    assert payload["message"]["ts"] == payload["container"]["message_ts"] == sent["ts"]


async def test_streaming(server: SlackServer, web: AsyncWebClient, listener: Listener) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "tell")
    stream = await web.chat_stream(channel=chat.id, thread_ts=asked.ts, buffer_size=4)
    for piece in ("one **t", "wo** ", "three"):
        await stream.append(markdown_text=piece)
    (growing,) = server.shown(chat, by=server.bot)
    assert growing.streaming
    conflict = await refused(web.chat_update(channel=chat.id, ts=growing.ts, text="no"))
    assert conflict["error"] == "streaming_state_conflict"
    await stream.stop(markdown_text="!", metadata={"event_type": "e", "event_payload": {}})
    assert growing.texts == ("one **t", "one **two** ", "one **two** three", "one **two** three!")
    assert growing.content.metadata == {"event_type": "e", "event_payload": {}}
    ended = await refused(web.chat_appendStream(channel=chat.id, ts=growing.ts, markdown_text="x"))
    assert ended["error"] == "message_not_in_streaming_state"
    short = await web.chat_stream(channel=chat.id, thread_ts=asked.ts)
    await short.append(markdown_text="all")
    await short.stop()
    assert server.shown(chat, by=server.bot)[1].text == "all"
    await server.until(lambda: [e for e in listener.events if e.get("subtype") == "message_changed"])


async def test_files_go_both_ways(server: SlackServer, web: AsyncWebClient, session: aiohttp.ClientSession) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.uploads(chat, Upload("notes.txt", b"contents"), text="look")
    (told,) = (each.event for each in server.events.all if each.event["type"] == "message")
    assert (told["subtype"], told["files"][0]["mimetype"], told["text"]) == ("file_share", "text/plain", "look")
    address = told["files"][0]["url_private"]
    async with session.get(address, headers={"Authorization": f"Bearer {server.bot.token}"}) as answer:
        assert await answer.read() == b"contents"
    async with session.get(address) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")

    done = await web.files_upload_v2(
        channel=chat.id, content=b"answer", filename="a.csv", initial_comment="here", thread_ts=asked.ts
    )
    (shown,) = server.shown(chat, by=server.bot, thread=asked)
    assert (shown.text, shown.content.files[0].data) == ("here", b"answer")
    info = await web.files_info(file=done["files"][0]["id"])
    assert info["file"]["shares"] == {"private": {chat.id: [{"ts": shown.ts}]}}


async def test_the_default_handler_sends_again_what_was_taken(
    server: SlackServer, session: aiohttp.ClientSession
) -> None:
    chat = server.direct(server.person("Ann"))
    web = AsyncWebClient(token=server.bot.token, base_url=server.api_url, session=session)
    assert isinstance(web.retry_handlers[0], AsyncConnectionErrorRetryHandler)
    server.inject(Fault.drop(), "chat.postMessage")
    await web.chat_postMessage(channel=chat.id, text="x")
    assert [each.text for each in server.shown(chat)] == ["x", "x"]
    plain = client_of(server, session)
    server.inject(Fault.drop(), "chat.postMessage")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await plain.chat_postMessage(channel=chat.id, text="y")
    assert [each.text for each in server.shown(chat)] == ["x", "x", "y"]


async def test_a_client_that_waits_is_no_violation(server: SlackServer, web: AsyncWebClient) -> None:
    web.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
    server.inject(Fault.flood(1), "auth.test")
    started = asyncio.get_running_loop().time()
    assert (await web.auth_test())["ok"]
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert server.violations == []
    server.inject(Fault.flood(2), "users.info")
    web.retry_handlers.clear()
    with pytest.raises(SlackApiError) as raised:
        await web.users_info(user="U1")
    assert (raised.value.response.status_code, raised.value.response.headers["Retry-After"]) == (429, "2")
    assert (await refused(web.users_info(user="U1")))["error"] == "ratelimited"
    assert len(server.violations) == 1


async def test_a_workspace_without_streams(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    asked = ann.writes(server.direct(ann), "tell")
    server.inject(Fault.error(200, "channel_type_not_supported"), "chat.startStream", times=None)
    stream = await web.chat_stream(channel=asked.channel.id, thread_ts=asked.ts, buffer_size=1)
    assert (await refused(stream.append(markdown_text="x")))["error"] == "channel_type_not_supported"
    assert server.shown(asked.channel, by=server.bot) == ()
