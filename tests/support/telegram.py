"""The Telegram adapter, in a hurry: for tests against a server on this machine that enforces no limits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.base import AdapterHost, Rate
from adapters.telegram.adapter import CAPABILITIES, TelegramAdapter
from adapters.telegram.compose import REPEATED
from adapters.telegram.constants import Timing
from config import PlatformConfig

TIMING: Final = Timing(
    poll=1, margin=1.0, answer=2.0, upload=5.0, connect=2.0, first_wait=0.02, longest_wait=0.1, refusal_check=0.02
)

MARK: Final = REPEATED
"""What a message begins with that may be a repeat."""


class QuickTelegram(TelegramAdapter):
    """Nobody waits here for limits that the server does not enforce, nor for a server that is far away."""

    capabilities = replace(CAPABILITIES, edit_interval=0.02, rate=None, typing_seconds=0.2)

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__(config, host, timing=TIMING)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """None."""
        return ()
