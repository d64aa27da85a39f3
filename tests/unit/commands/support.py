"""What the tests of commands share: somebody who writes commands and reads what comes back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.source import SessionSource
from tests.support.fakes import ALICE, Core, FakeAdapter, FakeAgent, core


class Chat:
    """Somebody who writes and reads; each message has an id of its own."""

    def __init__(self, gateway: Core, adapter: FakeAdapter, source: SessionSource = ALICE) -> None:
        self.gateway = gateway
        self.adapter = adapter
        self.source = source
        self._number = 0

    async def write(self, text: str, message_id: str | None = None) -> None:
        """Send a message, and wait for nothing."""
        self._number += 1
        await self.gateway.say(text, message_id or f"{self._number}", self.source)

    async def says(self, text: str) -> str:
        """Send a message, and read what comes last of the answer."""
        await self.write(text)
        await self.gateway.settled()
        return self.adapter.texts(self.source.chat_id)[-1]

    @property
    def buttons(self) -> list[tuple[str, str]]:
        """Those below the last message."""
        last = [shown for shown in self.adapter.screen.values() if shown.target.chat_id == self.source.chat_id][-1]
        return [(button.label, button.command) for row in last.buttons for button in row]

    async def session_id(self) -> str:
        """The live session."""
        return (await self.gateway.store.get_or_create_session(self.source)).session_id


@asynccontextmanager
async def chatting(folder: Path, agent: FakeAgent | None = None, **more: Any) -> AsyncIterator[Chat]:
    """The core, and Alice in her chat with it."""
    adapter = more.pop("adapter", None) or FakeAdapter()
    async with core(folder, agent, adapter, **more) as gateway:
        yield Chat(gateway, adapter)
