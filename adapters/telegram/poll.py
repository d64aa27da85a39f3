"""Long polling: updates are confirmed to Telegram only once they are stored here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from telegram.error import TelegramError

from adapters.base import AccountError, AdapterHost, AdapterState, Cursor, NotStoredError, RawUpdate
from adapters.telegram.client import CallError, Client, NotSentError
from adapters.telegram.connection import Connection
from adapters.telegram.constants import Timing
from adapters.telegram.failures import CONFLICT, refuses_token
from adapters.telegram.normalise import KINDS
from adapters.telegram.receive import Receiver, raw_update

T = TypeVar("T")

CURSOR: Final = "updates"
"""The name of the position in the stream of updates: the id of the next one."""

NOT_STORED: Final = "what people write cannot be stored, so it is left with Telegram: {}"
REVOKED: Final = (
    "Telegram does not know platforms.telegram.token any more ({}): it was revoked, or the bot was deleted;"
    " put in the one that @BotFather shows"
)
TWO_POLLERS: Final = (
    "another program polls with this token (getUpdates conflict): stop it, or give one of the two a bot of its own;"
    " Telegram says: {}"
)
WEBHOOK_SET: Final = (
    "a webhook has been set for this bot by another program, so Telegram gives no updates here (getUpdates conflict):"
    " stop that program and restart, or set platforms.telegram.mode: webhook; Telegram says: {}"
)


async def stored(call: Callable[[], Awaitable[T]], connection: Connection) -> T:
    """The result of a call to the host, made again until the storage takes it."""
    while True:
        try:
            return await call()
        except NotStoredError as error:
            await connection.rest(AdapterState.DEGRADED, NOT_STORED.format(error))


class Poller:
    """Asks for updates for ever."""

    def __init__(
        self, client: Client, host: AdapterHost, receiver: Receiver, connection: Connection, timing: Timing
    ) -> None:
        self._client = client
        self._host = host
        self._receiver = receiver
        self._connection = connection
        self._timing = timing
        self._conflict = False

    async def run(self) -> None:
        """Receive until cancelled. Raises `AccountError` once the token is revoked."""
        cursor = await stored(lambda: self._host.cursor(CURSOR), self._connection)
        offset = int(cursor) if cursor is not None else None
        while True:
            wait, asked = self._wait(), self._host.clock.monotonic()
            try:
                updates = await self._ask(offset, wait)
            except TelegramError as error:
                await self._failed(error)
                continue
            if updates:
                # After a week of silence Telegram goes on with any number, so the next one may be lower.
                offset = int(updates[-1].id) + 1
                await self._take(updates, offset)
            else:
                # All before it is confirmed now; without an offset a lower number is not missed either.
                offset = None
            if not self._connection.up:
                self._connection.connected()
                self._conflict = False
            if wait and not updates and self._host.clock.monotonic() - asked < self._timing.first_wait:
                # Something on the way does not keep requests open, and must not be asked without a pause.
                await self._connection.pause(self._timing.first_wait)

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

    async def _take(self, updates: Sequence[RawUpdate], offset: int) -> None:
        cursor = Cursor(CURSOR, str(offset))
        await stored(lambda: self._host.keep(updates, cursor), self._connection)
        for update in updates:
            await self.process(update)

    async def process(self, update: RawUpdate) -> None:
        """Hand on one update that is kept."""
        await stored(lambda: self._receiver.process(update), self._connection)

    async def _failed(self, error: TelegramError) -> None:
        self._conflict = isinstance(error, CallError) and error.code == CONFLICT
        if refuses_token(error):
            raise AccountError(REVOKED.format(error))
        if isinstance(error, NotSentError):
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
