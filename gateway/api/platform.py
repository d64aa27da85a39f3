"""The HTTP interface as a platform: what is delivered goes to whoever waits for it, and is kept for who does not."""

import asyncio
from dataclasses import replace
from typing import Final

from config import PlatformConfig
from gateway.api.ledger import Answer, Ledger
from gateway.api.waiting import WaitingRoom
from gateway.ports import (
    Adapter,
    AdapterHost,
    AdapterState,
    Capabilities,
    Delivery,
    Found,
    RetryLaterError,
    SearchOutcome,
    StorageBusyError,
)
from gateway.storage.errors import StorageError

EDIT_INTERVAL: Final = 0.02
"""Seconds between two pieces of an answer that grows: programs show them as they come, and each is a write."""

CLIENTS_A_PACE: Final = 10
"""For each of so many clients that wait it is as much longer: all together get about 500 pieces a second, a fifth of
what the event loop can do. Without it, a hundred answers that grow leave it no time for whoever comes."""

MAX_EDIT_INTERVAL: Final = 0.5
"""The longest that it gets: answers are seen to grow however many there are."""

CAPABILITIES: Final = Capabilities(
    edit=True, drafts=True, find=True, told_when_complete=False, edit_interval=EDIT_INTERVAL, redactable_ids=True
)

PACES: Final = tuple(
    replace(CAPABILITIES, edit_interval=number * EDIT_INTERVAL)
    for number in range(1, int(MAX_EDIT_INTERVAL / EDIT_INTERVAL) + 1)
)
"""What can be done here, at each pace."""


class ApiPlatform(Adapter):
    """Takes what the core delivers. A delivery is sent once its answer is on disk: a client that has left, or whose
    gateway was killed, asks for it again."""

    def __init__(self, config: PlatformConfig, host: AdapterHost, *, ledger: Ledger, room: WaitingRoom) -> None:
        del config
        self.host = host
        self._ledger = ledger
        self._room = room

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]  # nobody sets it
        """What can be done here, and at which pace with as many clients as wait at present."""
        return PACES[min(len(self._room) // CLIENTS_A_PACE, len(PACES) - 1)]

    async def run(self) -> None:
        """There is nothing to connect to: requests come by themselves."""
        self.host.set_state(AdapterState.CONNECTED)
        await asyncio.Event().wait()

    async def send(self, delivery: Delivery) -> str:
        """Make sure that the answers which this completes are on disk, and tell whoever waits. Raises
        `RetryLaterError`."""
        if delivery.final:
            try:
                await self._complete(delivery)
            except (StorageError, StorageBusyError) as error:
                raise RetryLaterError(str(error)) from error
        return str(delivery.id)

    async def edit(self, delivery: Delivery) -> None:
        """What was sent before is complete now. Raises `RetryLaterError`."""
        await self.send(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:  # noqa: ARG002 - as in the port
        """Sending it again does no harm: the first answer stands, and whoever waits is told."""
        return SearchOutcome.ABSENT

    async def draft(self, delivery: Delivery) -> bool:
        """Show whoever waits how far the answer has grown."""
        for request_id in delivery.answers:
            if (waiter := self._room.find(request_id)) is not None:
                waiter.grow(delivery.text)
        return True

    async def _complete(self, delivery: Delivery) -> None:
        for request_id in delivery.answers:
            answer = await self._ledger.answer(request_id)
            if answer is None:
                await self._ledger.keep([request_id], Answer.of_delivery(delivery))
                answer = await self._ledger.answer(request_id)
            if answer is not None and (waiter := self._room.find(request_id)) is not None:
                waiter.finish(answer)
