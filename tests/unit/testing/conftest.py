"""A server of its own for each test, and a bot that speaks to it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from adapters.testing.telegram import TelegramServer
from tests.unit.testing.support import Client


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as server:
        yield server


@pytest.fixture
def client(server: TelegramServer, session: aiohttp.ClientSession) -> Client:
    return Client(server, session, server.bot)
