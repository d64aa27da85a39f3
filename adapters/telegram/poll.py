"""Long polling: updates are confirmed to Telegram only once they are stored here."""

import asyncio
from collections.abc import Sequence
from typing import Final

from telegram.error import TelegramError

from adapters.base import AccountError, AdapterHost, AdapterState, RawUpdate
from adapters.connection import Connection, Sleep
from adapters.telegram.client import CallError, Client, NotSentError
from adapters.telegram.constants import REFUSAL_CHECKS, Timing
from adapters.telegram.failures import CONFLICT, refuses_token
from adapters.telegram.normalise import KINDS
from adapters.telegram.receive import Receiver, raw_update

REVOKED: Final = (
    "Telegram does not know platforms.telegram.token any more ({}): it was revoked, or the bot was deleted;"
    " put in the one that @BotFather shows"
)
DOUBTED: Final = "Telegram says that it does not know platforms.telegram.token any more ({}); it is asked again"
TWO_POLLERS: Final = (
    "another program polls with this token (getUpdates conflict): stop it, or give one of the two a bot of its own;"
    " Telegram says: {}"
)
WEBHOOK_SET: Final = (
    "a webhook has been set for this bot by another program, so Telegram gives no updates here (getUpdates conflict):"
    " stop that program and restart, or set platforms.telegram.mode: webhook; Telegram says: {}"
)


async def confirm_refusal(client: Client, connection: Connection, timing: Timing, error: TelegramError) -> None:
    """A server that knew the account says that it does not: ask it again, for about a minute.

    Raises `AccountError` if it never says anything else.
    """
    for _ in range(REFUSAL_CHECKS):
        await connection.rest(AdapterState.DEGRADED, DOUBTED.format(error), at_least=timing.refusal_check)
        try:
            await client.bot.get_me()
        except TelegramError as again:
            if refuses_token(again):
                error = again
                continue
        return
    raise AccountError(REVOKED.format(error))


class Poller:
    """Asks for updates for ever."""

    def __init__(
        self,
        client: Client,
        host: AdapterHost,
        receiver: Receiver,
        connection: Connection,
        timing: Timing,
        sleep: Sleep,
    ) -> None:
        self._sleep = sleep
        self._client = client
        self._host = host
        self._receiver = receiver
        self._connection = connection
        self._timing = timing
        self._conflict = False

    async def run(self) -> None:
        """Receive until cancelled. Raises `AccountError` once the token is revoked.

        After a week of silence Telegram goes on with any number, so no position outlives a process: its first request
        gives all that is not confirmed. What an earlier one had stored of that is known by its ids.
        """
        offset: int | None = None
        while True:
            wait, asked = self._wait(), self._host.clock.monotonic()
            try:
                updates = await self._ask(offset, wait)
            except TelegramError as error:
                await self._failed(error)
                continue
            if updates:
                await self._take(updates)
                offset = int(updates[-1].id) + 1
            else:
                # All before it is confirmed now; without an offset a lower number is not missed either.
                offset = None
            if not self._connection.up:
                self._connection.connected()
                self._conflict = False
            if wait and not updates and self._host.clock.monotonic() - asked < self._timing.first_wait:
                # Something on the way does not keep requests open, and must not be asked without a pause.
                await self._sleep(self._timing.first_wait)

    def _wait(self) -> int:
        """How long the server is to keep the next request open, in seconds.

        After a failure it is not, so that it is known at once whether the server is back; after a conflict it is, for
        only a request that lasts shows that nobody else polls.
        """
        return self._timing.poll if self._connection.up or self._conflict else 0

    async def _ask(self, offset: int | None, wait: int) -> Sequence[RawUpdate]:
        """The next updates in their order, as soon as there are any. Raises TelegramError."""
        try:
            async with asyncio.timeout(wait + 2 * self._timing.margin):
                answer = await self._client.updates(offset, KINDS, wait=wait)
        except TimeoutError:
            raise NoUpdatesError("the connection is open, but nothing comes") from None
        updates = {int(raw.id): raw for each in answer if (raw := raw_update(each)) is not None}
        return [updates[number] for number in sorted(updates)]

    async def _take(self, updates: Sequence[RawUpdate]) -> None:
        await self._connection.stored(lambda: self._host.keep(updates))
        for update in updates:
            await self.process(update)

    async def process(self, update: RawUpdate) -> None:
        """Hand on one update that is kept."""
        await self._connection.stored(lambda: self._receiver.process(update))

    async def _failed(self, error: TelegramError) -> None:
        self._conflict = isinstance(error, CallError) and error.code == CONFLICT
        if refuses_token(error):
            await confirm_refusal(self._client, self._connection, self._timing, error)
        elif isinstance(error, NotSentError):
            await self._connection.rest(AdapterState.CONNECTING, f"Telegram cannot be reached: {error}")
        elif not isinstance(error, CallError):
            await self._connection.rest(AdapterState.DEGRADED, f"no answer from Telegram: {error}")
        elif self._conflict:
            reason = WEBHOOK_SET if error.says("webhook") else TWO_POLLERS
            await self._connection.rest(AdapterState.DEGRADED, reason.format(error))
        else:
            reason = f"Telegram gives no updates: {error}"
            await self._connection.rest(AdapterState.DEGRADED, reason, at_least=error.retry_after)


class NoUpdatesError(TelegramError):
    """A request for updates was left without an end."""
