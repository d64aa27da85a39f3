"""The whole way of a message: from people in Telegram through the daemon to the agent, and back over the wire."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

from adapters.markup.telegram import MAX_ENTITIES
from adapters.telegram.compose import REPEATED
from adapters.telegram.receive import KEPT_OUT
from adapters.testing.telegram import Chat, Fault, Media, Person, TelegramServer
from config import Home
from gateway.daemon import Daemon
from tests.integration.telegram_support import answers, gateway

SECONDS = 10.0


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as running:
        yield running
    assert running.violations == []


@pytest.fixture
def ann(server: TelegramServer) -> Person:
    return server.person("Ann")


async def said(server: TelegramServer, chat: Chat, *texts: str) -> None:
    """Wait until the bot has answered with these, in this order, and nothing else."""
    await server.until(lambda: len(answers(server, chat)) >= len(texts) and _settled(server, chat, texts), SECONDS)
    assert answers(server, chat) == list(texts)


def _settled(server: TelegramServer, chat: Chat, texts: tuple[str, ...]) -> bool:
    return all(wanted in answer for answer, wanted in zip(answers(server, chat), texts, strict=False))


# --- every kind of place -------------------------------------------------------------------------------


async def test_private_chat(server: TelegramServer, ann: Person, home: Home) -> None:
    chat = server.private(ann)
    async with gateway(server, home):
        ann.writes(chat, "good **morning**")
        await said(server, chat, "good morning")
        ann.writes(chat, "/help")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    assert "/new" in answers(server, chat)[1]


async def test_a_command_that_names_another_bot_is_words_in_private(
    server: TelegramServer, ann: Person, home: Home
) -> None:
    chat = server.private(ann)
    async with gateway(server, home):
        ann.writes(chat, "/new@other_bot")
        await said(server, chat, "/new@other_bot")


async def test_topics_of_a_private_chat_are_sessions_of_their_own(home: Home) -> None:
    async with TelegramServer(topics=True) as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        topic = ann.opens_topic(chat, "Plans")
        async with gateway(server, home):
            ann.writes(chat, "here", topic=topic)
            await server.until(lambda: answers(server, chat), SECONDS)
        (answer,) = server.shown(chat, by=server.bot)
        assert answer.thread == topic.id


@pytest.mark.parametrize("kind", ["group", "supergroup"])
async def test_group(server: TelegramServer, ann: Person, home: Home, kind: str) -> None:
    bo = server.person("Bo")
    server.bot = server.add_bot("reader_bot", reads_all=True)
    make = server.group if kind == "group" else server.supergroup
    chat = make("Team", ann, bo, bots={server.bot: "member"})
    async with gateway(server, home):
        bo.writes(chat, "nothing for the bot")
        bo.writes(chat, "/new@other_bot")
        asked = ann.writes(chat, "@reader_bot, what time is it?")
        await said(server, chat, "what time is it?")
        (answer,) = server.shown(chat, by=server.bot)
        assert answer.reply_to is asked
        bo.writes(chat, "are you sure?", reply_to=answer)
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    assert "are you sure?" in answers(server, chat)[1]


async def test_comments_below_a_channels_post(server: TelegramServer, ann: Person, home: Home) -> None:
    """All of an answer is among them, also what a successor sends of it."""
    group = server.supergroup("News, discussed", ann)
    channel = server.channel("News", ann, group=group)
    ann.writes(channel, "hear, hear")
    (post,) = server.shown(group)
    (home.path / "media").mkdir(exist_ok=True)
    file = home.path / "media" / "plot.txt"
    file.write_text("a plot")
    gate = server.gate("sendMessage", skip=1)
    async with gateway(server, home, killed=True):
        ann.writes(group, f"@hermes_bot {'**x** ' * MAX_ENTITIES}and *more*\nMEDIA:{file}", reply_to=post)
        await gate.reached.wait()
    gate.open()
    async with gateway(server, home):
        await server.until(lambda: len(answers(server, group)) >= 3, SECONDS)
        asked = server.shown(group, by=ann)[-1]
        ann.writes(group, "/status@hermes_bot", reply_to=asked)
        await server.until(lambda: "plot.txt" not in answers(server, group)[-1] and len(answers(server, group)) >= 4)
    shown = server.shown(group, by=server.bot)
    assert {each.content.kind for each in shown} == {"text", "document"}
    assert {each.thread for each in shown} == {post.id}


async def test_direct_messages_of_a_channel(server: TelegramServer, ann: Person, home: Home) -> None:
    bo = server.person("Bo")
    chat = server.supergroup("News", ann, bo, bots={server.bot: "administrator"}, direct=True)
    async with gateway(server, home, require_mention=False):
        for person in (ann, bo):
            person.writes(chat, f"I am {person.name}")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    shown = {each.text: each.thread for each in server.shown(chat, by=server.bot)}
    assert shown == {"I am Ann": ann.id, "I am Bo": bo.id}


async def test_forum(server: TelegramServer, ann: Person, home: Home) -> None:
    forum = server.forum("Forum", ann)
    topic = ann.opens_topic(forum, "Plans")
    async with gateway(server, home):
        ann.writes(forum, "@hermes_bot in a topic", topic=topic)
        await server.until(lambda: len(answers(server, forum)) == 1, SECONDS)
        ann.writes(forum, "@hermes_bot in general")
        await server.until(lambda: len(answers(server, forum)) == 2, SECONDS)
    first, second = server.shown(forum, by=server.bot)
    assert [(first.text, first.thread), (second.text, second.thread)] == [
        ("in a topic", topic.id),
        ("in general", None),
    ]


async def test_channel(server: TelegramServer, ann: Person, home: Home) -> None:
    channel = server.channel("News", ann)
    async with gateway(server, home):
        ann.writes(channel, "an announcement")
        ann.writes(channel, "@hermes_bot sum it up")
        await said(server, channel, "sum it up")


async def test_in_a_channel_a_button_works_for_those_alone_who_are_let_in(
    server: TelegramServer, ann: Person, home: Home
) -> None:
    channel, reader = server.channel("News", ann), server.person("Reader")
    async with gateway(server, home, allowed_users=[str(ann.id)], allowed_chats=[str(channel.id)]):
        ann.writes(channel, "@hermes_bot one")
        await said(server, channel, "one")
        ann.writes(channel, "/undo@hermes_bot")
        await server.until(lambda: len(answers(server, channel)) == 2, SECONDS)
        (*_answers, undone) = server.shown(channel, by=server.bot)
        pressed = reader.presses(undone, "/redo")
        await server.until(lambda: pressed.id in server.world.callback_answers, SECONDS)
        assert server.world.callback_answers[pressed.id]["text"] == KEPT_OUT
        assert len(answers(server, channel)) == 2
        ann.presses(undone, "/redo")
        await server.until(lambda: len(answers(server, channel)) == 3, SECONDS)


async def test_stranger_gets_nothing(server: TelegramServer, ann: Person, home: Home) -> None:
    bo = server.person("Bo")
    async with gateway(server, home, allowed_users=[str(ann.id)], dm_policy="allowlist"):
        bo.writes(server.private(bo), "let me in")
        ann.writes(server.private(ann), "hello")
        await said(server, server.private(ann), "hello")
    assert answers(server, server.private(bo)) == []


# --- messages that are more than one -------------------------------------------------------------------


async def test_album_is_one_turn(server: TelegramServer, ann: Person, home: Home) -> None:
    chat = server.private(ann)
    photos = [Media("photo", b"one"), Media("photo", b"two")]
    async with gateway(server, home):
        ann.sends_album(chat, *photos, caption="which is better?")
        await server.until(lambda: answers(server, chat), SECONDS)
        ann.writes(chat, "and now")
        await server.until(lambda: len(answers(server, chat)) == 2, SECONDS)
    assert "which is better?" in answers(server, chat)[0]


async def test_edit_before_the_turn_replaces_the_text(server: TelegramServer, ann: Person, home: Home) -> None:
    chat = server.private(ann)
    async with gateway(server, home, delay_ms=60):
        ann.writes(chat, "one two three four five six seven eight")
        await server.until(lambda: chat.drafts or answers(server, chat), SECONDS)
        waiting = ann.writes(chat, "frist")
        ann.edits(waiting, "first")
        await said(server, chat, "one two three four five six seven eight", "first")


async def test_group_that_becomes_a_supergroup_keeps_its_session(
    server: TelegramServer, ann: Person, home: Home
) -> None:
    group = server.group("Team", ann)
    async with gateway(server, home):
        ann.writes(group, "@hermes_bot one")
        await said(server, group, "one")
        supergroup = ann.upgrades(group)
        ann.writes(supergroup, "@hermes_bot two")
        await said(server, supergroup, "two")
    assert sessions(home) == 1


def sessions(home: Home) -> int:
    """How many sessions there are."""
    with closing(sqlite3.connect(home.database)) as database:
        (count,) = database.execute("SELECT count(*) FROM sessions").fetchone()
    return int(count)


async def test_quoted_message_reaches_the_agent(server: TelegramServer, ann: Person, home: Home) -> None:
    bo = server.person("Bo")
    group = server.group("Team", ann, bo)
    statement = bo.writes(group, "the moon is made of cheese")
    async with gateway(server, home):
        ann.writes(group, "@hermes_bot is that so?", reply_to=statement)
        await server.until(lambda: answers(server, group), SECONDS)
    assert "the moon is made of cheese" in answers(server, group)[0]


# --- trouble -------------------------------------------------------------------------------------------


async def test_stop_between_keeping_and_accepting(server: TelegramServer, ann: Person, home: Home) -> None:
    """What was confirmed to Telegram, and not looked into yet, is answered by the next process."""
    chat = server.private(ann)
    async with gateway(server, home):
        ann.writes(chat, "one")
        await said(server, chat, "one")
    two = server.updates.all[-1].object()
    two["update_id"] += 1
    two["message"] = two["message"] | {"message_id": two["message"]["message_id"] + 50, "text": "two"}
    _keep(home, two)
    async with gateway(server, home):
        await said(server, chat, "one", "two")


def _keep(home: Home, update: dict[str, Any]) -> None:
    """What a process leaves that is killed right after it has stored an update."""
    values = ("telegram", "default", str(update["update_id"]), 1, json.dumps(update), 1)
    with closing(sqlite3.connect(home.database)) as database, database:
        database.execute(
            "INSERT INTO updates (platform, account, id, seq, payload, received_at) VALUES (?, ?, ?, ?, ?, ?)", values
        )


@pytest.mark.parametrize(
    "fault",
    [
        Fault.error(500),
        Fault.error(502, "Bad Gateway", accepted=True),
        Fault.drop(accepted=True),
        Fault.drop(accepted=False),
        Fault.reset(),
        Fault.silence(accepted=True),
        Fault.flood(1),
    ],
    ids=["500", "502 after accepting", "drop after accepting", "drop", "reset", "silence", "429"],
)
async def test_failed_send_is_neither_lost_nor_repeated_unmarked(
    server: TelegramServer, ann: Person, home: Home, fault: Fault
) -> None:
    chat = server.private(ann)
    rule = server.inject(fault, "sendMessage")
    async with gateway(server, home):
        ann.writes(chat, "hello")
        await server.until(lambda: rule.struck and answers(server, chat), SECONDS)
        ann.writes(chat, "again")
        await server.until(lambda: answers(server, chat)[-1] == "again", SECONDS)
    shown = answers(server, chat)
    assert [text for text in shown if text == "hello"] == ["hello"] or f"{REPEATED}\nhello" in shown
    assert len([text for text in shown if text == "hello"]) <= 1
    if fault.accepted:
        assert shown == ["hello", "again"]


async def test_second_poller(server: TelegramServer, ann: Person, home: Home) -> None:
    conflict = Fault.error(409, "Conflict: terminated by other getUpdates request")
    rule = server.inject(conflict, "getUpdates", times=None)
    chat = server.private(ann)
    async with gateway(server, home) as daemon:
        standing = await is_(daemon, "degraded")
        assert "another program polls with this token" in standing["reason"]
        rule.cancel()
        ann.writes(chat, "hello")
        await said(server, chat, "hello")
        await is_(daemon, "connected")


async def test_wrong_token_fails_that_platform_alone(server: TelegramServer, home: Home) -> None:
    async with gateway(server, home, token="1:AAwrong-wrong-wrong-wrong-wrong-wrong-") as daemon:
        standing = await is_(daemon, "failed")
        assert "platforms.telegram.token" in standing["reason"]
        assert standing["next_try"] is None
        await is_(daemon, "connected", "local")


async def test_outage(server: TelegramServer, ann: Person, home: Home) -> None:
    chat = server.private(ann)
    async with gateway(server, home) as daemon:
        ann.writes(chat, "one")
        await said(server, chat, "one")
        await server.stop()
        ann.writes(chat, "two")
        await is_(daemon, "connecting")
        await server.start()
        await said(server, chat, "one", "two")


async def is_(daemon: Daemon, wanted: str, platform: str = "telegram") -> dict[str, Any]:
    """Wait until an adapter is in this state; how it stands then."""
    async with asyncio.timeout(SECONDS):
        while True:
            standing = (await daemon.status()).get("adapters", {}).get(platform, {})
            if standing.get("state") == wanted:
                return dict(standing)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("later", [False, True], ids=["quiet chat", "another message came meanwhile"])
async def test_killed_between_accepting_and_answering(
    server: TelegramServer, ann: Person, home: Home, later: bool
) -> None:
    """The message is there, but the process ends before it hears so: its successor finds it, and sends no other."""
    chat = server.private(ann)
    gate = server.gate("sendMessage")
    async with gateway(server, home, killed=True):
        ann.writes(chat, "hello")
        await gate.reached.wait()
    gate.open()
    if later:
        ann.writes(chat, "are you there?")
    async with gateway(server, home):
        if not later:
            ann.writes(chat, "are you there?")
        await server.until(lambda: answers(server, chat)[-1] == "are you there?", SECONDS)
    assert answers(server, chat) == ["hello", "are you there?"]


async def test_file_reaches_the_agent_by_name(server: TelegramServer, ann: Person, home: Home) -> None:
    chat = server.private(ann)
    async with gateway(server, home):
        ann.sends(chat, Media("document", b"\x00\x01binary", "plan.bin"), "look at this")
        await server.until(lambda: answers(server, chat), SECONDS)
    assert "look at this" in answers(server, chat)[0]
    assert "plan.bin" in answers(server, chat)[0]
