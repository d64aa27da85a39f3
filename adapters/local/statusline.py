"""The line below the prompt: who answers, in which session, what that took, and what is going on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from prompt_toolkit.filters import Condition, is_done
from prompt_toolkit.layout import ConditionalContainer, Window
from prompt_toolkit.layout.controls import FormattedTextControl

from adapters.local.completion import printable
from gateway.ports import Overview

BUSY_SECONDS: Final = 2.0
"""How often it is asked anew while something goes on."""

LEAST_SECONDS: Final = 0.2
"""The shortest time between two questions, however much goes on."""

TITLE_WIDTH: Final = 32

IDLE: Final = "idle"


class StatusLine:
    """Asks how the conversation stands, and says it in one line. `is_busy` says whether that may change by itself, and
    `columns` how wide the line is."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Overview | None]],
        is_busy: Callable[[], bool],
        on_change: Callable[[], object],
        columns: Callable[[], int],
    ) -> None:
        self._ask = ask
        self._is_busy = is_busy
        self._on_change = on_change
        self._known: Overview | None = None
        self._changed = asyncio.Event()
        line = Window(FormattedTextControl(lambda: [("class:status", self.text(columns()))]), height=1)
        # A toolbar of the prompt's own is shown by those terminals alone that say where their cursor stands.
        self.container = ConditionalContainer(line, filter=~is_done & Condition(lambda: bool(self.text(columns()))))
        """Where it is shown."""

    def wake(self) -> None:
        """Something has happened: ask soon."""
        self._changed.set()

    async def run(self) -> None:
        """Keep it true, until cancelled."""
        while True:
            known = await self._ask()
            if known is not None and known != self._known:
                self._known = known
                self._on_change()
            await asyncio.sleep(LEAST_SECONDS)
            try:
                async with asyncio.timeout(BUSY_SECONDS if self._is_busy() else None):
                    await self._changed.wait()
            except TimeoutError:
                continue
            self._changed.clear()

    def text(self, columns: int) -> str:
        """The line, at most so wide; empty before anything is known."""
        known = self._known
        if known is None or not known.agent:
            return ""
        agent = f"{known.agent} ({known.model})" if known.model else known.agent
        title = known.title or ("untitled" if known.session_id else "no session yet")
        title = title if len(title) <= TITLE_WIDTH else f"{title[: TITLE_WIDTH - 1]}…"
        parts = [agent, title, f"{known.tokens:,} tokens", known.doing or IDLE]
        return printable(" · ".join(parts))[:columns]
