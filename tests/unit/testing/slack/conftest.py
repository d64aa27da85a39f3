"""A server of its own for each test, with fast retries, and the unmodified clients of slack_sdk."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from adapters.testing.slack import SlackServer
from tests.unit.testing.slack.support import FAST, Listener, client_of


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=FAST) as server:
        yield server


@pytest.fixture
async def web(server: SlackServer, session: aiohttp.ClientSession) -> AsyncWebClient:
    return client_of(server, session)


@pytest.fixture
async def listener(server: SlackServer, web: AsyncWebClient) -> AsyncIterator[Listener]:
    async with Listener(server, web) as listener:
        yield listener
