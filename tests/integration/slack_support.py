"""The real daemon with the Slack adapter and an agent that echoes, beside a loopback server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.testing.slack import Channel, Message, SlackServer
from config import GatewayConfig, Home
from gateway.daemon import Daemon
from tests.support.slack import QuickSlack


def settings(server: SlackServer, delay_ms: int, http: dict[str, Any] | None, **slack: Any) -> GatewayConfig:
    """A configuration for the server's first bot, which anybody may talk to; the agent takes so long for a word."""
    section = {"bot_token": server.bot.token, "api_base_url": server.api_url, "allowed_users": ["*"]}
    section |= {"mode": "http", "signing_secret": server.app.secret} if http else {"app_token": server.app.token}
    return GatewayConfig.model_validate(
        {
            "agent": "slow",
            "agents": {"slow": {"type": "echo", "delay_ms": delay_ms}},
            "http": http or {"enabled": False},
            "delivery": {"retry_seconds": 0.02, "retry_max_seconds": 0.2},
            "limits": {"messages_per_minute": 0, "chat_messages_per_minute": 0, "turns_at_once": 0},
            "platforms": {"slack": section | slack},
        }
    )


@asynccontextmanager
async def gateway(
    server: SlackServer,
    home: Home,
    *,
    delay_ms: int = 0,
    http: dict[str, Any] | None = None,
    killed: bool = False,
    **slack: Any,
) -> AsyncIterator[Daemon]:
    """A daemon while it runs; one that is `killed` does not hear what became of its calls."""
    daemon = Daemon(settings(server, delay_ms, http, **slack), home, adapters={"slack": QuickSlack})
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        if killed:
            task.cancel()
        daemon.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(task, return_exceptions=killed)


def answers(server: SlackServer, channel: Channel, *, thread: Message | None = None) -> list[str]:
    """What the bot has written in a conversation, oldest first."""
    return [message.text for message in server.shown(channel, by=server.bot, thread=thread)]
