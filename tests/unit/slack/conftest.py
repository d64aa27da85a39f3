"""A loopback server, a host and an adapter that is connected, for each test."""

from collections.abc import AsyncIterator

import pytest

from adapters.slack import SlackAdapter
from adapters.testing.slack import Person, SlackServer
from tests.support.platform_host import FakeHost
from tests.support.slack import RULES
from tests.unit.slack.support import built, running


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer(rules=RULES) as running_server:
        yield running_server


@pytest.fixture
def ann(server: SlackServer) -> Person:
    return server.person("Ann")


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
async def adapter(server: SlackServer, host: FakeHost) -> AsyncIterator[SlackAdapter]:
    async with running(built(server, host), host) as adapter:
        yield adapter
