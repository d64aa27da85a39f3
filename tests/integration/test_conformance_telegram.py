"""Telegram keeps what every platform promises: the real adapter and the unmodified library, over HTTP, to the loopback
server."""

import pytest

from adapters.testing.conformance import AdapterConformance, Harness
from tests.support.telegram_harness import TelegramHarness


class TestTelegram(AdapterConformance):
    @pytest.fixture
    def harness(self) -> Harness:
        return TelegramHarness()
