"""The Slack adapter: connects an account, and hands the work to its parts."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

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
from adapters.markup.slack import MAX_LENGTH
from adapters.slack import files
from adapters.slack.backfill import Backfill
from adapters.slack.client import CallError, Client, NotSentError, SlackError
from adapters.slack.compose import SlackComposer
from adapters.slack.constants import TIMING, Timing
from adapters.slack.context import ThreadContext
from adapters.slack.failures import APPS, bot_refused, refuses_token
from adapters.slack.intake import Intake
from adapters.slack.names import NameBook
from adapters.slack.normalise import Rules
from adapters.slack.positions import CHANNEL, Positions
from adapters.slack.receive import Receiver, Signals
from adapters.slack.requests import Requests
from adapters.slack.scopes import missing_scopes
from adapters.slack.send import Sender
from adapters.slack.socket_mode import SocketMode
from adapters.slack.watch import Watch
from adapters.slack.wording import Account
from config import PlatformConfig
from config.platforms import SlackConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

ONE_CHAT: Final = Rate(1, 1.0)
"""Slack takes about one message a second in a conversation
(https://docs.slack.dev/apis/web-api/rate-limits#posting_messages)."""

ALL_CHATS: Final = Rate(100, 60.0)
"""Slack takes several hundred new messages a minute of an app in a workspace, but about fifty edits. Of what is sent
here, at most half are edits of a growing answer."""

CAPABILITIES: Final = Capabilities(
    edit=True,
    delete=True,
    typing=True,
    threads=True,
    buttons=True,
    media=True,
    find=True,
    backfill=True,
    max_length=MAX_LENGTH,
    length_unit="utf16",
    edit_interval=1.5,
    rate=ALL_CHATS,
    told_when_complete=False,
    typing_seconds=60.0,
    redactable_ids=False,
)


class SlackAdapter(Adapter):
    """One bot in one workspace. `timing`, `sleep` and `jitter` (numbers from 0 to 1) can be replaced for tests."""

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
        if not isinstance(config, SlackConfig):
            config = SlackConfig.model_validate(config.model_dump(exclude_unset=True))
        if config.bot_token is None:
            raise AccountError(f"platforms.slack.bot_token is missing: {APPS}, OAuth & Permissions, shows it (xoxb-…)")
        self._config = config
        self._token = config.bot_token.get_secret_value().strip()
        self._host = host
        self._timing = timing
        self._sleep = sleep
        self._connection = Connection(
            host, first_wait=timing.first_wait, longest_wait=timing.longest_wait, sleep=sleep, jitter=jitter
        )
        self._client: Client | None = None
        self._sender: Sender | None = None

    async def run(self) -> None:
        """Connect and receive until cancelled. Raises `AccountError` where only the operator can mend it."""
        self._connection.connecting()
        client, background = Client(self._token, self._config.api_base_url, self._timing), Background()
        try:
            account = await self._until_done(lambda: self._login(client))
            await self._connection.stored(lambda: self._host.identify(f"{account.team_id}:{account.user_id}"))
            log.info("connected to Slack as %s in the workspace %s", account.name, account.team_id)
            await self._work(client, account, background)
        finally:
            self._client = self._sender = None
            await background.close()
            await client.close()

    async def _work(self, client: Client, account: Account, background: Background) -> None:
        config, host = self._config, self._host
        names = NameBook(client, host, self._timing)
        positions = Positions(await self._connection.stored(lambda: host.cursors(CHANNEL)))
        watch = Watch(client, self._connection, self._timing, self._sleep, answers_for_connection=config.mode == "http")
        signals = Signals(watch.suspect, lambda pane: self._suggest(client, background, pane))
        context = ThreadContext(client, account, names, self._timing)
        receiver = Receiver(host, account, self._rules, names, positions, context, signals)
        backfill = Backfill(client, host, account, receiver, positions, self._connection, self._timing, self._sleep)
        intake = Intake(host, receiver, self._connection)
        receiver.gate, backfill.intake = backfill, intake
        self._client = client
        self._sender = Sender(client, self._timing, watch.suspect, previews=config.link_previews)
        try:
            # What was missed may be older than what an earlier process has left.
            backfill.hold_back()
            await intake.catch_up()
            await _together(
                intake.run(),
                backfill.run(),
                watch.run(backfill.begin),
                self._listen(client, intake, background, backfill),
            )
        finally:
            await names.close()

    def _rules(self) -> Rules:
        config = self._config
        return Rules(
            require_mention=config.require_mention,
            follow_threads=config.follow_threads,
            free_channels=frozenset(config.free_channels),
            commands=frozenset(name for name, _ in self._host.commands),
        )

    async def _listen(self, client: Client, intake: Intake, background: Background, backfill: Backfill) -> None:
        config = self._config
        if config.mode == "http":
            if config.signing_secret is None:
                raise AccountError("platforms.slack.mode: http needs signing_secret beside it")
            self._host.handle_http(
                Requests(config.signing_secret.get_secret_value().strip(), self._host, intake).handle
            )
            backfill.begin()
            self._connection.connected()
            await asyncio.Event().wait()
        if config.app_token is None:
            raise AccountError(
                f"platforms.slack.app_token is missing: {APPS}, Basic Information, App-Level Tokens, makes one"
            )
        token = config.app_token.get_secret_value().strip()
        socket = SocketMode(client, token, intake, self._connection, background, self._timing, backfill.begin)
        await socket.run()

    # --- the account -----------------------------------------------------------------------------------------

    async def _login(self, client: Client) -> Account:
        """Who we are. Raises `SlackError` and `AccountError`."""
        me, headers = await client.answered(client.web.auth_test())
        if not me.get("bot_id"):
            raise AccountError("platforms.slack.bot_token is not a bot's: put in the one that begins with xoxb-")
        if "x-oauth-scopes" in headers:
            granted = frozenset(each.strip() for each in headers["x-oauth-scopes"].split(","))
            missing_scopes(granted)
        return Account(str(me["user_id"]), str(me["bot_id"]), str(me["team_id"]), str(me.get("user") or ""))

    async def _until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call's result, tried again until Slack can be reached. Raises `AccountError`."""
        while True:
            try:
                return await call()
            except SlackError as error:
                if isinstance(error, CallError) and refuses_token(error):
                    raise bot_refused(error) from None
                at_least = error.retry_after if isinstance(error, CallError) else None
                reach = "cannot be reached" if isinstance(error, NotSentError) else "gives no proper answer"
                await self._connection.rest(AdapterState.CONNECTING, f"Slack {reach}: {error}", at_least=at_least)

    def _suggest(self, client: Client, background: Background, pane: Mapping[str, Any]) -> None:
        """Suggest something to ask, in a pane that somebody has opened."""
        channel, thread = pane.get("channel_id"), pane.get("thread_ts")
        if self._config.suggested_prompts and channel and thread:
            background.start(self._prompts(client, str(channel), str(thread)), "the suggested prompts")

    async def _prompts(self, client: Client, channel: str, thread: str) -> None:
        prompts = [{"title": text, "message": text} for text in self._config.suggested_prompts]
        try:
            await client.call(
                client.web.assistant_threads_setSuggestedPrompts(channel_id=channel, thread_ts=thread, prompts=prompts)
            )
        except SlackError as error:
            log.info("no prompts could be suggested: %s", error)

    # --- what goes out ---------------------------------------------------------------------------------------

    async def send(self, delivery: Delivery) -> str:
        """Show a part, or a file, as a new message. Raises `DeliveryError`."""
        return await self._outgoing().send(delivery)

    async def edit(self, delivery: Delivery) -> None:
        """Make a message show the part. Raises `DeliveryError`."""
        await self._outgoing().edit(delivery)

    async def find(self, delivery: Delivery) -> Found | SearchOutcome:
        """Look for a message whose send had no answer. Raises `DeliveryError`."""
        return await self._outgoing().find(delivery)

    async def delete(self, delivery: Delivery) -> None:
        """Take a message away. Raises `DeliveryError`."""
        await self._outgoing().delete(delivery)

    async def typing(self, target: Target) -> None:
        """Show under a thread that something is being written. Raises `DeliveryError`."""
        await self._outgoing().typing(target)

    async def fetch(self, attachment: Attachment, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on a file that somebody sent. Raises `MediaError`."""
        if self._client is None:
            raise MediaError("Slack is not connected", retryable=True)
        await files.fetch(self._client, attachment, write)

    def composer(self) -> Composer:
        """What makes the messages of one text."""
        return SlackComposer(self._config.max_messages, "users" if self._config.allow_mentions else "neutralise")

    def rates(self, chat_id: str) -> Sequence[Rate]:
        """One message a second, whatever the conversation."""
        del chat_id
        return (ONE_CHAT,)

    def _outgoing(self) -> Sender:
        if self._sender is None:
            raise NotConnectedError("Slack is not connected")
        return self._sender


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, which is by an error; then end the others."""
    tasks = [asyncio.create_task(each, name=f"slack {number}") for number, each in enumerate(work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
