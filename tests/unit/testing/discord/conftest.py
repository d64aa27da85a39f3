"""A server of its own for each test, discord.py pointed at it, and a bot without a library."""

import warnings
from collections.abc import AsyncIterator

import aiohttp
import pytest

from adapters.testing.discord import DiscordServer

with warnings.catch_warnings():
    # discord.py imports audioop, which Python 3.11 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tests.unit.testing.discord.support import Rest, point


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as server:
        point(monkeypatch, server)
        yield server


@pytest.fixture
def rest(server: DiscordServer, session: aiohttp.ClientSession) -> Rest:
    return Rest(server, session)
