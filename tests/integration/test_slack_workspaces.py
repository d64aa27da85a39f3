"""One app that is installed in several workspaces: each message is answered where it was written, by the bot there."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from adapters.testing.slack import Bot, Channel, Fault, Person, SlackServer, Upload
from config import Home
from gateway.daemon import Daemon
from tests.integration.slack_support import answers, gateway
from tests.support.slack import RULES

SECONDS = 10.0


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=RULES) as running:
        running.app.commands.add("/hermes")
        yield running
    assert running.violations == []


@pytest.fixture
async def ann(server: SlackServer) -> Person:
    return server.person("Ann")


class Away:
    """A second workspace, with the app's bot and somebody who talks to it."""

    def __init__(self, server: SlackServer) -> None:
        self._server = server
        self.workspace = server.add_workspace("Away")
        self.bot: Bot = self.workspace.install(server.app)
        self.zoe = self.workspace.person("Zoe")
        self.chat: Channel = self.workspace.direct(self.bot, self.zoe)

    @property
    def answers(self) -> list[str]:
        """What the bot has said there."""
        return [message.text for message in self._server.shown(self.chat, by=self.bot)]


@pytest.fixture
async def away(server: SlackServer) -> Away:
    return Away(server)


async def connected(server: SlackServer) -> None:
    await server.until(lambda: server.events.sockets.live, SECONDS)


async def reason_of(daemon: Daemon, part: str) -> None:
    """Wait until the state of the platform, which is connected, tells of something."""
    async with asyncio.timeout(SECONDS):
        while True:
            told = daemon._parts.adapters.states["slack"] if daemon._parts is not None else {}
            if told.get("state") == "connected" and part in str(told.get("reason")):
                return
            await asyncio.sleep(0.01)


async def test_each_is_answered_where_it_wrote(server: SlackServer, ann: Person, away: Away, home: Home) -> None:
    chat = server.direct(ann)
    general = away.workspace.channel("general", away.zoe, away.bot)
    async with gateway(server, home, workspaces=[away.bot.token]):
        await connected(server)
        ann.writes(chat, "at home")
        away.zoe.writes(away.chat, "away")
        asked = away.zoe.writes(general, f"{away.bot.profile.mention} in a channel")
        away.zoe.commands(away.chat, "/hermes", "by a command")
        await server.until(lambda: answers(server, chat) == ["at home"], SECONDS)
        await server.until(lambda: sorted(away.answers) == ["away", "by a command"], SECONDS)
        await server.until(lambda: server.shown(general, by=away.bot, thread=asked), SECONDS)
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT DISTINCT json_extract(source, '$.user_name') FROM inbound").fetchall()
    assert sorted(names) == [("Ann",), ("Zoe",)]


async def test_what_was_missed_is_fetched_in_each(server: SlackServer, ann: Person, away: Away, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, workspaces=[away.bot.token]):
        await connected(server)
        ann.writes(chat, "before")
        away.zoe.writes(away.chat, "before")
        await server.until(lambda: answers(server, chat) == away.answers == ["before"], SECONDS)
    server.events.lose(2)
    ann.writes(chat, "missed at home")
    away.zoe.writes(away.chat, "missed away")
    async with gateway(server, home, workspaces=[away.bot.token]):
        await server.until(lambda: answers(server, chat)[1:] == ["missed at home"], SECONDS)
        await server.until(lambda: away.answers[1:] == ["missed away"], SECONDS)


async def test_an_answer_that_waits_goes_out_where_it_belongs(server: SlackServer, away: Away, home: Home) -> None:
    gate = server.gate("chat.postMessage")
    async with gateway(server, home, workspaces=[away.bot.token], killed=True):
        await connected(server)
        away.zoe.commands(away.chat, "/hermes", "hello")
        await gate.reached.wait()
    gate.open()
    async with gateway(server, home, workspaces=[away.bot.token]):
        # A command is sent once, so not over a connection of the first life.
        await server.until(lambda: [each.number for each in server.events.sockets.live] == [2], SECONDS)
        away.zoe.commands(away.chat, "/hermes", "next, please")
        await server.until(lambda: away.answers == ["hello", "next, please"], SECONDS)


@pytest.mark.parametrize("when", ["while it runs", "before it starts"])
async def test_an_answer_waits_for_a_token_that_is_refused(
    server: SlackServer, ann: Person, away: Away, home: Home, when: str
) -> None:
    chat = server.direct(ann)
    token = away.bot.token
    async with gateway(server, home, workspaces=[token], delay_ms=500, killed=True) as daemon:
        await connected(server)
        away.zoe.writes(away.chat, "before")
        await server.until(lambda: away.answers == ["before"], SECONDS)
        away.zoe.writes(away.chat, "hello")
        await server.until(lambda: all(each.acknowledged for each in server.events.all), SECONDS)
        away.bot.failure = "account_inactive"
        if when == "while it runs":
            await reason_of(daemon, "(account_inactive)")
            await server.until(lambda: _refused(server, away.bot), SECONDS)
    if when == "before it starts":
        async with gateway(server, home, workspaces=[token], killed=True) as daemon:
            await reason_of(daemon, "(account_inactive)")
            ann.writes(chat, "at home")
            await server.until(lambda: answers(server, chat) == ["at home"], SECONDS)
    away.bot.failure = None
    async with gateway(server, home, workspaces=[token]):
        await server.until(lambda: away.answers == ["before", "hello"], SECONDS)


def _refused(server: SlackServer, bot: Bot) -> bool:
    """Whether an answer was tried with the token that is not good any more."""
    asked = server.requests.of("chat.postMessage", bot=bot)
    return bool(asked) and asked[-1].error == bot.failure


async def test_a_file_comes_from_its_own_workspace(server: SlackServer, away: Away, home: Home) -> None:
    async with gateway(server, home, workspaces=[away.bot.token]):
        await connected(server)
        away.zoe.uploads(away.chat, Upload("plan.txt", b"the plan"), text="read it")
        await server.until(lambda: away.answers, SECONDS)
    assert {request.bot for request in server.requests.of("files.info")} == {away.bot}
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as connection:
        ((extra,),) = connection.execute("SELECT extra FROM inbound").fetchall()
    assert away.workspace.team.id in extra


async def test_one_that_is_refused_keeps_nobody_from_the_others(
    server: SlackServer, ann: Person, away: Away, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, workspaces=["xoxb-of-nobody", server.bot.token, away.bot.token]) as daemon:
        await reason_of(daemon, "it is the second for")
        assert "token 1 of platforms.slack.workspaces (invalid_auth)" in caplog.text
        away.zoe.writes(away.chat, "away")
        await server.until(lambda: away.answers == ["away"], SECONDS)
        server.revoke(away.bot)
        await reason_of(daemon, "token 3 of platforms.slack.workspaces (token_revoked)")
        ann.writes(chat, "at home")
        await server.until(lambda: answers(server, chat) == ["at home"], SECONDS)


async def test_a_limit_in_one_holds_up_no_other(server: SlackServer, ann: Person, away: Away, home: Home) -> None:
    chat = server.direct(ann)
    async with gateway(server, home, workspaces=[away.bot.token]):
        await connected(server)
        server.inject(Fault.flood(30), "chat.postMessage", channel=away.chat)
        away.zoe.writes(away.chat, "away")
        await server.until(lambda: server.requests.of("chat.postMessage"), SECONDS)
        ann.writes(chat, "at home")
        await server.until(lambda: answers(server, chat) == ["at home"], SECONDS)
