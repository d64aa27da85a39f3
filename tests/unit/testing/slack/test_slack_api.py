"""The Web API: tokens, scopes, what is refused and why, pages, and limits of what can be sent."""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import RateLimits, SlackServer
from tests.unit.testing.slack.support import client_of, refused


class Ticks:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_tokens(server: SlackServer, web: AsyncWebClient, session: aiohttp.ClientSession) -> None:
    async with session.post(f"{server.api_url}auth.test") as answer:
        assert await answer.json() == {"ok": False, "error": "not_authed"}
    async with session.post(f"{server.api_url}auth.test", data={"token": server.bot.token}) as answer:
        assert (await answer.json())["ok"]
        assert "chat:write" in answer.headers["X-OAuth-Scopes"]
    wrong = AsyncWebClient(token="xoxb-no", base_url=server.api_url, session=session)
    assert (await refused(wrong.auth_test()))["error"] == "invalid_auth"
    assert (await refused(web.api_call("no.such")))["error"] == "unknown_method"
    server.revoke(server.bot, "account_inactive")
    assert (await refused(web.auth_test()))["error"] == "account_inactive"
    server.revoke(server.bot)
    assert (await refused(web.auth_test()))["error"] == "token_revoked"
    assert [each.event["type"] for each in server.events.all] == ["tokens_revoked"] * 2
    assert [each.error for each in server.requests.of("auth.test", bot=server.bot)][-1] == "token_revoked"


async def test_a_scope_that_is_missing_is_named(server: SlackServer, web: AsyncWebClient) -> None:
    chat = server.direct(server.person("Ann"))
    server.bot.scopes -= {"chat:write", "im:history"}
    answer = await refused(web.chat_postMessage(channel=chat.id, text="x"))
    assert (answer["error"], answer["needed"]) == ("missing_scope", "chat:write")
    assert "channels:history" in answer["provided"].split(",")
    assert (await refused(web.conversations_history(channel=chat.id)))["needed"] == "im:history"
    ann = server.person("Ann")
    ann.writes(server.direct(ann), "without im:history there is no event")
    assert server.events.all == []


async def test_bodies_as_forms_and_as_json(server: SlackServer, session: aiohttp.ClientSession) -> None:
    chat = server.direct(server.person("Ann"))
    url, headers = f"{server.api_url}chat.postMessage", {"Authorization": f"Bearer {server.bot.token}"}
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "a"}}]
    form = {"channel": chat.id, "blocks": json.dumps(blocks)}
    for sent in ({"data": form}, {"json": {"channel": chat.id, "blocks": blocks}}):
        async with session.post(url, headers=headers, **sent) as answer:
            assert (await answer.json())["ok"]
    assert [each.text for each in server.shown(chat)] == ["a", "a"]
    async with session.post(url, headers=headers | {"Content-Type": "application/json"}, data="{") as answer:
        assert (await answer.json())["error"] == "invalid_json"
    async with session.post(url, headers=headers) as answer:
        assert (await answer.json())["error"] == "invalid_arguments"


async def test_where_a_bot_may_write(server: SlackServer, web: AsyncWebClient) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    inside, outside = server.channel("in", ann), server.home.channel("out", ann)
    secret, private = server.home.channel("secret", ann, private=True), server.home.direct(ann, bob)
    elsewhere = server.add_workspace("Away")
    foreign = elsewhere.channel("far", elsewhere.person("Cid"))
    expected = {outside: "not_in_channel", secret: "channel_not_found", private: "channel_not_found"}
    for channel, error in (expected | {foreign: "channel_not_found"}).items():
        assert (await refused(web.chat_postMessage(channel=channel.id, text="x")))["error"] == error
    assert (await refused(web.conversations_history(channel=outside.id)))["error"] == "not_in_channel"
    await web.conversations_join(channel=outside.id)
    await web.chat_postMessage(channel=outside.id, text="x")
    await web.chat_postMessage(channel=ann.id, text="to a person")
    assert [each.text for each in server.shown(server.direct(ann))] == ["to a person"]
    assert (await web.conversations_open(users=[ann.id]))["channel"]["id"] == server.direct(ann).id
    server.home.archive(inside)
    assert (await refused(web.chat_postMessage(channel=inside.id, text="x")))["error"] == "is_archived"
    server.bot.scopes.add("chat:write.public")
    await web.chat_postMessage(channel=server.home.channel("open", ann).id, text="x")


async def test_what_a_bot_may_change(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    chat = server.direct(ann)
    asked = ann.writes(chat, "?")
    sent = (await web.chat_postMessage(channel=chat.id, text="!"))["ts"]
    error: Callable[[dict[str, Any]], Any] = lambda answer: answer["error"]  # noqa: E731
    assert error(await refused(web.chat_update(channel=chat.id, ts=asked.ts, text="x"))) == "cant_update_message"
    assert error(await refused(web.chat_delete(channel=chat.id, ts=asked.ts))) == "cant_delete_message"
    assert error(await refused(web.chat_update(channel=chat.id, ts="1.000001", text="x"))) == "message_not_found"
    assert error(await refused(web.chat_update(channel=chat.id, ts=sent, text="x" * 4001))) == "msg_too_long"
    assert (
        error(await refused(web.api_call("chat.update", json={"channel": chat.id, "ts": sent, "text": " "})))
        == "no_text"
    )
    assert error(await refused(web.api_call("chat.postMessage", json={"channel": chat.id, "text": "\n"}))) == "no_text"
    section = {"type": "section", "text": {"type": "plain_text", "text": "block"}}
    await web.chat_update(channel=chat.id, ts=sent, text="fallback", blocks=[section])
    (shown,) = server.shown(chat, by=server.bot)
    assert (shown.text, shown.versions[-1].edited) == ("block", False)
    await web.chat_update(channel=chat.id, ts=sent, text="words")
    assert (shown.text, shown.content.blocks, shown.versions[-1].edited) == ("words", (), True)
    server.home.team.edit_window = 0.0
    assert error(await refused(web.chat_update(channel=chat.id, ts=sent, text="x"))) == "edit_window_closed"


async def test_limits_of_a_message(server: SlackServer, web: AsyncWebClient) -> None:
    chat = server.direct(server.person("Ann"))
    sent = await web.chat_postMessage(channel=chat.id, text="ä" * 40_001)
    assert len(sent["message"]["text"]) == 40_000
    assert server.shown(chat)[0].over_advice
    markdown = {"type": "markdown", "text": "x" * 6_001}
    too_long = await refused(web.chat_postMessage(channel=chat.id, blocks=[markdown, markdown], text="f"))
    assert too_long["error"] == "msg_blocks_too_long"
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}
    wrong = await refused(web.chat_postMessage(channel=chat.id, blocks=[section], text="f"))
    assert (wrong["error"], wrong["response_metadata"]["messages"]) == (
        "invalid_blocks",
        ["[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"],
    )
    many = await refused(web.chat_postMessage(channel=chat.id, blocks=[{"type": "divider"}] * 51, text="f"))
    assert many["error"] == "invalid_blocks"
    await web.chat_postMessage(channel=chat.id, blocks=[{"type": "divider"}] * 50, text="f")
    long = await refused(web.chat_postMessage(channel=chat.id, markdown_text="x" * 12_001))
    both = await refused(web.chat_postMessage(channel=chat.id, markdown_text="x", text="y"))
    assert (long["error"], both["error"]) == ("msg_too_long", "markdown_text_conflict")
    await web.chat_postMessage(channel=chat.id, markdown_text="**x**")
    assert server.shown(chat)[-1].text == "**x**"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "nothing"},
        {"type": "section"},
        {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
        {"type": "actions", "elements": []},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}]},
        {"type": "actions", "elements": [{"type": "static_select", "options": []}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": ""}]},
        {"type": "image", "image_url": "https://example.org"},
        {"type": "divider", "block_id": "x" * 256},
    ],
)
async def test_blocks_against_the_rules(server: SlackServer, web: AsyncWebClient, block: dict[str, Any]) -> None:
    chat = server.direct(server.person("Ann"))
    answer = await refused(web.chat_postMessage(channel=chat.id, text="f", blocks=[block]))
    assert answer["error"] == "invalid_blocks"
    assert "json-pointer:/blocks/0" in answer["response_metadata"]["messages"][0]


async def test_metadata_has_a_form(server: SlackServer, web: AsyncWebClient) -> None:
    chat = server.direct(server.person("Ann"))
    for metadata, error in (
        ("nonsense", "invalid_metadata_format"),
        ({"event_type": "x"}, "invalid_metadata_schema"),
        ({"event_type": "x", "event_payload": {"a": "b" * 20_000}}, "metadata_too_large"),
    ):
        answer = await refused(web.chat_postMessage(channel=chat.id, text="x", metadata=metadata))  # type: ignore[arg-type]
        assert answer["error"] == error


async def test_history_in_pages_and_spans(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    general = server.channel("general", ann)
    sent = [ann.writes(general, str(number)) for number in range(5)]
    ann.writes(general, "reply", thread=sent[0])
    ann.writes(general, "told", thread=sent[0], broadcast=True)
    assert len({message.ts for message in general.messages}) == 7

    async def texts(**span: Any) -> list[str]:
        answer = await web.conversations_history(channel=general.id, **span)
        return [each["text"] for each in answer["messages"]]

    assert await texts() == ["told", "4", "3", "2", "1", "0"]
    assert await texts(oldest=sent[3].ts) == ["told", "4"]
    assert await texts(oldest=sent[3].ts, latest=sent[4].ts, inclusive=True) == ["4", "3"]
    first = await web.conversations_history(channel=general.id, limit=4)
    assert first["has_more"]
    assert await texts(limit=4, cursor=first["response_metadata"]["next_cursor"]) == ["1", "0"]
    thread = await web.conversations_replies(channel=general.id, ts=sent[0].ts)
    assert [each["text"] for each in thread["messages"]] == ["0", "reply", "told"]
    assert (thread["messages"][0]["reply_count"], thread["messages"][1]["parent_user_id"]) == (2, ann.id)
    later = await web.conversations_replies(channel=general.id, ts=sent[0].ts, oldest=general.messages[-2].ts)
    assert [each["text"] for each in later["messages"]] == ["0", "told"]
    assert (await refused(web.conversations_replies(channel=general.id, ts="1.1")))["error"] == "thread_not_found"
    assert (await refused(web.conversations_history(channel=general.id, oldest="x")))["error"] == "invalid_ts_oldest"
    assert (await refused(web.conversations_history(channel=general.id, cursor="x")))["error"] == "invalid_cursor"


async def test_conversations(server: SlackServer, web: AsyncWebClient) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    general, chat = server.channel("general", ann, bob), server.direct(ann)
    server.home.channel("secret", ann, private=True)
    kinds = "public_channel,private_channel,im,mpim"
    listed = await web.conversations_list(types=kinds, limit=1)
    assert [each["name"] for each in listed["channels"]] == ["general"]
    more = await web.conversations_list(types=kinds, cursor=listed["response_metadata"]["next_cursor"])
    assert [(each["id"], each["user"]) for each in more["channels"]] == [(chat.id, ann.id)]
    info = (await web.conversations_info(channel=general.id))["channel"]
    assert (info["is_member"], info["is_private"], info["num_members"]) == (True, False, 3)
    members = (await web.conversations_members(channel=general.id))["members"]
    assert members == [ann.id, bob.id, server.bot.id]
    group = (await web.conversations_open(users=[ann.id, bob.id]))["channel"]["id"]
    assert (await web.conversations_info(channel=group))["channel"]["is_mpim"]
    assert (await refused(web.conversations_open(users=["U0"])))["error"] == "user_not_found"


async def test_streams_need_a_thread_and_in_a_channel_a_recipient(server: SlackServer, web: AsyncWebClient) -> None:
    ann = server.person("Ann")
    general = server.channel("general", ann)
    asked = ann.writes(general, "hello @hermes")
    where: dict[str, Any] = {"channel": general.id, "thread_ts": asked.ts}
    error = (await refused(web.chat_startStream(**where, markdown_text="a")))["error"]
    assert error == "missing_recipient_user_id"
    where |= {"recipient_user_id": ann.id, "recipient_team_id": server.home.team.id}
    started = await web.chat_startStream(**where, markdown_text="a")
    mixed = await refused(
        web.chat_appendStream(channel=general.id, ts=started["ts"], chunks=[{"type": "markdown_text", "text": "b"}])
    )
    assert mixed["error"] == "streaming_mode_mismatch"
    foreign = await refused(web.chat_appendStream(channel=general.id, ts=asked.ts, markdown_text="b"))
    assert foreign["error"] == "message_not_owned_by_app"
    await web.chat_stopStream(channel=general.id, ts=started["ts"], blocks=[{"type": "divider"}])
    assert server.shown(general, by=server.bot)[0].content.blocks[0]["type"] == "divider"
    assert (await refused(web.chat_startStream(channel=general.id, thread_ts="")))["error"] == "invalid_arguments"


async def test_a_stream_ends_after_a_while(session: aiohttp.ClientSession) -> None:
    ticks = Ticks()
    async with SlackServer(monotonic=ticks) as server:
        web = client_of(server, session)
        ann = server.person("Ann")
        asked = ann.writes(server.direct(ann), "?")
        started = await web.chat_startStream(channel=asked.channel.id, thread_ts=asked.ts, markdown_text="a")
        ticks.now += 301
        answer = await refused(web.chat_stopStream(channel=asked.channel.id, ts=started["ts"]))
        assert answer["error"] == "message_not_in_streaming_state"


async def test_rate_limits(session: aiohttp.ClientSession) -> None:
    ticks = Ticks()
    async with SlackServer(limits=RateLimits(tiers={1: 1, 2: 2, 3: 3, 4: 4}), monotonic=ticks) as server:
        web = client_of(server, session)
        chats = [server.direct(server.person(name)) for name in ("Ann", "Bob", "Cid")]
        await web.chat_postMessage(channel=chats[0].id, text="1")
        assert (await refused(web.chat_postMessage(channel=chats[0].id, text="2")))["error"] == "rate_limited"
        assert (server.requests.of("chat.postMessage")[1].status, server.violations) == (429, [])
        await refused(web.chat_postMessage(channel=chats[0].id, text="2"))
        assert len(server.violations) == 1
        await web.chat_postMessage(channel=chats[1].id, text="1")
        ticks.now += 1
        await web.chat_postMessage(channel=chats[0].id, text="2")
        await web.chat_postMessage(channel=chats[1].id, text="2")
        assert (await refused(web.chat_postMessage(channel=chats[2].id, text="1")))["error"] == "ratelimited"
        for _ in range(3):
            await web.conversations_history(channel=chats[0].id)
        over = await refused(web.conversations_history(channel=chats[0].id))
        assert over["error"] == "ratelimited"
        ticks.now += 60
        await web.conversations_history(channel=chats[0].id)
        assert [each.text for each in server.shown(chats[0])] == ["1", "2"]
        assert len(server.violations) == 1
