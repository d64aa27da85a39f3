"""The core as one adapter sees it."""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from config import Platform
from gateway.corrections import Corrections
from gateway.inbox import Inbox
from gateway.ports import (
    Accepted,
    AdapterState,
    Clock,
    Cursor,
    FrameHandler,
    HttpHandler,
    InboundMessage,
    Look,
    NotStoredError,
    Overview,
    RawUpdate,
    SessionLine,
    Suggestion,
)
from gateway.source import SessionSource
from gateway.storage.errors import StorageError
from gateway.updates import Updates

log = logging.getLogger(__name__)

ACCOUNT: Final = "default"


async def _nothing_under_way(_platform: Platform, _account: str) -> None:
    return


class NothingToSee:
    """Where there is nothing to look at."""

    async def complete(self, source: SessionSource, text: str) -> Sequence[Suggestion]:  # noqa: ARG002 - the port's
        """Nothing."""
        return ()

    async def sessions(self, source: SessionSource, text: str) -> Sequence[SessionLine]:  # noqa: ARG002 - the port's
        """Nothing."""
        return ()

    async def overview(self, source: SessionSource) -> Overview:  # noqa: ARG002 - the port's
        """Nobody, doing nothing."""
        return Overview("", "")


@dataclass(frozen=True, slots=True)
class HostServices:
    """What the daemon lends every adapter. `settled` waits until no delivery is on its way through the old one."""

    clock: Clock
    inbox: Callable[[], Inbox]
    corrections: Callable[[], Corrections]
    updates: Callable[[], Updates]
    banner: Callable[[], Sequence[str]]
    commands: Callable[[], Sequence[tuple[str, str]]]
    serve: Callable[[str, FrameHandler], None]
    on_connected: Callable[[Platform, str], None]
    look: Callable[[], Look] = NothingToSee
    names: Callable[[], frozenset[str]] = frozenset
    settled: Callable[[Platform, str], Awaitable[None]] = _nothing_under_way


class Station(Protocol):
    """What the core keeps of an adapter."""

    @property
    def platform(self) -> Platform:
        """What it connects to."""

    @property
    def is_operator(self) -> bool:
        """Whether whoever writes there is the machine's owner."""

    def report(self, state: AdapterState, reason: str | None, next_try: datetime | None) -> None:
        """How its connection stands."""

    def serve_http(self, handler: HttpHandler) -> None:
        """Who takes the platform's requests."""


class Host:
    """Lends an adapter the services of the core, for its own platform. See `gateway.ports.AdapterHost`."""

    def __init__(self, station: Station, services: HostServices) -> None:
        self._station = station
        self._services = services
        self._place = (str(station.platform), ACCOUNT)

    @property
    def clock(self) -> Clock:
        """The injected clock."""
        return self._services.clock

    @property
    def banner(self) -> Sequence[str]:
        """Which agent answers."""
        return self._services.banner()

    @property
    def commands(self) -> Sequence[tuple[str, str]]:
        """Name and help of each command."""
        return self._services.commands()

    @property
    def command_names(self) -> frozenset[str]:
        """Every name and alias of a command."""
        return self._services.names()

    @property
    def look(self) -> Look:
        """What somebody at a terminal can look at."""
        return self._services.look()

    async def accept(self, message: InboundMessage) -> Accepted:
        """Make a message durable. Raises `NotStoredError`."""
        with self._storing("a message"):
            return await self._services.inbox().accept(message, operator=self._station.is_operator)

    def admits(self, message: InboundMessage) -> bool:
        """Whether who wrote a message is let in at present."""
        return self._services.inbox().admits(message, operator=self._station.is_operator)

    def bars(self, message: InboundMessage) -> bool:
        """Whether who wrote a message is not let in, for sure."""
        return self._services.inbox().bars(message, operator=self._station.is_operator)

    async def identify(self, account_id: str) -> None:
        """Say which account of the platform this connection is. Raises `NotStoredError`."""
        with self._storing("the account"):
            await self._services.updates().identify(*self._place, account_id)

    async def is_group_known(self, chat_id: str, group_id: str) -> bool:
        """Whether another message of this group was taken in lately. Raises `NotStoredError`."""
        with self._storing("what a message belongs to"):
            return await self._services.inbox().knows_group(*self._place, chat_id, group_id)

    async def known(self, chat_id: str, message_ids: Collection[str]) -> frozenset[str]:
        """Those of these messages that were taken in already. Raises `NotStoredError`."""
        with self._storing("what is known of a chat"):
            return await self._services.inbox().known(*self._place, chat_id, message_ids)

    async def cursor(self, name: str) -> str | None:
        """A position that was committed earlier. Raises `NotStoredError`."""
        with self._storing("a position"):
            return await self._services.updates().cursor(*self._place, name)

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        """Positions by name, of names that begin so. Raises `NotStoredError`."""
        with self._storing("positions"):
            return await self._services.updates().cursors(*self._place, prefix)

    async def keep(self, updates: Sequence[RawUpdate], cursor: Cursor | None = None) -> None:
        """Make updates durable as they came. Raises `NotStoredError`."""
        with self._storing("updates"):
            await self._services.updates().keep(*self._place, updates, cursor)

    async def kept(self) -> Sequence[RawUpdate]:
        """The updates that are kept and not set aside. Raises `NotStoredError`."""
        with self._storing("updates"):
            return await self._services.updates().kept(*self._place)

    async def settle(self, update_id: str, problem: str | None = None) -> None:
        """Delete an update, or set it aside. Raises `NotStoredError`."""
        with self._storing("what an update is"):
            await self._services.updates().settle(*self._place, update_id, problem)

    async def amend(self, message: InboundMessage) -> None:
        """Take in what a message says now. Raises `NotStoredError`."""
        with self._storing("an edit"):
            await self._services.corrections().amend(message, operator=self._station.is_operator)

    async def withdraw(self, chat_id: str, message_id: str, update_id: str | None = None) -> None:
        """A message was deleted. Raises `NotStoredError`."""
        with self._storing("a deletion"):
            corrections, platform = self._services.corrections(), self._station.platform
            await corrections.withdraw(platform, ACCOUNT, chat_id, message_id, update_id)

    async def move_chat(self, old: str, new: str, update_id: str | None = None) -> None:
        """Give a chat's sessions its new id. Raises `NotStoredError`."""
        with self._storing("the move of a chat"):
            await self._services.corrections().move_chat(self._station.platform, ACCOUNT, old, new, update_id)

    def handle_http(self, handler: HttpHandler) -> None:
        """Serve the platform's requests."""
        self._station.serve_http(handler)

    def set_state(self, state: AdapterState, reason: str | None = None, *, next_try: datetime | None = None) -> None:
        """Report how the connection stands."""
        self._station.report(state, reason, next_try)

    def serve(self, service: str, handler: FrameHandler) -> None:
        """Take clients of the gateway's socket."""
        self._services.serve(service, handler)

    @contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        """Tell the adapter, in its own terms, that nothing can be stored. Raises `NotStoredError`."""
        try:
            yield
        except StorageError as error:
            log.warning("%s of %s could not be stored: %s", what, self._station.platform, error)
            raise NotStoredError("The gateway cannot store messages at present. Its operator has to act.") from error
