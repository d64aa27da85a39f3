"""A loopback server and a host for each test."""

from collections.abc import AsyncIterator

import pytest

from adapters.testing.telegram import TelegramServer
from tests.support.platform_host import FakeHost


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as running:
        yield running


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()
