"""The real daemon with the Discord adapter and an agent that echoes, beside a loopback server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from adapters.testing.discord import Channel, DiscordServer
from config import GatewayConfig, Home
from gateway.connections import AdapterFactory
from gateway.daemon import Daemon
from tests.support.discord import QuickDiscord


def section(server: DiscordServer, **discord: Any) -> dict[str, Any]:
    """The server's first bot, which anybody may talk to."""
    return {
        "token": server.bot.token,
        "api_base_url": server.api_url,
        "gateway_url": server.gateway_url,
        "allowed_users": ["*"],
        **discord,
    }


@asynccontextmanager
async def gateway(
    server: DiscordServer,
    home: Home,
    *,
    delay_ms: int = 0,
    platforms: Mapping[str, Any] | None = None,
    adapters: Mapping[str, AdapterFactory] | None = None,
    sessions: Mapping[str, Any] | None = None,
    **discord: Any,
) -> AsyncIterator[Daemon]:
    """A daemon while it runs; the agent takes so long for a word."""
    config = GatewayConfig.model_validate(
        {
            "agent": "slow",
            "agents": {"slow": {"type": "echo", "delay_ms": delay_ms}},
            "http": {"enabled": False},
            "delivery": {"retry_seconds": 0.02, "retry_max_seconds": 0.2},
            "sessions": {**(sessions or {})},
            "platforms": {"discord": section(server, **discord), **(platforms or {})},
        }
    )
    daemon = Daemon(config, home, adapters={"discord": QuickDiscord, **(adapters or {})})
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        daemon.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(task)


def answers(server: DiscordServer, channel: Channel) -> list[str]:
    """What the bot has written in a channel, oldest first."""
    return [message.text for message in server.shown(channel, by=server.bot) if message.text]
