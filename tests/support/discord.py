"""The Discord adapter, in a hurry: for tests against a server on this machine that enforces no limits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.base import AdapterHost, Rate
from adapters.discord import DiscordAdapter
from adapters.discord.adapter import CAPABILITIES
from adapters.discord.compose import REPEATED
from adapters.discord.constants import Timing
from config import PlatformConfig

TIMING: Final = Timing(
    answer=2.0,
    upload=5.0,
    handshake=3.0,
    guilds=0.05,
    identify=0.01,
    first_wait=0.02,
    longest_wait=0.1,
    thread=2.0,
    close=0.5,
)

MARK: Final = REPEATED
"""What a message begins with that may be a repeat."""


class QuickDiscord(DiscordAdapter):
    """Nobody waits here for limits that the server does not enforce, nor for a server that is far away."""

    capabilities = replace(CAPABILITIES, edit_interval=0.02, rate=None, typing_seconds=0.2)

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__(config, host, timing=TIMING, pace=None)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """None."""
        del chat_id
        return ()
