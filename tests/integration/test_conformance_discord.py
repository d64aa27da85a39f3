"""Discord keeps what every platform promises: the real adapter and the unmodified library, over HTTP and WebSockets, to
the loopback server."""

import pytest

from adapters.testing.conformance import AdapterConformance, Harness
from tests.support.discord_harness import DiscordHarness


class TestDiscord(AdapterConformance):
    @pytest.fixture
    def harness(self) -> Harness:
        return DiscordHarness()
