"""The real daemon with the Telegram adapter and an agent that echoes, beside a loopback server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from adapters.telegram import TelegramAdapter
from adapters.telegram.constants import Timing
from adapters.testing.telegram import Chat, TelegramServer
from config import GatewayConfig, Home
from gateway.daemon import Daemon

QUICK: Final = Timing(
    poll=2, margin=0.5, answer=1.0, upload=2.0, connect=2.0, first_wait=0.02, longest_wait=0.2, refusal_check=0.02
)


def settings(server: TelegramServer, delay_ms: int, http: dict[str, Any] | None, **telegram: Any) -> GatewayConfig:
    """A configuration for the server's first bot, which anybody may talk to; the agent takes so long for a word."""
    section = {"token": server.bot.token, "api_base_url": server.base_url, "allowed_users": ["*"]} | telegram
    return GatewayConfig.model_validate(
        {
            "agent": "slow",
            "agents": {"slow": {"type": "echo", "delay_ms": delay_ms}},
            "http": http or {"enabled": False},
            "delivery": {"retry_seconds": 0.02, "retry_max_seconds": 0.2},
            "platforms": {"telegram": section},
        }
    )


async def hasty(seconds: float) -> None:
    """Sleep, but not for what this server does not ask for."""
    await asyncio.sleep(seconds / 20)


@asynccontextmanager
async def gateway(
    server: TelegramServer,
    home: Home,
    *,
    delay_ms: int = 0,
    http: dict[str, Any] | None = None,
    killed: bool = False,
    **telegram: Any,
) -> AsyncIterator[Daemon]:
    """A daemon while it runs; one that is `killed` does not hear what became of its calls."""
    daemon = Daemon(
        settings(server, delay_ms, http, **telegram),
        home,
        adapters={"telegram": lambda config, host: TelegramAdapter(config, host, timing=QUICK, sleep=hasty)},
    )
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        if killed:
            task.cancel()
        daemon.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(task, return_exceptions=killed)


def answers(server: TelegramServer, chat: Chat) -> list[str]:
    """What the bot has written in a chat, oldest first."""
    return [message.text for message in server.shown(chat, by=server.bot)]
