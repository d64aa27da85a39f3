"""The webhook: Telegram posts updates to us; it hears that they arrived only once they are stored here."""

import asyncio
import hmac
import json
import logging
from typing import Final

from telegram import WebhookInfo
from telegram.error import TelegramError

from adapters.base import (
    AdapterHost,
    AdapterState,
    HttpRequest,
    HttpResponse,
    NotStoredError,
    RawUpdate,
)
from adapters.connection import Connection
from adapters.telegram.client import Client
from adapters.telegram.constants import MAX_UPDATE_BYTES, WEBHOOK_QUEUE_LIMIT, Timing
from adapters.telegram.failures import refuses_token
from adapters.telegram.poll import confirm_refusal
from adapters.telegram.receive import Receiver, raw_update

log = logging.getLogger(__name__)

SECRET_HEADER: Final = "x-telegram-bot-api-secret-token"  # noqa: S105 - a header's name
"""Proves that a request comes from Telegram (https://core.telegram.org/bots/api#setwebhook)."""


class Webhook:
    """Takes updates from the gateway's HTTP listener, and hands them on in the order of their arrival."""

    def __init__(
        self, client: Client, host: AdapterHost, connection: Connection, timing: Timing, *, url: str, secret: str
    ) -> None:
        self._client = client
        self._host = host
        self._connection = connection
        self._timing = timing
        self.url = url
        self.secret = secret
        self._waiting: asyncio.Queue[RawUpdate] = asyncio.Queue(WEBHOOK_QUEUE_LIMIT)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Store an update, then say so. 503 lets Telegram send it again later."""
        given = request.headers.get(SECRET_HEADER, "").encode(errors="surrogatepass")
        if not hmac.compare_digest(given, self.secret.encode()):
            return HttpResponse(401, "the secret token is missing or wrong")
        if request.method != "POST":
            return HttpResponse(405, "updates are posted")
        if len(request.body) > MAX_UPDATE_BYTES:
            return HttpResponse(413, "no update is as large as this")
        try:
            parsed = json.loads(request.body)
            update = raw_update(parsed) if isinstance(parsed, dict) else None
        except ValueError:
            return HttpResponse(400, "the body is not JSON")
        except RecursionError:
            return HttpResponse(400, "the body is nested too deeply")
        if update is None:
            return HttpResponse(400, "the body is not an update")
        return await self._take(update)

    async def _take(self, update: RawUpdate) -> HttpResponse:
        if self._waiting.full():
            return HttpResponse(503, "too many updates are waiting")
        try:
            await self._host.keep([update])
        except NotStoredError as error:
            log.warning("an update from Telegram could not be stored: %s", error)
            return HttpResponse(503, "the update could not be stored")
        try:
            self._waiting.put_nowait(update)
        except asyncio.QueueFull:
            return HttpResponse(503, "too many updates are waiting")
        return HttpResponse(200)

    async def run(self, receiver: Receiver) -> None:
        """Hand on what comes, and look after the webhook, until cancelled. Raises `AccountError`."""
        work = [
            asyncio.create_task(self._consume(receiver), name="telegram updates"),
            asyncio.create_task(self._watch(), name="telegram webhook"),
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                await ended
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _consume(self, receiver: Receiver) -> None:
        while True:
            await self._process(receiver, await self._waiting.get())

    async def _process(self, receiver: Receiver, update: RawUpdate) -> None:
        await self._connection.stored(lambda: receiver.process(update))
        if not self._connection.up:
            self._connection.connected()

    async def _watch(self) -> None:
        """Ask Telegram from time to time how its posts fare: nothing else tells that they do not arrive."""
        while True:
            await asyncio.sleep(self._timing.webhook_check)
            try:
                info = await self._client.bot.get_webhook_info()
            except TelegramError as error:
                if refuses_token(error):
                    await confirm_refusal(self._client, self._connection, self._timing, error)
                    self._connection.connected()
                    continue
                log.info("Telegram does not say how the webhook fares: %s", error)
                continue
            if (trouble := self._trouble(info)) is not None:
                self._connection.up = False
                self._host.set_state(AdapterState.DEGRADED, trouble)
            elif not self._connection.up:
                self._connection.connected()

    def _trouble(self, info: WebhookInfo) -> str | None:
        if info.url != self.url:
            return (
                "the webhook of this bot was changed by another program: stop that one, and restart,"
                " or give one of the two a bot of its own"
            )
        if info.pending_update_count and info.last_error_message:
            said = self._client.redacted(info.last_error_message)
            waiting = f"{info.pending_update_count} updates wait there"
            return f"Telegram cannot deliver to platforms.telegram.webhook_url, {waiting}: {said}"
        return None
