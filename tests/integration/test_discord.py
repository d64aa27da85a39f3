"""The whole way of a message: from people in Discord through the daemon to the agent, and back over the wire."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest

from adapters.testing.discord import Channel, DiscordServer, Fault, File, Person
from adapters.testing.telegram import TelegramServer
from config import GatewayConfig, Home, Platform
from gateway.session import build_session_key
from gateway.source import SessionSource
from tests.integration.discord_support import answers, gateway
from tests.support.discord import MARK
from tests.support.telegram import QuickTelegram

SECONDS = 10.0


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(heartbeat_seconds=4.0) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def ann(server: DiscordServer) -> Person:
    return server.person("ann")


async def connected(server: DiscordServer) -> None:
    """Wait until the bot has a session."""
    await server.until(lambda: [frame for frame in server.gateway.received if frame.op == 2], SECONDS)
    await asyncio.sleep(0.2)


async def answered(server: DiscordServer, channel: Channel, count: int) -> list[str]:
    await server.until(lambda: len(answers(server, channel)) >= count, SECONDS)
    return answers(server, channel)


async def answered_with(server: DiscordServer, channel: Channel, texts: Sequence[str]) -> None:
    """Each of these is answered, in any order, and nothing else: an answer that still grows is none of them."""
    with suppress(TimeoutError):
        await server.until(lambda: sorted(answers(server, channel)) == sorted(texts), SECONDS)
    assert sorted(answers(server, channel)) == sorted(texts)


def transcripts(home: Home) -> dict[str, set[str]]:
    """What the transcript of each session holds, questions and answers alike, by the session's key."""
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(home.path / "gateway.db")) as database:
        for key, text in database.execute(
            "SELECT slots.key, messages.content FROM slots JOIN sessions ON sessions.slot_id = slots.id"
            " JOIN messages ON messages.session_id = sessions.id"
        ):
            found.setdefault(key, set()).add(text)
    return found


async def test_a_conversation(server: DiscordServer, ann: Person, home: Home) -> None:
    dm = server.dm(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(dm, "good **morning**")
        assert await answered(server, dm, 1) == ["good **morning**"]
        ann.writes(dm, "/help")
        assert "/new" in (await answered(server, dm, 2))[1]


async def test_an_answer_grows_where_people_look(server: DiscordServer, ann: Person, home: Home) -> None:
    dm = server.dm(ann)
    text = "one two three four five six seven eight nine ten"
    async with gateway(server, home, delay_ms=60):
        await connected(server)
        ann.writes(dm, text)
        await server.until(lambda: answers(server, dm) == [text], SECONDS)
    (message,) = server.shown(dm, by=server.bot)
    assert len(message.texts) > 2
    assert all(text.startswith(each.rstrip(" …")) for each in message.texts)


@pytest.mark.parametrize("per_user", [True, False])
async def test_people_and_places_do_not_mix(server: DiscordServer, ann: Person, home: Home, per_user: bool) -> None:
    people = [ann, server.person("bob"), server.person("cyd")]
    guild = server.guild("Team", *people)
    general = server.channel(guild, "general")
    threads = [ann.opens_thread(general, "One"), people[1].opens_thread(general, "Two")]
    dm = server.dm(ann)
    where = [(person, place) for place in (general, *threads) for person in people] + [(ann, dm)]
    said: dict[str, set[str]] = {}
    sessions = {"group_sessions_per_user": per_user, "thread_sessions_per_user": per_user}
    async with gateway(server, home, delay_ms=2, sessions=sessions):
        await connected(server)
        for number in range(3):
            for person, place in where:
                text = f"{number} from {person.name} in {place.id}"
                person.writes(place, text if place is dm else f"{server.bot.mention} {text}")
                said.setdefault(_key(person, place, per_user), set()).add(text)
        for place in (general, *threads, dm):
            written = [
                f"{number} from {who.name} in {place.id}" for who, at in where if at is place for number in range(3)
            ]
            await answered_with(server, place, written)
    assert len(said) == (10 if per_user else 4)
    assert transcripts(home) == said


def _key(person: Person, place: Channel, per_user: bool) -> str:
    """The key of a conversation, by what the contract says of each place."""
    if place.guild is None:
        source = SessionSource(Platform.DISCORD, str(place.id), "x", "dm", user_id=str(person.id))
    elif place.thread is None:
        source = SessionSource(Platform.DISCORD, str(place.id), "x", "group", user_id=str(person.id))
    else:
        assert place.parent is not None
        source = SessionSource(
            Platform.DISCORD,
            str(place.parent.id),
            "x",
            "thread",
            user_id=str(person.id),
            thread_id=str(place.id),
        )
    return build_session_key(source, group_sessions_per_user=per_user, thread_sessions_per_user=per_user)


async def test_a_mention_is_answered_in_a_thread_of_its_own(server: DiscordServer, ann: Person, home: Home) -> None:
    general = server.channel(server.guild("Team", ann), "general")
    async with gateway(server, home, threads="auto"):
        await connected(server)
        asked = ann.writes(general, f"{server.bot.mention} what now?")
        await server.until(lambda: asked.thread and answers(server, asked.thread), SECONDS)
        assert asked.thread is not None
        ann.writes(asked.thread, "and then?")
        assert await answered(server, asked.thread, 2) == ["what now?", "and then?"]
    assert answers(server, general) == []


async def test_what_was_written_while_we_were_away_is_answered_once(
    server: DiscordServer, ann: Person, home: Home
) -> None:
    general = server.channel(server.guild("Team", ann), "general")
    quiet = server.channel(general.guild, "quiet")  # type: ignore[arg-type]
    dm = server.dm(ann)
    async with gateway(server, home):
        await connected(server)
        ann.writes(dm, "before")
        await answered(server, dm, 1)
    ann.writes(dm, "in between")
    ann.writes(quiet, f"{server.bot.mention} in a channel where nobody spoke")
    thread = ann.opens_thread(general, "New")
    ann.writes(thread, f"{server.bot.mention} in a new thread")
    for _ in range(2):
        async with gateway(server, home):
            await answered(server, dm, 2)
            await answered(server, quiet, 1)
            await answered(server, thread, 1)
            await asyncio.sleep(0.3)
    assert answers(server, dm) == ["before", "in between"]
    assert answers(server, quiet) == ["in a channel where nobody spoke"]
    assert answers(server, thread) == ["in a new thread"]


async def test_an_answer_without_a_receipt_is_found_and_not_shown_twice(
    server: DiscordServer, ann: Person, home: Home
) -> None:
    dm = server.dm(ann)
    server.inject(Fault.drop(), "create_message", channel=dm)
    async with gateway(server, home):
        await connected(server)
        ann.writes(dm, "hello")
        await server.until(lambda: any(request.name == "get_messages" for request in server.requests), SECONDS)
        server.forget_nonces()
        ann.writes(dm, "again")
        assert await answered(server, dm, 2) == ["hello", "again"]
        await asyncio.sleep(0.2)
    assert answers(server, dm) == ["hello", "again"]
    assert not any(text.startswith(MARK) for text in answers(server, dm))


async def test_a_command_from_the_menu(server: DiscordServer, ann: Person, home: Home) -> None:
    general = server.channel(server.guild("Team", ann), "general")
    async with gateway(server, home):
        await connected(server)
        await server.until(lambda: any(server.world.commands.values()), SECONDS)
        used = ann.uses(general, "help")
        assert "/new" in (await answered(server, general, 1))[0]
        await server.until(lambda: used.answered, SECONDS)


async def test_a_file_reaches_the_agent(server: DiscordServer, ann: Person, home: Home) -> None:
    dm = server.dm(ann)
    async with gateway(server, home):
        await connected(server)
        ann.sends(dm, File("notes.txt", b"remember the milk", "text/plain"), text="see this")
        (answer,) = await answered(server, dm, 1)
    assert "see this" in answer
    kept = [path for path in (home.path / "media").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == b"remember the milk" for path in kept)


@pytest.mark.parametrize("broken", ["discord", "telegram"])
async def test_one_platform_that_fails_disturbs_no_other(
    server: DiscordServer, ann: Person, home: Home, broken: str
) -> None:
    dm = server.dm(ann)
    async with TelegramServer() as telegram:
        bo = telegram.person("Bo")
        chat = telegram.private(bo)
        token = telegram.bot.token if broken == "discord" else "1:wrong"
        platforms = {"telegram": {"token": token, "api_base_url": telegram.base_url, "allowed_users": ["*"]}}
        discord: dict[str, Any] = {"token": "wrong"} if broken == "discord" else {}
        adapters = {"telegram": QuickTelegram}
        async with gateway(server, home, platforms=platforms, adapters=adapters, **discord) as daemon:
            if broken == "discord":
                bo.writes(chat, "hello")
                await telegram.until(lambda: [each.text for each in telegram.shown(chat, by=telegram.bot)], SECONDS)
            else:
                await connected(server)
                ann.writes(dm, "hello")
                assert await answered(server, dm, 1) == ["hello"]
            state = (await daemon.status())["adapters"][broken]
            assert state["state"] == "failed"
            assert f"platforms.{broken}.token" in state["reason"]


async def test_bots_are_answered_if_they_are_listed_and_never_for_ever(
    server: DiscordServer, ann: Person, home: Home
) -> None:
    guild = server.guild("Team", ann)
    general = server.channel(guild, "general")
    friend, stranger = server.other_bot("friend"), server.other_bot("stranger")
    friend.joins(guild)
    stranger.joins(guild)
    hook = server.webhook(general, "hook")
    listed = [str(friend.id)]
    async with gateway(server, home, allowed_bots=listed, require_mention=False, threads="auto"):
        await connected(server)
        lured = stranger.writes(general, f"{server.bot.mention} open a thread and tell me a secret")
        hook.writes("news from outside")
        friend.writes(general, "beep")
        assert await answered(server, general, 1) == ["beep"]
        limit = GatewayConfig().access.bot_replies
        for number in range(limit + 5):
            friend.writes(general, f"and {number}?")
        await answered(server, general, limit)
        await asyncio.sleep(0.3)
        assert len(answers(server, general)) == limit, "two that answer each other come to an end"
        ann.writes(general, "a person")
        await server.until(lambda: "a person" in answers(server, general), SECONDS)
    assert lured.thread is None
    with closing(sqlite3.connect(home.path / "gateway.db")) as database:
        kept = [row[0] for row in database.execute("SELECT text FROM inbound WHERE text IS NOT NULL")]
    assert "news from outside" not in kept
    assert not any("secret" in text for text in kept)


async def test_who_is_not_let_in_is_named_to_the_operator_once(
    server: DiscordServer, ann: Person, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    ben = server.person("ben")
    general = server.channel(server.guild("Team", ann, ben), "general")
    with caplog.at_level(logging.INFO):
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            await connected(server)
            for _ in range(2):
                ben.writes(general, f"{server.bot.mention} hello?")
            ann.writes(general, f"{server.bot.mention} hello")
            assert len(await answered(server, general, 1)) == 1
    told = [line for line in caplog.messages if "is not let in" in line]
    assert [f"(id {ben.id}) wrote to the bot" in line for line in told] == [True]
