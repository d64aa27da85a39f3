"""A platform behind a proxy: everything goes over it, and its login is told to nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock, Mock
from urllib.parse import urlsplit

import pytest

from adapters.base import AccountError, Attachment, MediaError, MediaKind
from adapters.discord import files
from adapters.discord.constants import Timing
from adapters.proxy import proxy_of
from adapters.testing.discord import DiscordServer
from adapters.testing.slack import SlackServer
from config import Home
from gateway.daemon import Daemon
from tests.integration import discord_support, slack_support

SECONDS = 10.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "all_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def elsewhere(url: str, host: str) -> str:
    """The same address at a host that only the proxy can find."""
    return urlsplit(url)._replace(netloc=host).geturl()


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """A proxy that wants another login."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as running:
        yield f"127.0.0.1:{running.sockets[0].getsockname()[1]}"


async def reason_of(daemon: Daemon, platform: str) -> str:
    """Why a platform is not connected, as an operator reads it."""
    adapters = (await daemon.status()).get("adapters", {})
    return str(adapters.get(platform, {}).get("reason"))


async def test_discord_behind_a_proxy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with DiscordServer() as server:
        monkeypatch.setenv("http_proxy", f"http://ann:pass-word@{urlsplit(server.api_url).netloc}")
        there: dict[str, Any] = {
            "api_base_url": elsewhere(server.api_url, "discord.invalid"),
            "gateway_url": elsewhere(server.gateway_url, "discord.invalid"),
        }
        ann = server.person("ann")
        dm = server.dm(ann)
        async with discord_support.gateway(server, home, **there):
            await server.until(lambda: bool(server.gateway.sessions), SECONDS)
            ann.writes(dm, "hello")
            await server.until(lambda: discord_support.answers(server, dm) == ["hello"], SECONDS)


async def test_slack_behind_a_proxy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SlackServer() as server:
        monkeypatch.setenv("http_proxy", f"http://ann:pass-word@{urlsplit(server.api_url).netloc}")
        ann = server.person("Ann")
        dm = server.direct(ann)
        async with slack_support.gateway(server, home, api_base_url=elsewhere(server.api_url, "slack.invalid")):
            await server.until(lambda: server.events.sockets.live, SECONDS)
            ann.writes(dm, "hello")
            await server.until(lambda: slack_support.answers(server, dm) == ["hello"], SECONDS)


@pytest.mark.parametrize("platform", ["discord", "slack"])
async def test_a_login_that_the_proxy_refuses(platform: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with refusing() as address, DiscordServer() as discord, SlackServer() as slack:
        monkeypatch.setenv("https_proxy", f"http://ann:pass-word@{address}")
        if platform == "discord":
            there: dict[str, Any] = {
                "api_base_url": "https://discord.invalid/api",
                "gateway_url": "wss://discord.invalid/",
            }
            running = discord_support.gateway(discord, home, **there)
        else:
            running = slack_support.gateway(slack, home, api_base_url="https://slack.invalid/api/")
        async with running as daemon, asyncio.timeout(SECONDS):
            while "proxy" not in (reason := await reason_of(daemon, platform)):
                await asyncio.sleep(0.02)
    assert "the proxy answered 407 Proxy Authentication Required" in reason
    assert "pass-word" not in reason


async def test_a_proxy_that_cannot_be_used_for_files_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API is reached without it."""
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    monkeypatch.setenv("no_proxy", "discord.com")
    monkeypatch.setattr(files, "_url", AsyncMock(return_value="https://cdn.discordapp.com/attachments/1/2/a.png"))
    with pytest.raises(MediaError, match="for HTTP"):
        await files.fetch(Mock(), Timing(), Attachment(MediaKind.IMAGE, "1/2/3"), AsyncMock())


def test_this_machine_and_what_no_proxy_names_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_of("https://discord.com/api") == "http://proxy:3128"
    assert proxy_of("https://inside.example/api") is None
    assert proxy_of("https://127.0.0.1/api") is None
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    with pytest.raises(AccountError, match="for HTTP"):
        proxy_of("https://discord.com/api")
