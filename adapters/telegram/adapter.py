"""The Telegram adapter: connects an account, and hands the work to its parts."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from telegram.error import TelegramError

from adapters.background import Background
from adapters.base import (
    AccountError,
    Adapter,
    AdapterHost,
    AdapterState,
    Attachment,
    Capabilities,
    Composer,
    Delivery,
    Found,
    MediaError,
    NotConnectedError,
    Rate,
    SearchOutcome,
    Target,
)
from adapters.connection import Connection, Sleep
from adapters.markup.telegram import MAX_LENGTH
from adapters.telegram import files
from adapters.telegram.client import CallError, Client, NotSentError, quiet_libraries
from adapters.telegram.compose import TelegramComposer
from adapters.telegram.constants import TIMING, Timing
from adapters.telegram.failures import NOT_FOUND, refuses_token, refuses_webhook
from adapters.telegram.find import Finder
from adapters.telegram.menu import set_menu
from adapters.telegram.normalise import KINDS, Normaliser
from adapters.telegram.poll import Poller
from adapters.telegram.receive import Receiver
from adapters.telegram.send import Sender
from adapters.telegram.webhook import Webhook
from adapters.telegram.wording import Account
from config import PlatformConfig
from config.platforms import TelegramConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

ONE_CHAT: Final = Rate(1, 1.0)
ONE_GROUP: Final = Rate(20, 60.0)
ALL_CHATS: Final = Rate(30, 1.0)
"""What Telegram takes (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this)."""

CAPABILITIES: Final = Capabilities(
    edit=True,
    delete=True,
    typing=True,
    threads=True,
    buttons=True,
    drafts=True,
    media=True,
    find=True,
    max_length=MAX_LENGTH,
    length_unit="utf16",
    edit_interval=1.0,
    rate=ALL_CHATS,
    told_when_complete=False,
    typing_seconds=4.0,
    splits_text_at=MAX_LENGTH,
)


class TelegramAdapter(Adapter):
    """One bot. `timing`, `sleep` and `jitter` (numbers from 0 to 1) can be replaced for tests."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        config: PlatformConfig,
        host: AdapterHost,
        *,
        timing: Timing = TIMING,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not isinstance(config, TelegramConfig):
            config = TelegramConfig.model_validate(config.model_dump(exclude_unset=True))
        if config.token is None:
            raise AccountError("platforms.telegram.token is missing: @BotFather gives one for /newbot")
        self._config = config
        self._token = config.token.get_secret_value().strip()
        self._host = host
        self._timing = timing
        self._connection = Connection(
            host, first_wait=timing.first_wait, longest_wait=timing.longest_wait, sleep=sleep, jitter=jitter
        )
        self._client: Client | None = None
        self._account: Account | None = None
        self._sender: Sender | None = None
        self._finder = Finder(host, self.rates, sleep)
        self._sleep, self._checking = sleep, False
        quiet_libraries()

    async def run(self) -> None:
        """Connect and receive until cancelled. Raises `AccountError` where only the operator can mend it."""
        self._connection.connecting()
        self._checking = False
        client = Client(self._token, self._config.api_base_url, self._timing)
        background = Background()
        try:
            me = await self._until_done(client.bot.get_me)
            await self._connection.stored(lambda: self._host.identify(str(me.id)))
            webhook = self._webhook(client)
            await self._until_done(lambda: self._choose_mode(client, webhook))
            account = Account(
                me.id,
                me.username or "",
                reads_all=bool(me.can_read_all_group_messages),
                topics=bool(me.has_topics_enabled),
            )
            self._client, self._account = client, account
            self._sender = Sender(
                client, self._host, lambda: self._lost(client, background), previews=self._config.link_previews
            )
            background.start(set_menu(client.bot, self._host.commands), "the menu of commands")
            log.info("connected to Telegram as @%s", me.username)
            normaliser = Normaliser(account, require_mention=self._config.require_mention)
            await self._receive(client, Receiver(client, self._host, normaliser, background), webhook)
        finally:
            self._client = self._account = self._sender = None
            await background.close()
            await client.close()

    async def _until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call's result, tried again until the server can be reached. Raises `AccountError`."""
        while True:
            try:
                return await call()
            except TelegramError as error:
                if refuses_token(error):
                    raise AccountError(self._refusal(error)) from None
                at_least = error.retry_after if isinstance(error, CallError) else None
                await self._connection.rest(AdapterState.CONNECTING, _trouble(error), at_least=at_least)

    def _refusal(self, error: TelegramError) -> str:
        where = self._config.api_base_url
        if isinstance(error, CallError) and error.says("logged out"):
            return (
                f"the bot was logged out of the Bot API server at {where} (logOut);"
                " set platforms.telegram.api_base_url to the server that it uses now"
            )
        also = ", and platforms.telegram.api_base_url" if getattr(error, "code", None) == NOT_FOUND else ""
        return (
            f"Telegram refuses platforms.telegram.token ({error}): check it against what @BotFather shows"
            f" for the bot{also}"
        )

    def _webhook(self, client: Client) -> Webhook | None:
        config = self._config
        if config.mode != "webhook":
            return None
        if config.webhook_url is None or config.secret_token is None:
            raise AccountError("platforms.telegram.mode: webhook needs webhook_url and secret_token beside it")
        secret = config.secret_token.get_secret_value()
        webhook = Webhook(client, self._host, self._connection, self._timing, url=config.webhook_url, secret=secret)
        self._host.handle_http(webhook.handle)
        return webhook

    async def _choose_mode(self, client: Client, webhook: Webhook | None) -> None:
        """Tell Telegram how we get updates. None that waits is dropped."""
        if webhook is None:
            await client.bot.delete_webhook()
            return
        try:
            # One connection: over several, updates would come out of order.
            await client.bot.set_webhook(
                webhook.url, allowed_updates=list(KINDS), max_connections=1, secret_token=webhook.secret
            )
        except CallError as error:
            if refuses_webhook(error):
                raise AccountError(
                    f"Telegram refuses platforms.telegram.webhook_url or secret_token: {error}"
                ) from None
            raise

    async def _receive(self, client: Client, receiver: Receiver, webhook: Webhook | None) -> None:
        poller = Poller(client, self._host, receiver, self._connection, self._timing, self._sleep)
        self._connection.connected()
        for update in await self._connection.stored(self._host.kept):
            await poller.process(update)
        if not self._connection.up:
            self._connection.connected()
        if webhook is None:
            await poller.run()
        else:
            await webhook.run(receiver)

    def _lost(self, client: Client, background: Background) -> None:
        """A call could not leave, while the connection for updates may be as good as ever."""
        if not self._checking:
            self._checking = background.start(self._check(client), "a look whether Telegram can be reached")

    async def _check(self, client: Client) -> None:
        """Try until a call leaves, then let the deliveries go on that wait for it."""
        wait = self._timing.first_wait
        try:
            while self._connection.up:
                await self._sleep(wait)
                wait = min(2 * wait, self._timing.longest_wait)
                try:
                    await client.bot.get_me()
                except TelegramError as error:
                    log.info("Telegram cannot be reached: %s", error)
                    continue
                self._connection.wake()
                return
        finally:
            self._checking = False

    # --- what goes out ---------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> str:
        """Show a part, or a file, as a new message. Raises `DeliveryError`."""
        return await self._outgoing().send(delivery)

    async def edit(self, delivery: Delivery) -> None:
        """Make a message show the part. Raises `DeliveryError`."""
        await self._outgoing().edit(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Look for a message whose send had no answer. Raises `DeliveryError`."""
        if self._client is None or self._account is None:
            raise NotConnectedError("Telegram is not connected")
        return await self._finder.find(self._client, self._account, delivery)

    async def delete(self, delivery: Delivery) -> None:
        """Take a message away. Raises `DeliveryError`."""
        await self._outgoing().delete(delivery)

    async def draft(self, delivery: Delivery) -> bool:
        """Show a draft, where the chat has them. Raises `DeliveryError`."""
        return await self._outgoing().draft(delivery)

    async def typing(self, target: Target) -> None:
        """Show that something is being written. Raises `DeliveryError`."""
        await self._outgoing().typing(target)

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on a file that somebody sent. Raises `MediaError`."""
        if self._client is None:
            raise MediaError("Telegram is not connected", retryable=True)
        await files.fetch(self._client, attachment, write)

    def composer(self) -> Composer:
        """What makes the messages of one text."""
        return TelegramComposer(self._config.max_messages)

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """One message a second; in groups and channels twenty a minute besides."""
        return (ONE_CHAT, ONE_GROUP) if chat_id.startswith(("-", "@")) else (ONE_CHAT,)

    def _outgoing(self) -> Sender:
        if self._sender is None:
            raise NotConnectedError("Telegram is not connected")
        return self._sender


def _trouble(error: TelegramError) -> str:
    if isinstance(error, NotSentError):
        return f"Telegram cannot be reached: {error}"
    if isinstance(error, CallError) and not error.is_verdict:
        return f"what answers at platforms.telegram.api_base_url is no Bot API server: {error}"
    return f"Telegram gives no proper answer: {error}"
