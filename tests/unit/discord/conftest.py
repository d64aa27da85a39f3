"""A loopback server and a host for each test."""

from collections.abc import AsyncIterator

import pytest

from adapters.testing.discord import DiscordServer
from tests.support.platform_host import FakeHost


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as running:
        yield running


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()
