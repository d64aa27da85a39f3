"""The terminal keeps what every platform promises, as far as it can."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.local import client
from adapters.local.protocol import ACKNOWLEDGE_SECONDS, Welcome
from adapters.testing.conformance import (
    Ability,
    AdapterConformance,
    Fault,
    Harness,
    Place,
    PlaceKind,
    Shown,
)
from gateway.constants import MAX_FRAME_BYTES
from gateway.frames import StreamConnection
from tests.support import gateway_client
from tests.support.gateway_client import RecordingClient


class FaultyConnection(StreamConnection):
    """A connection that a fault strikes when a delivery, or a message, passes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: set[Fault]) -> None:
        super().__init__(reader, writer)
        self._faults = faults

    async def send(self, frame: Mapping[str, Any]) -> None:
        if frame["op"] == "ack" and self._strikes(Fault.DROPPED):
            await self.close()
            raise ConnectionResetError("the connection broke before the receipt")
        await super().send(frame)
        if frame["op"] == "message" and self._strikes(Fault.DUPLICATE_UPDATE):
            await super().send(frame)

    def _strikes(self, fault: Fault) -> bool:
        if fault not in self._faults:
            return False
        self._faults.discard(fault)
        return True


class Terminal(RecordingClient):
    """The real chat client over a connection that can be made to fail."""

    faults: set[Fault]
    commands: tuple[str, ...] = ()

    async def welcome(self, welcome: Welcome) -> None:
        self.commands = tuple(name for name, _ in welcome.commands)

    async def _open(self, path: str) -> StreamConnection:
        return FaultyConnection(*await asyncio.open_unix_connection(path, limit=MAX_FRAME_BYTES), self.faults)


class TerminalHarness(Harness):
    """The person is a terminal of this machine; what it has on its screen is what people see."""

    name = "local"
    supports = frozenset({Ability.STREAMING, Ability.MENU, Ability.BACKLOG})
    faults = frozenset({Fault.DROPPED, Fault.DUPLICATE_UPDATE})

    def __init__(self) -> None:
        self._terminal: Terminal | None = None
        self._events: list[gateway_client.Event] = []
        self._faults: set[Fault] = set()

    async def start(self, home: Path) -> None:
        self._terminal = Terminal(home / "gateway.sock", self._events)
        self._terminal.faults = self._faults

    async def stop(self) -> None:
        if self._terminal is not None:
            with suppress(Exception):
                await self._terminal.die()

    def section(self) -> Mapping[str, Any]:
        return {}

    def place(self, kind: PlaceKind, *, stranger: bool = False) -> Place:
        return Place(kind, "cli")

    def write(self, place: Place, text: str) -> None:
        assert self._terminal is not None
        self._terminal.say(text)

    def shown(self, place: Place) -> Sequence[Shown]:
        found: list[list[gateway_client.Shown]] = []
        for event in self._events:
            if isinstance(event, gateway_client.Shown):
                if event.first:
                    found.append([])
                latest = next(each for each in reversed(found) if not each or each[0].delivery == event.delivery)
                latest.append(event)
        return [
            Shown(str(each[0].delivery), tuple(event.text for event in each), marked=each[0].marked) for each in found
        ]

    def menu(self) -> Sequence[str]:
        assert self._terminal is not None
        return self._terminal.commands

    def inject(self, fault: Fault, place: Place) -> None:
        self._faults.add(fault)


class TestTerminal(AdapterConformance):
    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch) -> Harness:
        monkeypatch.setattr(client, "MAX_RETRY_SECONDS", 0.05)
        monkeypatch.setattr(client, "FIRST_CONNECT_SECONDS", ACKNOWLEDGE_SECONDS)
        return TerminalHarness()
