"""The HTTP interface as a platform: what is delivered goes to whoever waits for it, and is kept for who does not."""

import asyncio
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


class ApiPlatform(Adapter):
    """Takes what the core delivers. A delivery is sent once its answer is on disk: a client that has left, or whose
    gateway was killed, asks for it again."""

    capabilities: Capabilities = Capabilities(
        edit=True, drafts=True, find=True, told_when_complete=False, edit_interval=EDIT_INTERVAL, redactable_ids=True
    )

    def __init__(self, config: PlatformConfig, host: AdapterHost, *, ledger: Ledger, room: WaitingRoom) -> None:
        del config
        self.host = host
        self._ledger = ledger
        self._room = room

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
        chat, turn_id = delivery.target.chat_id, delivery.turn_id
        if turn_id is None or not self._room.has_chat(chat):
            return True
        request_ids = self._room.requests_of(turn_id)
        if request_ids is None:
            try:
                request_ids = await self._ledger.requests_of_turn(turn_id)
            except StorageError as error:
                raise RetryLaterError(str(error)) from error
            if self._room.has_chat(chat):
                self._room.remember(turn_id, request_ids)
        for request_id in request_ids:
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
