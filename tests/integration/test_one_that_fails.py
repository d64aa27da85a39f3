"""Telegram, Discord and the terminal in one daemon, one of them in trouble: people on the others do not notice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.base import Delivery
from adapters.testing.conformance.terminal import Terminal
from adapters.testing.discord import DiscordServer
from adapters.testing.discord import Fault as DiscordFault
from adapters.testing.telegram import Fault as TelegramFault
from adapters.testing.telegram import TelegramServer
from config import Home
from gateway.daemon import Daemon
from tests.integration.discord_support import gateway
from tests.support.discord import QuickDiscord
from tests.support.gateway_client import RawClient
from tests.support.telegram import QuickTelegram

SECONDS = 15.0
ROUNDS = 10
BETWEEN = 0.1
"""Seconds between two rounds: together they are longer than what it takes to notice that a connection is dead."""

NOTICED = 1.5
"""Seconds that an answer may take on a busy machine; on its own it takes some hundredths. What hangs does so for two
(`TIMING`), and for ever where the terminal's client does not read."""


@dataclass
class Three:
    """A daemon with a person on each platform."""

    daemon: Daemon
    discord: DiscordServer
    telegram: TelegramServer
    home: Home
    asks: dict[str, Callable[[str], Coroutine[Any, Any, None]]]

    async def states(self, *platforms: str) -> dict[str, tuple[str, str]]:
        """How each stands, and since when."""
        found = (await self.daemon.status())["adapters"]
        return {name: (found[name]["state"], found[name]["since"]) for name in platforms}


@pytest.fixture
async def three(home: Home) -> AsyncIterator[Three]:
    async with AsyncExitStack() as stack:
        discord = await stack.enter_async_context(DiscordServer(heartbeat_seconds=0.6))
        telegram = await stack.enter_async_context(TelegramServer())
        ann, bo = discord.person("ann"), telegram.person("bo")
        dm, chat = discord.dm(ann), telegram.private(bo)
        section = {"token": telegram.bot.token, "api_base_url": telegram.base_url, "allowed_users": ["*"]}
        daemon = await stack.enter_async_context(
            gateway(
                discord, home, platforms={"telegram": section}, adapters={"discord": Failing, "telegram": QuickTelegram}
            )
        )
        await discord.until(lambda: discord.gateway.received, SECONDS)
        terminal = await stack.enter_async_context(Terminal(home.socket))

        async def on_discord(text: str) -> None:
            ann.writes(dm, text)
            await discord.until(lambda: text in [each.text for each in discord.shown(dm, by=discord.bot)], SECONDS)

        async def on_telegram(text: str) -> None:
            bo.writes(chat, text)
            await telegram.until(lambda: text in [each.text for each in telegram.shown(chat, by=telegram.bot)], SECONDS)

        async def on_terminal(text: str) -> None:
            assert text in await terminal.ask(text)

        asks: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "discord": on_discord,
            "telegram": on_telegram,
            "local": on_terminal,
        }
        yield Three(daemon, discord, telegram, home, asks)
        Failing.broken = False


class Failing(QuickDiscord):
    """An adapter with a fault of its own."""

    broken = False

    async def send(self, delivery: Delivery) -> str:
        if Failing.broken:
            raise ZeroDivisionError("a fault of the adapter")
        return await super().send(delivery)


Trouble = Callable[[Three, AsyncExitStack], Awaitable[object]]


async def _discord_is_down(three: Three, _stack: AsyncExitStack) -> None:
    await three.discord.stop()


async def _discord_refuses_the_token(three: Three, _stack: AsyncExitStack) -> None:
    three.discord.revoke(three.discord.bot)


async def _discord_hangs(three: Three, _stack: AsyncExitStack) -> None:
    three.discord.inject(DiscordFault.silence(), times=None)
    three.discord.gateway.half_open()


async def _discord_fails(three: Three, _stack: AsyncExitStack) -> None:
    three.discord.inject(DiscordFault.error(), times=None)


async def _the_adapter_fails(_three: Three, _stack: AsyncExitStack) -> None:
    Failing.broken = True


async def _telegram_is_down(three: Three, _stack: AsyncExitStack) -> None:
    await three.telegram.stop()


async def _telegram_hangs(three: Three, _stack: AsyncExitStack) -> None:
    three.telegram.inject(TelegramFault.silence(), times=None)


async def _telegram_floods(three: Three, _stack: AsyncExitStack) -> None:
    three.telegram.inject(TelegramFault.flood(60), "sendMessage", times=None)


async def _a_terminal_reads_nothing(three: Three, stack: AsyncExitStack) -> None:
    deaf = await stack.enter_async_context(RawClient(three.home.socket))
    await deaf.attach("deaf")
    for number in range(20):
        await deaf.frame({"op": "message", "id": f"deaf{number}", "text": "x" * 20_000})


async def _a_terminal_writes_nonsense(three: Three, stack: AsyncExitStack) -> None:
    for data in (b"{" * 1_000 + b"\n", b"\x00\xff\n", b'{"op": "hello", "service": "chat"}\n[]\n'):
        mad = await stack.enter_async_context(RawClient(three.home.socket))
        await mad.bytes(data)


TROUBLES: list[tuple[str, Trouble]] = [
    ("discord", _discord_is_down),
    ("discord", _discord_refuses_the_token),
    ("discord", _discord_hangs),
    ("discord", _discord_fails),
    ("discord", _the_adapter_fails),
    ("telegram", _telegram_is_down),
    ("telegram", _telegram_hangs),
    ("telegram", _telegram_floods),
    ("local", _a_terminal_reads_nothing),
    ("local", _a_terminal_writes_nonsense),
]


async def timed(answer: Awaitable[Any]) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await answer
    return loop.time() - begun


@pytest.mark.parametrize(("broken", "trouble"), TROUBLES, ids=lambda each: getattr(each, "__name__", each))
async def test_the_others_do_not_notice(three: Three, broken: str, trouble: Trouble) -> None:
    await asyncio.gather(*(ask(f"before on {name}") for name, ask in three.asks.items()))
    others = [name for name in three.asks if name != broken]
    stood = await three.states(*others)
    async with AsyncExitStack() as stack:
        await trouble(three, stack)
        lost = [asyncio.create_task(three.asks[broken](f"{number} into the void")) for number in range(3)]
        for number in range(ROUNDS):
            seconds = await asyncio.gather(*(timed(three.asks[name](f"{number} on {name}")) for name in others))
            assert max(seconds) < NOTICED, dict(zip(others, seconds, strict=True))
            await asyncio.sleep(BETWEEN)
        assert await three.states(*others) == stood
        assert broken == "local" or not any(task.done() for task in lost), "there was no trouble"
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)
