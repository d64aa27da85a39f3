"""The sender of a webhook: posts a bot's updates in order, each until it is taken."""

import asyncio

import aiohttp

from adapters.testing.telegram.updates import Update, UpdateQueue, Webhook

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
"""https://core.telegram.org/bots/api#setwebhook"""
SUCCESS = 2
"""The first digit of the status of an update that was taken."""


class WebhookSender:
    """Posts to one webhook until it is stopped.

    One request is under way at a time, whatever `max_connections` allows; an answer other than 2xx, or none, is
    tried again after `retry_delay` seconds.
    """

    def __init__(self, queue: UpdateQueue, webhook: Webhook, retry_delay: float, timeout: float) -> None:
        self._queue = queue
        self._webhook = webhook
        self._retry_delay = retry_delay
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to post."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a request that is under way is broken off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                update = await self._queue.first()
                error = await self._post(session, update)
                if error is None:
                    self._queue.confirm(update.id)
                else:
                    self._queue.note_failure(error)
                    await asyncio.sleep(self._retry_delay)

    async def _post(self, session: aiohttp.ClientSession, update: Update) -> str | None:
        headers = {SECRET_HEADER: self._webhook.secret} if self._webhook.secret else {}
        try:
            async with session.post(self._webhook.url, json=update.object(), headers=headers) as answer:
                if answer.status // 100 == SUCCESS:
                    return None
                return f"Wrong response from the webhook: {answer.status} {answer.reason}"
        except TimeoutError:
            return "Read timeout expired"
        except aiohttp.ClientError:
            return "Connection refused"


class Webhooks:
    """The senders of all bots."""

    def __init__(self, retry_delay: float = 0.1, timeout: float = 5.0) -> None:
        self.retry_delay = retry_delay
        """Seconds until an update that was not taken is posted again."""
        self.timeout = timeout
        """Seconds that a bot may take for one update."""
        self._senders: dict[int, WebhookSender] = {}

    async def set(self, bot: int, queue: UpdateQueue, webhook: Webhook | None) -> None:
        """Post a bot's updates to this webhook from now on; None: nowhere."""
        sender = self._senders.pop(bot, None)
        if sender is not None:
            await sender.stop()
        queue.webhook = webhook
        if webhook is not None:
            self._senders[bot] = WebhookSender(queue, webhook, self.retry_delay, self.timeout)
            self._senders[bot].start()

    async def stop(self) -> None:
        """End all senders; what they have not delivered waits."""
        for sender in self._senders.values():
            await sender.stop()

    def resume(self) -> None:
        """Begin again to post."""
        for sender in self._senders.values():
            sender.start()
