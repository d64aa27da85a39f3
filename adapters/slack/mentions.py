"""A mention in a channel comes as two events: one of the mention, and one of the message, where the app hears those.

The event of the mention can come first, and then it may lack what the message holds: its files. Both are of one
message, which is taken in once, so the poorer event waits a moment for the other.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from adapters.base import RawUpdate
from adapters.memory import Memory
from adapters.slack.constants import Timing
from adapters.slack.intake import Intake


class Mentions:
    """Keeps mentions back whose messages have not come yet."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._known: Memory[tuple[str, str], bool] = Memory()
        """Messages that came, or that were waited for, by conversation and `ts`."""
        self.intake: Intake | None = None

    def holds(self, event: Mapping[str, Any], update: RawUpdate) -> bool:
        """Whether the update has to wait; it is then handed on again a moment later."""
        message = (str(event.get("channel")), str(event.get("ts")))
        is_sure = event.get("type") != "app_mention" or event.get("files") or message in self._known
        self._known[message] = True
        if is_sure or self.intake is None:
            return False
        asyncio.get_running_loop().call_later(self._timing.mention, self.intake.put_back, [update])
        return True
