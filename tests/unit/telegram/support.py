"""A host that remembers, an adapter that runs against the loopback server, and what both need."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.base import (
    Accepted,
    AdapterState,
    Cursor,
    Delivery,
    HttpHandler,
    InboundMessage,
    InboundState,
    NotStoredError,
    RawUpdate,
    Target,
)
from adapters.connection import Sleep
from adapters.telegram import TelegramAdapter
from adapters.telegram.constants import Timing
from adapters.testing.telegram import Chat, TelegramServer
from config import Platform
from config.platforms import TelegramConfig
from gateway.clock import SystemClock
from gateway.ports import FrameHandler

QUICK = Timing(
    poll=2, margin=0.5, answer=0.5, upload=2.0, connect=0.5, first_wait=0.02, longest_wait=0.1, refusal_check=0.02
)
"""As in earnest, but no test waits for seconds."""


@dataclass(frozen=True, slots=True)
class State:
    """A state as it was reported."""

    state: AdapterState
    reason: str | None
    next_try: datetime | None


@dataclass(eq=False)
class FakeHost:
    """A core in memory. `broken` makes so many calls fail as not stored."""

    updates: dict[str, RawUpdate] = field(default_factory=dict)
    positions: dict[str, str] = field(default_factory=dict)
    accepted: list[InboundMessage] = field(default_factory=list)
    amended: list[InboundMessage] = field(default_factory=list)
    settled: list[tuple[str, str | None]] = field(default_factory=list)
    moved: list[tuple[str, str, str | None]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    http: HttpHandler | None = None
    identified: str | None = None
    commands: Sequence[tuple[str, str]] = (("new", "Begin anew"), ("help", "What can be written"))
    banner: Sequence[str] = ()
    clock: SystemClock = field(default_factory=SystemClock)
    allowed: Callable[[InboundMessage], bool] = lambda _message: True
    broken: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _store(self, call: str) -> None:
        self.changed.set()
        if self.broken.get(call, 0) > 0:
            self.broken[call] -= 1
            raise NotStoredError("the disk is full")

    async def accept(self, message: InboundMessage) -> Accepted:
        self._store("accept")
        self.updates.pop(message.update_id or "", None)
        key = (message.source.chat_id, message.message_id)
        duplicate = key in [(each.source.chat_id, each.message_id) for each in self.accepted]
        if not duplicate:
            self.accepted.append(message)
        if not self.allowed(message):
            return Accepted(len(self.accepted), InboundState.IGNORED, duplicate, "not in allowed_users")
        return Accepted(len(self.accepted), InboundState.PENDING, duplicate)

    async def identify(self, account_id: str) -> None:
        self._store("identify")
        if self.identified not in (None, account_id):
            self.updates.clear()
            self.positions.clear()
        self.identified = account_id

    async def is_group_known(self, chat_id: str, group_id: str) -> bool:
        self._store("is_group_known")
        known = [(each.source.chat_id, each.group_id) for each in self.accepted if each.addressed]
        return (chat_id, group_id) in known

    async def cursor(self, name: str) -> str | None:
        self._store("cursor")
        return self.positions.get(name)

    async def cursors(self, prefix: str) -> dict[str, str]:
        self._store("cursors")
        return {name: value for name, value in self.positions.items() if name.startswith(prefix)}

    async def keep(self, updates: Sequence[RawUpdate], cursor: Cursor | None = None) -> None:
        self._store("keep")
        self.updates.update({update.id: update for update in updates})
        if cursor is not None:
            self.positions[cursor.name] = cursor.value

    async def kept(self) -> Sequence[RawUpdate]:
        self._store("kept")
        return list(self.updates.values())

    async def settle(self, update_id: str, problem: str | None = None) -> None:
        self._store("settle")
        self.updates.pop(update_id, None)
        self.settled.append((update_id, problem))

    async def amend(self, message: InboundMessage) -> None:
        self._store("amend")
        self.updates.pop(message.update_id or "", None)
        self.amended.append(message)

    async def move_chat(self, old: str, new: str, update_id: str | None = None) -> None:
        self._store("move_chat")
        self.updates.pop(update_id or "", None)
        self.moved.append((old, new, update_id))

    def handle_http(self, handler: HttpHandler) -> None:
        self.http = handler

    def set_state(self, state: AdapterState, reason: str | None = None, *, next_try: datetime | None = None) -> None:
        self.states.append(State(state, reason, next_try))
        self.changed.set()

    def serve(self, service: str, handler: FrameHandler) -> None:
        raise NotImplementedError

    @property
    def state(self) -> AdapterState | None:
        """The last state."""
        return self.states[-1].state if self.states else None

    @property
    def reasons(self) -> list[str]:
        """Every reason that was given."""
        return [each.reason for each in self.states if each.reason is not None]

    @property
    def texts(self) -> list[str]:
        """The texts that were accepted."""
        return [message.text for message in self.accepted]

    async def until(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def config(server: TelegramServer, **settings: Any) -> TelegramConfig:
    """The section of a bot on this server."""
    return TelegramConfig.model_validate({"token": server.bot.token, "api_base_url": server.base_url, **settings})


def built(
    server: TelegramServer,
    host: FakeHost,
    *,
    timing: Timing = QUICK,
    sleep: Sleep = asyncio.sleep,
    **settings: Any,
) -> TelegramAdapter:
    """An adapter for the server's first bot."""
    return TelegramAdapter(config(server, **settings), host, timing=timing, sleep=sleep, jitter=lambda: 0.0)


@asynccontextmanager
async def running(adapter: TelegramAdapter, host: FakeHost) -> AsyncIterator[TelegramAdapter]:
    """The adapter while it runs, from the moment in which it is connected."""
    task = asyncio.create_task(adapter.run())
    try:
        connected = asyncio.create_task(host.until(lambda: host.state is AdapterState.CONNECTED))
        await asyncio.wait({task, connected}, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if task.done():
            await task
        yield adapter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def target(chat: Chat, thread_id: str | None = None) -> Target:
    """The place of a chat."""
    return Target(Platform.TELEGRAM, str(chat.id), thread_id)


def delivery(chat: Chat, text: str, adapter: TelegramAdapter, **fields: Any) -> Delivery:
    """The first part of a text, as the core hands it to the adapter."""
    part = fields.get("part", 0)
    composed = adapter.composer().update(text, final=True, shown=0)
    thread_id = fields.pop("thread_id", None)
    content = fields.pop("content", composed.parts[part] if composed.parts else None)
    return Delivery(fields.pop("id", 1), target(chat, thread_id), "reply", text, content=content, **fields)
