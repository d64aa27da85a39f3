"""The Slack adapter, in a hurry: for tests against a server on this machine that enforces no limits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.base import AdapterHost, Rate
from adapters.slack.adapter import CAPABILITIES, SlackAdapter
from adapters.slack.compose import MARK as SENT_MARK
from adapters.slack.constants import Timing
from adapters.testing.slack import DeliveryRules
from config import PlatformConfig

TIMING: Final = Timing(
    answer=2.0,
    upload=5.0,
    connect=2.0,
    hello=2.0,
    ping=0.6,
    look=0.02,
    retire=0.5,
    close=0.2,
    check=0.5,
    lookup=1.0,
    settle=0.05,
    share=1.0,
    hold=60.0,
    mention=0.1,
    first_wait=0.02,
    longest_wait=0.1,
)
"""`hold` is longer than any test waits: once it is over, what came live goes before what was missed, so a machine that
is slow enough would change the order of what people see. A test of that sets its own."""

RULES: Final = DeliveryRules(deadline=3.0, retry_delays=(0.0, 0.1, 0.2))
"""How the server waits for an acknowledgement, and tries again sooner than Slack does."""

MARK: Final = SENT_MARK.strip()
"""What a message begins with that may be a repeat."""


class QuickSlack(SlackAdapter):
    """Nobody waits here for limits that the server does not enforce, nor for a server that is far away."""

    capabilities = replace(CAPABILITIES, edit_interval=0.02, rate=None, typing_seconds=0.2)

    def __init__(self, config: PlatformConfig, host: AdapterHost) -> None:
        super().__init__(config, host, timing=TIMING)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """None."""
        del chat_id
        return ()
