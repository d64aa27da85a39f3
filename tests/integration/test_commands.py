"""The same commands with the same results at the terminal and on each platform, through the whole gateway."""

import asyncio
import html
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Protocol

import pytest

from adapters.testing.discord import DiscordServer
from adapters.testing.slack import SlackServer
from adapters.testing.telegram import TelegramServer
from config import GatewayConfig, Home
from gateway.commands.access import AccessCommands
from gateway.commands.builtin import builtin_commands
from gateway.commands.memory import MemoryCommands
from gateway.daemon import Daemon
from tests.integration.discord_support import answers as discord_answers
from tests.integration.discord_support import section as discord_section
from tests.integration.slack_support import answers as slack_answers
from tests.integration.telegram_support import answers as telegram_answers
from tests.integration.telegram_support import gateway
from tests.support.discord import QuickDiscord
from tests.support.gateway_client import RawClient
from tests.support.slack import RULES, QuickSlack
from tests.support.telegram import QuickTelegram

SECONDS: Final = 10.0

IDENTIFY: Final = 2
"""The frame of Discord's gateway with which a bot begins."""

ID: Final = re.compile(r"[0-9]{8}_[0-9]{6}_[0-9a-f]{16}")

STEPS: Final = (
    ("/title", "There is no conversation here yet"),
    ("/retry", "There is no conversation here yet"),
    ("/compact", "There is no conversation here yet"),
    ("/start", "Hello. Write to me as you would to a person"),
    ("good morning", "good morning"),
    ("/retry", "good morning"),
    ("second", "second"),
    ("/undo nothing", "“nothing” is not a number from 1 to 50. Write it as /undo [n]."),
    ("/undo", "Taken back: “second” (2 messages). /redo brings it back."),
    ("/redo", "2 messages brought back."),
    ("/undo 2", "2 turns taken back, from: “good morning” (4 messages)."),
    ("/redo", "4 messages brought back."),
    ("/title Trip", "This session is called “Trip” now."),
    ("/title", "This session is called “Trip”."),
    ("/status", "messages: 4"),
    ("/usage", "together: 10 tokens in 4 messages"),
    ("/why", "with your first message here."),
    ("/memory", "Nothing is remembered here from one conversation to the next."),
    ("/branch", "You are in a copy now, “Trip (branch)” (4 messages)."),
    ("/sessions", "“Trip (branch)”: you are here, 4 messages, just now (ID)"),
    ("/sessions", "“Trip”: 4 messages, just now (ID)"),
    ("/resume trip", "You are back in “Trip” (4 messages, last active just now)."),
    ("/compact", "There is too little to summarise: the last 4 turns stay as they are"),
    ("third", "third"),
    ("/compact 1", "There is no summary: this agent repeats what it is told"),
    ("/compact undo", "There is no summary in this conversation that could be taken apart."),
    ("/undo", "Taken back: “third” (2 messages)."),
    ("/pin", "“Trip” is pinned"),
    ("/delete", "“Trip” is pinned, so it is not deleted."),
    ("/unpin", "“Trip” is not pinned any more"),
    ("/star", "“Trip” is starred"),
    ("/delete Trip yes", "“Trip” is starred, so it is not deleted."),
    ("/unstar Trip", "“Trip” is not starred any more"),
    ("/projects", "You have no projects."),
    ("/project Summer 2027", "“Trip” is in the project “Summer 2027” now."),
    ("/projects", "1. “Summer 2027”: 1 session, just now"),
    ("/sessions summer 2027", "1. “Trip”: you are here, in Summer 2027, 4 messages, just now (ID)"),
    ("/projects rename Summer 2027 = Winter", "The project “Summer 2027” is called “Winter” now."),
    ("/project", "This session is in the project “Winter”."),
    ("/projects delete winter", "There is no project “Winter” any more."),
    ("/archive branch", "“Trip (branch)” is put away."),
    ("/sessions archived", "“Trip (branch)”: put away, 4 messages, just now (ID)"),
    ("/delete", "Delete “Trip” (4 messages) for good?"),
    ("/delete Trip yes", "“Trip” is deleted, with its 4 messages."),
    ("/resume Trip", "You are back in “Trip (branch)” (4 messages"),
    ("/search", "“words” is missing. Write it as /search <words…>."),
    ("/agent", "slow: answers here, default"),
    ("/agent nobody", "There is no agent “nobody”. There are slow, default."),
    ("/model slow", "slow answers in this session from now on."),
    ("/whoami", "conversation: agent:main:"),
    ("/sethome", "come here from now on. /sethome off undoes that."),
    ("/sethome off", "No chat is set as"),
    ("/pairing", "Nobody asks to be let in, and nobody was."),
    ("/queue", "This conversation is idle"),
    ("/steer", "This conversation is idle"),
    ("/stop", "Nothing is running here."),
    ("/steer go on", "go on"),
    ("/new", "A new conversation begins. The one before is kept as session ID"),
    ("/resume nothing", "There is no session “nothing” of yours. /sessions lists them."),
    ("/undoo", "There is no command /undoo. Did you mean /undo?"),
    ("/usr/bin/env", "/usr/bin/env"),
    ("/export text", "There is no session “text” of yours."),
    ("/help branch", "write it as /branch [title…]"),
    ("/quit", "Goodbye."),
    ("//new", "/new"),
)
"""What is written, and what is in the answer; ids read ID."""


class Server(Protocol):
    """A loopback server of a platform."""

    async def until(self, condition: Callable[[], object], timeout: float, /) -> Any:
        """Wait until something holds."""


class Seat(Protocol):
    """Where somebody writes and reads."""

    async def says(self, text: str, inside: str = "") -> str:
        """Write, and read the answer: until it has this in it, or no longer than it may take."""


class Terminal:
    """A terminal of this machine."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._numbers = itertools.count()

    async def says(self, text: str, inside: str = "") -> str:
        message_id = f"m{next(self._numbers)}"
        await self._client.frame({"op": "message", "id": message_id, "text": text})
        return str((await self._client.answer_to(message_id))["text"])


class Chat:
    """A private chat with the bot on a platform: how something is written there, and what can be read."""

    def __init__(self, server: Server, write: Callable[[str], object], shown: Callable[[], list[str]]) -> None:
        self._server = server
        self._write = write
        self._shown = shown

    async def says(self, text: str, inside: str = "") -> str:
        before = len(self._shown())
        self._write(text)
        with suppress(TimeoutError):
            await self._server.until(lambda: inside in read("".join(self._shown()[before:][-1:] or [""])), SECONDS)
            await self._server.until(lambda: len(self._shown()) > before, SECONDS)
        return "".join(self._shown()[before:][-1:])


@asynccontextmanager
async def running(home: Home, person: str = "", **platforms: Any) -> AsyncIterator[None]:
    """The whole gateway, with these platforms, and a person who may do everything."""
    config = GatewayConfig.model_validate(
        {
            "agent": "slow",
            "agents": {"slow": {"type": "echo", "delay_ms": 0}},
            "http": {"enabled": False},
            "delivery": {"retry_seconds": 0.02, "retry_max_seconds": 0.2},
            "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0},
            "access": {"admins": [person] if person else []},
            "platforms": platforms,
        }
    )
    quick = {"telegram": QuickTelegram, "discord": QuickDiscord, "slack": QuickSlack}
    daemon = Daemon(config, home, adapters={name: quick[name] for name in platforms})
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    try:
        async with asyncio.timeout(SECONDS):
            await ready.wait()
        yield
    finally:
        daemon.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(task)


@asynccontextmanager
async def terminal(home: Home) -> AsyncIterator[Seat]:
    async with running(home), RawClient(home.socket) as client:
        await client.attach()
        yield Terminal(client)


@asynccontextmanager
async def telegram(home: Home) -> AsyncIterator[Seat]:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        section = {"token": server.bot.token, "api_base_url": server.base_url, "allowed_users": [str(ann.id)]}
        async with running(home, f"telegram:{ann.id}", telegram=section):
            yield Chat(server, lambda text: ann.writes(chat, text), lambda: telegram_answers(server, chat))
        assert server.violations == []


@asynccontextmanager
async def discord(home: Home) -> AsyncIterator[Seat]:
    async with DiscordServer(heartbeat_seconds=4.0) as server:
        ann = server.person("ann")
        dm = server.dm(ann)
        section = discord_section(server, allowed_users=[str(ann.id)])
        async with running(home, f"discord:{ann.id}", discord=section):
            await server.until(lambda: [frame for frame in server.gateway.received if frame.op == IDENTIFY], SECONDS)
            await asyncio.sleep(0.2)
            yield Chat(server, lambda text: ann.writes(dm, text), lambda: discord_answers(server, dm))
        assert server.violations == []


@asynccontextmanager
async def slack(home: Home) -> AsyncIterator[Seat]:
    async with SlackServer(rules=RULES) as server:
        ann = server.person("Ann")
        chat = server.direct(ann)
        section = {
            "bot_token": server.bot.token,
            "app_token": server.app.token,
            "api_base_url": server.api_url,
            "allowed_users": [ann.id],
        }
        async with running(home, f"slack:{ann.id}", slack=section):
            await server.until(lambda: server.events.sockets.live, SECONDS)
            yield Chat(server, lambda text: ann.writes(chat, text), lambda: slack_answers(server, chat))
        assert server.violations == []


def read(text: str) -> str:
    """An answer without what is only form, and without what is another one each time."""
    return ID.sub("ID", re.sub(r"[`*\\]", "", html.unescape(text)))


def test_the_steps_have_every_command() -> None:
    unused: Any = None
    people = AccessCommands(unused, unused, unused, unused)
    more = (*MemoryCommands(unused).commands(), *people.commands())
    names = {command.name for command in builtin_commands(unused, more).commands}
    written = {text.split()[0].removeprefix("/") for text, _inside in STEPS}
    assert names <= written


@pytest.mark.parametrize("seat", [terminal, telegram, discord, slack])
async def test_the_same_commands_have_the_same_results(
    home: Home, seat: Callable[[Home], AbstractAsyncContextManager[Seat]]
) -> None:
    async with seat(home) as person:
        for text, inside in STEPS:
            told = read(await person.says(text, inside))
            assert inside in told, f"{text}: {told}"


async def test_buttons_can_be_pressed_in_telegram(home: Home) -> None:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            seat = Chat(server, lambda text: ann.writes(chat, text), lambda: telegram_answers(server, chat))
            for text in ("hello", "/undo"):
                await seat.says(text)
            taken_back = server.shown(chat, by=server.bot)[-1]
            ann.presses(taken_back, "/redo")
            await server.until(lambda: len(telegram_answers(server, chat)) == 3, SECONDS)
            assert telegram_answers(server, chat)[-1] == "2 messages brought back."
            await seat.says("/sessions all")
            assert "you are here, 2 messages" in telegram_answers(server, chat)[-1]


async def test_an_export_is_a_file_in_telegram(home: Home) -> None:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            seat = Chat(server, lambda text: ann.writes(chat, text), lambda: telegram_answers(server, chat))
            await seat.says("hello")
            ann.writes(chat, "/export json")
            await server.until(lambda: len(server.shown(chat, by=server.bot)) == 3, SECONDS)
        _answer, file, words = server.shown(chat, by=server.bot)
        assert words.text == "“hello”: 2 messages."
        assert file.content.media is not None
        assert file.content.media["document"]["file_name"] == "hello.json"
