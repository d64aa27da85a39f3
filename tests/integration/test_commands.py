"""The same commands with the same results at the terminal and in Telegram, through the whole gateway."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import pytest

from adapters.testing.telegram import Chat, Person, TelegramServer
from config import Home
from tests.integration.telegram_support import answers, gateway
from tests.support.gateway_client import RawClient

SECONDS: Final = 10.0

ID: Final = re.compile(r"[0-9]{8}_[0-9]{6}_[0-9a-f]{16}")

STEPS: Final = (
    ("/title", "There is no conversation here yet"),
    ("/retry", "There is no conversation here yet"),
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
    ("/usage", "together: 10 tokens in 4 messages"),
    ("/why", "with your first message here."),
    ("/branch", "You are in a copy now, “Trip (branch)” (4 messages)."),
    ("/sessions", "“Trip (branch)”: you are here, 4 messages, just now (ID)"),
    ("/sessions", "“Trip”: 4 messages, just now (ID)"),
    ("/resume trip", "You are back in “Trip” (4 messages, last active just now)."),
    ("/pin", "“Trip” is pinned"),
    ("/delete", "“Trip” is pinned, so it is not deleted."),
    ("/unpin", "“Trip” is not pinned any more"),
    ("/archive branch", "“Trip (branch)” is put away."),
    ("/sessions archived", "“Trip (branch)”: put away, 4 messages, just now (ID)"),
    ("/delete", "Delete “Trip” (4 messages) for good?"),
    ("/delete Trip yes", "“Trip” is deleted, with its 4 messages."),
    ("/resume Trip", "You are back in “Trip (branch)” (4 messages"),
    ("/search", "“words” is missing. Write it as /search <words…>."),
    ("/agent", "slow: answers here, default"),
    ("/agent nobody", "There is no agent “nobody”. There are slow, default."),
    ("/whoami", "conversation: agent:main:"),
    ("/queue", "This conversation is idle"),
    ("/new", "A new conversation begins. The one before is kept as session ID"),
    ("/resume nothing", "There is no session “nothing” of yours. /sessions lists them."),
    ("/undoo", "There is no command /undoo. Did you mean /undo?"),
    ("/help branch", "write it as /branch [title…]"),
    ("//new", "/new"),
)
"""What is written, and what is in the answer; ids read ID."""


class Seat(Protocol):
    """Where somebody writes and reads."""

    async def says(self, text: str) -> str:
        """Write, and read the answer."""


class Terminal:
    """A terminal of this machine."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._numbers = itertools.count()

    async def says(self, text: str) -> str:
        message_id = f"m{next(self._numbers)}"
        await self._client.frame({"op": "message", "id": message_id, "text": text})
        return str((await self._client.answer_to(message_id))["text"])


class Telegram:
    """A private chat with the bot."""

    def __init__(self, server: TelegramServer, person: Person, chat: Chat) -> None:
        self._server = server
        self._person = person
        self._chat = chat

    async def says(self, text: str) -> str:
        before = len(answers(self._server, self._chat))
        self._person.writes(self._chat, text)
        await self._server.until(lambda: len(answers(self._server, self._chat)) > before, SECONDS)
        return answers(self._server, self._chat)[-1]


@asynccontextmanager
async def terminal(home: Home) -> AsyncIterator[Seat]:
    async with TelegramServer() as server, gateway(server, home):
        async with asyncio.timeout(SECONDS):
            while not home.socket.exists():
                await asyncio.sleep(0.01)
        async with RawClient(home.socket) as client:
            await client.attach()
            yield Terminal(client)


@asynccontextmanager
async def telegram(home: Home) -> AsyncIterator[Seat]:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            yield Telegram(server, ann, server.private(ann))
        assert server.violations == []


def read(text: str) -> str:
    """An answer without what is only form, and without what is another one each time."""
    return ID.sub("ID", re.sub(r"[`*]", "", text))


@pytest.mark.parametrize("seat", [terminal, telegram])
async def test_the_same_commands_have_the_same_results(
    home: Home, seat: Callable[[Home], AbstractAsyncContextManager[Seat]]
) -> None:
    async with seat(home) as person:
        for text, inside in STEPS:
            told = read(await person.says(text))
            assert inside in told, f"{text}: {told}"


async def test_buttons_can_be_pressed_in_telegram(home: Home) -> None:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            seat = Telegram(server, ann, chat)
            for text in ("hello", "/undo"):
                await seat.says(text)
            taken_back = server.shown(chat, by=server.bot)[-1]
            ann.presses(taken_back, "/redo")
            await server.until(lambda: len(answers(server, chat)) == 3, SECONDS)
            assert answers(server, chat)[-1] == "2 messages brought back."
            await seat.says("/sessions all")
            assert "you are here, 2 messages" in answers(server, chat)[-1]


async def test_an_export_is_a_file_in_telegram(home: Home) -> None:
    async with TelegramServer() as server:
        ann = server.person("Ann")
        chat = server.private(ann)
        async with gateway(server, home, allowed_users=[str(ann.id)]):
            seat = Telegram(server, ann, chat)
            await seat.says("hello")
            ann.writes(chat, "/export json")
            await server.until(lambda: len(server.shown(chat, by=server.bot)) == 3, SECONDS)
        _answer, file, words = server.shown(chat, by=server.bot)
        assert words.text == "“hello”: 2 messages."
        assert file.content.media is not None
        assert file.content.media["document"]["file_name"] == "hello.json"
